// Identities, as far as it takes to say whether Martlet takes them and which preshared key is theirs.
// The kind follows from the text, as in strongSwan; libreswan looks up a name that has no '@' before it.

import IKEWire

struct Identity: Hashable, Sendable {
    enum Value: Hashable, Sendable {
        case any
        case address(IPAddress)
        /// Of a host name or a mail address, in lower case.
        case name(kind: String, text: String)
        /// Names that end so: `*@example.com`.
        case suffix(kind: String, text: String)
        case opaque([UInt8])
    }
    /// As Martlet's configuration writes it.
    var text: String
    var value: Value

    static let any = Identity(text: "%any", value: .any)

    static func address(_ address: IPAddress) -> Identity { Identity(text: "\(address)", value: .address(address)) }

    init(_ source: String, _ dialect: Dialect) throws(Untranslatable) {
        guard !source.isEmpty, source.utf8.count <= 512 else { throw Untranslatable("the identity is empty or too long") }
        if ["%any", "%any4", "%any6", "0.0.0.0", "::", "*"].contains(source) {
            self = .any
            return
        }
        if source.hasPrefix("%") { throw Untranslatable(source == "%fromcert" ? "certificates are not translated yet" : "there is no such special identity") }
        // A control character would end the line it is written on.
        guard source.unicodeScalars.allSatisfy({ $0.value > 0x20 && $0.value != 0x7f && !(0x80...0xa0).contains($0.value) && $0 != "," && $0 != "\"" && $0 != "\u{fffd}" }) else {
            throw Untranslatable(source.contains("=") ? Self.distinguished : "an identity with blanks, commas or control characters is not taken")
        }
        if let address = IPAddress(source) {
            self = .address(address)
        } else if source.hasPrefix("@#") {
            guard let bytes = Self.hex(source.dropFirst(2)), !bytes.isEmpty else { throw Untranslatable("after '@#' hexadecimal digits in pairs are expected") }
            self.init(text: source, value: .opaque(bytes))
        } else if dialect == .libreswan, source.hasPrefix("@["), source.hasSuffix("]"), source.utf8.count > 3 {
            let name = String(source.dropFirst(2).dropLast())
            guard !name.hasPrefix("#") else { throw Untranslatable("an identity that begins with '#' is not carried over") }
            self.init(text: "keyid:" + name, value: .opaque(Array(name.utf8)))
        } else if source.hasPrefix("@@") {
            self = try Self.named("email", String(source.dropFirst(2)), source)
        } else if source.hasPrefix("@") {
            if dialect == .libreswan, source.hasPrefix("@~") { throw Untranslatable(Self.distinguished) }
            let name = String(source.dropFirst())
            self = try Self.named(name.contains("@") && dialect == .libreswan ? "email" : "fqdn", name, name.contains("@") && dialect == .libreswan ? name : source)
        } else if let colon = source.firstIndex(of: ":"), let kind = Self.kinds[String(source[..<colon])] {
            self = try Self.typed(kind, String(source[source.index(after: colon)...]), source)
        } else if source.contains("=") {
            throw Untranslatable(Self.distinguished)
        } else if source.contains("@") {
            self = try Self.named("email", source, source)
        } else if source.contains(":") || source.contains("/") {
            throw Untranslatable("identities of this type are not carried over: write an address, a name or user@name")
        } else if dialect == .libreswan {
            throw Untranslatable("libreswan looks this name up and takes the address for the identity: write the address, or @\(source) at both ends")
        } else {
            self = try Self.named("fqdn", source, source)
        }
    }

    init(text: String, value: Value) {
        self.text = text
        self.value = value
    }

    private static let distinguished = "distinguished names need certificates, which are not translated yet"

    /// The types that strongSwan writes before an identity, and Martlet too.
    private static let kinds = ["fqdn": "fqdn", "dns": "fqdn", "email": "email", "rfc822": "email", "userfqdn": "email", "keyid": "keyid"]

    private static func typed(_ kind: String, _ name: String, _ text: String) throws(Untranslatable) -> Identity {
        if name.isEmpty || name.hasPrefix("#") { throw Untranslatable("identities in hexadecimal are not carried over: write them as @#...") }
        return kind == "keyid" ? Identity(text: text, value: .opaque(Array(name.utf8))) : try named(kind, name, text)
    }

    private static func named(_ kind: String, _ name: String, _ text: String) throws(Untranslatable) -> Identity {
        let bytes = Array(name.utf8)
        guard !bytes.isEmpty else { throw Untranslatable("the identity is empty") }
        let lower = name.lowercased()
        guard let star = bytes.lastIndex(of: UInt8(ascii: "*")) else { return Identity(text: text, value: .name(kind: kind, text: lower)) }
        guard star == 0, bytes.count > 1 else { throw Untranslatable("a '*' may only stand at the beginning of an identity, before more text") }
        return Identity(text: text, value: .suffix(kind: kind, text: String(lower.dropFirst())))
    }

    private static func hex(_ digits: Substring) -> [UInt8]? {
        let values = digits.utf8.map { UInt8(String(UnicodeScalar($0)), radix: 16) }
        guard values.count % 2 == 0, values.allSatisfy({ $0 != nil }) else { return nil }
        return stride(from: 0, to: values.count, by: 2).map { (values[$0] ?? 0) << 4 | (values[$0 + 1] ?? 0) }
    }

    var isPattern: Bool {
        switch value {
        case .any, .suffix: true
        default: false
        }
    }

    /// Whether some identity fits both.
    func overlaps(_ other: Identity) -> Bool {
        switch (value, other.value) {
        case (.any, _), (_, .any): true
        case (.suffix(let kind, let suffix), .name(let otherKind, let name)), (.name(let otherKind, let name), .suffix(let kind, let suffix)):
            kind == otherKind && name.hasSuffix(suffix)
        case (.suffix(let kind, let a), .suffix(let otherKind, let b)): kind == otherKind && (a.hasSuffix(b) || b.hasSuffix(a))
        default: value == other.value
        }
    }
}
