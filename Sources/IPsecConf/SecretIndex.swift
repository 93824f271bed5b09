// Whether a connection has a preshared key, by the rules of the daemon that the file was for.

struct SecretIndex {
    let keys: [PresharedKey]
    let dialect: Dialect

    /// `local` is nil where our identity is an address that only shows when the connection is made.
    func serves(local: Identity?, remote: Identity) -> Bool {
        let local = local ?? .any
        return keys.contains { key in
            func names(_ identity: Identity) -> Bool { key.identities.contains { $0.overlaps(identity) } }
            if key.identities.isEmpty { return true }
            switch dialect {
            case .strongSwan: return names(local) || names(remote)
            // One identity is ours; among several both sides must be.
            case .libreswan: return names(local) && (key.identities.count == 1 || names(remote))
            }
        }
    }
}
