// An identity as a person reads it. A peer chose its bytes: nothing in them may reach a terminal or a log unescaped.
// RFC 7296 section 3.5.

extension Identification: CustomStringConvertible {
    /// `moon.example`, `carol@example.org`, `192.0.2.1`, `@#6d6f6f6e` for a key identifier, `%any` for none.
    /// What is not as its kind says is shown as kind and hexadecimal digits: `FQDN(00ff)`.
    package var description: String {
        if kind.rawValue == 0 && data.isEmpty { return "%any" }
        switch kind {
        case .ipv4 where data.count == 4, .ipv6 where data.count == 16:
            if let address = IPAddress(bytes: data) { return address.description }
        case .fqdn where !data.isEmpty, .rfc822 where !data.isEmpty:
            return Self.escaped(data)
        case .derDN where data.count <= 8192:
            if let name = DistinguishedName(der: data), !name.names.isEmpty { return name.description }
        case .keyID:
            return "@#" + Self.hexadecimal(data)
        default: break
        }
        return "\(kind)(\(Self.hexadecimal(data)))"
    }

    /// Longest text shown; an identity may have 65 kB.
    private static let shownByteCount = 256

    static func escaped(_ bytes: [UInt8]) -> String {
        let shown = bytes.prefix(shownByteCount)
        let ellipsis = bytes.count > shownByteCount ? "..." : ""
        guard let text = String(validating: shown, as: UTF8.self) else {
            return shown.map { isPlain($0) ? String(Unicode.Scalar($0)) : "\\x" + hexadecimal([$0]) }.joined() + ellipsis
        }
        var escaped = "", rest = text.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            // DOMAIN\user is a usual name: the backslash stands for itself, but where what follows would make an escape of it.
            let isPlain = scalar == "\\" ? !rest.starts(with: "u{".unicodeScalars) : isPlain(scalar)
            escaped += isPlain ? String(scalar) : "\\u{" + String(scalar.value, radix: 16) + "}"
        }
        return escaped + ellipsis
    }

    /// Whether a byte shows as itself: printable ASCII, without the backslash that begins an escape.
    private static func isPlain(_ byte: UInt8) -> Bool { byte >= 0x20 && byte < 0x7f && byte != UInt8(ascii: "\\") }

    /// Control and formatting characters steer a terminal, or reorder the text around them.
    private static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII { return isPlain(UInt8(truncatingIfNeeded: scalar.value)) }
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .spaceSeparator, .surrogate, .privateUse, .unassigned: return false
        default: return true
        }
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for byte in bytes.prefix(shownByteCount) {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self) + (bytes.count > shownByteCount ? "..." : "")
    }
}

extension Identification.Kind: CustomStringConvertible {
    /// The registry's name without its `ID_`. IANA "IKEv2 Identification Payload ID Types".
    package var description: String {
        switch rawValue {
        case 1: "IPV4_ADDR"
        case 2: "FQDN"
        case 3: "RFC822_ADDR"
        case 5: "IPV6_ADDR"
        case 9: "DER_ASN1_DN"
        case 10: "DER_ASN1_GN"
        case 11: "KEY_ID"
        case 12: "FC_NAME"
        case 13: "NULL"
        default: "ID(\(rawValue))"
        }
    }
}
