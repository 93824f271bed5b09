// Files taken apart: PEM, DER, encrypted keys, PKCS#12, and everything that is none of these.

import CertificateKit
import Testing

@Suite struct CredentialFileTests {
    static func kinds(_ items: [CredentialFile.Item]) -> [String] {
        items.map {
            switch $0 {
            case .certificate: "certificate"
            case .crl: "crl"
            case .privateKey: "key"
            case .publicKey: "public"
            }
        }
    }

    @Test(arguments: [("direct.pem", "certificate"), ("direct.der", "certificate"), ("direct.key", "key"), ("direct.pub", "public"), ("root.crl", "crl")])
    func aFileHoldsWhatItSays(_ name: String, _ kind: String) throws { #expect(Self.kinds(try Vector.items(Vector.bytes(name))) == [kind]) }

    @Test func severalPiecesComeInTheirOrder() throws {
        let all = try Vector.bytes("ecdsa.pem") + Array("a remark between\n".utf8) + Vector.bytes("sub.pem") + Vector.bytes("root.crl") + Vector.bytes("ecdsa.key")
        #expect(Self.kinds(try Vector.items(all)) == ["certificate", "certificate", "crl", "key"])
    }

    @Test(arguments: ["encrypted.key", "traditional.key", "3des.key", "des.key", "direct.p12", "3des.p12", "rc2.p12"]) func anEncryptedFileOpensWithItsPassphraseAlone(_ name: String) throws {
        let file = try Vector.bytes(name), plain = try Vector.key("direct")
        let items = try Vector.items(file, passphrase: "swordfish")
        guard case .privateKey(_, let key)? = items.first else { return #expect(Bool(false), "no key") }
        #expect(key.publicDER == plain.publicDER)
        if name.hasSuffix("p12") { #expect(Self.kinds(items) == ["key", "certificate", "certificate"]) }
        for wrong in ["", "swordfisH", "swordfish "] {
            #expect("\(wrong)") {
                _ = try Vector.items(file, passphrase: wrong)
            } throws: { error in
                if case .locked? = error as? CredentialFile.Problem { true } else { false }
            }
        }
    }

    @Test func theKeyComesAsPKCS8WhateverItWasIn() throws {
        var seen: [[UInt8]] = []
        for (name, passphrase) in [("direct.key", ""), ("traditional.key", "swordfish"), ("encrypted.key", "swordfish")] {
            try Vector.bytes(name).withUnsafeBufferPointer { file in
                try Array(passphrase.utf8).withUnsafeBufferPointer { try CredentialFile.read(file, passphrase: $0) { if case .privateKey(let der, _) = $0 { seen.append(Array(der)) } } }
            }
        }
        #expect(seen.count == 3 && Set(seen).count == 1)
    }

    @Test(arguments: [
        [], [0x30], [0x30, 0x03, 0x02, 0x01, 0x00], Array("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".utf8), Array("hello".utf8), [0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
    ])
    func whatIsNoneOfTheseIsSaidToBe(_ bytes: [UInt8]) {
        #expect {
            _ = try Vector.items(bytes)
        } throws: { error in
            if case .unreadable? = error as? CredentialFile.Problem { true } else { false }
        }
    }

    /// Cut anywhere, a file gives a refusal or fewer pieces, never anything else.
    @Test(arguments: ["direct.der", "direct.p12", "root.pem"]) func aFileThatIsCutShortIsRefused(_ name: String) throws {
        let file = try Vector.bytes(name)
        for length in stride(from: 0, to: file.count - 1, by: 7) { #expect(throws: CredentialFile.Problem.self) { _ = try Vector.items(Array(file.prefix(length)), passphrase: "swordfish") } }
    }

    @Test func aCertificateWithSomethingBehindItIsNone() throws {
        let der = try Vector.bytes("direct.der")
        #expect(X509Certificate(der: der) != nil)
        #expect(X509Certificate(der: der + [0]) == nil)
    }
}
