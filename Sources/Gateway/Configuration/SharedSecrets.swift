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
}

/// Whether a secret could be found for a connection: asked once for each, so that many connections and many secrets stay quick.
package struct SecretIndex: Sendable {
    private let servesEverybody: Bool
    private let identities: [IdentityPattern]
    private let exact: Set<Identification>
    private let patterns: [IdentityPattern]

    package init(_ secrets: SharedSecrets) {
        servesEverybody = secrets.all.contains(where: \.identities.isEmpty)
        identities = secrets.all.flatMap(\.identities)
        exact = Set(identities.compactMap { if case .exactly(let identity) = $0 { identity.lowercased } else { nil } })
        patterns = identities.filter { if case .exactly = $0 { false } else { true } }
    }

    func mayServe(local: IdentityPattern, remote: IdentityPattern) -> Bool { servesEverybody || names(local) || names(remote) }

    private func names(_ pattern: IdentityPattern) -> Bool {
        guard case .exactly(let identity) = pattern else { return identities.contains { $0.overlaps(pattern) } }
        return exact.contains(identity.lowercased) || patterns.contains { $0.matches(identity) }
    }
}

extension Identification {
    /// The same for all identities that `matches` holds equal.
    var lowercased: Identification {
        guard kind == .fqdn || kind == .rfc822 else { return self }
        return Identification(kind: kind, data: data.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 })
    }
}
