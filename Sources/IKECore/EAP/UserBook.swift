// What all shards of a gateway have to know together of users who log in: who has guessed wrong, whose tries are under way, and how many sessions
// each has. The core says what happens to it; the shell owns the one there is, as with the pools.

import IKEWire

package struct UserBook: Sendable {
    var guesses: Guesses
    var sessions = UserSessions()
    /// Who is here, of those that may be here once.
    var kept = KeptPeers()
    package init(_ limits: Limits) { guesses = Guesses(limits) }
}

/// Lends the book for the length of one call, which takes microseconds.
package protocol UserBooks: AnyObject {
    func change<Result: Sendable>(_ use: (inout UserBook) -> Result) -> Result
}

/// One endpoint's own.
final class OwnUserBook: UserBooks {
    private var book: UserBook
    init(_ limits: Limits) { book = UserBook(limits) }
    func change<Result: Sendable>(_ use: (inout UserBook) -> Result) -> Result { use(&book) }
}

/// Sessions of each user, over all connections and shards: one for each IKE SA.
struct UserSessions: Sendable {
    struct Session {
        let number: UInt64
        var sa: IKESAID
        let shard: UInt8
        var remote: SocketAddress
        let at: Instant
        let connection: String
        /// The inner addresses that it has been lent.
        var addresses: [IPAddress] = []
        var isEstablished = false
        /// The one that has its place: it counts no more, and ends when that one is established.
        var successor: UInt64?
    }
    private var sessions: [[UInt8]: [Session]] = [:]
    private var last: UInt64 = 0

    /// Which of a user's sessions a new one may have the place of, beyond the limit.
    struct Claim: Sendable {
        let sa: IKESAID
        let shard: UInt8
        let remote: SocketAddress
        let connection: String
        /// `unique = replace`: those of the same connection go.
        var replaces = false
        /// The peer has said that it has no others from before then: those between addresses of that family go, as `IdentityIndex` has it.
        var contact: Instant?
        /// It has said so, whatever comes of it.
        var isFirst = false
        /// The inner addresses that it would like, and whether it asks for any.
        var wishes: [IPAddress] = []
        var asks = false

        /// A device that authenticates anew comes from where it is and wants the address that it has, or neither has one. Another session of the same device does not.
        func isAnew(_ old: Session) -> Bool {
            if let contact, old.at < contact, old.remote.address.family == remote.address.family { return true }
            if replaces, old.connection == connection { return true }
            guard old.remote == remote else { return false }
            return isFirst || (asks ? old.addresses.contains(where: wishes.contains) : old.addresses.isEmpty)
        }
    }

    /// The number of a new session; nil where the user has `limit` already (0 for any number) and none of them makes room.
    mutating func begin(_ user: [UInt8], _ claim: Claim, limit: Int = 0, now: Instant) -> UInt64? {
        var all = sessions[user] ?? []
        let excess = all.count { $0.successor == nil } - limit + 1
        last += 1
        if limit > 0, excess > 0 {
            let leaving = all.filter { $0.successor != nil && $0.isEstablished }
            let old = all.indices.filter { all[$0].successor == nil && claim.isAnew(all[$0]) }.prefix(excess)
            // Whoever begins again and again has no more for it than one that is about to go.
            guard old.count == excess, leaving.count < limit, !leaving.contains(where: { $0.remote == claim.remote }) else { return nil }
            for index in old { all[index].successor = last }
        }
        sessions[user] = all + [Session(number: last, sa: claim.sa, shard: claim.shard, remote: claim.remote, at: now, connection: claim.connection)]
        return last
    }

    mutating func end(_ user: [UInt8], _ number: UInt64) {
        guard var all = sessions[user], let index = all.firstIndex(where: { $0.number == number }) else { return }
        // Those that it had the place of have theirs back, or that one has it to which it has lost its own.
        let heir = all.remove(at: index).successor
        for index in all.indices where all[index].successor == number { all[index].successor = heir }
        sessions[user] = all.isEmpty ? nil : all
    }

    private mutating func change(_ user: [UInt8], _ number: UInt64, _ change: (inout Session) -> Void) {
        guard let index = sessions[user]?.firstIndex(where: { $0.number == number }) else { return }
        change(&sessions[user, default: []][index])
    }

    mutating func moved(_ user: [UInt8], _ number: UInt64, to remote: SocketAddress) { change(user, number) { $0.remote = remote } }
    mutating func rekeyed(_ user: [UInt8], _ number: UInt64, _ sa: IKESAID) { change(user, number) { $0.sa = sa } }
    mutating func lent(_ user: [UInt8], _ number: UInt64, _ addresses: [IPAddress]) { change(user, number) { $0.addresses = addresses } }

    /// False where another one has taken its place before it was established.
    mutating func established(_ user: [UInt8], _ number: UInt64) -> Bool {
        guard let session = sessions[user]?.first(where: { $0.number == number }), session.successor == nil else { return false }
        change(user, number) { $0.isEstablished = true }
        return true
    }

    /// Those of a user's that another one has the place of, and that are still up.
    func leaving(_ user: [UInt8], for number: UInt64) -> [(sa: IKESAID, shard: UInt8)] {
        (sessions[user] ?? []).filter { $0.successor == number && $0.isEstablished }.map { ($0.sa, $0.shard) }
    }

    /// How many of a user's count.
    func count(_ user: [UInt8]) -> Int { (sessions[user] ?? []).count { $0.successor == nil } }

    /// For tests that look for growth.
    var held: Int { sessions.count }
}

/// One session of a user's. It is over when no IKE SA holds it, however that came about.
final class UserSession {
    private let books: any UserBooks
    private let user: [UInt8]
    private let number: UInt64

    /// Nil where the user has `limit` sessions already; 0 for any number.
    static func begin(_ books: any UserBooks, _ identity: Identification, _ claim: UserSessions.Claim, limit: Int, now: Instant) -> UserSession? {
        let user = name(identity)
        return books.change { $0.sessions.begin(user, claim, limit: limit, now: now) }.map { UserSession(books, user, $0) }
    }

    private init(_ books: any UserBooks, _ user: [UInt8], _ number: UInt64) { (self.books, self.user, self.number) = (books, user, number) }

    /// However it is spelt.
    fileprivate static func name(_ identity: Identification) -> [UInt8] { identity.eapIdentity.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 } }

    /// The peer is elsewhere now.
    func move(to remote: SocketAddress) { books.change { [user, number] in $0.sessions.moved(user, number, to: remote) } }
    /// New keys have made another IKE SA of it.
    func rekeyed(_ sa: IKESAID) { books.change { [user, number] in $0.sessions.rekeyed(user, number, sa) } }
    func lent(_ addresses: [IPAddress]) { books.change { [user, number] in $0.sessions.lent(user, number, addresses) } }
    /// False where another one has taken its place meanwhile.
    func establish() -> Bool { books.change { [user, number] in $0.sessions.established(user, number) } }
    /// Its number, where others are to end because it has their place.
    var replacing: UInt64? { books.change { [user, number] in $0.sessions.leaving(user, for: number).isEmpty ? nil : number } }

    deinit { books.change { [user, number] in $0.sessions.end(user, number) } }
}

extension UserBooks {
    /// The IKE SAs of a user's whose place the session of that number has, and that are still up, with their shards.
    package func leaving(_ user: Identification, for number: UInt64) -> [(sa: IKESAID, shard: UInt8)] { change { $0.sessions.leaving(UserSession.name(user), for: number) } }
}
