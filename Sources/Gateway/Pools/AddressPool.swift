// One pool of inner addresses: who has which, and who had which.

import IKECore
import IKEWire

/// The state of one pool. A value; `AddressPoolSet` guards it.
struct AddressPool {
    /// Addresses whose last owners are remembered beyond their leases; the longest gone are forgotten first.
    static let rememberedLimit = 65_536
    /// An identity longer than this is forgotten with its lease: what is remembered would have no bound.
    static let identityLimit = 1024

    /// How an address may be found, the best way first. Each is tried in every pool before the next.
    enum Way: CaseIterable {
        /// The one that is asked for, unless it is another's.
        case asked
        /// One that the identity had before.
        case before
        /// One that nobody has had yet.
        case fresh
        /// The one that was given back the longest ago.
        case oldest
    }

    private(set) var configuration: PoolConfiguration
    private(set) var online: [IPAddress: Identification] = [:]
    /// The same by identity, in the order in which they were lent.
    private var onlineOf: [Identification: [IPAddress]] = [:]
    /// The addresses that an identity had and nobody else has now, the latest last.
    private var remembered: [Identification: [IPAddress]] = [:]
    private var rememberedOf: [IPAddress: Identification] = [:]
    /// When each was given back, as a running number, for the order in which they are lent to others.
    private var order: [(number: UInt64, address: IPAddress)] = []
    private var numbers: [IPAddress: UInt64] = [:]
    private var head = 0
    private var returned: UInt64 = 0
    /// The first address that was never lent.
    private var fresh: UInt128
    /// Addresses whose last owner is forgotten since this was last taken, for what is kept on disk.
    private var forgotten: [IPAddress] = []

    init(_ configuration: PoolConfiguration) {
        self.configuration = configuration
        fresh = configuration.start.value
    }

    /// Remembered, and not lent now.
    var offline: [(IPAddress, Identification)] { rememberedOf.map { ($0.key, $0.value) }.sorted { $0.0.value < $1.0.value } }
    var offlineCount: Int { rememberedOf.count }
    /// Remembered, the longest gone first, for a pool that is put away.
    var offlineByAge: [(IPAddress, Identification)] {
        rememberedOf.map { ($0.key, $0.value) }.sorted { numbers[$0.0] ?? 0 < numbers[$1.0] ?? 0 }
    }

    mutating func takeForgotten() -> [IPAddress] {
        defer { forgotten = [] }
        return forgotten
    }

    /// The same pool with another extent: what is lent outside it runs out by itself.
    mutating func reconfigure(_ new: PoolConfiguration) {
        guard new != configuration else { return }
        let moved = new.start != configuration.start || new.end != configuration.end
        configuration = new
        guard moved else { return }
        fresh = new.start.value
        for (address, _) in rememberedOf where !new.contains(address) { forget(address) }
    }

    /// Who had an address before the daemon started, or before the pool was put away. In the order in which they were given back; false where it is none of the pool's.
    mutating func restore(_ address: IPAddress, of identity: Identification) -> Bool {
        guard configuration.contains(address), online[address] == nil, rememberedOf[address] == nil, rememberedOf.count < Self.rememberedLimit else { return false }
        remember(address, identity)
        return true
    }

    /// `isTaken`: whether another pool, one that is gone from the configuration included, has lent the address.
    mutating func lease(to identity: Identification, asking: IPAddress?, _ way: Way, isTaken: (IPAddress) -> Bool) -> IPAddress? {
        let found: IPAddress? =
            switch way {
            case .asked: asked(asking, identity, isTaken)
            case .before: remembered[identity]?.last { !isTaken($0) }
            case .fresh: neverLent(isTaken)
            case .oldest: oldest(isTaken)
            }
        guard let address = found else { return nil }
        forget(address)
        online[address] = identity
        onlineOf[identity, default: []].append(address)
        return address
    }

    private func asked(_ asking: IPAddress?, _ identity: Identification, _ isTaken: (IPAddress) -> Bool) -> IPAddress? {
        guard let address = asking.flatMap({ configuration.fitting($0) }), online[address] == nil, !isTaken(address) else { return nil }
        guard let owner = rememberedOf[address] else { return address }
        return owner == identity ? address : nil
    }

