// What a user has written, inside filters and distinguished names: RFC 4515 section 3, RFC 4514 section 2.4. Nothing that a peer sends
// reaches a directory but through here.

package enum FilterText {
    /// A value for a filter. Everything that is not a plain ASCII character is written as its hexadecimal digits, which every server takes.
    package static func escaped(_ value: some Sequence<UInt8>) -> String {
        var text = ""
        for byte in value {
            switch byte {
            case UInt8(ascii: "*"), UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "\\"), 0..<0x20, 0x7f...: text += "\\" + hexadecimal(byte)
            default: text.unicodeScalars.append(Unicode.Scalar(byte))
            }
        }
        return text
    }

    /// A template with `%u` for the user's name and `%d` for a distinguished name, each escaped; `%%` is a percent sign.
    package static func filled(_ template: String, user: [UInt8], name: String = "") -> String {
        fill(template) { $0 == "u" ? escaped(user) : escaped(name.utf8) }
    }

    /// What is wrong with a template, or nil. `needed` is the letter that has to be in it.
    package static func complaint(about template: String, needed: Character) -> String? {
        var rest = template[...]
        var seen = false
        while let percent = rest.firstIndex(of: "%") {
            rest = rest[rest.index(after: percent)...]
            guard let letter = rest.popFirst() else { return "ends with a single %" }
            guard "ud%".contains(letter) else { return "has %\(letter): there are %u, the user's name, %d, a distinguished name, and %%" }
            seen = seen || letter == needed
        }
        return seen ? nil : "has no %\(needed)"
    }

    /// Whether a filter stands in parentheses that match; a server judges the rest.
    package static func isBalanced(_ filter: String) -> Bool {
        var depth = 0
        for (index, byte) in filter.utf8.enumerated() {
            if byte == UInt8(ascii: "(") { depth += 1 }
            if byte == UInt8(ascii: ")") { depth -= 1 }
            guard depth > 0 || index == filter.utf8.count - 1 else { return false }
        }
        return depth == 0 && !filter.isEmpty
    }

    static func fill(_ template: String, _ value: (Character) -> String) -> String {
        var text = ""
        var rest = template[...]
        while let percent = rest.firstIndex(of: "%") {
            text += rest[..<percent]
            rest = rest[rest.index(after: percent)...]
            switch rest.popFirst() {
            case let letter? where letter == "u" || letter == "d": text += value(letter)
            case let other?: text.append(other)
            case nil: break
            }
        }
        return text + rest
    }

    static func hexadecimal(_ byte: UInt8) -> String {
        let digits = String(byte, radix: 16)
        return byte < 16 ? "0" + digits : digits
    }
}

package enum NameText {
    /// A value for a distinguished name. RFC 4514 section 2.4.
    package static func escaped(_ value: [UInt8]) -> String {
        var text = ""
        for (index, byte) in value.enumerated() {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "+"), UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "\\"), UInt8(ascii: "="):
                text += "\\"
                text.unicodeScalars.append(Unicode.Scalar(byte))
            case UInt8(ascii: " ") where index == 0 || index == value.count - 1: text += "\\20"
            case UInt8(ascii: "#") where index == 0: text += "\\23"
            case 0..<0x20, 0x7f...: text += "\\" + FilterText.hexadecimal(byte)
            default: text.unicodeScalars.append(Unicode.Scalar(byte))
            }
        }
        return text
    }

    /// A template with `%u` for the user's name.
    package static func filled(_ template: String, user: [UInt8]) -> String { FilterText.fill(template) { $0 == "u" ? escaped(user) : "" } }

    /// The value of the first part of a distinguished name, `VPN Users` of `CN=VPN Users,OU=Groups`. The whole where it has none.
    package static func firstValue(of name: String) -> String {
        let bytes = Array(name.utf8)
        guard let equals = bytes.firstIndex(of: UInt8(ascii: "=")) else { return name }
        var value: [UInt8] = []
        var index = equals + 1
        while index < bytes.count, bytes[index] != UInt8(ascii: ","), bytes[index] != UInt8(ascii: "+"), bytes[index] != UInt8(ascii: ";") {
            guard bytes[index] == UInt8(ascii: "\\") else {
                value.append(bytes[index])
                index += 1
                continue
            }
            guard index + 1 < bytes.count else { return name }
            if index + 2 < bytes.count, let high = hexadecimalDigit(bytes[index + 1]), let low = hexadecimalDigit(bytes[index + 2]) {
                value.append(high << 4 | low)
                index += 3
            } else {
                value.append(bytes[index + 1])
                index += 2
            }
        }
        // A value in hexadecimal ("#04...") is no text.
        guard value.first != UInt8(ascii: "#") || bytes[equals + 1] != UInt8(ascii: "#"), let text = String(validating: value, as: UTF8.self), !text.isEmpty else { return name }
        return text
    }
}

func hexadecimalDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
}

package enum UserName {
    /// What is wrong with a user's name as a peer has sent it, or nil. Controls and names that are not UTF-8 never belong to a person, and
    /// servers differ in what they make of them.
    package static func complaint(about name: [UInt8], limit: Int) -> String? {
        if name.isEmpty { return "the user's name is empty" }
        if name.count > limit { return "the user's name is longer than \(limit) bytes" }
        guard let text = String(validating: name, as: UTF8.self) else { return "the user's name is not UTF-8" }
        if text.unicodeScalars.contains(where: { $0.value < 0x20 || (0x7f..<0xa0).contains($0.value) }) { return "the user's name has control characters" }
        return nil
    }

    /// Without the domain that Windows puts in front: `alice` of `CORP\alice`.
    package static func withoutDomain(_ name: [UInt8]) -> [UInt8] {
        name.lastIndex(of: UInt8(ascii: "\\")).map { Array(name[($0 + 1)...]) } ?? name
    }
}
