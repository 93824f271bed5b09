// What the control socket asks of the gateway about its configuration: what clients load beside the files, and what of it is installed.
import IKECrypto

/// What loading or unloading came to: the warnings, or why nothing has changed.
package typealias LoadResult = Result<[String], FailureSnapshot>

/// What `load-cert` brings: `type` and `flag`.
package enum LoadedCertificateKind: Hashable, Sendable { case endEntity, authority, other, revocationList, publicKey }

/// What was fetched of authorities, and is kept for the next who needs it. As in credentials.h of the plugin contract.
package struct FetchedCredentials: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    package static let revocationLists = FetchedCredentials(rawValue: 1), statusAnswers = FetchedCredentials(rawValue: 2)
}

/// The configuration as the control socket sees it.
///
/// Called on the control loop's thread, as `ControlBackend` is. What clients load stands beside the files, lasts until the daemon ends, and
/// is all that `loadedConnections` and `loadedSecrets` name. A load that is wrong changes nothing.
package protocol ConfigurationBackend: AnyObject {
    /// `root` holds `connections` with one connection of that `name`. The completion is called once, on the control loop's thread.
    func loadConnection(_ name: String, _ root: ConfigurationSection, _ completion: @escaping @Sendable (LoadResult) -> Void)
    func unloadConnection(_ name: String) -> LoadResult
    var loadedConnections: [String] { get }

    /// `id` may be empty: such a secret goes with `clearSecrets` alone. Without `owners` it is everybody's.
    func loadSecret(_ kind: SecretKind, id: String, owners: [String], data: SecretBox) -> LoadResult
    func unloadSecret(id: String) -> LoadResult
    /// Those that have an id.
    var loadedSecrets: [String] { get }
    func clearSecrets()

    func loadCertificate(_ kind: LoadedCertificateKind, data: SecretBox) -> LoadResult
    /// Its identifier: SHA-1 over the public key, hexadecimal.
    func loadKey(data: SecretBox) -> Result<String, FailureSnapshot>
    func unloadKey(id: String) -> LoadResult
    /// The identifiers of those that clients loaded.
    var loadedKeys: [String] { get }
    /// `root` holds `authorities` with one authority of that `name`.
    func loadAuthority(_ name: String, _ root: ConfigurationSection) -> LoadResult
    func unloadAuthority(_ name: String) -> LoadResult
    var loadedAuthorities: [String] { get }
    /// Those of the files as well.
    var authorities: [Authority] { get }
    var certificates: [Credential] { get }
    func forget(_ fetched: FetchedCredentials)

    /// `root` holds `pools` with one pool of that `name`. The completion is called once, on the control loop's thread.
    func loadPool(_ name: String, _ root: ConfigurationSection, _ completion: @escaping @Sendable (LoadResult) -> Void)
    func unloadPool(_ name: String) -> LoadResult
    /// Those that clients loaded; with their leases, those of the files as well.
    func pools(withLeases: Bool) -> [PoolSnapshot]

    /// Reads the files again. The completion is called once, on the control loop's thread.
    func reloadFiles(_ completion: @escaping @Sendable (LoadResult) -> Void)

    var policies: [PolicySnapshot] { get }
    /// Installs what the child's configuration says to install before there is an SA. The completion is called once, on the control loop's thread.
    func installPolicy(child: String, connection: String?, _ completion: @escaping @Sendable (LoadResult) -> Void)
    func uninstallPolicy(child: String, connection: String?) -> LoadResult
}
