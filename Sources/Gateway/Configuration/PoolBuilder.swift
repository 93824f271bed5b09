// From a checked section of `pools` to a pool. Keys are swanctl.conf(5)'s.

import IKEWire

struct PoolBuilder {
    /// The named attributes, with their types for IPv4 and IPv6; nil where a family has none. RFC 7296 section 3.15.1.
    static let attributes: [(key: String, v4: UInt16?, v6: UInt16?)] = [
        ("dns", Configuration.internalIP4DNS, Configuration.internalIP6DNS), ("nbns", Configuration.internalIP4NBNS, nil), ("dhcp", Configuration.internalIP4DHCP, Configuration.internalIP6DHCP),
        ("netmask", Configuration.internalIP4Netmask, nil), ("subnet", Configuration.internalIP4Subnet, Configuration.internalIP6Subnet),
        ("split_include", Configuration.internalIP4Subnet, Configuration.internalIP6Subnet), ("server", Configuration.internalIP4Server, Configuration.internalIP6Server),
    ]
    /// Names of domains that the name servers are for. RFC 8598.
    static let domainKey = "dns_domain"
    /// Those that the protocol itself fills in.
    private static let ownNumbers = [Configuration.internalIP4Address, Configuration.internalIP6Address, Configuration.supportedAttributes]

    func build(_ section: ConfigurationSection, _ diagnostics: inout Diagnostics) -> PoolConfiguration? {
        guard let value = section.value("addrs") else {
            diagnostics.missing(at: section.position, "the pool \(quoted(section.name)) has no addresses: write addrs = 10.3.0.0/24, or a range")
            return nil
        }
        var extent: (start: IPAddress, end: IPAddress)?
        do throws(AddressProblem) { extent = try addressRange(value.text) } catch {
            diagnostics.error(at: value.position, error.message)
            return nil
        }
        guard let (start, end) = extent else {
            diagnostics.error(at: value.position, "\(quoted(value.text)) is no network such as 10.3.0.0/24 and no range such as 10.3.0.10-10.3.0.99")
            return nil
        }
        // Of a network the first address, and of an IPv4 network the last, are no host's.
        let isNetwork = value.text.contains("/") && end.value - start.value >= 2
        let first = isNetwork ? IPAddress(family: start.family, value: start.value + 1) : start
        let last = isNetwork && start.family == .v4 ? IPAddress(family: end.family, value: end.value - 1) : end
        var pool = PoolConfiguration(name: section.name, start: first, end: last)
        for setting in section.settings where setting.name != "addrs" {
            guard let value = setting.value else { continue }
            for element in value.elements {
                if let attribute = attribute(setting.name, element.text) {
                    pool.attributes.append(attribute)
                } else if let problem = problem(setting.name, element.text) {
                    diagnostics.error(at: element.position, problem)
                }
            }
        }
        if pool.attributes.contains(where: { $0.type == Configuration.internalDNSDomain }),
            !pool.attributes.contains(where: { $0.type == Configuration.internalIP4DNS || $0.type == Configuration.internalIP6DNS })
        {
            diagnostics.warning(
                at: section.position, "the pool \(quoted(section.name)) names domains and no name server for them: where no other pool of the connection has one, clients are not told of them")
        }
        if pool.attributes.count(where: { $0.type == Configuration.internalIP4Netmask }) > 1 {
            diagnostics.error(at: section.position, "the pool \(quoted(section.name)) has more than one netmask, and a client is told one")
        }
        // One Configuration payload has to hold them.
        if pool.attributes.count > 64 { diagnostics.error(at: section.position, "the pool \(quoted(section.name)) has more than 64 attributes") }
        return pool
    }

    private func attribute(_ key: String, _ text: String) -> Configuration.Attribute? {
        if let known = Self.attributes.first(where: { $0.key == key }) {
            if known.v4 == Configuration.internalIP4Subnet {
                guard let slash = text.firstIndex(of: "/"), let network = IPAddress(String(text[..<slash])), let length = integerValue(String(text[text.index(after: slash)...])),
                    length <= UInt64(network.bitCount)
                else { return nil }
                let length8 = UInt8(truncatingIfNeeded: length)
                let base = TrafficSelector(prefix: network, length: Int(length)).start
                // IPv4: address and mask; IPv6: address and prefix length.
                if network.family == .v6 { return known.v6.map { Configuration.Attribute(type: $0, value: base.bytes + [length8]) } }
                let mask = length == 0 ? 0 : UInt32.max << (32 - UInt32(length))
                return known.v4.map { Configuration.Attribute(type: $0, value: base.bytes + IPAddress(v4: mask).bytes) }
            }
            guard let address = IPAddress(text), let type = address.family == .v4 ? known.v4 : known.v6 else { return nil }
            // Ones, then zeros.
            if type == Configuration.internalIP4Netmask, (~UInt32(truncatingIfNeeded: address.value) & (~UInt32(truncatingIfNeeded: address.value) &+ 1)) != 0 { return nil }
            return Configuration.Attribute(type: type, value: address.bytes)
        }
        if key == Self.domainKey { return domain(text) }
        // Any attribute by its number: an address, or text.
        guard let number = integerValue(key), number > 0, number <= 0x7fff, text.utf8.count <= 255 else { return nil }
        let type = UInt16(truncatingIfNeeded: number)
        guard !Self.ownNumbers.contains(type) else { return nil }
        if type == Configuration.internalDNSDomain { return domain(text) }
        // One that has a name is what it would be under that.
        if let known = Self.attributes.first(where: { $0.v4 == type || $0.v6 == type }) { return attribute(known.key, text).flatMap { $0.type == type ? $0 : nil } }
        return Configuration.Attribute(type: type, value: IPAddress(text)?.bytes ?? Array(text.utf8))
    }

    private func domain(_ text: String) -> Configuration.Attribute? {
        let attribute = Configuration.Attribute(type: Configuration.internalDNSDomain, value: Array(text.utf8))
        return attribute.domain.map { Configuration.Attribute(type: Configuration.internalDNSDomain, value: Array($0.utf8)) }
    }

    private func problem(_ key: String, _ text: String) -> String? {
        if let known = Self.attributes.first(where: { $0.key == key }) {
            let family = known.v6 == nil ? "an IPv4 address" : "an address"
            let wanted = known.v4 == Configuration.internalIP4Subnet ? "networks such as 10.1.0.0/16" : known.v4 == Configuration.internalIP4Netmask ? "a mask such as 255.255.255.0" : family
            return "\(quoted(key)) takes \(wanted), and \(quoted(text)) is none"
        }
        if key == "split_exclude" { return nil }
        if key == Self.domainKey { return "\(quoted(key)) takes names of domains such as corp.example, and \(quoted(text)) is none" }
        if let number = integerValue(key) {
            if Self.ownNumbers.contains(where: { UInt64($0) == number }) { return "the attribute \(number) is none that a pool may add: it comes of the addresses themselves" }
            if number == UInt64(Configuration.internalDNSDomain) { return problem(Self.domainKey, text) }
            if let known = Self.attributes.first(where: { $0.v4.map(UInt64.init) == number || $0.v6.map(UInt64.init) == number }) {
                return "the attribute \(number) is \(quoted(known.key)) of \(known.v4.map(UInt64.init) == number ? "IPv4" : "IPv6"), and \(quoted(text)) is none of that"
            }
            return "an attribute's number is from 1 to 32767, and its value has at most 255 bytes"
        }
        return "a pool has no key \(quoted(key))" + suggestion(nearest(to: key, among: ["addrs", Self.domainKey] + Self.attributes.map(\.key)))
    }
}
