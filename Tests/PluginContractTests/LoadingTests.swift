// What the shipped plugins offer once they are loaded.

import Gateway
import IKECrypto
import IKEWire
import PluginABI
import Testing

@Suite struct LoadingTests {
    @Test func theShippedPluginsLoadWithoutAnError() {
        #expect(Set(Built.plugins.loaded.map(\.name)).isSuperset(of: ["gcrypt", "openssl", "psk"]))
        #expect(Built.plugins.refused.isEmpty)
        #expect(Built.log.errors.isEmpty)
    }

    @Test func everyAlgorithmOfAShippedPluginPassesItsTest() {
        Built.plugins.test()
        #expect(Built.plugins.algorithms.count == 45)
        for algorithm in Built.plugins.algorithms { #expect(algorithm.disabledBecause == nil && algorithm.isTested, "\(algorithm.provider) \(algorithm.name)") }
    }

    static let transforms: [Transform] = [
        .aesGCM16(128), .aesGCM16(256), .chaCha20Poly1305, .aesCBC(128), .aesCBC(256), .hmacSHA256_128, .hmacSHA384_192, .hmacSHA512_256, .prfHMACSHA256,
        .prfHMACSHA384, .prfHMACSHA512, .modp2048, .modp3072, .modp4096, .ecp256, .ecp384, .ecp521, .curve25519,
    ]

    @Test(arguments: Built.providers) func aProviderServesEveryTransformOfTheFirstSuites(_ provider: String) throws {
        let registry = try Built.registry(provider)
        for transform in Self.transforms { #expect(registry.serves(transform), "\(transform)") }
    }

    @Test func theOrderDecidesWhoServesATransform() throws {
        #expect(Built.plugins.providers.prefix(2) == ["openssl", "gcrypt"])
        let byPriority = try #require(Built.plugins.registry(order: [])?.aead(.aesGCM16(256)))
        let first = try #require(Built.plugins.registry(order: ["gcrypt"])?.aead(.aesGCM16(256)))
        let openSSL = try #require(Built.plugins.registry(order: [], provider: "openssl")?.aead(.aesGCM16(256)))
        let gcrypt = try #require(Built.plugins.registry(order: [], provider: "gcrypt")?.aead(.aesGCM16(256)))
        #expect(byPriority === openSSL)
        #expect(first === gcrypt)
        #expect(Built.plugins.registry(order: [], provider: "nobody") == nil)
    }

    @Test func aSwiftPluginTellsItsCompiler() throws {
        for plugin in Built.plugins.loaded where ["openssl", "gcrypt", "psk"].contains(plugin.name) {
            #expect(plugin.swiftVersion != nil, "\(plugin.name)")
        }
    }
}
