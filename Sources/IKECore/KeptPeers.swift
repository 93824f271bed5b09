// `unique = keep`: a peer that is here already is not let in a second time. What all shards have to know for that before IKE_AUTH is answered; what
// becomes of SAs that are there is the business of `IdentityIndex`, which knows them all, a moment later.
// RFC 7296 section 2.4; swanctl.conf `unique`.

import IKEWire

/// One gateway's, in its book of users.
struct KeptPeers: Sendable {
    /// As `IdentityIndex` tells peers apart; `unique` is a word about one connection.
    struct Key: Hashable, Sendable {
        let local: Identification
        let remote: Identification
        let family: IPAddress.Family
        let connection: String
    }
    struct Entry: Sendable {
        let number: UInt64
        var remote: SocketAddress
        let at: Instant
        let isOurs: Bool
    }
    private var entries: [Key: [Entry]] = [:]
    private var last: UInt64 = 0
    /// Within this time two SAs that each end has begun one of may have crossed: which of them stays is decided by what both ends know.
    static let crossing = Duration.seconds(60)

    /// The number of another IKE SA of the peer's; nil where it is refused. `isOurs`: we have begun it, and refuse nothing. `contact`: the peer has said that it has no
    /// others from before then.
    mutating func begin(_ key: Key, from remote: SocketAddress, isOurs: Bool, contact: Instant?, now: Instant) -> UInt64? {
        let standing = entries[key] ?? []
        let isRefused =
            !isOurs
            && standing.contains { entry in
                if let contact, entry.at < contact { return false }
                // A peer that authenticates anew comes from where it is.
                return entry.remote != remote && !(entry.isOurs && now.since(entry.at) < Self.crossing)
            }
        return isRefused ? nil : add(key, from: remote, isOurs: isOurs, at: now)
    }

    mutating func add(_ key: Key, from remote: SocketAddress, isOurs: Bool, at: Instant) -> UInt64 {
        last += 1
        entries[key, default: []].append(Entry(number: last, remote: remote, at: at, isOurs: isOurs))
        return last
    }

    mutating func moved(_ key: Key, _ number: UInt64, to remote: SocketAddress) {
        guard let index = entries[key]?.firstIndex(where: { $0.number == number }) else { return }
        entries[key]?[index].remote = remote
    }

    mutating func end(_ key: Key, _ number: UInt64) {
        guard var left = entries[key] else { return }
        left.removeAll { $0.number == number }
        entries[key] = left.isEmpty ? nil : left
    }

    /// For tests that look for growth.
    var held: Int { entries.count }
}

/// The place of one IKE SA and of those that its rekeys make. It is free when none of them holds it, however that came about.
final class KeptPlace {
    private let books: any UserBooks
    private let key: KeptPeers.Key
    private let number: UInt64

    /// Nil where the peer is here already. `since`: of one that stands, which is never refused.
    init?(_ sa: IKESA, standingSince since: Instant? = nil) {
        guard let local = sa.localIdentity, let remote = sa.account ?? sa.remoteEAPIdentity ?? sa.remoteIdentity else { return nil }
        let key = KeptPeers.Key(local: local.lowercased, remote: remote.lowercased, family: sa.remote.address.family, connection: sa.connection.name)
        let from = sa.remote, isOurs = sa.isInitiator, contact = sa.initialContact ? sa.begun : nil, now = sa.now
        let number = sa.context.users.change { book in
            since.map { book.kept.add(key, from: from, isOurs: isOurs, at: $0) } ?? book.kept.begin(key, from: from, isOurs: isOurs, contact: contact, now: now)
        }
        guard let number else { return nil }
        (books, self.key, self.number) = (sa.context.users, key, number)
    }

    func move(to remote: SocketAddress) { books.change { [key, number] in $0.kept.moved(key, number, to: remote) } }

    deinit { books.change { [key, number] in $0.kept.end(key, number) } }
}

extension IKESA {
    /// Takes the place that the connection keeps for one IKE SA of each peer; false where the peer is here already.
    func takesPlace() -> Bool {
        guard connection.unique == .keep else { return true }
        keptPlace = KeptPlace(self)
        return keptPlace != nil
    }

    /// The connection may have another word of `unique` now: from then on it counts for those that stand as well.
    func reconsiderPlace(since: Instant) {
        guard connection.unique == .keep else { return keptPlace = nil }
        if keptPlace == nil { keptPlace = KeptPlace(self, standingSince: since) }
    }
}

extension Failure {
    /// The peer has proven who it is, and is here already.
    static func keptOut(_ sa: IKESA) -> Failure {
        let peer = (sa.account ?? sa.remoteEAPIdentity ?? sa.remoteIdentity)?.description ?? "?"
        return Failure(
            .limit, "\(peer) is connected already, and `unique = keep` leaves one for each peer: \(sa.remote.address) is refused",
            evidence: ["from \(sa.connection.setting("unique"))", Wording.ends(sa)],
            advice: ["If the other one is dead, `dpd_delay` finds that out, and `swanctl --terminate` ends it. With `unique = replace` the newer one takes the place of the older."])
    }
}
