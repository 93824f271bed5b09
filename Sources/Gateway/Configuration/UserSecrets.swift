// The users whom a configuration itself knows, by name.

import IKECore

extension IKESecret {
    /// Of whom it is: the first name, of those that it has.
    fileprivate var userName: String? {
        for case .exactly(let identity) in identities { return String(decoding: identity.eapIdentity, as: UTF8.self) }
        return nil
    }

    fileprivate func isNamed(_ user: [UInt8]) -> Bool { identities.contains { if case .exactly(let identity) = $0 { identity.eapIdentity == user } else { false } } }
}

/// The secrets `eap-*`, `xauth-*` and `ntlm-*` of a configuration by user.
package struct UserSecrets: Sendable {
    private var named: [[UInt8]: [IKESecret]] = [:]
    /// Without identities: our own as a client, never a user's as the server.
    private var nameless: [IKESecret] = []

    package init(_ secrets: SharedSecrets = SharedSecrets()) {
        for secret in secrets.all where secret.kind != .ike {
            if secret.identities.isEmpty { nameless.append(secret) }
            for case .exactly(let identity) in secret.identities { named[Self.key(identity.eapIdentity), default: []].append(secret) }
        }
    }

    package var isEmpty: Bool { named.isEmpty && nameless.isEmpty }
    /// Nobody can log in with what is here.
    var hasNoUsers: Bool { named.isEmpty }
    /// There are NT hashes and no password.
    var hasHashesAlone: Bool { !named.isEmpty && !named.values.contains { $0.contains { $0.kind == .eap } } }
    func hasHashAlone(_ user: [UInt8]) -> Bool {
        let known = secrets(of: user, isServer: false)
        return !known.isEmpty && !known.contains { $0.kind == .eap }
    }
    /// The section of a password that is nobody's: ours where we are the client. A password that counted under any name would let in whoever knows it as anybody.
    var namelessSection: String? { nameless.first?.name }
    package func knows(_ user: [UInt8], isServer: Bool) -> Bool { !secrets(of: user, isServer: isServer).isEmpty }

    private static func key(_ user: [UInt8]) -> [UInt8] { user.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 } }

    /// Those of the very name, where there are any; else those of one in other letters, large or small.
    func secrets(of user: [UInt8], isServer: Bool) -> [IKESecret] {
        guard let known = named[Self.key(user)] else { return isServer ? [] : nameless }
        let exact = known.filter { $0.isNamed(user) }
        return exact.isEmpty ? known : exact
    }

    /// Users with more than one secret of which one counts alone: each other secret, with what to say of it.
    var repeated: [(secret: IKESecret, reason: String)] {
        var found: [(secret: IKESecret, reason: String)] = []
        for secrets in named.values where secrets.count > 1 {
            for (index, secret) in secrets.enumerated() {
                guard let name = secret.userName, let earlier = secrets[..<index].first(where: { $0.kind == secret.kind || $0.userName == name }), let other = earlier.userName else { continue }
                if name != other {
                    found.append(
                        (
                            secret,
                            "the users \(quoted(name)) and \(quoted(other)) differ in large and small letters alone: whoever writes the name in a third way is \(quoted(secrets.first?.userName ?? other))"
                        ))
                } else if earlier.kind == secret.kind {
                    found.append((secret, "the user \(quoted(name)) has another secret, \(quoted(earlier.name)), and that one counts: take one of the two out"))
                } else {
                    found.append(
                        (
                            secret,
                            "the user \(quoted(name)) has a password and an NT hash, \(quoted(earlier.name)) and \(quoted(secret.name)): MSCHAPv2 goes by the hash, everything else by the password"
                        ))
                }
            }
        }
        return found
    }
}
