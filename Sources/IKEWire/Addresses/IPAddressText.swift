// Addresses as text. Read strictly: what one reader takes for an address, every reader does.
// RFC 4291 section 2.2 (reading), RFC 5952 (writing).

extension IPAddress {
    /// Reads `192.0.2.1` (four decimal numbers, no leading zeros) or any IPv6 form of RFC 4291 section 2.2.
    /// No zone, no brackets, no prefix length, no space.
    package init?(_ text: String) {
        // Longer than the longest form: eight groups of four digits, or six and an IPv4 address.
        if text.utf8.count > 45 { return nil }
        let bytes = Array(text.utf8)
        if bytes.contains(UInt8(ascii: ":")) {
            guard let value = Self.ipv6(bytes[...]) else { return nil }
            self.init(family: .v6, value: value)
        } else {
            guard let value = Self.ipv4(bytes[...]) else { return nil }
            self.init(v4: value)
        }
    }

    private static func ipv4(_ text: ArraySlice<UInt8>) -> UInt32? {
        let parts = text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            // A leading zero means octal to some readers.
            guard part.count >= 1, part.count <= 3, part.count == 1 || part.first != UInt8(ascii: "0") else { return nil }
            var number: UInt32 = 0
            for digit in part {
                guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
                number = number * 10 + UInt32(digit - UInt8(ascii: "0"))
            }
            guard number <= 255 else { return nil }
            value = value << 8 | number
        }
        return value
    }

    private static func ipv6(_ text: ArraySlice<UInt8>) -> UInt128? {
        guard let gap = firstGap(in: text) else {
            guard let groups = groups(text), groups.count == 8 else { return nil }
            return joined(groups)
        }
        guard let head = groups(text[..<gap]), let tail = groups(text[(gap + 2)...]), head.count + tail.count < 8 else { return nil }
        // An IPv4 tail stands at the end alone.
        if text[..<gap].contains(UInt8(ascii: ".")) { return nil }
        return joined(head + Array(repeating: 0, count: 8 - head.count - tail.count) + tail)
    }

    /// Where the first `::` begins.
    private static func firstGap(in text: ArraySlice<UInt8>) -> Int? {
        text.indices.dropLast().first { text[$0] == UInt8(ascii: ":") && text[$0 + 1] == UInt8(ascii: ":") }
    }

    /// Groups between single colons; a last part with dots is an IPv4 address and counts as two. An empty text has none.
    private static func groups(_ text: ArraySlice<UInt8>) -> [UInt16]? {
        if text.isEmpty { return [] }
        let parts = text.split(separator: UInt8(ascii: ":"), maxSplits: 8, omittingEmptySubsequences: false)
        var groups: [UInt16] = []
        for (index, part) in parts.enumerated() {
            if part.contains(UInt8(ascii: ".")) {
                guard index == parts.count - 1, let value = ipv4(part) else { return nil }
                groups.append(UInt16(truncatingIfNeeded: value >> 16))
                groups.append(UInt16(truncatingIfNeeded: value))
            } else {
                guard part.count >= 1, part.count <= 4 else { return nil }
                var group: UInt16 = 0
                for digit in part {
                    guard let nibble = nibble(digit) else { return nil }
                    group = group << 4 | nibble
                }
                groups.append(group)
            }
        }
        return groups
    }

    private static func nibble(_ digit: UInt8) -> UInt16? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt16(digit - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt16(digit - UInt8(ascii: "a")) + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt16(digit - UInt8(ascii: "A")) + 10
        default: nil
        }
    }

    private static func joined(_ groups: [UInt16]) -> UInt128 { groups.reduce(0) { $0 << 16 | UInt128($1) } }
}

extension IPAddress: CustomStringConvertible {
    /// `192.0.2.1`; `2001:db8::1` in RFC 5952's one form.
    package var description: String {
        family == .v4 ? Self.dotted(UInt32(truncatingIfNeeded: value)) : Self.colons(value)
    }

    private static func dotted(_ value: UInt32) -> String {
        "\(value >> 24).\(value >> 16 & 255).\(value >> 8 & 255).\(value & 255)"
    }

    private static func colons(_ value: UInt128) -> String {
        // An IPv4-mapped address shows the IPv4 address. RFC 5952 section 5.
        if value >> 32 == 0xffff { return "::ffff:" + dotted(UInt32(truncatingIfNeeded: value)) }
        let groups = (0..<8).map { UInt16(truncatingIfNeeded: value >> UInt128(112 - 16 * $0)) }
        let text = { (part: ArraySlice<UInt16>) in part.map { String($0, radix: 16) }.joined(separator: ":") }
        guard let gap = longestZeroRun(groups) else { return text(groups[...]) }
        return text(groups[..<gap.lowerBound]) + "::" + text(groups[gap.upperBound...])
    }

    /// The first of the longest runs of zero groups; a single zero group is no run. RFC 5952 section 4.2.
    private static func longestZeroRun(_ groups: [UInt16]) -> Range<Int>? {
        var best: Range<Int>?
        var start = 0
        for index in 0...groups.count where index == groups.count || groups[index] != 0 {
            if index - start > max(1, best?.count ?? 0) { best = start..<index }
            start = index + 1
        }
        return best
    }
}
