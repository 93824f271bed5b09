// Who has tried to log in lately and was wrong: as a user from an address, and from an address as anybody. Beyond some failures the next try has to wait,
// for longer each time; from elsewhere the user gets in as ever. Tries under way have a limit of their own. Bounded: what failed longest ago is forgotten first.
//
// A shard counts for itself, whole limits and not shares of them: a share would be so small that honest clients behind one NAT met it.

import IKEWire

struct Guesses {
    fileprivate enum Key: Hashable {
        case user([UInt8], IPAddress)
        case place(IPAddress)
    }
    private struct Record {
        var failures: Int
        var last: Instant
    }
    private var records: [Key: Record] = [:]
    private let flights = Flights()
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

    /// A try begins, and is under way until what comes back goes. Nil where too many are.
    func begin(_ identity: Identification, _ address: IPAddress) -> Flight? {
        flights.begin([(Self.user(identity, address), limits.triesOfUser), (.place(Self.place(address)), limits.triesOfAddress)])
    }

    mutating func failed(_ identity: Identification, _ address: IPAddress, now: Instant) {
        for key in [Self.user(identity, address), .place(Self.place(address))] {
            if records[key] == nil, records.count >= Self.recordLimit {
                records = records.filter { failures($0.key, now) > 0 }
                if records.count >= Self.recordLimit, let oldest = records.min(by: { $0.value.last < $1.value.last })?.key { records[oldest] = nil }
            }
            records[key] = Record(failures: min(failures(key, now) + 1, 1000), last: now)
        }
    }

    /// The user starts anew; the place does not, for who has an account may be the one who guesses others'.
    mutating func succeeded(_ identity: Identification, _ address: IPAddress) { records[Self.user(identity, address)] = nil }

    /// For tests that look for growth.
    var held: Int { records.count + flights.count }
}

/// One try to log in. It is over when nobody holds it, however that came about.
final class Flight {
    private let flights: Flights
    private let keys: [Guesses.Key]

    fileprivate init(_ flights: Flights, _ keys: [Guesses.Key]) {
        self.flights = flights
        self.keys = keys
    }

    deinit { for key in keys { flights.end(key) } }
}

/// How many tries are under way.
private final class Flights {
    private var numbers: [Guesses.Key: Int] = [:]
    var count: Int { numbers.count }

    func begin(_ limits: [(Guesses.Key, Int)]) -> Flight? {
        guard limits.allSatisfy({ numbers[$0.0, default: 0] < $0.1 }) else { return nil }
        for (key, _) in limits { numbers[key, default: 0] += 1 }
        return Flight(self, limits.map(\.0))
    }

    func end(_ key: Guesses.Key) {
        let left = numbers[key, default: 1] - 1
        numbers[key] = left > 0 ? left : nil
    }
}

extension IKESA {
    /// Who a peer that authenticates by EAP says that it is.
    var eapUser: Identification { remoteEAPIdentity ?? remoteIdentity ?? Identification(kind: .keyID, data: []) }
}
