// Who is connected, over all shards: what `unique` and INITIAL_CONTACT need to know. The shell owns the one there is, and tells it what the
// endpoints report.
// RFC 7296 section 2.4; swanctl.conf `unique`.

import IKEWire

package final class IdentityIndex {
    package init() {}

    package struct Member: Hashable {
        package var sa: IKESAID
        package var shard: Int
        package init(sa: IKESAID, shard: Int) {
            self.sa = sa
            self.shard = shard
        }
    }
    /// What becomes of an SA because of a new one.
    package enum Verdict: Hashable {
        /// Ends with a Delete: another has its place.
        case terminate(Member)
        /// Ends without a word: the peer no longer has it.
        case forget(Member)
        /// Ends with a Delete, but not at once: its peer is authenticating anew, and moves its children first. Ask `due` when it is time.
        case terminateSoon(Succession)
    }
    /// One SA that another takes the place of, whatever rekeys make of either meanwhile.
    package struct Succession: Hashable {
        fileprivate let peer: Peer
        fileprivate let old: Int
        fileprivate let new: Int
        /// The old one as it was.
        package let member: Member
        package static func == (a: Self, b: Self) -> Bool { a.old == b.old && a.new == b.new }
        package func hash(into hasher: inout Hasher) {
            hasher.combine(old)
            hasher.combine(new)
        }
    }

    /// Names and mail addresses in lower case: a peer that spells its own anew is the same peer.
    fileprivate struct Key: Hashable {
        let local: Identification
        let remote: Identification
        /// A peer may be here over IPv4 and over IPv6 at once, and say of either that it is the only one.
        let family: IPAddress.Family
    }
    /// One peer's SAs. Held once, however many tables lead to it.
    fileprivate final class Peer {
        let key: Key
        var members: [Member] = []
        init(_ key: Key) { self.key = key }
    }
    /// A peer by its key, without a second copy of it.
    private struct Entry: Hashable {
        let peer: Peer
        static func == (a: Self, b: Self) -> Bool { a.peer.key == b.peer.key }
        func hash(into hasher: inout Hasher) { hasher.combine(peer.key) }
    }
    private var peers: Set<Entry> = []
    private struct Place {
        var peer: Peer
        var connection: String
        var established: Instant?
        var origin: Origin
        var remote: SocketAddress
    }
    /// How an SA came to be, before any rekey: both ends know it.
    private struct Origin {
        let number: Int
        let spis: [UInt64]
        let isInitiator: Bool
        let at: Instant?

        init(_ status: IKESAStatus, number: Int) {
            self.number = number
            spis = [status.initiatorSPI.rawValue, status.responderSPI.rawValue]
            isInitiator = status.isInitiator
            at = status.established
        }

        /// Itself, where the two ends began the two SAs at the same time, so that each may believe another one to be the older.
        func crossing(_ other: Origin) -> Origin? {
            guard isInitiator != other.isInitiator, let at, let there = other.at, max(at, there).since(min(at, there)) < .seconds(60) else { return nil }
            return self
        }
    }
    private var places: [IKESAID: Place] = [:]
    private var origins = 0
    private var circles = Circles()
    private var circle: (id: IKESAID, circle: Circle)?
    private var population: [String: [Int: Int]] = [:]

    /// The shard of some established SA of a connection.
    package func shard(ofConnection name: String) -> Int? {
        population[name]?.keys.min()
    }

    /// The shards that have an established SA of a connection.
    package func shards(ofConnection name: String) -> Set<Int> { Set(population[name, default: [:]].keys) }

    package func established(_ status: IKESAStatus, shard: Int) -> [Verdict] {
        // Clients behind different NATs may all call themselves by the same private address, and are told apart by EAP.
        guard let local = status.localIdentity, let remote = status.user else { return [] }
        let key = Key(local: local.lowercased, remote: remote.lowercased, family: status.remote.address.family)
        let new = Member(sa: status.id, shard: shard)
        let peer = peers.insert(Entry(peer: Peer(key))).memberAfterInsert.peer
        origins += 1
        let origin = Origin(status, number: origins)
        // The one that we replace ourselves is told to go when the new one has all that it had.
        let all = peer.members.filter { $0.sa != status.id }, older = all.filter { $0.sa != status.replaces }
        /// A peer that authenticates anew comes from where it is.
        func isReplaced(_ member: Member) -> Bool { places[member.sa]?.remote == status.remote }
        var verdicts: [Verdict] = []
        //= RFC 7296 §2.4: INITIAL_CONTACT asserts that this is the only IKE SA between the identities.
        if let begun = status.initialContact, status.unique != .never {
            // What was established since is no leftover of an earlier life: the two ends began at the same time.
            verdicts = older.filter { member in places[member.sa]?.established.map { $0 < begun } ?? true }.map(Verdict.forget)
        }
        // `unique` is a word about one connection.
        let isUnique = status.unique == .replace || status.unique == .keep
        for member in older where isUnique && !verdicts.contains(.forget(member)) && places[member.sa]?.connection == status.connection {
            // Which of two that crossed is the older depends on who looks. By their SPIs both ends choose the same one.
            let crossed = places[member.sa]?.origin.crossing(origin)
            // What we begin ourselves is no attempt of the peer's to be refused.
            if crossed == nil, status.unique == .keep, status.isInitiator { continue }
            // A peer that authenticates anew comes from where it is, and deletes the old one itself, without losing a packet.
            if crossed == nil, isReplaced(member), let old = places[member.sa]?.origin.number {
                verdicts.append(.terminateSoon(Succession(peer: peer, old: old, new: origin.number, member: member)))
                continue
            }
            let isKept = crossed.map { !$0.spis.lexicographicallyPrecedes(origin.spis) } ?? (status.unique == .keep)
            let verdict = Verdict.terminate(isKept ? new : member)
            if !verdicts.contains(verdict) { verdicts.append(verdict) }
        }
        if let now = status.established {
            let replaced = verdicts.isEmpty && !older.contains(where: isReplaced) ? nil : older.last.flatMap { places[$0.sa]?.remote }
            circle = circles.comes(Circles.Key(local: key.local, remote: key.remote, family: key.family, connection: status.connection), from: status.remote, inPlaceOf: replaced, at: now).map {
                (status.id, $0)
            }
        }
        peer.members = all + [new]
        places[status.id] = Place(peer: peer, connection: status.connection, established: status.established, origin: origin, remote: status.remote)
        population[status.connection, default: [:]][shard, default: 0] += 1
        return verdicts
    }

    /// What is to be said of the peer of the SA that was established last.
    package func circle(_ id: IKESAID) -> Circle? { circle.flatMap { $0.id == id ? $0.circle : nil } }

    /// The SA that a postponed verdict is still about: none where it has gone, or where the newer one has, so that the old one is all there is.
    package func due(_ succession: Succession) -> Member? {
        func member(_ number: Int) -> Member? { succession.peer.members.first { places[$0.sa]?.origin.number == number } }
        return member(succession.new) == nil ? nil : member(succession.old)
    }

    package func rekeyed(_ previous: IKESAID, _ current: IKESAStatus, shard: Int) {
        guard let place = places.removeValue(forKey: previous) else { return }
        place.peer.members = place.peer.members.filter { $0.sa != previous } + [Member(sa: current.id, shard: shard)]
        places[current.id] = Place(peer: place.peer, connection: place.connection, established: current.established, origin: place.origin, remote: current.remote)
    }

    package func moved(_ id: IKESAID, to remote: SocketAddress) { places[id]?.remote = remote }

    package func closed(_ id: IKESAID) {
        guard let place = places.removeValue(forKey: id), let index = place.peer.members.firstIndex(where: { $0.sa == id }) else { return }
        let shard = place.peer.members.remove(at: index).shard
        if place.peer.members.isEmpty { peers.remove(Entry(peer: place.peer)) }
        var counts = population[place.connection, default: [:]]
        let left = counts[shard, default: 1] - 1
        counts[shard] = left > 0 ? left : nil
        population[place.connection] = counts.isEmpty ? nil : counts
    }
}
