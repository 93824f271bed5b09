// A record of accounting as one line of JSON (RFC 8259, one text a line). Whatever a peer calls itself cannot end a line or leave its string.

package struct RecordLine {
    package private(set) var text = ""

    package init(time milliseconds: Int64, event: String) {
        add("time", Self.timestamp(milliseconds))
        add("event", event)
    }

    package mutating func add(_ key: String, _ value: String) { text += separator + Self.quoted(key.utf8) + ":" + Self.quoted(value.utf8) }
    package mutating func add(_ key: String, _ value: [UInt8]) { text += separator + Self.quoted(key.utf8) + ":" + Self.quoted(value) }
    package mutating func add(_ key: String, _ value: UInt64) { text += separator + Self.quoted(key.utf8) + ":" + String(value) }
    package mutating func add(_ key: String, _ values: [String]) {
        text += separator + Self.quoted(key.utf8) + ":[" + values.map { Self.quoted($0.utf8) }.joined(separator: ",") + "]"
    }
    /// Seconds with three digits behind the point.
    package mutating func add(_ key: String, milliseconds: UInt64) {
        let rest = String(milliseconds % 1000)
        text += separator + Self.quoted(key.utf8) + ":" + String(milliseconds / 1000) + "." + String(repeating: "0", count: 3 - rest.utf8.count) + rest
    }

    /// The whole line with its end.
    package var line: String { text + "}\n" }

    private var separator: String { text.isEmpty ? "{" : "," }

    /// A string of JSON. What is not UTF-8 becomes U+FFFD; controls, and the line ends of Unicode, are escaped.
    package static func quoted(_ bytes: some Collection<UInt8>) -> String {
        var text = "\""
        for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case _ where scalar.value < 0x20 || (0x7f..<0xa0).contains(scalar.value) || scalar.value == 0x2028 || scalar.value == 0x2029:
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text + "\""
    }

    /// RFC 3339 in UTC, with milliseconds.
    package static func timestamp(_ milliseconds: Int64) -> String {
        let clamped = min(max(milliseconds, 0), 253_402_300_799_999)
        let seconds = clamped / 1000
        // Days since the first of March of the year 0, in years that begin in March, so that the leap day is their last.
        let days = seconds / 86_400 + 719_468
        let era = days / 146_097
        let dayOfEra = days - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        let month = shifted < 10 ? shifted + 3 : shifted - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func padded(_ number: Int64, _ width: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
        }
        let day = dayOfYear - (153 * shifted + 2) / 5 + 1
        let time = [seconds % 86_400 / 3600, seconds % 3600 / 60, seconds % 60].map { padded($0, 2) }.joined(separator: ":")
        return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T\(time).\(padded(clamped % 1000, 3))Z"
    }
}
