// Whether a certificate is one of an IKE identity.
// RFC 4945 sections 3.1 and 4, RFC 7296 section 3.5, RFC 5280 sections 4.2.1.6 and 7.1.

import COpenSSLX509

package struct IKEIdentity: Hashable, Sendable {
    /// IANA "IKEv2 Identification Payload ID Types".
    package var type: UInt8
    package var data: [UInt8]
    package init(type: UInt8, data: [UInt8]) { (self.type, self.data) = (type, data) }

    package static let ipv4: UInt8 = 1, fqdn: UInt8 = 2, mail: UInt8 = 3, ipv6: UInt8 = 5, name: UInt8 = 9, generalName: UInt8 = 10, keyID: UInt8 = 11

    package var text: String {
        switch type {
        case Self.ipv4 where data.count == 4: data.map(String.init).joined(separator: ".")
        case Self.fqdn, Self.mail: printable(data)
        case Self.name: "\"\(withName(data) { nameText($0) } ?? "a name that cannot be read")\""
        default: "an identity of type \(type) (" + hexadecimal(data.prefix(64)) + ")"
        }
    }
}

extension X509Certificate {
    /// Bound by value: a name that only looks alike, or of which more is there than is compared, is another one.
    package func isOf(_ identity: IKEIdentity) -> Bool {
        switch identity.type {
        case IKEIdentity.name:
            return withName(identity.data) { X509_NAME_cmp($0, X509_get_subject_name(pointer)) == 0 } ?? false
                || alternativeNames.contains { if case .directory(let name) = $0 { sameName(name, identity.data) } else { false } }
        case IKEIdentity.fqdn: return alternativeNames.contains { if case .host(let name) = $0 { sameLetters(name, identity.data) } else { false } }
        case IKEIdentity.mail: return alternativeNames.contains { if case .mail(let name) = $0 { sameLetters(name, identity.data) } else { false } }
        case IKEIdentity.ipv4, IKEIdentity.ipv6: return alternativeNames.contains { if case .address(let address) = $0 { address == identity.data } else { false } }
        case IKEIdentity.keyID:
            // A name for the key: it is bound to whoever has that key.
            return !identity.data.isEmpty && (keyIDs.key == identity.data || keyIDs.info == identity.data)
        default: return false
        }
    }

    /// The identities that it could be used with, for people.
    package var identitiesText: String {
        let names = alternativeNames.prefix(16).map { name in
            switch name {
            case .host(let bytes), .mail(let bytes): printable(bytes)
            case .address(let bytes): IKEIdentity(type: bytes.count == 4 ? IKEIdentity.ipv4 : IKEIdentity.ipv6, data: bytes).text
            case .directory(let name): IKEIdentity(type: IKEIdentity.name, data: name).text
            }
        }
        return (["\"\(subjectText)\""] + names).joined(separator: ", ")
    }
}

/// Lends a name, DER. Nil where it is none, whole and alone.
func withName<T>(_ der: [UInt8], _ use: (OpaquePointer) -> T) -> T? {
    der.withUnsafeBufferPointer { bytes -> T? in
        var next = bytes.baseAddress
        guard bytes.count <= 65_535, let name = d2i_X509_NAME(nil, &next, bytes.count) else {
            forgetErrors()
            return nil
        }
        defer { X509_NAME_free(name) }
        return next == bytes.baseAddress.map { $0 + bytes.count } ? use(name) : nil
    }
}

/// RFC 5280 section 7.1: by value, whatever string types were chosen.
func sameName(_ a: [UInt8], _ b: [UInt8]) -> Bool { withName(a) { a in withName(b) { X509_NAME_cmp(a, $0) == 0 } ?? false } ?? false }

/// RFC 5280 sections 7.2 and 7.5: letters of ASCII without case.
func sameLetters(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    func lower(_ byte: UInt8) -> UInt8 { (0x41...0x5a).contains(byte) ? byte | 0x20 : byte }
    return !a.isEmpty && a.count == b.count && zip(a, b).allSatisfy { lower($0) == lower($1) }
}

func printable(_ bytes: [UInt8]) -> String {
    String(decoding: bytes.prefix(256).map { (0x20..<0x7f).contains($0) ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
}

func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { (byte: UInt8) in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
}
