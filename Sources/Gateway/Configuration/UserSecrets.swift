// The users whom a configuration itself knows, by name.

import IKECore

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
    package func knows(_ user: [UInt8], isServer: Bool) -> Bool { !secrets(of: user, isServer: isServer).isEmpty }

    private static func key(_ user: [UInt8]) -> [UInt8] { user.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 } }

    func secrets(of user: [UInt8], isServer: Bool) -> [IKESecret] { named[Self.key(user)] ?? (isServer ? [] : nameless) }
}
