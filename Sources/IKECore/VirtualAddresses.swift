// Inner addresses: what a client asks its gateway for, and what the gateway lends.
// RFC 7296 sections 2.19 and 3.15.

import IKEWire

/// An inner address lent to a peer for as long as its IKE SA lives.
package struct Lease: Hashable, Sendable {
    package var pool: String
    package var address: IPAddress
    package var identity: Identification
    /// Tells it from an earlier lease of the same address.
    package var number: UInt64
    package init(pool: String, address: IPAddress, identity: Identification, number: UInt64 = 0) {
        self.number = number
        self.pool = pool
        self.address = address
        self.identity = identity
    }
}

/// Addresses that a gateway lends. Called on any shard's thread; returns at once.
package protocol AddressPools: AnyObject, Sendable {
    /// An address from the first of the pools that has one: the one that the identity had before, or the one it asks for, where that is
    /// free. `takingOver`: the peer has begun anew, so that the address that its older SA still holds becomes this lease's. Nil when none is left.
    func lease(_ family: IPAddress.Family, from pools: [String], to identity: Identification, asking: IPAddress?, takingOver: Bool) -> Lease?
    /// Nothing happens where another lease has taken the address over.
    func release(_ lease: Lease)
    /// Whether one of the pools has addresses of the family, lent or not.
    func serves(_ family: IPAddress.Family, _ pools: [String]) -> Bool
    /// What else the pools tell a client: name servers, networks.
    func attributes(of pools: [String]) -> [Configuration.Attribute]
}

/// For a gateway that lends none.
package final class NoPools: AddressPools {
    package init() {}
    package func lease(_ family: IPAddress.Family, from pools: [String], to identity: Identification, asking: IPAddress?, takingOver: Bool) -> Lease? { nil }
    package func release(_ lease: Lease) {}
    package func serves(_ family: IPAddress.Family, _ pools: [String]) -> Bool { false }
    package func attributes(of pools: [String]) -> [Configuration.Attribute] { [] }
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
        for address in ownAddresses { context.emit(.removeAddress(address)) }
        ownAddresses = []
    }

    /// Hands both over to the SA that replaces this one.
    func handAddresses(to successor: IKESA) {
        successor.localVirtual = localVirtual
        successor.remoteVirtual = remoteVirtual
        successor.leases += leases
        successor.ownAddresses += ownAddresses
        leases = []
        ownAddresses = []
    }
}

// MARK: The gateway's side

extension Established {
    /// Lends what IKE_AUTH asks for. The Configuration payload of the answer, if there is to be one.
    func lendAddresses(_ payloads: [Payload]) throws(ChildRefusal) -> [Payload] {
        let pools = sa.connection.pools
        guard !pools.isEmpty, let identity = sa.remoteIdentity else { return [] }
        var wishes: [(family: IPAddress.Family, asking: IPAddress?)] = []
        for case .configuration(let request) in payloads where request.kind == Configuration.request {
            for attribute in request.attributes {
                guard let family = attribute.addressFamily, !wishes.contains(where: { $0.family == family }) else { continue }
                wishes.append((family, attribute.address.flatMap { $0.value == 0 ? nil : $0 }))
            }
        }
        //= RFC 7296 §2.19: where an address is needed and none was asked for.
        guard !wishes.isEmpty else { throw ChildRefusal(Notify(.failedCPRequired), .addressNotAskedFor(sa)) }
        for wish in wishes {
            // As the older SA will go: with `unique = never` it stays, and so does its address.
            let returns = sa.connection.unique == .replace || (sa.initialContact && sa.connection.unique != .never)
            guard let lease = context.pools.lease(wish.family, from: pools, to: identity, asking: wish.asking, takingOver: returns) else { continue }
            sa.leases.append(lease)
            context.note(.info, "\(identity) is lent \(lease.address) of the pool \(lease.pool)", sa)
        }
        sa.remoteVirtual = sa.leases.map(\.address)
        guard !sa.leases.isEmpty else {
            let served = wishes.filter { context.pools.serves($0.family, pools) }
            throw ChildRefusal(Notify(.internalAddressFailure), served.isEmpty ? .addressFamilyNotServed(wishes.map(\.family), sa) : .poolsExhausted(sa))
        }
        let families = Set(sa.leases.map(\.address.family))
        let others = context.pools.attributes(of: pools).filter { attribute in attribute.family.map { families.contains($0) } ?? true }
        let attributes = sa.leases.map { Configuration.Attribute(assigning: $0.address) } + others
        return [.configuration(Configuration(kind: Configuration.reply, attributes: attributes))]
    }
}

