// Addresses and traffic selectors as vici clients read them.
// RFC 5952 for IPv6, RFC 4632 for prefixes; protocol and ports in brackets.
import IKEWire

package enum SelectorText {
    /// `192.0.2.1` or `2001:db8::1`.
    //= RFC 5952 §4
    package static func address(_ address: IPAddress) -> String {
        switch address.family {
        case .v4:
            return (0..<4).map { String(UInt8(truncatingIfNeeded: address.value >> (24 - 8 * $0))) }.joined(separator: ".")
        case .v6:
            let groups = (0..<8).map { UInt16(truncatingIfNeeded: address.value >> (112 - 16 * $0)) }
            guard let zeros = longestZeros(groups) else { return text(groups[...]) }
            return text(groups[..<zeros.lowerBound]) + "::" + text(groups[zeros.upperBound...])
        }
    }

    /// `10.1.0.0/16`, `10.1.0.1..10.1.0.9`, and with a protocol or ports `10.1.0.0/16[tcp/443]`, `[udp]`, `[0/1000-2000]`.
    package static func selector(_ selector: TrafficSelector) -> String {
        var out = address(selector.start)
        if let length = prefixLength(selector) {
            out += "/\(length)"
        } else {
            out += ".." + address(selector.end)
        }
        let anyPort = selector.startPort == 0 && selector.endPort == .max
        guard selector.ipProtocol != 0 || !anyPort else { return out }
        out += "["
        switch selector.ipProtocol {
        case 1: out += "icmp"
        case 6: out += "tcp"
        case 17: out += "udp"
        case 58: out += "ipv6-icmp"
        case let number: out += String(number)
        }
        if selector.startPort > selector.endPort {
            out += "/OPAQUE"  // RFC 7296 section 3.13.1
        } else if !anyPort {
            out += "/\(selector.startPort)"
            if selector.endPort != selector.startPort { out += "-\(selector.endPort)" }
        }
        return out + "]"
    }

    /// The length of the prefix that the range is, or nil when it is none.
    private static func prefixLength(_ selector: TrafficSelector) -> Int? {
        guard selector.start.family == selector.end.family else { return nil }
        let difference = selector.start.value ^ selector.end.value
        // All ones from some bit down, zeros in the start and ones in the end.
        guard difference & (difference &+ 1) == 0, selector.start.value & difference == 0 else { return nil }
        return selector.start.bitCount - (UInt128.bitWidth - difference.leadingZeroBitCount)
    }

    /// The longest run of two or more zero groups, the first of equals.
    private static func longestZeros(_ groups: [UInt16]) -> Range<Int>? {
        var best: Range<Int>?
        var start: Int?
        for index in 0...groups.count {
            if index < groups.count, groups[index] == 0 {
                start = start ?? index
            } else if let begin = start {
                if index - begin > max(1, best?.count ?? 1) { best = begin..<index }
                start = nil
            }
        }
        return best
    }

    private static func text(_ groups: ArraySlice<UInt16>) -> String {
        groups.map { String($0, radix: 16) }.joined(separator: ":")
    }
}
