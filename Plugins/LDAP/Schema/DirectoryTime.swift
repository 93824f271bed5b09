// Times as directories write them, as seconds since 1970: Windows' counts, generalized time (RFC 4517 section 3.3.13), days and seconds.

package enum DirectoryTime {
    package enum Format: String, Sendable, CaseIterable {
        /// 100 ns since 1601; 0 and the largest value are never.
        case fileTime = "filetime"
        /// Since 1970; negative is never.
        case seconds, days
        case generalized
    }

    package enum Value: Hashable, Sendable {
        case never
        case at(Int64)
    }

    /// Nil for what is no time.
    package static func parse(_ text: String, _ format: Format) -> Value? {
        switch format {
        case .fileTime:
            guard let count = Int64(text) else { return nil }
            if count <= 0 || count == .max { return .never }
            return .at(count / 10_000_000 - 11_644_473_600)
        case .seconds:
            guard let seconds = Int64(text) else { return nil }
            return seconds < 0 || seconds == Int64(Int32.max) ? .never : .at(seconds)
        case .days:
            guard let days = Int64(text) else { return nil }
            let (seconds, overflows) = days.multipliedReportingOverflow(by: 86_400)
            return days < 0 || overflows ? .never : .at(seconds)
        case .generalized: return generalized(text).map { .at($0) }
        }
    }

    /// `YYYYMMDDHH[MM[SS]][.f](Z|+hhmm|-hhmm)`.
    static func generalized(_ text: String) -> Int64? {
        var rest = Array(text.utf8)[...]
        func digits(_ count: Int) -> Int64? {
            guard rest.count >= count, rest.prefix(count).allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
            defer { rest = rest.dropFirst(count) }
            return rest.prefix(count).reduce(0) { $0 * 10 + Int64($1 - 0x30) }
        }
        guard let year = digits(4), let month = digits(2), let day = digits(2), let hour = digits(2), (1...12).contains(month), (1...31).contains(day), hour < 24 else { return nil }
        let minute = digits(2) ?? 0
        let second = digits(2) ?? 0
        guard minute < 60, second <= 60 else { return nil }
        if rest.first == UInt8(ascii: ".") || rest.first == UInt8(ascii: ",") {
            rest = rest.dropFirst()
            guard digits(1) != nil else { return nil }
            while digits(1) != nil {}
        }
        var zone: Int64 = 0
        switch rest.popFirst() {
        case UInt8(ascii: "Z"): break
        case let sign? where sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-"):
            guard let hours = digits(2) else { return nil }
            zone = (hours * 3600 + (digits(2) ?? 0) * 60) * (sign == UInt8(ascii: "+") ? 1 : -1)
        default: return nil
        }
        guard rest.isEmpty else { return nil }
        // Days since 1970 in the Gregorian calendar, counted in years that begin in March, so that the leap day is their last.
        let shifted = month > 2 ? year : year - 1
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let days = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
        return days * 86_400 + hour * 3600 + minute * 60 + second - zone
    }
}
