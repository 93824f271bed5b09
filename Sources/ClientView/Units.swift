// Numbers as people read them.

/// `59s`, `12m`, `3h 5m`, `2d 4h`.
package func duration(_ seconds: UInt64) -> String {
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

/// `3h 5m`, or `overdue`.
func remaining(_ seconds: Int64) -> String { seconds < 0 ? "overdue" : duration(UInt64(seconds)) }
/// `in 3h 5m`, or `overdue`.
func countdown(_ seconds: Int64) -> String { seconds < 0 ? "overdue" : "in " + duration(UInt64(seconds)) }

/// `999 B`, `1.2 kB`, `34.5 MB`: powers of ten, three digits.
package func byteCount(_ bytes: UInt64) -> String { scaled(Double(bytes), "B") }

/// `0 bit/s`, `1.2 Mbit/s`.
package func bitRate(_ bitsPerSecond: Double) -> String { scaled(bitsPerSecond, "bit/s") }

private func scaled(_ number: Double, _ unit: String) -> String {
    guard number.isFinite, number >= 999.5 else { return "\(number.isFinite ? Int(number.rounded()) : 0) \(unit)" }
    var value = number
    var prefix = ""
    for next in ["k", "M", "G", "T", "P", "E"] {
        value /= 1_000
        prefix = next
        if value < 999.5 { break }
    }
    let tenths = Int((value * 10).rounded())
    return (value < 99.95 ? "\(tenths / 10).\(tenths % 10)" : "\(Int(value.rounded()))") + " \(prefix)\(unit)"
}

package func plural(_ count: some BinaryInteger, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

/// `net2` before `net10`.
func naturallyPrecedes(_ a: String, _ b: String) -> Bool {
    var x = a.unicodeScalars[...], y = b.unicodeScalars[...]
    func isDigit(_ scalar: Unicode.Scalar) -> Bool { ("0"..."9").contains(scalar) }
    while let p = x.first, let q = y.first {
        if isDigit(p), isDigit(q) {
            let m = x.prefix(while: isDigit).drop { $0 == "0" }, n = y.prefix(while: isDigit).drop { $0 == "0" }
            if m.count != n.count { return m.count < n.count }
            if !m.elementsEqual(n) { return m.lexicographicallyPrecedes(n) }
            x = x.drop(while: isDigit)
            y = y.drop(while: isDigit)
        } else {
            if p != q { return p < q }
            x.removeFirst()
            y.removeFirst()
        }
    }
    return x.isEmpty == y.isEmpty ? a < b : x.isEmpty
}
