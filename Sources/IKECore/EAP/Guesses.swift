// Who has tried to log in lately and was not right: of a user from an address, and of an address for all users. Beyond some tries the next has to wait,
// for longer each time; from elsewhere the user gets in as ever. Bounded: what was tried longest ago is forgotten first.

import IKEWire

struct Guesses {
    private struct User: Hashable {
        let user: Identification
        let place: IPAddress
    }
    private struct Record {
        var tries: Int
        var last: Instant
    }
    private var users: [User: Record] = [:]
    private var places: [IPAddress: Record] = [:]
    private let limits: Limits
    /// A try counts for so long.
    private static let lifetime = Duration.seconds(900)
    private static let longestWait: Int64 = 300
    private static let records = 4096

    init(_ limits: Limits) { self.limits = limits }

    /// An IPv6 host has a network of addresses to itself.
    private static func place(_ address: IPAddress) -> IPAddress { address.family == .v4 ? address : HalfOpen.network(address) }

    /// How long the next try has to wait; nil where it need not.
    func wait(_ user: Identification, _ address: IPAddress, now: Instant) -> Duration? {
        let place = Self.place(address)
        let waits = [
            wait(users[User(user: user.lowercased, place: place)], limits.share(of: limits.guessesOfUser), now), wait(places[place], limits.share(of: limits.guessesOfAddress), now),
        ]
        return waits.compactMap { $0 }.max()
    }

    private func wait(_ record: Record?, _ free: Int, _ now: Instant) -> Duration? {
        guard let record, record.tries >= free else { return nil }
        let seconds = min(Self.longestWait, 1 << Int64(min(record.tries - free, 16)))
        let passed = now.since(record.last)
        return passed < .seconds(seconds) ? .seconds(seconds) - passed : nil
    }

    /// A try begins: it counts as wrong until it is right, so that many at once are no way around this.
    mutating func begun(_ user: Identification, _ address: IPAddress, now: Instant) {
        let place = Self.place(address)
        Self.count(&users, User(user: user.lowercased, place: place), now)
        Self.count(&places, place, now)
    }

    /// It came to nothing, and that was not the peer's fault.
    mutating func forgiven(_ user: Identification, _ address: IPAddress) {
        let place = Self.place(address)
        Self.lower(&users, User(user: user.lowercased, place: place), by: 1)
        Self.lower(&places, place, by: 1)
    }

    mutating func succeeded(_ user: Identification, _ address: IPAddress) {
        let place = Self.place(address)
        users[User(user: user.lowercased, place: place)] = nil
        // Others may be guessing behind the same NAT: what they did stands, and an honest place does not fill up.
        Self.lower(&places, place, by: 2)
    }

    private static func count<Key>(_ records: inout [Key: Record], _ key: Key, _ now: Instant) {
        if let record = records[key], now.since(record.last) >= lifetime { records[key] = nil }
        if records[key] == nil, records.count >= Self.records {
            records = records.filter { now.since($0.value.last) < lifetime }
            if records.count >= Self.records, let oldest = records.min(by: { $0.value.last < $1.value.last })?.key { records[oldest] = nil }
        }
        records[key] = Record(tries: min((records[key]?.tries ?? 0) + 1, 1000), last: now)
    }

    private static func lower<Key>(_ records: inout [Key: Record], _ key: Key, by count: Int) {
        guard var record = records[key] else { return }
        record.tries -= count
        records[key] = record.tries > 0 ? record : nil
    }

    /// For tests that look for growth.
    var held: Int { users.count + places.count }
}

extension IKESA {
    /// Who a peer that authenticates by EAP says that it is.
    var eapUser: Identification { remoteEAPIdentity ?? remoteIdentity ?? Identification(kind: .keyID, data: []) }
}
