// A whole configuration, checked and resolved: what the gateway runs on.

import IKECore
import IKECrypto
import IKEWire

/// The section `gateway`.
package struct GatewaySettings: Hashable, Sendable {
    /// Addresses to listen on; empty for every one.
    package var listen: [IPAddress] = []
    package var port: UInt16 = 500
    package var natPort: UInt16 = 4500
    /// The data plane's name, or "auto".
    package var plane = GatewaySettings.automaticPlane
    /// The data plane that suits the kernel.
    package static let automaticPlane = "auto"
    /// The control socket's path.
    package var control = "/run/martlet/vici.sock"
    /// The folder for what outlives the daemon.
    package var state = "/var/lib/martlet"
    /// The database of leases; nil for memory alone.
    package var leases: String? = "/var/lib/martlet/leases.db"
    /// Who is told of name servers that gateways name to this host.
    package var resolver = ResolverChoice.auto
    /// How often a directory is asked of a user who is connected; zero for never.
    package var directoryCheck = Duration.seconds(60)
    /// How often observers are told what a session has carried so far; zero for not before its end.
    package var accountingInterval = Duration.seconds(300)
    /// Event loops; 0 for one a core.
    package var shards = 0
    /// Crypto providers by preference; empty for the plugins' own priorities.
    package var crypto: [String] = []
    package var logLevel = 1
    /// Nil: standard error, or the journal.
    package var logFile: String?
    /// The folder that keys are written to for a protocol analyser; nil, the default, for none.
    package var exportKeysFolder: String?
    /// Cookies, half-open SAs, retransmission.
    package var limits = Limits()
    package init() {}
}

/// The section `plugins`.
package struct PluginConfiguration: Hashable, Sendable {
    package struct Option: Hashable, Sendable {
        /// Sections inside the plugin's own are dotted: `server.uri`.
        package var name: String
        package var value: String
        package var position: SourcePosition
    }
    package struct Plugin: Hashable, Sendable {
        package var name: String
        /// Lower goes first; nil for the plugin's place in the list.
        package var priority: Int?
        package var isLoaded = true
        package var options: [Option] = []
        package var position: SourcePosition

        package func option(_ name: String) -> String? { options.last { $0.name == name }?.value }
    }
    /// Folders to look in, in order; empty for those beside the executable.
    package var path: [String] = []
    package var plugins: [Plugin] = []
    package init() {}

    /// Lower goes first.
    package var priorities: [String: Int] { Dictionary(plugins.compactMap { plugin in plugin.priority.map { (plugin.name, $0) } }, uniquingKeysWith: { $1 }) }
    package func plugin(_ name: String) -> Plugin? { plugins.first { $0.name == name } }
}

/// What a secret is for: two peers that share it, or a user of EAP, whose password or NT hash it is.
package enum SecretKind: Hashable, Sendable { case ike, eap, ntlm }

/// One secret of the section `secrets`, `ike*` for PSK authentication or `eap*`, `xauth*`, `ntlm*` for EAP. Has no description of its own: it holds a key.
package final class IKESecret: Sendable {
    package let kind: SecretKind
    /// The section's name: `ike-east`.
    package let name: String
    /// Whose secret it is; empty for everybody's.
    package let identities: [IdentityPattern]
    package let secret: SecretBox
    package let origin: SourcePosition

    package init(_ kind: SecretKind = .ike, name: String, identities: [IdentityPattern], secret: SecretBox, origin: SourcePosition) {
        self.kind = kind
        self.name = name
        self.identities = identities
        self.secret = secret
        self.origin = origin
    }

    /// Whether both are the same secret for the same identities. In time that depends on the lengths alone.
    func isSame(as other: IKESecret) -> Bool {
        guard kind == other.kind, name == other.name, identities == other.identities else { return false }
        return secret.withSecret { mine in other.secret.withSecret { theirs in constantTimeEqual(mine.span, theirs.span) } ?? false } ?? false
    }
}

package struct GatewayConfiguration: Sendable {
    /// The main file.
    package var path: String
    package var gateway = GatewaySettings()
    package var plugins = PluginConfiguration()
    package var connections: [Connection] = []
    package var secrets = SharedSecrets()
    package var pools: [PoolConfiguration] = []
    package var credentials: [Credential] = []
    package var authorities: [Authority] = []
    /// Where they came from: files, there or not, and folders that are read as a whole.
    package var credentialFiles: Set<String> = []
    package var credentialFolders: Set<String> = []
    /// Where things stand: by `connections.NAME`, `connections.NAME.children.CHILD`.
    package var origins: [String: SourcePosition] = [:]
    package var warnings: [ConfigurationError] = []
    package init(path: String) { self.path = path }

    /// Identifiers of the private keys.
    var keyIDs: Set<[UInt8]> { Set(credentials.filter { $0.kind == .privateKey }.map(\.facts.keyID)) }

    package func connection(named name: String) -> Connection? { connections.first { $0.name == name } }
    package func origin(ofConnection name: String) -> SourcePosition? { origins["connections." + name] }
}

/// `gateway.resolver`.
package enum ResolverChoice: String, Hashable, Sendable, CaseIterable {
    /// systemd-resolved where it answers, else resolvconf.
    case auto, resolved, resolvconf
    /// Name servers are not set up.
    case no
}
