// Pools that lend 10.9.0.1 and what follows, keep account, and give an identity its address again.

import IKECore
import IKEWire
import Synchronization

package final class SimulatedPools: AddressPools {
    private struct Tables {
        var leases: [IPAddress: Lease] = [:]
        var numbers: UInt64 = 0
    }
    private let tables = Mutex(Tables())
    private let count: UInt32
    package init(_ count: UInt32) { self.count = count }
    package var lent: Set<Lease> { tables.withLock { Set($0.leases.values) } }

    /// The gateway has begun anew, and everything that it lent is back.
    package func restart() { tables.withLock { $0.leases = [:] } }

    package func lease(_ request: LeaseRequest) -> Lease? {
        guard request.family == .v4 else { return nil }
        return tables.withLock { tables in
            func make(_ address: IPAddress) -> Lease {
                tables.numbers += 1
                let lease = Lease(pool: request.pools[0], address: address, identity: request.identity, origin: request.origin, number: tables.numbers)
                tables.leases[address] = lease
                return lease
            }
            if let held = tables.leases.values.first(where: { $0.identity == request.identity && request.replaces($0) }) { return make(held.address) }
            for number in 0..<count where tables.leases[IPAddress(v4: 0x0a09_0001 + number)] == nil { return make(IPAddress(v4: 0x0a09_0001 + number)) }
            return nil
        }
    }
    package func release(_ lease: Lease) { tables.withLock { if $0.leases[lease.address] == lease { $0.leases[lease.address] = nil } } }
    package func moved(_ lease: Lease, to remote: SocketAddress) {}
    package func serves(_ family: IPAddress.Family, _ pools: [String]) -> Bool { family == .v4 }
    package func attributes(of pools: [String]) -> [Configuration.Attribute] { [] }
    package func occupancy(_ family: IPAddress.Family, of pools: [String]) -> [PoolOccupancy] { [] }
}
