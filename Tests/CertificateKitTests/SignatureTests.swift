// AUTH payloads of every method, made and checked. RFC 7427, RFC 4754, RFC 8420.

import CertificateKit
import Testing

@Suite struct SignatureTests {
    /// Keys find their certificates, and peers the keys that are configured, by what OpenSSL writes of them; what stands in a certificate is taken where it is the same.
    @Test(arguments: ["ecdsa", "ecdsa384", "ecdsa521", "rsa", "ed25519", "ed448", "direct"]) func aCertificatesKeyIsWrittenAsOpenSSLWritesIt(_ name: String) throws {
        #expect(try Vector.certificate(name).key?.der == Vector.key(name).publicDER)
    }

    static let text = Array("the octets that are signed".utf8)

    static func made(_ name: String, _ hashes: [UInt16], _ auth: String = "pubkey") throws -> (method: UInt16, scheme: SignatureScheme, data: [UInt8])? {
        let key = try Vector.key(name), wish = try #require(SchemeConstraints(auth))
        guard let (method, scheme) = key.choose(peerHashes: hashes, wish) else { return nil }
        let data = text.withUnsafeBytes { key.authenticationData(method, scheme, over: [$0]) }
        return (method, scheme, try #require(data))
    }

    static func checked(_ name: String, _ method: UInt16, _ data: [UInt8], over text: [UInt8] = Self.text) throws -> SignatureScheme? {
        let key = try #require(try Vector.certificate(name).key)
        guard let received = try? ReceivedSignature(method: method, data: data) else { return nil }
        return text.withUnsafeBytes { received.scheme(of: key, over: [$0]) }
    }

    @Test(
        arguments: [
            ("rsa", [2, 3, 4] as [UInt16], 14 as UInt16), ("rsa", [], 1), ("ecdsa", [4], 14), ("ecdsa", [], 9), ("ecdsa384", [3], 14), ("ecdsa384", [], 10), ("ecdsa521", [2], 14),
            ("ecdsa521", [], 11), ("ed25519", [2, 5], 14), ("ed448", [5], 14),
        ]) func whatIsMadeIsTaken(_ name: String, _ hashes: [UInt16], _ method: UInt16) throws
    {
        let made = try #require(try Self.made(name, hashes))
        #expect(made.method == method)
        #expect(try Self.checked(name, made.method, made.data) == made.scheme)
        // Another text, another bit, another length, another method, another key.
        #expect(try Self.checked(name, made.method, made.data, over: Self.text + [0]) == nil)
        for index in [made.data.count - 1, made.data.count / 2] {
            var wrong = made.data
            wrong[index] ^= 1
            #expect(try Self.checked(name, made.method, wrong) == nil, "bit \(index)")
        }
        #expect(try Self.checked(name, made.method, Array(made.data.dropLast())) == nil)
        #expect(try Self.checked(name, made.method, made.data + [0]) == nil)
        for other: UInt16 in [1, 9, 10, 11, 14] where other != made.method { #expect(try Self.checked(name, other, made.data) == nil) }
        #expect(try Self.checked(name == "ecdsa" ? "rsa" : "ecdsa", made.method, made.data) == nil)
    }

    @Test func aPeerThatCannotCheckItGetsNothing() throws {
        #expect(try Self.made("ed25519", []) == nil)
        #expect(try Self.made("ed25519", [2, 3, 4]) == nil)
        #expect(try Self.made("rsa", [], "rsa/pss") == nil)
        // It has named hashes, and none that we sign with: RFC 7427 section 3 leaves no other method.
        for hashes: [UInt16] in [[1], [5], [1, 77]] {
            for name in ["rsa", "ecdsa", "ecdsa384"] { #expect(try Self.made(name, hashes) == nil, "\(name), \(hashes)") }
        }
        #expect(try Self.made("ecdsa", [2], "pubkey-sha384") == nil)
    }

    @Test func pssIsMadeWhereItIsAskedFor() throws {
        for (hash, scheme) in [(2, Hash.sha256), (3, .sha384), (4, .sha512)] as [(UInt16, Hash)] {
            let made = try #require(try Self.made("rsa", [hash], "ike:rsa/pss"))
            #expect(made.scheme == SignatureScheme(.rsaPSS(mask: scheme, salt: [32, 48, 64][Int(hash) - 2]), scheme))
            #expect(try Self.checked("rsa", 14, made.data) == made.scheme)
            #expect(made.scheme.algorithmIdentifier.flatMap(SignatureScheme.init(algorithmIdentifier:)) == made.scheme)
        }
    }

    /// RFC 7427 appendix A.
    @Test(
        arguments: [
            (SignatureScheme(.rsa, .sha256), "300d06092a864886f70d01010b0500"), (SignatureScheme(.rsa, .sha384), "300d06092a864886f70d01010c0500"),
            (SignatureScheme(.rsa, .sha512), "300d06092a864886f70d01010d0500"),
            (SignatureScheme(.ecdsa, .sha256), "300a06082a8648ce3d040302"), (SignatureScheme(.ecdsa, .sha384), "300a06082a8648ce3d040303"),
            (SignatureScheme(.ecdsa, .sha512), "300a06082a8648ce3d040304"),
            (
                SignatureScheme(.rsaPSS(mask: .sha256, salt: 32), .sha256),
                "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120"
            ),
        ]) func theIdentifiersOfAppendixA(_ scheme: SignatureScheme, _ hex: String) throws
    {
        let octets = stride(from: 0, to: hex.count, by: 2).map { UInt8(hex.dropFirst($0).prefix(2), radix: 16) ?? 0 }
        #expect(scheme.algorithmIdentifier == octets)
        #expect(SignatureScheme(algorithmIdentifier: octets) == scheme)
        #expect(SignatureScheme(algorithmIdentifier: octets + [0]) == nil)
        #expect(SignatureScheme(algorithmIdentifier: Array(octets.dropLast())) == nil)
    }

    /// RFC 7427 appendices A.1 to A.4, RFC 8247 section 3.2: whatever SHA-1 has a part in is refused, and DSA is not even known.
    @Test func nothingIsMadeWithSHA1() {
        let sha1: [UInt8] = [0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00]
        let mgf1: [UInt8] = [0x30, 0x16, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08] + sha1
        let pss: [UInt8] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a]
        let defaults: [UInt8] = [0xa0, 0x0b] + sha1 + [0xa1, 0x18] + mgf1 + [0xa2, 0x03, 0x02, 0x01, 0x14, 0xa3, 0x03, 0x02, 0x01, 0x01]
        let weak: [[UInt8]] = [
            [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05, 0x05, 0x00], [0x30, 0x09, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01],
            [0x30, UInt8(pss.count + 2 + defaults.count)] + pss + [0x30, UInt8(defaults.count)] + defaults,
        ]
        for identifier in weak { #expect(SignatureScheme(algorithmIdentifier: identifier)?.weakness != nil, "\(identifier)") }
        #expect(SignatureScheme(algorithmIdentifier: [0x30, 0x09, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03]) == nil)
    }

    /// RFC 7427 appendix A.4.1: the defaults, which are SHA-1's.
    @Test func theDefaultsOfPSSAreTooWeak() {
        let empty: [UInt8] = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x00]
        #expect(SignatureScheme(algorithmIdentifier: empty)?.weakness != nil)
        #expect(SignatureScheme(.rsaPSS(mask: .sha256, salt: 32), .sha512).weakness != nil)
        #expect(SignatureScheme(.rsa, .sha1).weakness != nil)
        #expect(SignatureScheme(.ecdsa, .sha256).weakness == nil)
    }

    @Test(arguments: [[], [0], [1], [5, 1, 2, 3], [255] + [UInt8](repeating: 0x30, count: 300), [2, 0x30, 0x00, 1]] as [[UInt8]]) func dataThatIsNoSignatureIsRefused(_ data: [UInt8]) {
        #expect(throws: ReceivedSignature.Problem.self) { try ReceivedSignature(method: 14, data: data) }
        #expect(throws: ReceivedSignature.Problem.self) { try ReceivedSignature(method: 9, data: data) }
        #expect(throws: ReceivedSignature.Problem.self) { try ReceivedSignature(method: 200, data: data) }
    }

    @Test(arguments: [
        ("pubkey", true), ("pubkey-rsa-2048-ecdsa-256-sha256-sha384", true), ("ike:rsa/pss-sha256", true), ("ed25519", true), ("pubkey-md5", false), ("rsa-x", false), ("rsa-99999999", false),
    ])
    func whatAConnectionMayAskFor(_ text: String, _ isKnown: Bool) { #expect((SchemeConstraints(text) != nil) == isKnown) }
}
