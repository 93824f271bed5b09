// All pools of the gateway, shared by its shards.

import IKECore
import IKEWire
import Synchronization

package final class AddressPoolSet: AddressPools {
    private struct State {
        var pools: [String: AddressPool] = [:]
        /// Every address that is lent: pools may overlap, and one of a name that was lent from may be gone, or another.
        var lent: [IPAddress: Lease] = [:]
        var last: UInt64 = 0
    }
    private let state = Mutex(State())

    package init(_ configurations: [PoolConfiguration] = []) { configure(configurations) }

    /// Pools that stay keep their leases. One that is gone lends nothing more; what it has lent nobody else gets before it has come back.
    package func configure(_ configurations: [PoolConfiguration]) {
        state.withLock { state in
            var pools: [String: AddressPool] = [:]
            for configuration in configurations {
                var pool = state.pools.removeValue(forKey: configuration.name) ?? AddressPool(configuration)
                pool.reconfigure(configuration)
                pools[configuration.name] = pool
            }
            state.pools = pools
        }
    }

    package func lease(_ family: IPAddress.Family, from names: [String], to identity: Identification, asking: IPAddress?, takingOver: Bool) -> Lease? {
        state.withLock { state in
            for name in names where state.pools[name]?.configuration.start.family == family {
                // Taken out while it works, so that neither is copied.
                guard var pool = state.pools.removeValue(forKey: name) else { continue }
                defer { state.pools[name] = pool }
                let held = takingOver ? pool.current(of: identity) : nil
                guard let address = held ?? pool.lease(to: identity, asking: asking, isTaken: { state.lent[$0] != nil }) else { continue }
                state.last += 1
                let lease = Lease(pool: name, address: address, identity: identity, number: state.last)
                state.lent[address] = lease
                return lease
            }
            return nil
        }
    }

    package func release(_ lease: Lease) {
        state.withLock { state in
            guard state.lent[lease.address] == lease else { return }
            state.lent[lease.address] = nil
            state.pools[lease.pool]?.release(lease.address, of: lease.identity)
        }
    }

    package func serves(_ family: IPAddress.Family, _ names: [String]) -> Bool {
        state.withLock { state in names.contains { state.pools[$0]?.configuration.start.family == family } }
    }

    package func attributes(of names: [String]) -> [Configuration.Attribute] {
        state.withLock { state in
            var all: [Configuration.Attribute] = []
            for name in names { for attribute in state.pools[name]?.configuration.attributes ?? [] where !all.contains(attribute) { all.append(attribute) } }
            return all
        }
    }

    package struct Snapshot: Sendable, Hashable {
        package struct Entry: Sendable, Hashable {
            package var address: IPAddress
            package var identity: Identification
            package var isOnline: Bool
        }
        package var name: String
        package var base: IPAddress
        package var size: UInt64
        package var online: Int
        package var offline: Int
        /// By address; empty unless asked for.
        package var leases: [Entry]
    }

    /// Every pool, by name.
    package func snapshots(withLeases: Bool) -> [Snapshot] {
        state.withLock { state in
            state.pools.values.sorted { $0.configuration.name < $1.configuration.name }.map { pool in
                let offline = pool.offline
                var leases: [Snapshot.Entry] = []
                if withLeases {
                    leases = pool.online.map { Snapshot.Entry(address: $0.key, identity: $0.value, isOnline: true) } + offline.map { Snapshot.Entry(address: $0.0, identity: $0.1, isOnline: false) }
                    leases.sort { $0.address.value < $1.address.value }
                }
                return Snapshot(
                    name: pool.configuration.name, base: pool.configuration.start, size: pool.configuration.size, online: pool.online.count, offline: offline.count, leases: leases)
            }
        }
    }
}
