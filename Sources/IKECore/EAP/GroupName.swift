// Names of groups as directories compare them: a name without regard to case, a distinguished name by value, however its commas and letters are written.
// RFC 4514 sections 2.4 and 3, RFC 4518 section 2.

package enum GroupName {
    /// The same text for all ways to write one group's name.
    package static func compared(_ text: String) -> String {
        guard text.utf8.contains(UInt8(ascii: "=")), let names = relativeNames(Array(text.utf8)) else { return text.lowercased() }
        return names.map { $0.sorted().joined(separator: "+") }.joined(separator: ",")
    }

    /// Each with its attributes; nil where the text is no distinguished name.
    private static func relativeNames(_ bytes: [UInt8]) -> [[String]]? {
        var names: [[String]] = [], attributes: [String] = []
        var type: [UInt8]?, word: [UInt8] = []
        // Spaces that were written with a backslash are part of the value.
        var firm = 0
        func finish() -> Bool {
            while word.count > firm, word.last == UInt8(ascii: " ") { word.removeLast() }
            guard let name = type, !name.isEmpty else { return false }
            let value = String(decoding: word, as: UTF8.self).lowercased()
            // Its length before it: nothing in a value looks like the next attribute.
            attributes.append("\(String(decoding: name, as: UTF8.self).lowercased())=\(value.utf8.count):\(value)")
            (type, word, firm) = (nil, [], 0)
            return true
        }
        var index = 0
        while index < bytes.count {
            let byte = bytes[index]
            index += 1
            switch byte {
            case UInt8(ascii: "\\"):
                guard index < bytes.count else { return nil }
                if index + 1 < bytes.count, let high = digit(bytes[index]), let low = digit(bytes[index + 1]) {
                    word.append(high << 4 | low)
                    index += 2
                } else {
                    word.append(bytes[index])
                    index += 1
                }
                firm = word.count
            case UInt8(ascii: "=") where type == nil:
                while word.last == UInt8(ascii: " ") { word.removeLast() }
                (type, word, firm) = (word, [], 0)
            case UInt8(ascii: ","), UInt8(ascii: ";"):
                guard finish() else { return nil }
                names.append(attributes)
                attributes = []
            case UInt8(ascii: "+") where type != nil && bytes[index...].prefix(while: { $0 != UInt8(ascii: ",") }).contains(UInt8(ascii: "=")):
                guard finish() else { return nil }
            // RFC 4518 section 2.6.1: one space is as good as many.
            case UInt8(ascii: " ") where word.isEmpty || word.last == UInt8(ascii: " "): break
            default: word.append(byte)
            }
        }
        guard finish() else { return nil }
        return names + [attributes]
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }
}
