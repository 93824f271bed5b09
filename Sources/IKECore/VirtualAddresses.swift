// Inner addresses: what an IKE SA holds of them, in both roles, and what `dynamic` means because of them.
// RFC 7296 sections 2.19 and 3.15.3.

import IKEWire

/// The name servers that a gateway names to this host, with the domains that they are for.
package struct NameServers: Hashable, Sendable {
    package var connection: String
    /// The inner addresses that came with them: they tell the interface.
    package var addresses: [IPAddress]
    package var servers: [IPAddress]
    /// Valid host names in small letters. Empty: for every name. RFC 8598 section 3.
    package var domains: [String]
    package init(connection: String, addresses: [IPAddress], servers: [IPAddress], domains: [String]) {
        (self.connection, self.addresses, self.servers, self.domains) = (connection, addresses, servers, domains)
    }
}

extension IKESA {
    /// What `dynamic` stands for on our side: the inner addresses we were given, all while we ask for some, else our own.
    var localEnds: [TrafficSelector] {
        if !localVirtual.isEmpty { return localVirtual.map(TrafficSelector.init(host:)) }
        if asksForAddresses { return Set(connection.vips.map(\.family)).sorted { $0.rawValue < $1.rawValue }.map(TrafficSelector.init(everyAddressOf:)) }
        return [TrafficSelector(host: local.address)]
    }

    /// What `dynamic` stands for on the peer's side.
    var remoteEnds: [TrafficSelector] {
        if !remoteVirtual.isEmpty { return remoteVirtual.map(TrafficSelector.init(host:)) }
        // A peer that has to have an address of ours, and has none, has nothing to send from.
        if !connection.pools.isEmpty { return [] }
        return [TrafficSelector(host: remote.address)]
    }

    private var asksForAddresses: Bool { isInitiator && !connection.vips.isEmpty && established == nil }

    /// The end of the SA's life, or of its part in it: what was lent returns, what was given to us goes from this host.
    func giveBackAddresses() {
        for lease in leases { context.pools.release(lease) }
        leases = []
        if let nameServers { context.emit(.forgetNameServers(nameServers)) }
        nameServers = nil
        for address in ownAddresses { context.emit(.removeAddress(address)) }
        ownAddresses = []
    }

    /// Hands both over to the SA that replaces this one.
    func handAddresses(to successor: IKESA) {
        successor.localVirtual = localVirtual
        successor.remoteVirtual = remoteVirtual
        successor.leases += leases
        successor.ownAddresses += ownAddresses
        successor.nameServers = nameServers
        leases = []
        ownAddresses = []
        nameServers = nil
    }
}

extension TrafficSelector {
    package init(host address: IPAddress) { self.init(start: address, end: address) }
    package init(everyAddressOf family: IPAddress.Family) { self.init(start: IPAddress(family: family, value: 0), end: IPAddress(family: family, value: family == .v4 ? 0xffff_ffff : .max)) }
}

extension IPAddress {
    /// An address that one host can have: neither of network zero, nor loopback, nor multicast, nor broadcast.
    var isUnicast: Bool {
        switch family {
        case .v4: value >> 24 != 0 && value >> 24 != 127 && value >> 24 < 224
        case .v6: value > 1 && value >> 120 != 0xff
        }
    }
}
