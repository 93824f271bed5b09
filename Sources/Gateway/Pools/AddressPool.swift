// One pool of inner addresses: who has which, and who had which.

import IKECore
import IKEWire

/// The state of one pool. A value; `AddressPoolSet` guards it.
struct AddressPool {
    /// Identities that are remembered beyond their lease; the longest gone are forgotten first.
    static let rememberedLimit = 65_536

    private(set) var configuration: PoolConfiguration
    private(set) var online: [IPAddress: Identification] = [:]
    /// The address that an identity had last, while nobody else has it.
    private var remembered: [Identification: IPAddress] = [:]
    private var rememberedOf: [IPAddress: Identification] = [:]
    /// When each was given back, as a running number, for the order in which they are forgotten.
    private var order: [(number: UInt64, address: IPAddress)] = []
    private var numbers: [IPAddress: UInt64] = [:]
    private var head = 0
    private var returned: UInt64 = 0
    /// The first address that was never lent.
    private var fresh: UInt128

    init(_ configuration: PoolConfiguration) {
        self.configuration = configuration
        fresh = configuration.start.value
    }

    /// Remembered, and not lent now.
    var offline: [(IPAddress, Identification)] { rememberedOf.map { ($0.key, $0.value) }.sorted { $0.0.value < $1.0.value } }

    /// The same pool with another extent: what is lent outside it runs out by itself.
    mutating func reconfigure(_ new: PoolConfiguration) {
        guard new != configuration else { return }
        let moved = new.start != configuration.start || new.end != configuration.end
        configuration = new
        guard moved else { return }
        fresh = new.start.value
        for (address, _) in rememberedOf where !new.contains(address) { forget(address) }
    }

    /// `isTaken`: whether another pool, one that is gone from the configuration included, has lent the address.
    mutating func lease(to identity: Identification, asking: IPAddress?, isTaken: (IPAddress) -> Bool = { _ in false }) -> IPAddress? {
        guard let address = choose(identity, asking, isTaken) else { return nil }
        forget(address)
        online[address] = identity
        return address
    }

    private mutating func choose(_ identity: Identification, _ asking: IPAddress?, _ isTaken: (IPAddress) -> Bool) -> IPAddress? {
        if let before = remembered[identity], !isTaken(before) { return before }
        // One that is asked for, unless it is another's.
        if let asking, configuration.contains(asking), online[asking] == nil, rememberedOf[asking] == nil, !isTaken(asking) { return asking }
        while fresh <= configuration.end.value {
            let address = IPAddress(family: configuration.start.family, value: fresh)
            if fresh == UInt128.max { return nil }
            fresh += 1
            guard online[address] == nil, rememberedOf[address] == nil else { continue }
            if !isTaken(address) { return address }
            // Another pool's for now: its turn comes.
            enqueue(address)
        }
        return oldest(isTaken)
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

    /// The address that the identity has now.
    func current(of identity: Identification) -> IPAddress? { online.first { $0.value == identity }?.key }

    mutating func release(_ address: IPAddress, of identity: Identification) {
        guard online[address] == identity else { return }
        online[address] = nil
        guard configuration.contains(address) else { return }
        // The identity may have had two at once: the last one given back counts, the other is free for everybody.
        if let other = remembered[identity] { forget(other, keepingItInReserve: true) }
        remembered[identity] = address
        rememberedOf[address] = identity
        enqueue(address)
        while rememberedOf.count > Self.rememberedLimit, let old = oldest() {
            if let owner = rememberedOf.removeValue(forKey: old) { remembered[owner] = nil }
            enqueue(old)
        }
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

    /// Nobody's any more; with a place in the queue it can still be lent when no fresh one is left.
    private mutating func forget(_ address: IPAddress, keepingItInReserve: Bool = false) {
        if let owner = rememberedOf.removeValue(forKey: address), remembered[owner] == address { remembered[owner] = nil }
        if !keepingItInReserve { numbers[address] = nil }
    }
}
