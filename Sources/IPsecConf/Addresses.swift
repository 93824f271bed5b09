// Gateways' addresses and the networks behind them, from ipsec.conf's spelling to Martlet's.
// RFC 7296 section 3.13.1 (selectors).

import IKEWire

/// One entry of `left` or `right`.
enum GatewayAddress: Equatable {
    case any
    /// Libreswan finds out which address that is.
    case defaultRoute
    case address(IPAddress)
    case network(String)
    case name(String)

    var text: String? {
        switch self {
        case .any, .defaultRoute: nil
        case .address(let address): "\(address)"
        case .network(let text), .name(let text): text
        }
    }

    init(_ source: String, _ dialect: Dialect) throws(Untranslatable) {
        switch source {
        case "%any", "0.0.0.0", "::": self = .any
        case "%defaultroute": self = dialect == .libreswan ? .defaultRoute : .any
        case "%any4" where dialect == .strongSwan: self = .network("%any4")
        case "%any6" where dialect == .strongSwan: self = .network("%any6")
        default:
            if source.hasPrefix("%") {
                throw Untranslatable(
                    source.hasPrefix("%opportunistic") || source.hasPrefix("%group") ? "opportunistic encryption is not there" : "write the address or the name itself")
            }
            if let address = IPAddress(source) {
                self = .address(address)
            } else if source.contains("/") || source.contains("-") && IPAddress(String(source.prefix { $0 != "-" })) != nil {
                guard let range = AddressRange(source) else { throw Untranslatable("this is neither a network nor a range of addresses") }
                self = .network(range.text)
            } else if isHostName(source) {
                self = .name(source)
            } else {
                throw Untranslatable("this is neither an address nor a host name")
            }
        }
    }
}

/// A network or a range, with its ends in order.
struct AddressRange {
    var start: IPAddress
    var end: IPAddress

    /// `192.0.2.1`, `192.0.2.0/24`, `192.0.2.0/255.255.255.0`, `192.0.2.1-192.0.2.9`.
    init?(_ text: String) {
        if let slash = text.firstIndex(of: "/") {
            guard let network = IPAddress(String(text[..<slash])), let length = Self.length(String(text[text.index(after: slash)...]), of: network) else { return nil }
            let selector = TrafficSelector(prefix: network, length: length)
            (start, end) = (selector.start, selector.end)
        } else if let address = IPAddress(text) {
            (start, end) = (address, address)
        } else if let dash = text.firstIndex(of: "-"), let first = IPAddress(String(text[..<dash])), let last = IPAddress(String(text[text.index(after: dash)...])),
            first.family == last.family, first.value <= last.value
        {
            (start, end) = (first, last)
        } else {
            return nil
        }
    }

    private static func length(_ text: String, of network: IPAddress) -> Int? {
        if let length = number(text) { return length <= UInt64(network.bitCount) ? Int(length) : nil }
        guard network.family == .v4, let mask = IPAddress(text), mask.family == .v4 else { return nil }
        let hosts = ~UInt32(truncatingIfNeeded: mask.value)
        return hosts & (hosts &+ 1) == 0 ? 32 - hosts.nonzeroBitCount : nil
    }

    var text: String {
        let selector = TrafficSelector(start: start, end: end)
        if let (prefix, length) = selector.asPrefix { return length == start.bitCount ? "\(prefix)" : "\(prefix)/\(length)" }
        return "\(start)-\(end)"
    }
}

/// What a selector allows beside addresses: `tcp`, `udp/53`, `17/1000-2000`.
struct ProtocolPort: Equatable {
    var protocolText = ""
    var portText = ""
    var isAny: Bool { protocolText.isEmpty && portText.isEmpty }
    /// In brackets, as behind a network.
    var suffix: String { isAny ? "" : "[\(protocolText)\(portText.isEmpty ? "" : "/" + portText)]" }

    init() {}

    init(_ source: String, _ dialect: Dialect) throws(Untranslatable) {
        let parts = source.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count <= 2, let given = parts.first else { throw Untranslatable("PROTOCOL/PORT is expected") }
        if !given.isEmpty, given != "%any", given != "0" {
            if let number = number(given) {
                guard number <= 255 else { throw Untranslatable("a protocol is a number up to 255") }
                protocolText = String(number)
            } else {
                guard Self.protocols.contains(given.lowercased()) else { throw Untranslatable("the protocol '\(given)' is not known: write its number") }
                protocolText = given.lowercased()
            }
        }
        guard parts.count == 2, !parts[1].isEmpty else { return }
        if parts[1] == "%any" {
            if dialect == .strongSwan { return }
            throw Untranslatable("a port that the peer chooses is not there: write the port")
        }
        if parts[1] == "%opaque" { throw Untranslatable("OPAQUE ports are not there yet") }
        let ports = parts[1].split(separator: "-", omittingEmptySubsequences: false).map { number(String($0)) ?? Self.services[$0.lowercased()] }
        guard ports.count <= 2, let first = ports[0], let last = ports[ports.count - 1], first <= last, last <= 65_535 else {
            throw Untranslatable("'\(parts[1])' is no port that is known: write its number")
        }
        if first == 0, last == 65_535 || last == 0 && dialect == .libreswan { return }
        if last == 0 { throw Untranslatable("port 0 is no port: leave it out for every port") }
        portText = first == last ? "\(first)" : "\(first)-\(last)"
    }

    private static let protocols: Set<String> = ["icmp", "igmp", "tcp", "udp", "dccp", "gre", "esp", "ah", "ipv6-icmp", "icmpv6", "ospf", "sctp", "udplite", "l2tp"]
    private static let services: [String: UInt64] = ["l2tp": 1701, "l2f": 1701, "ssh": 22, "domain": 53, "http": 80, "https": 443, "bgp": 179, "ntp": 123, "snmp": 161]
}

enum Selectors {
    /// An entry of `leftsubnet`: strongSwan's `10.1.0.0/16[tcp/80]` and `%dynamic`, libreswan's `10.1.0.0/16/tcp/80`.
    static func one(_ source: String, _ ports: ProtocolPort, _ dialect: Dialect) throws(Untranslatable) -> String {
        if source.hasPrefix("vhost:") || source.hasPrefix("vnet:") { throw Untranslatable("virtual networks of IKEv1 are not there") }
        var network = source
        var limits = ports
        if let bracket = source.firstIndex(of: "[") {
            guard source.hasSuffix("]") else { throw Untranslatable("the ']' is missing") }
            network = String(source[..<bracket])
            limits = try ProtocolPort(String(source[source.index(after: bracket)...].dropLast()), dialect)
        } else if dialect == .libreswan {
            let parts = source.split(separator: "/", omittingEmptySubsequences: false)
            if parts.count > 2 {
                network = parts.prefix(2).joined(separator: "/")
                limits = try ProtocolPort(parts.dropFirst(2).joined(separator: "/"), dialect)
            }
        }
        if network == "%dynamic" || network == "dynamic" { return "dynamic" + limits.suffix }
        guard let range = AddressRange(network) else { throw Untranslatable("'\(network)' is no network such as 10.1.0.0/16") }
        return range.text + limits.suffix
    }
}
