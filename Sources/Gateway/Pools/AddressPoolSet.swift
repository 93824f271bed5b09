// All pools of the gateway, shared by its shards.

import IKECore
import IKEWire
import Synchronization

package final class AddressPoolSet: AddressPools {
    fileprivate struct State {
        var pools: [String: AddressPool] = [:]
        /// Every address that is lent: pools may overlap, and one of a name that was lent from may be gone, or another. More than one lease has an
        /// address while a peer is in the middle of replacing an SA by another; the latest is the last. It is free when the last of them is.
        var lent: [IPAddress: [Lease]] = [:]
        var last: UInt64 = 0
        /// What is remembered of pools that nobody has configured now, the longest gone first.
        var dormant: [String: [LeaseRecord]] = [:]
        var dormantCount = 0
        var journal: (any LeaseJournal)?
    }
    private let state = Mutex(State())

    /// Records of pools that are not configured: more are forgotten.
    static let dormantLimit = 262_144

    package init(_ configurations: [PoolConfiguration] = []) { configure(configurations) }

    /// Pools that stay keep their leases. One that is gone lends nothing more; what it has lent nobody else gets before it has come back.
    package func configure(_ configurations: [PoolConfiguration]) {
        state.withLock { state in
            var pools: [String: AddressPool] = [:]
            for configuration in configurations {
                let known = state.pools.removeValue(forKey: configuration.name)
                var pool = known ?? AddressPool(configuration)
                pool.reconfigure(configuration)
                let dormant = state.dormant.removeValue(forKey: configuration.name) ?? []
                state.dormantCount -= dormant.count
                for record in dormant where !pool.restore(record.address, of: record.identity) { state.journal?.note(LeaseKey(record), nil) }
                state.forget(&pool)
                pools[configuration.name] = pool
            }
            // What those that are gone remember waits for their return.
            for (name, pool) in state.pools {
                for (address, identity) in pool.offlineByAge {
                    state.last += 1
                    state.putAway(LeaseRecord(pool: name, address: address, identity: identity, isOnline: false, number: state.last))
                }
            }
            state.pools = pools
        }
    }

    /// What earlier lives of the daemon knew, and from now on who is told of every change. Before anything is lent.
    package func restore(_ records: [LeaseRecord], journal: (any LeaseJournal)?) {
        state.withLock { state in
            state.journal = journal
            state.last = max(state.last, records.map(\.number).max() ?? 0)
            // Whoever was online is the last to have gone: it went with the daemon.
            for record in records.sorted(by: { $0.isOnline == $1.isOnline ? $0.number < $1.number : $1.isOnline }) {
                guard var pool = state.pools.removeValue(forKey: record.pool) else {
                    state.putAway(record)
                    continue
                }
                if !pool.restore(record.address, of: record.identity) { journal?.note(LeaseKey(record), nil) }
                state.pools[record.pool] = pool
            }
        }
    }

    package func lease(_ request: LeaseRequest) -> Lease? {
        state.withLock { state in
            let names = request.pools.filter { state.pools[$0]?.configuration.start.family == request.family }
            if let (name, address) = state.held(request, names) { return state.lend(address, from: name, request) }
            for way in AddressPool.Way.allCases {
                for name in names {
                    // Taken out while it works, so that neither is copied.
                    guard var pool = state.pools.removeValue(forKey: name) else { continue }
                    let address = pool.lease(to: request.identity, asking: request.asking, way) { state.lent[$0] != nil }
                    state.forget(&pool)
                    state.pools[name] = pool
                    if let address { return state.lend(address, from: name, request) }
                }
            }
            return nil
        }
    }

    package func release(_ lease: Lease) {
        state.withLock { state in
            guard let index = state.lent[lease.address]?.firstIndex(where: { $0.number == lease.number }) else { return }
            state.lent[lease.address]?.remove(at: index)
            guard state.lent[lease.address]?.isEmpty == true else { return }
            state.lent[lease.address] = nil
            state.last += 1
            let record = LeaseRecord(pool: lease.pool, address: lease.address, identity: lease.identity, isOnline: false, number: state.last)
            state.journal?.note(LeaseKey(record), record.isRemembered ? record : nil)
            guard var pool = state.pools.removeValue(forKey: lease.pool) else { return record.isRemembered ? state.putAway(record) : () }
            pool.release(lease.address, of: lease.identity)
            state.forget(&pool)
            state.pools[lease.pool] = pool
        }
    }

    package func moved(_ lease: Lease, to remote: SocketAddress) {
        state.withLock { state in
            guard let index = state.lent[lease.address]?.firstIndex(where: { $0.number == lease.number }) else { return }
            state.lent[lease.address]?[index].origin.remote = remote
        }
    }

    package func serves(_ family: IPAddress.Family, _ names: [String]) -> Bool {
        state.withLock { state in names.contains { state.pools[$0]?.configuration.start.family == family } }
    }

    package func attributes(of names: [String]) -> [Configuration.Attribute] {
        state.withLock { state in
            var all: [Configuration.Attribute] = [], seen: Set<Configuration.Attribute> = []
            for name in names { for attribute in state.pools[name]?.configuration.attributes ?? [] where seen.insert(attribute).inserted { all.append(attribute) } }
            return all
        }
    }

    package func occupancy(_ family: IPAddress.Family, of names: [String]) -> [PoolOccupancy] {
        state.withLock { state in
            names.compactMap { name in
                guard let pool = state.pools[name], pool.configuration.start.family == family else { return nil }
                let configuration = pool.configuration
                let lent = pool.online.count
                // Counted only where they matter: every shard waits meanwhile.
                let others = UInt64(lent) >= configuration.size ? 0 : state.lent.count { address, leases in leases.last?.pool != name && configuration.contains(address) }
                return PoolOccupancy(
                    name: name, first: configuration.start, last: configuration.end, size: configuration.size, lent: lent, lentByOthers: others, holders: pool.firstHolders(3))
            }
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
                var leases: [Snapshot.Entry] = []
                if withLeases {
                    leases = pool.online.map { Snapshot.Entry(address: $0.key, identity: $0.value, isOnline: true) }
                    leases += pool.offline.map { Snapshot.Entry(address: $0.0, identity: $0.1, isOnline: false) }
                    leases.sort { $0.address.value < $1.address.value }
                }
                return Snapshot(
                    name: pool.configuration.name, base: pool.configuration.start, size: pool.configuration.size, online: pool.online.count, offline: pool.offlineCount, leases: leases)
            }
        }
    }
}

