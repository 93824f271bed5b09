// Text for people: units, widths, colour, and nothing that could steer a terminal.
import Glibc

enum Style: String {
    case bold = "1"
    case green = "32"
    case yellow = "33"
    case red = "31"
    case dim = "2"
}

/// Colour on a terminal, unless NO_COLOR (https://no-color.org) is there.
let isColoured: Bool = {
    guard isatty(STDOUT_FILENO) == 1 else { return false }
    if let off = getenv("NO_COLOR"), off.pointee != 0 { return false }
    if let kind = getenv("TERM"), String(cString: kind) == "dumb" { return false }
    return true
}()

func styled(_ text: String, _ style: Style) -> String { isColoured ? "\u{1b}[\(style.rawValue)m\(text)\u{1b}[0m" : text }

/// The text with control characters replaced: names, identities and log lines may come from far away.
func printable(_ text: String) -> String {
    var out = ""
    for scalar in text.unicodeScalars {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate:
            out += "\\u{" + String(scalar.value, radix: 16) + "}"
        default: out.unicodeScalars.append(scalar)
        }
    }
    return out
}

/// `left` and, flush with column 80 where there is room, `right`.
func spread(_ left: String, leftWidth: Int? = nil, _ right: String) -> String {
    guard !right.isEmpty else { return left }
    let gap = 80 - (leftWidth ?? left.count) - right.count
    return left + String(repeating: " ", count: max(2, gap)) + right
}

/// Items with commas, wrapped at 80 columns; the lines after the first are indented by `indent`.
func wrapped(_ items: [String], firstColumn: Int, indent: Int, separator: String = ", ") -> String {
    var out = ""
    var column = firstColumn
    for (index, item) in items.enumerated() {
        let piece = index < items.count - 1 ? item + separator : item
        if index > 0, column + piece.trimmedEnd.count > 80 {
            out = out.trimmedEnd + "\n" + String(repeating: " ", count: indent)
            column = indent
        }
        out += piece
        column += piece.count
    }
    return out
}

/// Words wrapped at 80 columns, the first line after `firstColumn`.
func paragraph(_ text: String, firstColumn: Int, indent: Int) -> String {
    wrapped(text.split(separator: " ").map(String.init), firstColumn: firstColumn, indent: indent, separator: " ")
}

/// `59s`, `12m`, `3h 5m`, `2d 4h`.
func duration(_ seconds: UInt64) -> String {
    func pair(_ big: UInt64, _ bigUnit: String, _ small: UInt64, _ smallUnit: String) -> String {
        small == 0 ? "\(big)\(bigUnit)" : "\(big)\(bigUnit) \(small)\(smallUnit)"
    }
    return switch seconds {
    case ..<60: "\(seconds)s"
    case ..<3_600: pair(seconds / 60, "m", seconds < 600 ? seconds % 60 : 0, "s")
    case ..<86_400: pair(seconds / 3_600, "h", seconds % 3_600 / 60, "m")
    default: pair(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h")
    }
}

/// `in 3h 5m`, or `overdue`.
func countdown(_ seconds: Int64) -> String { seconds < 0 ? "overdue" : "in " + duration(UInt64(seconds)) }

/// `999 B`, `1.2 kB`, `34.5 MB`: powers of ten, three digits.
func byteCount(_ bytes: UInt64) -> String {
    guard bytes >= 1_000 else { return "\(bytes) B" }
    var value = Double(bytes)
    var unit = ""
    for next in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        value /= 1_000
        unit = next
        if value < 999.5 { break }
    }
    let tenths = Int((value * 10).rounded())
    return value < 99.95 ? "\(tenths / 10).\(tenths % 10) \(unit)" : "\(Int(value.rounded())) \(unit)"
}

func plural(_ count: UInt64, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

extension String {
    var trimmedEnd: String {
        var copy = self
        while copy.last == " " { copy.removeLast() }
        return copy
    }
    func padded(to width: Int) -> String { count < width ? self + String(repeating: " ", count: width - count) : self }
}

/// Columns with two spaces between them; the last is not padded.
func table(_ rows: [[String]]) -> String {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
    return rows.map { row in
        row.enumerated().map { index, cell in index == row.count - 1 ? cell : cell.padded(to: widths[index]) }.joined(separator: "  ")
            .trimmedEnd
    }.joined(separator: "\n")
}
