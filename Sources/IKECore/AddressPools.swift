// What the core asks of whoever lends inner addresses, and what a lease is.
// RFC 7296 sections 2.19 and 3.15.

import IKEWire

/// An inner address lent to a peer for as long as its IKE SA lives.
package struct Lease: Hashable, Sendable {
    package var pool: String
    package var address: IPAddress
    package var identity: Identification
    /// The peer's outer address when it asked.
    package var remote: IPAddress
    /// Tells it from an earlier lease of the same address.
    package var number: UInt64
    package init(pool: String, address: IPAddress, identity: Identification, remote: IPAddress, number: UInt64 = 0) {
        self.number = number
        self.pool = pool
        self.address = address
        self.identity = identity
        self.remote = remote
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
    /// The peer's outer address.
    package var remote: IPAddress
    /// The peer has begun anew: the address that its older SA still holds becomes this lease's.
    package var takingOver: Bool
    /// What the same IKE SA has been lent already.
    package var beside: [IPAddress]

    package init(
        _ family: IPAddress.Family, from pools: [String], to identity: Identification, remote: IPAddress, asking: IPAddress? = nil, takingOver: Bool = false, beside: [IPAddress] = []
    ) {
        (self.family, self.pools, self.asking, self.remote, self.takingOver, self.beside) = (family, pools, asking, remote, takingOver, beside)
        // A name in other letters is the same user's.
        self.identity = identity.inLowerCase
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
    /// Nothing happens where another lease has taken the address over.
    func release(_ lease: Lease)
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
