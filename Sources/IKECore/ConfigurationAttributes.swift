// What the attributes of a Configuration payload say.
// RFC 7296 section 3.15.1, RFC 8598 section 4.

import IKEWire

extension Configuration.Attribute {
    /// INTERNAL_IP4_ADDRESS and INTERNAL_IP6_ADDRESS.
    var addressFamily: IPAddress.Family? {
        switch type {
        case Configuration.internalIP4Address: .v4
        case Configuration.internalIP6Address: .v6
        default: nil
        }
    }

    /// The family that the attribute is about; nil where it is about both, or neither.
    var family: IPAddress.Family? {
        switch type {
        case Configuration.internalIP4Address, Configuration.internalIP4Netmask, Configuration.internalIP4DNS, Configuration.internalIP4NBNS, Configuration.internalIP4DHCP,
            Configuration.internalIP4Subnet, Configuration.internalIP4Server:
            .v4
        case Configuration.internalIP6Address, Configuration.internalIP6DNS, Configuration.internalIP6DHCP, Configuration.internalIP6Subnet, Configuration.internalIP6Server: .v6
        default: nil
        }
    }

    /// The address of one of these: 4 bytes, or 16 and, in a well-formed one, a prefix length.
    var address: IPAddress? {
        switch addressFamily {
        case .v4 where value.count == 4: IPAddress(bytes: value)
        case .v6 where value.count == 16: IPAddress(bytes: value)
        case .v6 where value.count == 17: value.last.flatMap { $0 <= 128 ? IPAddress(bytes: Array(value.prefix(16))) : nil }
        default: nil
        }
    }

    /// INTERNAL_IP4_DNS and INTERNAL_IP6_DNS.
    var nameServer: IPAddress? {
        switch type {
        case Configuration.internalIP4DNS where value.count == 4, Configuration.internalIP6DNS where value.count == 16: IPAddress(bytes: value)
        default: nil
        }
    }

    /// INTERNAL_IP4_SUBNET and INTERNAL_IP6_SUBNET: `10.1.0.0/16`.
    var network: String? {
        switch type {
        case Configuration.internalIP4Subnet where value.count == 8:
            guard let base = IPAddress(bytes: Array(value.prefix(4))), let mask = UInt32(bytes: Array(value.suffix(4))), (~mask & (~mask &+ 1)) == 0 else { return nil }
            return "\(base)/\(mask.nonzeroBitCount)"
        case Configuration.internalIP6Subnet where value.count == 17:
            guard let base = IPAddress(bytes: Array(value.prefix(16))), let length = value.last, length <= 128 else { return nil }
            return "\(base)/\(length)"
        default: return nil
        }
    }

    /// INTERNAL_DNS_DOMAIN: a host name, checked and in small letters; nil for anything else, for it will stand on a command line. RFC 8598 section 4.1.
    package var domain: String? {
        guard type == Configuration.internalDNSDomain else { return nil }
        var name = value.map { $0 >= 0x41 && $0 <= 0x5a ? $0 | 0x20 : $0 }
        if name.last == 0x2e { name.removeLast() }
        guard (1...253).contains(name.count) else { return nil }
        for label in name.split(separator: 0x2e, omittingEmptySubsequences: false) {
            let isWord = label.allSatisfy { (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d || $0 == 0x5f }
            guard isWord, (1...63).contains(label.count), label.first != 0x2d, label.last != 0x2d else { return nil }
        }
        return String(decoding: name, as: UTF8.self)
    }

    /// An address that is lent. An IPv6 one carries its prefix length: 128, this address alone.
    init(assigning address: IPAddress) {
        self.init(
            type: address.family == .v4 ? Configuration.internalIP4Address : Configuration.internalIP6Address, value: address.family == .v4 ? address.bytes : address.bytes + [128])
    }

    /// A wish for one: any, where the address is zero.
    init(wishing address: IPAddress) {
        if address.value == 0 { self.init(type: address.family == .v4 ? Configuration.internalIP4Address : Configuration.internalIP6Address, value: []) } else { self.init(assigning: address) }
    }
}
