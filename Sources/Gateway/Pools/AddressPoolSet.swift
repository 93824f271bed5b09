// All pools of the gateway, shared by its shards.

import IKECore
import IKEWire
import Synchronization

package final class AddressPoolSet: AddressPools {
    private let pools = Mutex<[String: AddressPool]>([:])

    package init(_ configurations: [PoolConfiguration] = []) { configure(configurations) }

    /// Pools that stay keep their leases.
    package func configure(_ configurations: [PoolConfiguration]) {
        pools.withLock { pools in
            let old = pools
            pools = [:]
            for configuration in configurations {
                var pool = old[configuration.name] ?? AddressPool(configuration)
                pool.reconfigure(configuration)
                pools[configuration.name] = pool
            }
        }
    }

    package func lease(_ family: IPAddress.Family, from names: [String], to identity: Identification, asking: IPAddress?) -> Lease? {
        pools.withLock { pools in
            for name in names where pools[name]?.configuration.start.family == family {
                if let address = pools[name]?.lease(to: identity, asking: asking) { return Lease(pool: name, address: address, identity: identity) }
            }
            return nil
        }
    }

    package func release(_ lease: Lease) { pools.withLock { $0[lease.pool]?.release(lease.address, of: lease.identity) } }

    package func serves(_ family: IPAddress.Family, _ names: [String]) -> Bool {
        pools.withLock { pools in names.contains { pools[$0]?.configuration.start.family == family } }
    }

    package func attributes(of names: [String]) -> [Configuration.Attribute] {
        pools.withLock { pools in
            var all: [Configuration.Attribute] = []
            for name in names { for attribute in pools[name]?.configuration.attributes ?? [] where !all.contains(attribute) { all.append(attribute) } }
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
        pools.withLock { pools in
            pools.values.sorted { $0.configuration.name < $1.configuration.name }.map { pool in
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
