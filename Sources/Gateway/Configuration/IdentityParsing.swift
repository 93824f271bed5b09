// Identities as swanctl.conf writes them: addresses, host names, mail addresses, key identifiers, and patterns of those.
// RFC 7296 section 3.5.

import IKECore
import IKEWire

/// Why a text is no identity.
struct IdentityProblem: Error {
    var message: String
}

extension IdentityPattern {
    /// The kind follows from the form of the text, unless a prefix such as `fqdn:` names it. `isUser`: the name of a user, which may have spaces and commas.
    init(configured text: String, isUser: Bool = false) throws(IdentityProblem) {
        let kind: Identification.Kind
        let data: [UInt8]
        if text.isEmpty { throw IdentityProblem(message: "an identity is missing") }
        // Of a client that read its file so, for one thing. Also a key identifier, which could be any text: identities are logged.
        if let further = FurtherSetting.offset(in: text.utf8), text.utf8.dropFirst(further).starts(with: "secret".utf8) { throw IdentityProblem(message: FurtherSetting.complaint) }
        if text == "%any" || text == "%any4" || text == "%any6" || text == "0.0.0.0" || text == "*" || text == "::" {
            self = .any
            return
        }
        if text.lowercased().hasPrefix("asn1dn:"), !text.dropFirst(7).hasPrefix("#") {
            self = try Self.name(String(text.dropFirst(7)))
            return
        }
        if let typed = try Self.typed(text) {
            (kind, data) = typed
        } else if let address = IPAddress(text) {
            (kind, data) = (address.family == .v4 ? .ipv4 : .ipv6, address.bytes)
        } else if let start = text.firstIndex(where: { $0 == "/" || $0 == "-" }), IPAddress(String(text[..<start])) != nil {
            throw IdentityProblem(message: "the identity \(quoted(text)) is a network or a range, and an identity is one address: `remote_addrs` says where peers may come from")
        } else if text.hasPrefix("@#") {
            guard let bytes = hexBytes(text.utf8.dropFirst(2)), !bytes.isEmpty else {
                throw IdentityProblem(message: "after '@#' the identity \(quoted(text)) needs hexadecimal digits in pairs")
            }
            (kind, data) = (.keyID, bytes)
        } else if text.hasPrefix("@@") {
            (kind, data) = (.rfc822, Array(text.utf8.dropFirst(2)))
        } else if text.hasPrefix("@") {
            (kind, data) = (.fqdn, Array(text.utf8.dropFirst()))
        } else if text.contains("=") {
            self = try Self.name(text)
            return
        } else if text.contains("@") {
            (kind, data) = (.rfc822, Array(text.utf8))
        } else if text.contains(":") {
            throw IdentityProblem(message: "\(quoted(text)) is neither an IPv6 address nor begins with a known type (ipv4, ipv6, fqdn, email, keyid)")
        } else {
            (kind, data) = (.fqdn, Array(text.utf8))
        }
        if data.isEmpty { throw IdentityProblem(message: "the identity \(quoted(text)) is empty; a '#' must stand in quotation marks") }
        if data.count > 1024 { throw IdentityProblem(message: "an identity has at most 1024 bytes") }
        if !isUser, kind == .fqdn || kind == .rfc822, data.contains(where: { $0 <= 0x20 || $0 == UInt8(ascii: ",") || $0 == 0x7f }) {
            throw IdentityProblem(message: "the identity \(quoted(text)) has a space or a comma; it is one identity, not a list (for one that has, write keyid: before it)")
        }
        if (kind == .fqdn || kind == .rfc822), let star = data.lastIndex(of: UInt8(ascii: "*")) {
            guard star == 0, data.count > 1 else {
                throw IdentityProblem(message: "in the identity \(quoted(text)) a '*' may only stand at the beginning, before more text")
            }
            self = .suffix(kind, Array(data.dropFirst()))
            return
        }
        self = .exactly(Identification(kind: kind, data: data))
    }

    /// `C=CH, O=Example, CN=gw.example`, with `*` for any value.
    private static func name(_ text: String) throws(IdentityProblem) -> IdentityPattern {
        guard let name = DistinguishedName(text: text) else { throw IdentityProblem(message: nameComplaint(text)) }
        return name.hasWildcards ? .name(name) : .exactly(Identification(kind: .derDN, data: name.der))
    }

    private static func nameComplaint(_ text: String) -> String {
        "\(quoted(text)) looks like a distinguished name and is none: write C=CH, O=Example, CN=gw.example with the attributes C, ST, L, O, OU, CN, E, DC, UID, serialNumber"
    }

    /// `fqdn:name`, `keyid:#hex`. Nil without a known prefix.
    private static func typed(_ text: String) throws(IdentityProblem) -> (Identification.Kind, [UInt8])? {
        guard let colon = text.firstIndex(of: ":") else { return nil }
        let kind: Identification.Kind
        switch text[..<colon].lowercased() {
        case "ipv4": kind = .ipv4
        case "ipv6": kind = .ipv6
        case "fqdn", "dns": kind = .fqdn
        case "rfc822", "email", "userfqdn": kind = .rfc822
        case "keyid": kind = .keyID
        case "asn1dn": kind = .derDN
        case "asn1gn": throw IdentityProblem(message: "the identity \(quoted(text)) is a general name, which is not taken: write what it is, a host name, a mail address or an address")
        default: return nil
        }
        let rest = text[text.index(after: colon)...]
        let data: [UInt8]
        if rest.hasPrefix("#") {
            guard let bytes = hexBytes(rest.utf8.dropFirst()) else {
                throw IdentityProblem(message: "after '#' the identity \(quoted(text)) needs hexadecimal digits in pairs")
            }
            data = bytes
        } else if kind == .ipv4 || kind == .ipv6 {
            guard let address = IPAddress(String(rest)) else { throw IdentityProblem(message: "\(quoted(String(rest))) is no address") }
            data = address.bytes
        } else {
            data = Array(rest.utf8)
        }
        if kind == .derDN, DistinguishedName(der: data)?.names.isEmpty != false { throw IdentityProblem(message: nameComplaint(text)) }
        if kind == .ipv4 && data.count != 4 || kind == .ipv6 && data.count != 16 {
            throw IdentityProblem(message: "the identity \(quoted(text)) is no address of that family")
        }
        return (kind, data)
    }

    var isOne: Bool { if case .exactly = self { true } else { false } }

    /// Whether some identity fits both patterns.
    func overlaps(_ other: IdentityPattern) -> Bool {
        switch (self, other) {
        case (.any, _), (_, .any): return true
        case (.exactly(let identity), let pattern), (let pattern, .exactly(let identity)): return pattern.matches(identity)
        case (.name(let a), .name(let b)): return a.matches(b, wildcards: true) || b.matches(a, wildcards: true)
        case (.name, .suffix), (.suffix, .name): return false
        case (.suffix(let kind, let a), .suffix(let otherKind, let b)):
            guard kind == otherKind else { return false }
            return a.count <= b.count ? b.suffix(a.count).elementsEqual(a) : a.suffix(b.count).elementsEqual(b)
        }
    }

    /// As a configuration writes it.
    var text: String {
        switch self {
        case .any: "%any"
        case .exactly(let identity): "\(identity)"
        case .name(let name): "\(name)"
        case .suffix(_, let suffix): "*" + String(decoding: suffix, as: UTF8.self)
        }
    }
}