    private mutating func neverLent(_ isTaken: (IPAddress) -> Bool) -> IPAddress? {
        while fresh <= configuration.end.value {
            let address = IPAddress(family: configuration.start.family, value: fresh)
            if fresh == UInt128.max { return nil }
            fresh += 1
            // One with a place in the queue waits there for its turn.
            guard online[address] == nil, numbers[address] == nil else { continue }
            if !isTaken(address) { return address }
            // Another pool's for now: its turn comes.
            enqueue(address)
        }
        return nil
    }

    /// The one that was given back the longest ago.
    private mutating func oldest(_ isTaken: (IPAddress) -> Bool = { _ in false }) -> IPAddress? {
        var taken: [IPAddress] = []
        // What another pool has lent keeps its place in the queue, at the end.
        defer { for address in taken { enqueue(address) } }
        while head < order.count {
            let entry = order[head]
            head += 1
            guard numbers[entry.address] == entry.number, configuration.contains(entry.address) else { continue }
            if !isTaken(entry.address) { return entry.address }
            taken.append(entry.address)
        }
        return nil
    }

    /// Entries of the queue, for tests that look for growth.
    var queued: Int { order.count }

    /// The addresses that the identity has now, the oldest lease first.
    func current(of identity: Identification) -> [IPAddress] { onlineOf[identity] ?? [] }

    /// Some who have an address, from the first one on: not all are looked at.
    func firstHolders(_ count: Int) -> [PoolOccupancy.Holder] {
        var holders: [PoolOccupancy.Holder] = []
        for offset in 0..<UInt128(min(configuration.size, 256)) where holders.count < count {
            let address = IPAddress(family: configuration.start.family, value: configuration.start.value + offset)
            if let identity = online[address] { holders.append(PoolOccupancy.Holder(address: address, identity: identity)) }
        }
        return holders
    }

    mutating func release(_ address: IPAddress, of identity: Identification) {
        guard online[address] == identity else { return }
        online[address] = nil
        onlineOf[identity]?.removeAll { $0 == address }
        if onlineOf[identity]?.isEmpty == true { onlineOf[identity] = nil }
        guard configuration.contains(address) else { return forgotten.append(address) }
        guard identity.data.count <= Self.identityLimit else {
            forgotten.append(address)
            return enqueue(address)
        }
        remember(address, identity)
        while rememberedOf.count > Self.rememberedLimit, let old = oldest() {
            forget(old)
            enqueue(old)
        }
    }

    private mutating func remember(_ address: IPAddress, _ identity: Identification) {
        remembered[identity, default: []].append(address)
        rememberedOf[address] = identity
        enqueue(address)
    }

    private mutating func enqueue(_ address: IPAddress) {
        // Entries that no longer count are thrown out before they are most of the queue.
        if order.count > 2 * numbers.count + 1024 {
            order = order[head...].filter { numbers[$0.address] == $0.number }
            head = 0
        }
        returned += 1
        order.append((returned, address))
        numbers[address] = returned
    }

    /// Nobody's any more.
    private mutating func forget(_ address: IPAddress) {
        numbers[address] = nil
        guard let owner = rememberedOf.removeValue(forKey: address) else { return }
        remembered[owner]?.removeAll { $0 == address }
        if remembered[owner]?.isEmpty == true { remembered[owner] = nil }
        forgotten.append(address)
    }
}

extension PoolConfiguration {
    /// The address of the pool that a wish means, if there is one. RFC 7296 section 3.15.1: of an IPv6 address a client may name the low bits alone.
    fileprivate func fitting(_ wish: IPAddress) -> IPAddress? {
        if contains(wish) { return wish }
        guard wish.family == .v6, start.family == .v6, wish.value >> 64 == 0 else { return nil }
        let host = UInt128.max >> UInt128((start.value ^ end.value).leadingZeroBitCount)
        let address = IPAddress(family: .v6, value: start.value & ~host | wish.value & host)
        return contains(address) && address.value & host == wish.value ? address : nil
    }
}
