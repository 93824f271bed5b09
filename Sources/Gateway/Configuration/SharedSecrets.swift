// Which preshared key belongs to two identities.

import IKECore
import IKEWire

package struct SharedSecrets: Sendable {
    package var all: [IKESecret]
    package init(_ all: [IKESecret] = []) { self.all = all }

    /// The secret to use between us as `local` and a peer as `remote`.
    ///
    /// As swanctl chooses: a secret that names both identities before one that names one of the two before one without identities.
    /// A secret that names other identities alone is none. Among equals an exact identity goes before a pattern, then the first.
    package func best(local: Identification, remote: Identification) -> IKESecret? {
        var best: (secret: IKESecret, rank: (Int, Int))?
        for secret in all {
            let matching = [local, remote].map { identity in secret.identities.filter { $0.matches(identity) } }
            let count = matching.count { !$0.isEmpty }
            guard count > 0 || secret.identities.isEmpty else { continue }
            let exact = matching.count { $0.contains { if case .exactly = $0 { true } else { false } } }
            if let rank = best?.rank, rank >= (count, exact) { continue }
            best = (secret, (count, exact))
        }
        return best?.secret
    }

    /// Whether a secret could be found for identities that fit these patterns.
    func mayHave(local: IdentityPattern, remote: IdentityPattern) -> Bool {
        all.contains { secret in
            secret.identities.isEmpty || secret.identities.contains { $0.overlaps(local) || $0.overlaps(remote) }
        }
    }
}
