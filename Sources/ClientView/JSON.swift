// JSON out: what the commands print with --json. RFC 8259.

/// A JSON value; objects keep the order of their keys.
package indirect enum JSON {
    case null
    case bool(Bool)
    case number(String)
    case string(String)
    case array([JSON])
    case object([(String, JSON)])

    package static func strings(_ items: [String]) -> JSON { .array(items.map(JSON.string)) }
    package static func strings(_ items: [String]?) -> JSON { .strings(items ?? []) }
    package static func integer(_ number: some BinaryInteger) -> JSON { .number(String(number)) }
    package static func text(_ text: String?) -> JSON { text.map(JSON.string) ?? .null }
    /// A decimal number that came as text; null where there is none.
    package static func integer(_ text: String?) -> JSON {
        guard let text else { return .null }
        guard Int64(text) != nil || UInt64(text) != nil else { return .string(text) }
        return .number(text)
    }

    /// Indented by two spaces.
    package var text: String {
        var out = ""
        write(to: &out, indent: "")
        return out
    }

    /// On one line.
    package var line: String {
        var out = ""
        write(to: &out, indent: nil)
        return out
    }

    private func write(to out: inout String, indent: String?) {
        switch self {
        case .null: out += "null"
        case .bool(let value): out += value ? "true" : "false"
        case .number(let digits): out += digits
        case .string(let value): Self.write(value, to: &out)
        case .array(let items):
            Self.write(items, brackets: ("[", "]"), to: &out, indent: indent) { item, out, inner in item.write(to: &out, indent: inner) }
        case .object(let members):
            Self.write(members, brackets: ("{", "}"), to: &out, indent: indent) { member, out, inner in
                Self.write(member.0, to: &out)
                out += inner == nil ? ":" : ": "
                member.1.write(to: &out, indent: inner)
            }
        }
    }

    private static func write<Item>(
        _ items: [Item], brackets: (String, String), to out: inout String, indent: String?,
        _ writeItem: (Item, inout String, String?) -> Void
    ) {
        let inner = indent.map { $0 + "  " }
        out += brackets.0
        for (index, item) in items.enumerated() {
            if index > 0 { out += "," }
            if let inner { out += "\n" + inner }
            writeItem(item, &out, inner)
        }
        if let indent, !items.isEmpty { out += "\n" + indent }
        out += brackets.1
    }

    //= RFC 8259 §7
    private static func write(_ text: String, to out: inout String) {
        out += "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case "\u{0}"..."\u{1f}", "\u{7f}"..."\u{9f}", "\u{2028}", "\u{2029}":
                let digits = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: out.unicodeScalars.append(scalar)
            }
        }
        out += "\""
    }
}
