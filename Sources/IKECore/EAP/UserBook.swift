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

/// Sessions of each user, over all connections and shards. Two IKE SAs from one place are one session: the peer authenticates anew, and the older
/// one is about to go.
struct UserSessions: Sendable {
    private var places: [[UInt8]: [SocketAddress: Int]] = [:]

    /// How many sessions a user has elsewhere than at `remote`.
    func others(_ user: [UInt8], than remote: SocketAddress) -> Int { places[user].map { $0.count - ($0[remote] == nil ? 0 : 1) } ?? 0 }

    mutating func begin(_ user: [UInt8], at remote: SocketAddress) { places[user, default: [:]][remote, default: 0] += 1 }

    mutating func end(_ user: [UInt8], at remote: SocketAddress) {
        guard let count = places[user]?[remote] else { return }
        places[user]?[remote] = count > 1 ? count - 1 : nil
        if places[user]?.isEmpty == true { places[user] = nil }
    }

    /// For tests that look for growth.
    var held: Int { places.count }
}

/// One session of a user's. It is over when no IKE SA holds it, however that came about.
final class UserSession {
    private let books: any UserBooks
    private let user: [UInt8]
    private var remote: SocketAddress

    /// Nil where the user has `limit` sessions already; 0 for any number. One whose peer says that it has no other left takes the others' place.
    static func begin(_ books: any UserBooks, _ identity: Identification, at remote: SocketAddress, limit: Int, isOnly: Bool) -> UserSession? {
        let user = identity.eapIdentity.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }
        let isTaken = books.change { book in
            guard limit == 0 || isOnly || book.sessions.others(user, than: remote) < limit else { return false }
            book.sessions.begin(user, at: remote)
            return true
        }
        return isTaken ? UserSession(books, user, remote) : nil
    }

    private init(_ books: any UserBooks, _ user: [UInt8], _ remote: SocketAddress) { (self.books, self.user, self.remote) = (books, user, remote) }

    /// The peer is elsewhere now.
    func move(to new: SocketAddress) {
        guard new != remote else { return }
        books.change { [user, remote] book in
            book.sessions.end(user, at: remote)
            book.sessions.begin(user, at: new)
        }
        remote = new
    }

    deinit { books.change { [user, remote] in $0.sessions.end(user, at: remote) } }
}
