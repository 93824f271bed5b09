// An identity is bound to a certificate by value, or not at all. RFC 4945 sections 3.1 and 4.

import CertificateKit
import Testing

@Suite struct IdentityTests {
    @Test(
        arguments: [
            (IKEIdentity.fqdn, Array("east.example".utf8), true), (IKEIdentity.fqdn, Array("EAST.example".utf8), true), (IKEIdentity.fqdn, Array("second.example".utf8), true),
            (IKEIdentity.fqdn, Array("third.example".utf8), false), (IKEIdentity.fqdn, Array("east.example\0".utf8), false), (IKEIdentity.fqdn, Array("east.example.".utf8), false),
            (IKEIdentity.fqdn, [], false), (IKEIdentity.fqdn, Array("*.example".utf8), false),
            // A name of one kind is none of another.
            (IKEIdentity.mail, Array("east.example".utf8), false), (IKEIdentity.mail, Array("east@example.org".utf8), true), (IKEIdentity.fqdn, Array("east@example.org".utf8), false),
            (IKEIdentity.ipv4, [192, 0, 2, 1], true), (IKEIdentity.ipv4, [192, 0, 2, 2], false),
            (IKEIdentity.ipv6, [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], true), (IKEIdentity.ipv6, [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2], false),
            (IKEIdentity.keyID, Array("east.example".utf8), false), (IKEIdentity.keyID, [], false), (13 as UInt8, [], false),
        ] as [(UInt8, [UInt8], Bool)]) func alternativeNames(_ type: UInt8, _ data: [UInt8], _ isBound: Bool) throws
    {
        #expect(try Vector.certificate("ecdsa").isOf(IKEIdentity(type: type, data: data)) == isBound)
    }

    @Test func theSubjectIsComparedByValue() throws {
        let certificate = try Vector.certificate("ecdsa")
        func isOf(_ der: [UInt8]) -> Bool { certificate.isOf(IKEIdentity(type: IKEIdentity.name, data: der)) }
        let subject = certificate.subject
        #expect(isOf(subject))
        #expect(!isOf(subject + [0]))
        #expect(!isOf(Array(subject.dropLast())))
        #expect(!isOf([]))
        // C=CH as UTF8String instead of PrintableString, and in small letters.
        let country = try #require((0..<subject.count - 4).first { Array(subject[$0..<$0 + 4]) == [0x13, 2, 0x43, 0x48] })
        var other = subject
        other[country] = 0x0c
        #expect(isOf(other))
        (other[country + 2], other[country + 3]) = (0x63, 0x68)
        #expect(isOf(other))
        other[country + 3] = 0x69
        #expect(!isOf(other))
        let root = try Vector.certificate("root").subject
        #expect(!isOf(root))
    }

    @Test func aKeyIsCalledByItsHash() throws {
        let certificate = try Vector.certificate("ecdsa")
        #expect(certificate.isOf(IKEIdentity(type: IKEIdentity.keyID, data: certificate.keyIDs.key)))
        #expect(certificate.keyIDs.key.count == 20 && certificate.keyIDs.info.count == 20 && certificate.keyIDs.key != certificate.keyIDs.info)
    }

    @Test func clientsWantANameAndServerAuth() throws {
        let plain = try Vector.certificate("plain").remarks, odd = try Vector.certificate("ed25519").remarks, good = try Vector.certificate("ecdsa").remarks
        #expect(plain.contains { $0.contains("no subjectAltName") })
        #expect(plain.contains { $0.contains("serverAuth") })
        #expect(odd.contains { $0.contains("Ed25519") })
        #expect(good.allSatisfy { $0.contains("is valid for") })
    }
}