extension AddressPoolSet.State {
    /// An address that an older SA of the same peer still holds, and that is to be this one's: because the older one goes, or because the
    /// peer asks for it from where the older one came: it authenticates itself again.
    fileprivate func held(_ request: LeaseRequest, _ names: [String]) -> (pool: String, address: IPAddress)? {
        var first: (String, IPAddress)?
        for name in names {
            for address in pools[name]?.current(of: request.identity) ?? [] where !request.beside.contains(address) {
                guard let lease = lent[address]?.last else { continue }
                let goes = request.replaces(lease)
                if address == request.asking, goes || lease.origin.remote == request.origin.remote { return (name, address) }
                if goes, first == nil { first = (name, address) }
            }
        }
        return first
    }

    fileprivate mutating func lend(_ address: IPAddress, from pool: String, _ request: LeaseRequest) -> Lease {
        last += 1
        let lease = Lease(pool: pool, address: address, identity: request.identity, origin: request.origin, number: last)
        lent[address, default: []].append(lease)
        // The next life is to know of it whether or not it comes back in this one.
        let record = LeaseRecord(pool: pool, address: address, identity: request.identity, isOnline: true, number: last)
        journal?.note(LeaseKey(record), record.isRemembered ? record : nil)
        return lease
    }

    /// Tells the journal what a pool no longer remembers.
    fileprivate mutating func forget(_ pool: inout AddressPool) {
        for address in pool.takeForgotten() { journal?.note(LeaseKey(pool: pool.configuration.name, address: address), nil) }
    }

    fileprivate mutating func putAway(_ record: LeaseRecord) {
        guard dormantCount < AddressPoolSet.dormantLimit else { return journal?.note(LeaseKey(record), nil) ?? () }
        dormantCount += 1
        dormant[record.pool, default: []].append(record)
    }
}

extension LeaseRecord {
    fileprivate var isRemembered: Bool { identity.data.count <= AddressPool.identityLimit }
}

extension LeaseKey {
    init(_ record: LeaseRecord) { self.init(pool: record.pool, address: record.address) }
}
