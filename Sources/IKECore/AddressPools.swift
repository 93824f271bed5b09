// What the core asks of whoever lends inner addresses, and what a lease is.
// RFC 7296 sections 2.19 and 3.15.

import IKEWire

/// An inner address lent to a peer for as long as its IKE SA lives.
package struct Lease: Hashable, Sendable {
    package var pool: String
    package var address: IPAddress
    package var identity: Identification
    package var origin: Origin
    /// Tells it from another lease of the same address.
    package var number: UInt64
    package init(pool: String, address: IPAddress, identity: Identification, origin: Origin, number: UInt64 = 0) {
        self.number = number
        self.pool = pool
        self.address = address
        self.identity = identity
        self.origin = origin
    }

    /// Through what the peer came.
    package struct Origin: Hashable, Sendable {
        package var connection: String
        /// What we were to it.
        package var local: Identification?
        /// Its outer address and port: behind one NAT the ports tell devices apart.
        package var remote: SocketAddress
        /// When it asked.
        package var at: Instant
        package init(connection: String, local: Identification?, remote: SocketAddress, at: Instant) {
            (self.connection, self.local, self.remote, self.at) = (connection, local, remote, at)
        }
    }
}

/// One address that a peer asks for.
package struct LeaseRequest: Sendable {
    package var family: IPAddress.Family
    /// Where to look, in order.
    package var pools: [String]
    package var identity: Identification
    /// The address that it would like; nil for any.
    package var asking: IPAddress?
    package var origin: Lease.Origin
    package var takingOver: Takeover
    /// What the same IKE SA has been lent already.
    package var beside: [IPAddress]

    package init(
        _ family: IPAddress.Family, from pools: [String], to identity: Identification, origin: Lease.Origin, asking: IPAddress? = nil, takingOver: Takeover = .nothing, beside: [IPAddress] = []
    ) {
        (self.family, self.pools, self.asking, self.origin, self.takingOver, self.beside) = (family, pools, asking, origin, takingOver, beside)
        // A name in other letters is the same user's.
        self.identity = identity.inLowerCase
    }

    /// Which older SAs of the peer go because of this one, so that their addresses are its own.
    package enum Takeover: Hashable, Sendable {
        case nothing
        /// Those of the same connection: `unique = replace`.
        case ofConnection
        /// Those between the same identities, in the same family of outer addresses, from before the peer began with this one: INITIAL_CONTACT.
        case ofPeer(before: Instant)
    }

    /// Whether the SA that has this lease will go.
    package func replaces(_ lease: Lease) -> Bool {
        guard lease.origin.local == origin.local, lease.origin.remote.address.family == origin.remote.address.family else { return false }
        return switch takingOver {
        case .nothing: false
        case .ofConnection: lease.origin.connection == origin.connection
        case .ofPeer(let begun): lease.origin.at < begun
        }
    }
}

/// How full a pool is, for the explanation of a refusal.
package struct PoolOccupancy: Hashable, Sendable {
    package struct Holder: Hashable, Sendable {
        package var address: IPAddress
        package var identity: Identification
        package init(address: IPAddress, identity: Identification) {
            self.address = address
            self.identity = identity
        }
    }
    package var name: String
    package var first: IPAddress
    package var last: IPAddress
    package var size: UInt64
    /// Lent now.
    package var lent: Int
    /// Of its addresses, those that another pool has lent.
    package var lentByOthers: Int
    /// Some of those who have one, by address.
    package var holders: [Holder]
    package init(name: String, first: IPAddress, last: IPAddress, size: UInt64, lent: Int, lentByOthers: Int = 0, holders: [Holder] = []) {
        (self.name, self.first, self.last, self.size, self.lent, self.lentByOthers, self.holders) = (name, first, last, size, lent, lentByOthers, holders)
    }
}

/// Addresses that a gateway lends. Called on any shard's thread; returns at once.
package protocol AddressPools: AnyObject, Sendable {
    /// An address of one of the pools: the one that the peer asks for or the one that it had before, where that is free; nil when none is left.
    func lease(_ request: LeaseRequest) -> Lease?
    /// The address stays lent where another lease has it as well.
    func release(_ lease: Lease)
    /// The peer has another outer address from now on.
    func moved(_ lease: Lease, to remote: SocketAddress)
    /// Whether one of the pools has addresses of the family, lent or not.
    func serves(_ family: IPAddress.Family, _ pools: [String]) -> Bool
    /// What else the pools tell a client: name servers, networks.
    func attributes(of pools: [String]) -> [Configuration.Attribute]
    /// How full those of the pools are that have addresses of the family; those that nobody has configured are left out.
    func occupancy(_ family: IPAddress.Family, of pools: [String]) -> [PoolOccupancy]
}

/// For a gateway that lends none.
package final class NoPools: AddressPools {
    package init() {}
    package func lease(_ request: LeaseRequest) -> Lease? { nil }
    package func release(_ lease: Lease) {}
    package func moved(_ lease: Lease, to remote: SocketAddress) {}
    package func serves(_ family: IPAddress.Family, _ pools: [String]) -> Bool { false }
    package func attributes(of pools: [String]) -> [Configuration.Attribute] { [] }
    package func occupancy(_ family: IPAddress.Family, of pools: [String]) -> [PoolOccupancy] { [] }
}

extension Identification {
    /// Host names and mail addresses with small letters alone, as `matches` compares them; anything else as it is.
    fileprivate var inLowerCase: Identification {
        guard kind == .fqdn || kind == .rfc822 else { return self }
        return Identification(kind: kind, data: data.map { $0 >= 0x41 && $0 <= 0x5a ? $0 | 0x20 : $0 })
    }
}