// MARK: The client's side

extension IKESA {
    /// The Configuration payload that asks for the connection's `vips`, with the name servers that go with them.
    var addressRequest: [Payload] {
        guard !connection.vips.isEmpty else { return [] }
        var attributes: [Configuration.Attribute] = []
        for address in connection.vips { attributes.append(Configuration.Attribute(wishing: address)) }
        for family in Set(connection.vips.map(\.family)).sorted(by: { $0.rawValue < $1.rawValue }) {
            attributes.append(Configuration.Attribute(type: family == .v4 ? Configuration.internalIP4DNS : Configuration.internalIP6DNS, value: []))
        }
        return [.configuration(Configuration(kind: Configuration.request, attributes: attributes))]
    }
}

extension Established {
    /// Takes the addresses that came back, before the first child needs them.
    func takeAddresses(_ payloads: [Payload]) throws(Failure) {
        guard !sa.connection.vips.isEmpty else { return }
        var servers: [IPAddress] = []
        for case .configuration(let reply) in payloads where reply.kind == Configuration.reply {
            for attribute in reply.attributes {
                if attribute.addressFamily != nil {
                    //= RFC 7296 §2.19: no more than was asked for.
                    guard let address = attribute.address, address.isUnicast, sa.connection.vips.contains(where: { $0.family == address.family }),
                        !sa.localVirtual.contains(where: { $0.family == address.family })
                    else { continue }
                    sa.localVirtual.append(address)
                } else if attribute.type == Configuration.internalIP4DNS || attribute.type == Configuration.internalIP6DNS, let server = IPAddress(bytes: attribute.value), servers.count < 8 {
                    servers.append(server)
                }
            }
        }
        guard !sa.localVirtual.isEmpty else {
            for case .notify(let notify) in payloads where notify.type.isError { throw .addressRefused(notify, sa) }
            throw .noAddressGiven(sa)
        }
        for address in sa.localVirtual {
            context.note(.notice, "the gateway lends us \(address)", sa)
            context.emit(.addAddress(address))
        }
        sa.ownAddresses = sa.localVirtual
        if !servers.isEmpty { context.note(.notice, "the gateway names the name servers \(servers.map(\.description).joined(separator: ", ")); they are not set up on this host", sa) }
    }
}

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
    fileprivate var family: IPAddress.Family? {
        switch type {
        case Configuration.internalIP4Address, Configuration.internalIP4Netmask, Configuration.internalIP4DNS, Configuration.internalIP4NBNS, Configuration.internalIP4DHCP,
            Configuration.internalIP4Subnet:
            .v4
        case Configuration.internalIP6Address, Configuration.internalIP6DNS, Configuration.internalIP6DHCP, Configuration.internalIP6Subnet: .v6
        default: nil
        }
    }

    /// The address of one of these: 4 bytes, or 16 and, in a well-formed one, a prefix length.
    var address: IPAddress? {
        switch addressFamily {
        case .v4 where value.count == 4: IPAddress(bytes: value)
        case .v6 where value.count == 17 || value.count == 16: IPAddress(bytes: Array(value.prefix(16)))
        default: nil
        }
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

extension TrafficSelector {
    package init(host address: IPAddress) { self.init(start: address, end: address) }
    package init(everyAddressOf family: IPAddress.Family) { self.init(start: IPAddress(family: family, value: 0), end: IPAddress(family: family, value: family == .v4 ? 0xffff_ffff : .max)) }
}

extension IPAddress {
    /// An address that one host can have: neither zero, nor loopback, nor multicast, nor broadcast.
    var isUnicast: Bool {
        switch family {
        case .v4: value != 0 && value >> 24 != 127 && value >> 24 < 224
        case .v6: value > 1 && value >> 120 != 0xff
        }
    }
}
