// Which preshared key belongs to two identities.

import IKECore
import IKEWire

package struct SharedSecrets: Sendable {
    package var all: [IKESecret]
    package init(_ all: [IKESecret] = []) { self.all = all }

    /// Those that two peers share.
    package var preshared: SharedSecrets { SharedSecrets(all.filter { $0.kind == .ike }) }

    /// The secret to use between us as `local` and a peer as `remote`.
    ///
    /// As strongSwan chooses: the one that fits the peer best, among those the one that fits us best, then the first. An identity fits better
    /// than a pattern, and that better than `%any` or a secret without identities. A secret that names other identities alone is none.
    package func best(local: Identification, remote: Identification) -> IKESecret? {
        var best: (secret: IKESecret, rank: (Int, Int))?
        for secret in all where secret.kind == .ike {
            let rank = (secret.fit(remote), secret.fit(local))
            if rank == (0, 0) { continue }
            if let best, best.rank >= rank { continue }
            best = (secret, rank)
        }
        return best?.secret
    }
}

extension IKESecret {
    /// How well it fits an identity: 3 exactly, 2 as a pattern, 1 as any, 0 not.
    fileprivate func fit(_ identity: Identification) -> Int {
        if identities.isEmpty { return 1 }
        var best = 0
        for pattern in identities where pattern.matches(identity) {
            switch pattern {
            case .any: best = max(best, 1)
            case .suffix, .name: best = max(best, 2)
            case .exactly: return 3
            }
        }
        return best
    }
}

/// Whether a secret could be found for a connection: asked once for each, so that many connections and many secrets stay quick.
package struct SecretIndex: Sendable {
    private var servesEverybody = false
    private var exact: Set<Identification> = []
    /// The distinguished names among them as they are written: for comparison they lose their structure, which patterns look at.
    private var exactNames: [Identification] = []
    private var patterns: [IdentityPattern] = []
    /// Whether there are users of EAP.
    private(set) var hasUsers = false

    package init(_ secrets: SharedSecrets) {
        for secret in secrets.all { add(secret) }
    }

    mutating func add(_ secret: IKESecret) {
        guard secret.kind == .ike else { return hasUsers = true }
        if secret.identities.isEmpty { servesEverybody = true }
        for pattern in secret.identities {
            guard case .exactly(let identity) = pattern else {
                patterns.append(pattern)
                continue
            }
            exact.insert(identity.lowercased)
            if identity.kind == .derDN { exactNames.append(identity) }
        }
    }

    func mayServe(local: IdentityPattern, remote: IdentityPattern) -> Bool { servesEverybody || names(local) || names(remote) }

    private func names(_ pattern: IdentityPattern) -> Bool {
        guard case .exactly(let identity) = pattern else {
            if case .name = pattern, exactNames.contains(where: { pattern.matches($0) }) { return true }
            return patterns.contains { $0.overlaps(pattern) } || exact.contains { IdentityPattern.exactly($0).overlaps(pattern) }
        }
        return exact.contains(identity.lowercased) || patterns.contains { $0.matches(identity) }
    }
}
