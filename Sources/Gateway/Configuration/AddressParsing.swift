// Addresses and traffic selectors as swanctl.conf writes them.
// RFC 7296 section 3.13.1.

import IKECore
import IKEWire

struct AddressProblem: Error {
    var message: String
}

/// An address, a network or a range: `192.0.2.1`, `192.0.2.0/24`, `192.0.2.1-192.0.2.9`. Nil if it is none of these.
func addressRange(_ text: String) throws(AddressProblem) -> (start: IPAddress, end: IPAddress)? {
    if let slash = text.firstIndex(of: "/") {
        guard let network = IPAddress(String(text[..<slash])) else { return nil }
        guard let length = integerValue(String(text[text.index(after: slash)...])), length <= UInt64(network.bitCount) else {
            throw AddressProblem(message: "\(quoted(text)) needs a prefix length from 0 to \(network.bitCount)")
        }
        let selector = TrafficSelector(prefix: network, length: Int(length))
        return (selector.start, selector.end)
    }
    if let dash = text.firstIndex(of: "-"), let start = IPAddress(String(text[..<dash])) {
        guard let end = IPAddress(String(text[text.index(after: dash)...])), end.family == start.family, end.value >= start.value else {
            throw AddressProblem(message: "the range \(quoted(text)) needs a second address that is not below the first")
        }
        return (start, end)
    }
    return IPAddress(text).map { ($0, $0) }
}

extension AddressPattern {
    /// An entry of `local_addrs` or `remote_addrs`.
    init(configured text: String) throws(AddressProblem) {
        switch text {
        case "%any", "0.0.0.0", "::": self = .any
        case "%any4": self = .range(IPAddress(family: .v4, value: 0), IPAddress(family: .v4, value: .max))
        case "%any6": self = .range(IPAddress(family: .v6, value: 0), IPAddress(family: .v6, value: .max))
        default:
            // A packet to such an address needs an interface to leave by, and none can be named.
            let range = try addressRange(text)
            if let start = range?.start ?? IPAddress(text.split(separator: "%", maxSplits: 1).first.map(String.init) ?? ""), isOfOneLink(start), isOfOneLink(range?.end ?? start) {
                throw AddressProblem(message: "\(quoted(text)) is an address of a single link (fe80::/10), and tunnels between such are not there yet: write another address of the host")
            }
            if let (start, end) = range {
                self = .range(start, end)
            } else if isHostName(text) {
                self = .name(text)
            } else {
                throw AddressProblem(message: "\(quoted(text)) is no address, network, range or host name")
            }
        }
    }
}

/// fe80::/10. RFC 4291 section 2.5.6.
private func isOfOneLink(_ address: IPAddress) -> Bool { address.family == .v6 && address.value >> 118 == 0x3fa }

/// Letters, digits, hyphens and underscores between dots, and not an address gone wrong. RFC 1123 section 2.1.
private func isHostName(_ text: String) -> Bool {
    let labels = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard text.utf8.count <= 253, let last = labels.last, !last.allSatisfy({ (0x30...0x39).contains($0) }) else { return false }
    return labels.allSatisfy { label in
        !label.isEmpty && label.count <= 63 && label.first != 0x2d && label.last != 0x2d
            && label.allSatisfy { (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0) || $0 == 0x2d || $0 == 0x5f }
    }
}

extension SelectorPattern {
    /// An entry of `local_ts` or `remote_ts`: `10.1.0.0/16`, `dynamic[tcp/22]`, `10.0.0.0/8[udp/1000-2000]`.
    init(configured text: String) throws(AddressProblem) {
        var addresses = text
        var limits = (ipProtocol: UInt8(0), start: UInt16(0), end: UInt16(65535))
        if let bracket = text.firstIndex(of: "[") {
            guard text.hasSuffix("]") else { throw AddressProblem(message: "the ']' is missing in \(quoted(text))") }
            addresses = String(text[..<bracket])
            limits = try Self.limits(String(text[text.index(after: bracket)...].dropLast()))
        }
        if addresses == "dynamic" {
            self = .dynamic(ipProtocol: limits.ipProtocol, startPort: limits.start, endPort: limits.end)
            return
        }
        guard let (start, end) = try addressRange(addresses) else {
            throw AddressProblem(message: "\(quoted(text)) is no network such as 10.1.0.0/16, no range and not 'dynamic'")
        }
        self = .fixed(TrafficSelector(ipProtocol: limits.ipProtocol, startPort: limits.start, endPort: limits.end, start: start, end: end))
    }

