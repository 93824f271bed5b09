// What all shards of a gateway have to know together of users who log in: who has guessed wrong, whose tries are under way, and how many sessions
// each has. The core says what happens to it; the shell owns the one there is, as with the pools.

import IKEWire

package struct UserBook: Sendable {
    var guesses: Guesses
    var sessions = UserSessions()
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
    private struct Session {
        let remote: SocketAddress
        let at: Instant
    }
    private var sessions: [[UInt8]: [Session]] = [:]

    /// How many sessions a user has beside one that begins at `remote`. One from the same place is left out: the peer authenticates anew, and that one is about to go.
    /// `contact`: the peer has said that it has no others from before then, and those between addresses of that family go too, as `IdentityIndex` has it.
    func others(_ user: [UInt8], than remote: SocketAddress, contact: Instant? = nil) -> Int {
        var all = sessions[user] ?? []
        if let contact { all.removeAll { $0.at < contact && $0.remote.address.family == remote.address.family } }
        return all.count - (all.contains { $0.remote == remote } ? 1 : 0)
    }

    mutating func begin(_ user: [UInt8], at remote: SocketAddress, now: Instant) { sessions[user, default: []].append(Session(remote: remote, at: now)) }

    mutating func end(_ user: [UInt8], at remote: SocketAddress, begun: Instant) {
        guard let index = sessions[user]?.firstIndex(where: { $0.remote == remote && $0.at == begun }) else { return }
        sessions[user]?.remove(at: index)
        if sessions[user]?.isEmpty == true { sessions[user] = nil }
    }

    /// For tests that look for growth.
    var held: Int { sessions.count }
}

/// One session of a user's. It is over when no IKE SA holds it, however that came about.
final class UserSession {
    private let books: any UserBooks
    private let user: [UInt8]
    private var remote: SocketAddress
    private let begun: Instant

    /// Nil where the user has `limit` sessions already; 0 for any number. `contact` as in `UserSessions.others`.
    static func begin(_ books: any UserBooks, _ identity: Identification, at remote: SocketAddress, limit: Int, contact: Instant?, now: Instant) -> UserSession? {
        let user = identity.eapIdentity.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }
        let isTaken = books.change { book in
            guard limit == 0 || book.sessions.others(user, than: remote, contact: contact) < limit else { return false }
            book.sessions.begin(user, at: remote, now: now)
            return true
        }
        return isTaken ? UserSession(books, user, remote, now) : nil
    }

    private init(_ books: any UserBooks, _ user: [UInt8], _ remote: SocketAddress, _ begun: Instant) { (self.books, self.user, self.remote, self.begun) = (books, user, remote, begun) }

    /// The peer is elsewhere now.
    func move(to new: SocketAddress) {
        guard new != remote else { return }
        books.change { [user, remote, begun] book in
            book.sessions.end(user, at: remote, begun: begun)
            book.sessions.begin(user, at: new, now: begun)
        }
        remote = new
    }

    deinit { books.change { [user, remote, begun] in $0.sessions.end(user, at: remote, begun: begun) } }
}
