// Who wants which policy in the kernel, and which is there. The kernel holds one for a direction and a selector; here several may want
// it, and the one that counts is installed. RFC 4301 section 4.4.1.

import ESPCore
import IKEWire

package struct PolicyKey: Hashable, Sendable {
    package var direction: PolicyDirection
    package var selector: KernelSelector
    package var scope: PolicyScope
    package init(_ direction: PolicyDirection, _ selector: KernelSelector, _ scope: PolicyScope = PolicyScope()) {
        self.direction = direction
        self.selector = selector
        self.scope = scope
    }
}

/// Of two that match a packet alike the higher one wins.
package enum PolicyRank: Int, Sendable, Comparable {
    case drop
    /// Of a child whose SA is gone.
    case standing
    case trap
    /// Of a child that carries packets.
    case active
    case pass
    package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

package struct PolicyClaim: Hashable, Sendable {
    package var rank: PolicyRank
    package var content: PolicyContent
    /// Before everything that selectors say.
    package var isFirst = false
    package init(_ rank: PolicyRank, _ content: PolicyContent, isFirst: Bool = false) {
        self.rank = rank
        self.content = content
        self.isFirst = isFirst
    }
}

package struct PolicyTable: Sendable {
    package enum Operation: Equatable {
        case add(PolicyDescription)
        case change(PolicyDescription)
        case remove(PolicyDescription)
    }

    private struct Entry {
        /// In the order in which they got their ranks: of equal ones the last wins, and goes on to when its SA has new keys.
        var claims: [(owner: UInt64, claim: PolicyClaim)] = []
        var installed: PolicyDescription?

        var winner: PolicyClaim? {
            var best: PolicyClaim?
            for (_, claim) in claims where best.map({ $0.rank <= claim.rank }) ?? true { best = claim }
            return best
        }
    }

    private var entries: [PolicyKey: Entry] = [:]
    private var owned: [UInt64: [PolicyKey]] = [:]
    private var freeNumbers: [UInt32] = []
    private var lastNumber: UInt32 = 0

    package init() {}

    /// Everything installed, in no order.
    package var installed: [PolicyDescription] { entries.values.compactMap(\.installed) }

    /// Policies of ours have such indexes, by which a later start finds them. "M".
    package static let mark: UInt32 = 0x4d00_0000
    package static func isOurs(index: UInt32) -> Bool { index & 0xff00_0000 == mark }

    /// Puts these claims in place of all that `owner` had, and has `perform` tell the kernel; it answers what the kernel took. What is new or changed is
    /// told first, so that no packet meets a gap. False where something was refused; that is then not installed.
    package mutating func set(_ owner: UInt64, _ wanted: [(key: PolicyKey, claim: PolicyClaim)], performing perform: (_ operations: [Operation], _ isLast: Bool) -> [Bool]) -> Bool {
        var kept: [PolicyKey] = []
        var seen: Set<PolicyKey> = []
        for (key, claim) in wanted where seen.insert(key).inserted {
            kept.append(key)
            var entry = entries[key] ?? Entry()
            if let place = entry.claims.firstIndex(where: { $0.owner == owner }) {
                if entry.claims[place].claim.rank == claim.rank {
                    entry.claims[place].claim = claim
                } else {
                    entry.claims.remove(at: place)
                    entry.claims.append((owner, claim))
                }
            } else {
                entry.claims.append((owner, claim))
            }
            entries[key] = entry
        }
        let former = (owned[owner] ?? []).filter { !seen.contains($0) }
        // What stands is not taken away for something that does not.
        guard settle(kept, { perform($0, former.isEmpty) }) else {
            owned[owner] = kept + former
            return false
        }
        for key in former { entries[key]?.claims.removeAll { $0.owner == owner } }
        let isComplete = settle(former) { perform($0, true) }
        owned[owner] = kept.isEmpty ? nil : kept
        return isComplete
    }

    /// Who else carries packets that this owner's outgoing policies select alike.
    package func rivals(of owner: UInt64) -> Set<UInt64> {
        var found: Set<UInt64> = []
        for key in owned[owner] ?? [] where key.direction == .outbound {
            for (other, claim) in entries[key]?.claims ?? [] where other != owner && claim.rank == .active { found.insert(other) }
        }
        return found
    }

    /// Brings the kernel in line with the claims on these keys.
    private mutating func settle(_ keys: [PolicyKey], _ perform: ([Operation]) -> [Bool]) -> Bool {
        var pending: [(key: PolicyKey, operation: Operation)] = []
        for key in keys { if let operation = operation(for: key) { pending.append((key, operation)) } }
        guard !pending.isEmpty else { return true }
        let results = perform(pending.map(\.operation))
        var isComplete = results.count == pending.count
        for (place, (key, operation)) in pending.enumerated() {
            let isApplied = place < results.count && results[place]
            if !isApplied { isComplete = false }
            switch operation {
            case .add(let policy):
                if isApplied { entries[key]?.installed = policy } else { freeNumbers.append(Self.number(policy)) }
            case .change(let policy): if isApplied { entries[key]?.installed = policy }
            case .remove(let policy): freeNumbers.append(Self.number(policy))
            }
        }
        return isComplete
    }

    /// What the kernel has to be told of one key, or nil. A key that nobody wants any more is forgotten.
    private mutating func operation(for key: PolicyKey) -> Operation? {
        guard let entry = entries[key] else { return nil }
        guard let winner = entry.winner else {
            entries[key] = nil
            return entry.installed.map { .remove($0) }
        }
        let priority = winner.isFirst ? KernelSelector.lowestPriority / 2 : key.selector.priority(isOutbound: key.direction == .outbound)
        guard var changed = entry.installed else {
            let number = freeNumbers.popLast() ?? nextNumber()
            return .add(
                PolicyDescription(
                    selector: key.selector, direction: key.direction, content: winner.content, priority: priority, index: Self.mark | number << 3 | UInt32(key.direction.rawValue), scope: key.scope))
        }
        guard changed.content != winner.content || changed.priority != priority else { return nil }
        changed.content = winner.content
        changed.priority = priority
        return .change(changed)
    }

    private static func number(_ policy: PolicyDescription) -> UInt32 { (policy.index & ~mark) >> 3 }

    private mutating func nextNumber() -> UInt32 {
        lastNumber += 1
        return lastNumber & 0x1f_ffff
    }
}

/// Neighbour solicitations and advertisements, which no tunnel takes.
package enum NeighbourDiscovery {
    package static let exemption: [(key: PolicyKey, claim: PolicyClaim)] = {
        let everywhere = Prefix(family: .v6, value: 0, length: 0)
        return ([135, 136] as [UInt16]).flatMap { type in
            [PolicyDirection.inbound, .outbound].map { direction in
                (
                    key: PolicyKey(
                        direction, KernelSelector(source: everywhere, destination: everywhere, ipProtocol: 58, sourcePort: PortBlock(port: type, mask: 0xffff), destinationPort: .any)),
                    claim: PolicyClaim(.pass, .pass, isFirst: true)
                )
            }
        }
    }()
}
