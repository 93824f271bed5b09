// Who is connected, over all shards: what `unique` and INITIAL_CONTACT need to know. Owned by the control loop.
// RFC 7296 section 2.4; swanctl.conf `unique`.

import IKECore
import IKEWire

struct IdentityIndex {
    struct Member: Hashable {
        var sa: IKESAID
        var shard: Int
    }
    /// What becomes of an SA because of a new one.
    enum Verdict: Hashable {
        /// Ends with a Delete.
        case terminate(Member)
        /// Ends without a word: the peer no longer has it.
        case forget(Member)
    }

    /// Names and mail addresses in lower case: a peer that spells its own anew is the same peer.
    private struct Key: Hashable {
        let connection: String
        let local: Identification
        let remote: Identification
    }
    private var members: [Key: [Member]] = [:]
    private var keys: [IKESAID: Key] = [:]

    /// The shard of some established SA of a connection.
    func shard(ofConnection name: String) -> Int? {
        members.first { $0.key.connection == name && !$0.value.isEmpty }?.value.first?.shard
    }

    mutating func established(_ status: IKESAStatus, shard: Int) -> [Verdict] {
        guard let local = status.localIdentity, let remote = status.remoteIdentity else { return [] }
        let key = Key(connection: status.connection, local: local.lowercased, remote: remote.lowercased)
        let new = Member(sa: status.id, shard: shard)
        let older = (members[key] ?? []).filter { $0.sa != status.id }
        var verdicts: [Verdict] = []
        //= RFC 7296 §2.4: INITIAL_CONTACT asserts that this is the only IKE SA between the identities.
        if status.initialContact, status.unique != .never {
            verdicts = older.map(Verdict.forget)
        } else {
            switch status.unique {
            case .replace: verdicts = older.map(Verdict.terminate)
            case .keep: verdicts = older.isEmpty ? [] : [.terminate(new)]
            case .no, .never: break
            }
        }
        members[key] = older + [new]
        keys[status.id] = key
        return verdicts
    }

    mutating func rekeyed(_ previous: IKESAID, _ current: IKESAStatus, shard: Int) {
        guard let key = keys.removeValue(forKey: previous) else { return }
        members[key] = (members[key] ?? []).filter { $0.sa != previous } + [Member(sa: current.id, shard: shard)]
        keys[current.id] = key
    }

    mutating func closed(_ id: IKESAID) {
        guard let key = keys.removeValue(forKey: id) else { return }
        let rest = (members[key] ?? []).filter { $0.sa != id }
        members[key] = rest.isEmpty ? nil : rest
    }
}
