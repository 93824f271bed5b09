// One line of the log, and how important it is.

import IKECore

/// The levels of `gateway { log { level } }`.
package enum LogLevel: Int, Sendable, Comparable, CaseIterable {
    /// Always shown: errors, and who changed what.
    case error = 0
    /// What an administrator wants to know.
    case info = 1
    case detail = 2
    case debug = 3
    case trace = 4

    package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

    var name: String {
        switch self {
        case .error: "error"
        case .info: "info"
        case .detail: "detail"
        case .debug: "debug"
        case .trace: "trace"
        }
    }

    /// The priority that the journal reads from a line's first characters. sd-daemon(3).
    var journalPriority: Int {
        switch self {
        case .error: 3
        case .info: 5
        case .detail: 6
        case .debug, .trace: 7
        }
    }

    package init(_ level: PluginLogLevel) {
        switch level {
        case .error, .warning: self = .error
        case .notice, .info: self = .info
        case .debug: self = .debug
        }
    }

    package init(_ level: NoteLevel) {
        switch level {
        case .warning: self = .error
        case .notice: self = .info
        case .info: self = .detail
        case .debug: self = .debug
        }
    }
}

package struct LogLine: Sendable, Hashable {
    package var level: LogLevel
    /// The subsystem as vici clients know it: `IKE`, `NET`, `CFG`, `CHD`, `DMN`, `LIB`, `ESP`, `JOB`.
    package var group: String
    package var connection: String?
    package var ikeSA: UInt64?
    /// Without control characters.
    package var message: String
    package var milliseconds: Int64

    package init(_ level: LogLevel, _ group: String, _ message: String, connection: String? = nil, ikeSA: UInt64? = nil, milliseconds: Int64) {
        self.level = level
        self.group = group
        self.message = printable(message)
        self.connection = connection.map(printable)
        self.ikeSA = ikeSA
        self.milliseconds = milliseconds
    }

    /// `info  IKE [site#3] established`.
    var body: String {
        var text = level.name + String(repeating: " ", count: max(1, 7 - level.name.utf8.count)) + group + " "
        if let connection {
            text += "[" + connection
            if let ikeSA { text += "#\(ikeSA)" }
            text += "] "
        }
        return text + message
    }

    var snapshot: LogEntrySnapshot {
        LogEntrySnapshot(group: group, level: level.rawValue, ikeSAName: connection, ikeSAUniqueID: ikeSA, message: message, unixMilliseconds: milliseconds)
    }
}

/// A peer's text must not end a line, move the cursor, or change the order in which the rest of the line is shown.
private func printable(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: isSteering) else { return text }
    var result = ""
    for scalar in text.unicodeScalars {
        if isSteering(scalar) {
            result += "\\u{" + String(scalar.value, radix: 16) + "}"
        } else {
            result.unicodeScalars.append(scalar)
        }
    }
    return result
}

private func isSteering(_ scalar: Unicode.Scalar) -> Bool {
    guard scalar.value >= 0x80 else { return scalar.value < 0x20 || scalar.value == 0x7f }
    return switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: true
    default: false
    }
}

/// `2026-11-21T04:50:12.123Z`.
func timestamp(_ milliseconds: Int64) -> String {
    // Days to a civil date, proleptic Gregorian: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let days = (milliseconds / 86_400_000) + 719_468
    let era = days / 146_097
    let dayOfEra = days - era * 146_097
    let year = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * year + year / 4 - year / 100)
    let shifted = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * shifted + 2) / 5 + 1
    let month = shifted < 10 ? shifted + 3 : shifted - 9
    let rest = milliseconds % 86_400_000
    func padded(_ number: Int64, _ count: Int = 2) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, count - digits.count)) + digits
    }
    return padded(year + era * 400 + (month <= 2 ? 1 : 0), 4) + "-" + padded(month) + "-" + padded(day) + "T" + padded(rest / 3_600_000) + ":" + padded(rest / 60_000 % 60) + ":"
        + padded(rest / 1000 % 60) + "." + padded(rest % 1000, 3) + "Z"
}
