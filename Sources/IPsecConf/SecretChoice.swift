// Whether Martlet takes the same preshared key for a peer as libreswan would. libreswan wants both identities of a key that has two;
// Martlet takes one that fits, the peer's first. Where that lets in others, our own identity is taken out of the key, which leaves the
// peer's; where that is not enough, the connection is left out.

struct SecretChoice {
    /// With the identities that are written.
    private(set) var keys: [PresharedKey]
    private let originals: [PresharedKey]
    /// For each key its identities that were taken out.
    private(set) var removed: [Int: [Identity]] = [:]
    /// Keys looked at, so that an absurd number of them ends.
    private var steps = 0
    private static let mostSteps = 50_000_000

    init(_ keys: [PresharedKey]) { (self.keys, originals) = (keys, keys) }

    /// The connections that may not be carried over.
    mutating func settle(_ connections: [OutputConnection]) -> Set<Int> {
        var wrong: Set<Int> = []
        for round in 0..<8 {
            wrong = []
            var places: [Ends: Bool] = [:]
            var isChanged = false
            for (index, connection) in connections.enumerated() {
                let ends = Ends(local: connection.localIdentity, remote: connection.remoteIdentity)
                let isRight: Bool
                if let known = places[ends] {
                    isRight = known
                } else {
                    let mistakes = mistakes(ends)
                    for mistake in mistakes ?? [] where round < 7 { isChanged = take(mistake.local, outOf: mistake.key) || isChanged }
                    isRight = mistakes?.isEmpty == true
                    places[ends] = isRight
                }
                if !isRight { wrong.insert(index) }
            }
            if !isChanged { break }
        }
        return wrong
    }

    private struct Ends: Hashable {
        var local: Identity?
        var remote: Identity
    }

    /// The keys that Martlet would take and libreswan would not, and for which identity of ours. Nil where it takes too long to say.
    private mutating func mistakes(_ ends: Ends) -> [(key: Int, local: Identity)]? {
        var result: [(key: Int, local: Identity)] = []
        let peers = ends.remote.isPattern ? candidates { $0.overlaps(ends.remote) } + [ends.remote.stranger] : [ends.remote]
        for peer in peers {
            // Our identity is an address that nobody knows yet: one that a key has for us and this peer.
            let locals = ends.local.map { [$0] } ?? candidates { if case .address = $0.value { $0 != peer } else { false } }
            for local in locals {
                steps += keys.count
                guard steps < Self.mostSteps else { return nil }
                let there = libreswanChoice(local, peer)
                // Of an unknown address only those count with which the original would work at all.
                if ends.local == nil, there == nil, !ends.remote.isPattern { continue }
                guard let here = choice(local, peer), there.map({ originals[$0].secret }) != keys[here].secret else { continue }
                result.append((here, local))
            }
        }
        return result
    }

    private func candidates(_ condition: (Identity) -> Bool) -> [Identity] {
        var seen: Set<Identity> = []
        return originals.flatMap(\.identities).filter { !$0.isPattern && condition($0) && seen.insert($0).inserted }
    }

    /// False where it is not in there, or alone.
    private mutating func take(_ identity: Identity, outOf key: Int) -> Bool {
        let rest = keys[key].identities.filter { $0 != identity }
        guard rest.count < keys[key].identities.count, rest.contains(where: { $0.value != .any }) else { return false }
        keys[key].identities = rest
        removed[key, default: []].append(identity)
        return true
    }

    // MARK: Both rules

    /// As the daemon does: the key that fits the peer best, among those the one that fits us best, then the first.
    private func choice(_ local: Identity, _ remote: Identity) -> Int? {
        var best: (key: Int, rank: (Int, Int))?
        for (index, key) in keys.enumerated() {
            func fit(_ identity: Identity) -> Int { key.identities.isEmpty ? 1 : key.identities.map { $0.fit(identity) }.max() ?? 0 }
            let rank = (fit(remote), fit(local))
            if rank == (0, 0) { continue }
            if let best, best.rank >= rank { continue }
            best = (index, rank)
        }
        return best?.key
    }

    /// A key without identities is everybody's, a single identity is ours, among several both sides must be there, or %any instead of one.
    private func libreswanChoice(_ local: Identity, _ remote: Identity) -> Int? {
        let standard = 1, any = 2, theirs = 4, ours = 8
        let accepted: Set<Int> = [standard, any, ours | standard, ours | any, theirs | any, ours | theirs]
        var best: (key: Int, match: Int)?
        for (index, key) in originals.enumerated() {
            var match = key.identities.isEmpty ? standard : 0
            for identity in key.identities {
                if identity.value == .any { match |= any } else { match |= (identity.value == local.value ? ours : 0) | (identity.value == remote.value ? theirs : 0) }
            }
            if match == ours, key.identities.count == 1 { match |= standard }
            if accepted.contains(match), match > best?.match ?? 0 { best = (index, match) }
        }
        return best?.key
    }
}

extension Identity {
    /// How well an identity fits this one of a key: 3 exactly, 2 as a pattern, 1 as any, 0 not.
    fileprivate func fit(_ identity: Identity) -> Int {
        switch value {
        case .any: 1
        case .suffix: overlaps(identity) ? 2 : 0
        default: value == identity.value ? 3 : 0
        }
    }

    /// One that fits this pattern and no key by name: no file can have a NUL.
    fileprivate var stranger: Identity {
        if case .suffix(let kind, let text) = value { return Identity(text: "?", value: .name(kind: kind, text: "\0" + text)) }
        return Identity(text: "?", value: .opaque([0]))
    }
}