    /// What stands in the brackets: a protocol, and behind a slash a port or a range of ports.
    private static func limits(_ text: String) throws(AddressProblem) -> (ipProtocol: UInt8, start: UInt16, end: UInt16) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        var ipProtocol: UInt8 = 0
        if let name = parts.first, !name.isEmpty, name != "%any" {
            if let number = integerValue(name) {
                guard number <= 255 else { throw AddressProblem(message: "a protocol is a number from 0 to 255, not \(number)") }
                ipProtocol = UInt8(truncatingIfNeeded: number)
            } else if let known = protocols[name.lowercased()] {
                ipProtocol = known
            } else {
                throw AddressProblem(message: "there is no protocol \(quoted(name))" + suggestion(nearest(to: name, among: protocols.keys.sorted())))
            }
        }
        guard parts.count == 2, let text = parts.last, text != "%any", !text.isEmpty else { return (ipProtocol, 0, 65535) }
        //= RFC 7296 §3.13.1: ports without a protocol mean nothing.
        guard ipProtocol != 0 else { throw AddressProblem(message: "the port \(quoted(text)) needs a protocol before it: [tcp/\(text)] or [udp/\(text)]") }
        if text.lowercased() == "opaque" { throw AddressProblem(message: "OPAQUE ports are not there yet") }
        if ipProtocol == 1 || ipProtocol == 58, let types = try types(text) { return (ipProtocol, types.start, types.end) }
        if let port = try port(text) { return (ipProtocol, port, port) }
        guard let dash = text.firstIndex(of: "-"), let start = try port(String(text[..<dash])),
            let end = try port(String(text[text.index(after: dash)...])), start <= end
        else { throw AddressProblem(message: "\(quoted(text)) is no port and no range of ports; write numbers") }
        return (ipProtocol, start, end)
    }

    /// Of ICMP: a type with all of its codes, `8`; a range of types, `8-10`; or a type with one code, `3(4)`. A number above 255 is both in one, as on the wire.
    private static func types(_ text: String) throws(AddressProblem) -> (start: UInt16, end: UInt16)? {
        if let bracket = text.firstIndex(of: "("), text.hasSuffix(")") {
            guard let type = integerValue(String(text[..<bracket])), let code = integerValue(String(text[text.index(after: bracket)...].dropLast())), type <= 255, code <= 255 else {
                throw AddressProblem(message: "\(quoted(text)) needs a type and a code from 0 to 255, such as 3(4)")
            }
            let both = UInt16(truncatingIfNeeded: type << 8 | code)
            return (both, both)
        }
        let ends = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map { integerValue(String($0)) }
        guard let first = ends.first ?? nil, let last = ends.last ?? nil, first <= 255, last <= 255, first <= last else { return nil }
        return (UInt16(truncatingIfNeeded: first << 8), UInt16(truncatingIfNeeded: last << 8 | 0xff))
    }

    private static func port(_ text: String) throws(AddressProblem) -> UInt16? {
        if let number = integerValue(text) {
            guard number <= 65535 else { throw AddressProblem(message: "a port is a number from 0 to 65535, not \(number)") }
            return UInt16(truncatingIfNeeded: number)
        }
        return services[text.lowercased()]
    }

    /// IANA "Assigned Internet Protocol Numbers".
    private static let protocols: [String: UInt8] = [
        "icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "udp": 17, "dccp": 33, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58,
        "icmpv6": 58, "ospf": 89, "pim": 103, "vrrp": 112, "l2tp": 115, "sctp": 132, "udplite": 136,
    ]
    /// IANA "Service Name and Transport Protocol Port Number Registry", those that stand in selectors in practice.
    private static let services: [String: UInt16] = [
        "ftp": 21, "ssh": 22, "smtp": 25, "domain": 53, "bootps": 67, "bootpc": 68, "http": 80, "ntp": 123, "snmp": 161, "bgp": 179, "ldap": 389,
        "https": 443, "isakmp": 500, "ldaps": 636, "l2tp": 1701, "l2f": 1701, "radius": 1812, "ipsec-nat-t": 4500,
    ]
}
