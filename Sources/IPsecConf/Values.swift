// The simple values of ipsec.conf, and how Martlet writes them.

/// Seconds from a number with or without a unit. At most ten years, as Martlet takes.
func seconds(_ text: String) -> UInt64? {
    let units: [(String, UInt64)] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)]
    let unit = units.first { text.hasSuffix($0.0) }
    guard let number = number(String(unit == nil ? text[...] : text.dropLast())) else { return nil }
    let (product, overflow) = number.multipliedReportingOverflow(by: unit?.1 ?? 1)
    return overflow || product > 10 * 366 * 86_400 ? nil : product
}

/// Decimal digits alone.
func number(_ text: String) -> UInt64? {
    !text.isEmpty && text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt64(text) : nil
}

/// In the largest unit that needs no fraction: `3h`, `171m`, `10261s`.
func written(seconds: UInt64) -> String {
    for (unit, factor) in [("d", 86_400), ("h", 3_600), ("m", 60)] as [(String, UInt64)] where seconds > 0 && seconds % factor == 0 {
        return "\(seconds / factor)\(unit)"
    }
    return "\(seconds)s"
}

/// The elements between commas; with `spaces` also those between blanks. Empty ones are left out.
func elements(_ text: String, spaces: Bool = false) -> [String] {
    text.split { $0 == "," || spaces && $0 == " " }.map { trimmed(String($0)) }.filter { !$0.isEmpty }
}

func trimmed(_ text: String) -> String {
    let blanks: Set<Character> = [" ", "\t", "\r", "\n"]
    var rest = text[...]
    while let first = rest.first, blanks.contains(first) { rest.removeFirst() }
    while let last = rest.last, blanks.contains(last) { rest.removeLast() }
    return String(rest)
}

/// Letters, digits, hyphens and underscores between dots, and not an address gone wrong. RFC 1123 section 2.1.
func isHostName(_ text: String) -> Bool {
    let labels = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard text.utf8.count <= 253, let last = labels.last, !last.allSatisfy({ (0x30...0x39).contains($0) }) else { return false }
    return labels.allSatisfy { label in
        !label.isEmpty && label.count <= 63 && label.first != UInt8(ascii: "-") && label.last != UInt8(ascii: "-") && label.allSatisfy(isNameByte)
    }
}

func isNameByte(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
}
