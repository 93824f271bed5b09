// Users who are connected, asked of the directory again and again: whose account is disabled, locked, expired or gone, or has left the
// groups that let it in, loses the tunnel. What a directory that is down or slow says ends nobody's. Knows no directory, loop or clock.

import IKECore
import IKEWire

package struct LiveCheck {
    package struct Member: Hashable, Sendable {
        package var sa: IKESAID
        package var shard: Int
        package var connection: String
        package init(sa: IKESAID, shard: Int, connection: String) { (self.sa, self.shard, self.connection) = (sa, shard, connection) }
    }
    /// Who is asked about: the name that the user has authenticated with, and where; nil for the first directory.
    package struct Account: Hashable, Sendable {
        package var name: [UInt8]
        package var directory: String?
        package init(_ name: [UInt8], directory: String? = nil) { (self.name, self.directory) = (name, directory) }
    }
    /// An SA that ends, and why.
    package struct Ending: Hashable, Sendable {
        package var member: Member
        package var reason: String
    }
    private struct User {
        var members: [Member] = []
        var due: Instant
        var isAsked = false
    }
    private var users: [Account: User] = [:]
    private var owners: [IKESAID: Account] = [:]
    private var asked = 0
    package var interval: Duration
    /// How often it is looked at who is to be asked.
    package var tick: Duration { max(.milliseconds(200), min(interval / 10, .seconds(5))) }
    /// From one question to the next: a tick is lost until it is asked, and another is left for the answer, so that within the interval whoever is no longer welcome is gone.
    private var pause: Duration { max(interval - tick * 2, tick) }
    /// Questions that may be out at once: log-ins are asked of the same directory.
    package static let limit = 16

    package init(interval: Duration) { self.interval = interval }

    package var isEmpty: Bool { users.isEmpty }

    package mutating func established(_ user: Account, _ member: Member, now: Instant) {
        closed(member.sa)
        owners[member.sa] = user
        let due = now + pause
        users[user, default: User(due: due)].members.append(member)
    }

    package mutating func rekeyed(_ old: IKESAID, _ new: Member) {
        guard let user = owners.removeValue(forKey: old) else { return }
        owners[new.sa] = user
        // A rekey puts off no question.
        let members = (users[user]?.members ?? []).map { $0.sa == old ? new : $0 }
        users[user]?.members = members
    }

    package mutating func closed(_ sa: IKESAID) {
        guard let user = owners.removeValue(forKey: sa) else { return }
        users[user]?.members.removeAll { $0.sa == sa }
        // One whose question is out is kept until its answer, so that what is out is counted right.
        if let entry = users[user], entry.members.isEmpty, !entry.isAsked { users[user] = nil }
    }

    /// Whom to ask now, those that wait longest first.
    package mutating func due(now: Instant) -> [Account] {
        let ready = users.filter { $0.value.due <= now && !$0.value.isAsked && !$0.value.members.isEmpty }.sorted { $0.value.due < $1.value.due }.prefix(max(0, Self.limit - asked))
        // From the question on: what the directory says is of that time.
        let next = now + pause
        for (user, _) in ready {
            users[user]?.isAsked = true
            users[user]?.due = next
        }
        asked += ready.count
        return ready.map(\.key)
    }

    /// What an answer ends. `groups` are those that a connection asks for, none where it takes everybody.
    package mutating func answered(_ user: Account, _ answer: DirectoryAnswer, groups: (String) -> [String]?) -> [Ending] {
        guard var entry = users[user], entry.isAsked else { return [] }
        asked -= 1
        entry.isAsked = false
        users[user] = entry.members.isEmpty ? nil : entry
        // That nobody can be asked is no news of this user.
        guard !answer.isOfDirectory else { return [] }
        guard answer.isGood else { return entry.members.map { Ending(member: $0, reason: answer.reason.isEmpty ? "the directory refuses the account" : answer.reason) } }
        return entry.members.compactMap { member in
            // A connection that is gone is the reload's affair.
            guard let wanted = groups(member.connection), !wanted.isEmpty, !answer.isMember(ofAny: wanted) else { return nil }
            return Ending(member: member, reason: "the account \(answer.user) is in none of the groups \(wanted.joined(separator: ", "))")
        }
    }
}
