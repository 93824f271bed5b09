// Who has tried to log in lately and was wrong: as a user from an address, and from an address as anybody. Beyond some failures the next try has to wait,
// for longer each time; from elsewhere the user gets in as ever. Tries under way have a limit of their own. Bounded: what failed longest ago is forgotten first.
//
// However a user's name is written: what the directory calls the user counts as soon as it has said so, and before it has, what the peer wrote.

import IKEWire

struct Guesses: Sendable {
    enum Key: Hashable, Sendable {
        case user([UInt8], IPAddress)
        case place(IPAddress)
    }
    private struct Record: Sendable {
        var failures: Int
        var last: Instant
    }
    private var records: [Key: Record] = [:]
    /// How many tries are under way.
    private var flights: [Key: Int] = [:]
    private let limits: Limits
    private static let longestWait: Int64 = 300
    private static let recordLimit = 8192

    init(_ limits: Limits) { self.limits = limits }

    /// An IPv6 host has a network of addresses to itself.
    private static func place(_ address: IPAddress) -> IPAddress { address.family == .v4 ? address : HalfOpen.network(address) }

    /// However a name is written, with a Windows domain before it, in capitals, as one type of identity or another: it is one user.
    private static func user(_ identity: Identification, _ address: IPAddress) -> Key {
        let text = identity.eapIdentity.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }
        return .user(text.lastIndex(of: 0x5c).map { Array(text[($0 + 1)...]) } ?? text, place(address))
    }

    /// One failure is forgotten in so many seconds: an office behind one address may mistype now and then for ever.
    private static func forgivenEach(_ key: Key) -> UInt64 { if case .user = key { 300 } else { 60 } }

    private func failures(_ key: Key, _ now: Instant) -> Int {
        guard let record = records[key] else { return 0 }
        return max(0, record.failures - Int(clamping: now.since(record.last).wholeNanoseconds / 1_000_000_000 / Self.forgivenEach(key)))
    }

    /// How long the next try has to wait; nil where it need not.
    func wait(_ identity: Identification, _ address: IPAddress, now: Instant) -> Duration? {
        let waits = [(Self.user(identity, address), limits.guessesOfUser), (.place(Self.place(address)), limits.guessesOfAddress)].compactMap { key, free -> Duration? in
            let count = failures(key, now)
            guard count >= free, let record = records[key] else { return nil }
            let seconds = min(Self.longestWait, 1 << Int64(min(count - free, 16)))
            let passed = now.since(record.last)
            return passed < .seconds(seconds) ? .seconds(seconds) - passed : nil
        }
        return waits.max()
    }

    /// A try begins: what has to be given back at its end. Nil where too many are under way.
    mutating func begin(_ identity: Identification, _ address: IPAddress) -> [Key]? {
        let keys = [(Self.user(identity, address), limits.triesOfUser), (.place(Self.place(address)), limits.triesOfAddress)]
        guard keys.allSatisfy({ flights[$0.0, default: 0] < $0.1 }) else { return nil }
        for (key, _) in keys { flights[key, default: 0] += 1 }
        return keys.map(\.0)
    }

    mutating func end(_ keys: [Key]) {
        for key in keys {
            let left = flights[key, default: 1] - 1
            flights[key] = left > 0 ? left : nil
        }
    }

    /// `account`: the user as the directory calls it, where it has said so.
    mutating func failed(_ identity: Identification, _ address: IPAddress, account: Identification? = nil, now: Instant) {
        for key in Set([Self.user(identity, address), account.map { Self.user($0, address) }, .place(Self.place(address))].compactMap(\.self)) {
            if records[key] == nil, records.count >= Self.recordLimit { makeRoom(now) }
            records[key] = Record(failures: min(failures(key, now) + 1, 1000), last: now)
        }
    }

    /// What is forgiven goes, and a quarter of the rest if need be, so that not every failure of a flood looks through all.
    private mutating func makeRoom(_ now: Instant) {
        records = records.filter { failures($0.key, now) > 0 }
        guard records.count > Self.recordLimit / 4 * 3 else { return }
        for (key, _) in records.sorted(by: { $0.value.last < $1.value.last }).prefix(Self.recordLimit / 4) { records[key] = nil }
    }

    /// The user starts anew; the place does not, for who has an account may be the one who guesses others'.
    mutating func succeeded(_ identity: Identification, _ address: IPAddress, account: Identification? = nil) {
        records[Self.user(identity, address)] = nil
        if let account { records[Self.user(account, address)] = nil }
    }

    /// For tests that look for growth.
    var held: Int { records.count + flights.count }
}

/// One try to log in. It is over when nobody holds it, however that came about.
final class Flight {
    private let books: any UserBooks
    private let keys: [Guesses.Key]

    /// Nil where too many are under way.
    init?(_ books: any UserBooks, _ identity: Identification, _ address: IPAddress) {
        guard let keys = books.change({ $0.guesses.begin(identity, address) }) else { return nil }
        (self.books, self.keys) = (books, keys)
    }

    deinit { books.change { [keys] in $0.guesses.end(keys) } }
}

extension IKESA {
    /// Who a peer that authenticates by EAP says that it is.
    var eapUser: Identification { remoteEAPIdentity ?? remoteIdentity ?? Identification(kind: .keyID, data: []) }
}
