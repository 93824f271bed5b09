// What no provider serves, whatever a proposal names: the algorithms that RFC 8247 forbids, and PRFs that are too short.
// RFC 8247 sections 2.1 to 2.4, RFC 7296 section 5.

import Gateway
import IKECrypto
import IKEWire
import Testing

@Suite struct ForbiddenAlgorithms {
    @Test(arguments: Built.providers) func noCipherThatIsForbidden(_ provider: String) throws {
        let registry = try Built.registry(provider)
        // DES with its IVs of 64 and 32 bits, DES-CBC, NULL.
        for id: UInt16 in [1, 2, 9, 11] {
            let transform = Transform(type: .encryption, id: id)
            #expect(registry.cipher(transform) == nil && registry.aead(transform) == nil, "\(transform)")
        }
        #expect(!registry.ciphers.contains { [1, 2, 9, 11].contains($0.transform.id) })
        #expect(registry.ciphers.contains { $0.transform.id == 12 }, "the registry is empty")
    }

    @Test(arguments: Built.providers) func noPRFThatIsForbiddenOrShort(_ provider: String) throws {
        let registry = try Built.registry(provider)
        // PRF_HMAC_MD5 and PRF_HMAC_TIGER.
        for id: UInt16 in [1, 3] { #expect(registry.prf(Transform(type: .prf, id: id)) == nil, "\(id)") }
        // Not even one that the self-test would not let through.
        #expect(!Built.plugins.algorithms.contains { status in [1, 3].contains { status.transform == Transform(type: .prf, id: $0) } })
        #expect(registry.prfs.count > 2)
        for prf in registry.prfs { #expect(prf.outputLength >= 16 && prf.keyLength >= 16, "\(prf.transform)") }
    }

    @Test(arguments: Built.providers) func noIntegrityThatIsForbidden(_ provider: String) throws {
        let registry = try Built.registry(provider)
        // NONE, HMAC_MD5_96, DES_MAC, KPDK_MD5, HMAC_MD5_128.
        for id: UInt16 in [0, 1, 3, 4, 6] { #expect(registry.mac(Transform(type: .integrity, id: id)) == nil, "\(id)") }
        #expect(!Built.plugins.algorithms.contains { status in [0, 1, 3, 4, 6].contains { status.transform == Transform(type: .integrity, id: $0) } })
        #expect(registry.macs.count > 2)
    }

    @Test(arguments: Built.providers) func noGroupThatIsForbidden(_ provider: String) throws {
        let registry = try Built.registry(provider)
        // 768 and 1536 bits, and those with small subgroups of RFC 5114.
        for id: UInt16 in [1, 5, 22, 23, 24] { #expect(registry.keyExchange(Transform(type: .keyExchange, id: id)) == nil, "\(id)") }
        #expect(provider != "openssl" || registry.keyExchanges.contains { $0.transform.id == 14 })
    }
}
