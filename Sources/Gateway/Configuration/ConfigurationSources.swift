// The two places that a configuration comes from: the files, and what clients of the control socket have loaded beside them.
// A name stands in one of the two. What clients loaded ends with the daemon.

import IKECore
import IKECrypto

/// A name that cannot be loaded, or is not there to be unloaded.
package struct SourceConflict: Error, Hashable, Sendable {
    package let reason: String
}

package struct ConfigurationSources: Sendable {
    package private(set) var files: GatewayConfiguration
    /// In the order in which they were first loaded.
    package private(set) var loadedConnections: [Connection] = []
    package private(set) var loadedSecrets: [IKESecret] = []
    package private(set) var loadedPools: [PoolConfiguration] = []
    /// Both: those of the files come first.
    package private(set) var merged: GatewayConfiguration
    private var index: SecretIndex?

    package init(files: GatewayConfiguration) {
        self.files = files
        merged = files
    }

    package func isLoaded(connection name: String) -> Bool { loadedConnections.contains { $0.name == name } }

    /// Of all secrets; made when it is first asked for after they changed, for thousands of connections are loaded one by one.
    package mutating func secretIndex() -> SecretIndex {
        let current = index ?? SecretIndex(merged.secrets)
        index = current
        return current
    }

    private mutating func merge() {
        merged = files
        merged.connections += loadedConnections
        merged.secrets.all += loadedSecrets
        merged.pools += loadedPools
    }

    /// What the files say from now on. A conflict changes nothing.
    package mutating func replaceFiles(_ new: GatewayConfiguration) {
        files = new
        index = nil
        merge()
    }

    /// The connections, secrets and pools of `new` files that clients have loaded already.
    package func conflicts(with new: GatewayConfiguration) -> [ConfigurationError] {
        func conflict(_ kind: String, _ name: String, at position: SourcePosition?) -> ConfigurationError {
            ConfigurationError(at: position ?? SourcePosition(path: new.path), "a client has loaded a \(kind) of the name \(quoted(name)) too: unload it, or choose another name")
        }
        let connections = Set(loadedConnections.map(\.name)), secrets = Set(loadedSecrets.map(\.name)), pools = Set(loadedPools.map(\.name))
        var conflicts = new.connections.filter { connections.contains($0.name) }.map { conflict("connection", $0.name, at: new.origin(ofConnection: $0.name)) }
        conflicts += new.secrets.all.filter { secrets.contains($0.name) }.map { conflict("secret", $0.name, at: $0.origin) }
        conflicts += new.pools.filter { pools.contains($0.name) }.map { conflict("pool", $0.name, at: nil) }
        return conflicts
    }

    // MARK: Pools

    package mutating func load(_ pool: PoolConfiguration) throws(SourceConflict) {
        guard !files.pools.contains(where: { $0.name == pool.name }) else {
            throw SourceConflict(reason: "the pool \(quoted(pool.name)) is configured in \(files.path): a name stands in one place")
        }
        if let index = loadedPools.firstIndex(where: { $0.name == pool.name }) { loadedPools[index] = pool } else { loadedPools.append(pool) }
        merge()
    }

    package mutating func unload(pool name: String) throws(SourceConflict) {
        guard let index = loadedPools.firstIndex(where: { $0.name == name }) else {
            if files.pools.contains(where: { $0.name == name }) { throw SourceConflict(reason: "the pool \(quoted(name)) is configured in \(files.path), and leaves with it alone") }
            throw SourceConflict(reason: "no pool \(quoted(name)) was loaded")
        }
        loadedPools.remove(at: index)
        merge()
    }

    // MARK: Connections

    /// Adds a connection, or replaces the one of its name. Returns the one that was there.
    @discardableResult
    package mutating func load(_ connection: Connection) throws(SourceConflict) -> Connection? {
        if let origin = fileOrigin(connection.name) {
            throw SourceConflict(reason: "the connection \(quoted(connection.name)) is configured in \(origin): a name stands in one place")
        }
        defer { merge() }
        guard let index = loadedConnections.firstIndex(where: { $0.name == connection.name }) else {
            loadedConnections.append(connection)
            return nil
        }
        let before = loadedConnections[index]
        loadedConnections[index] = connection
        return before
    }

    package mutating func unload(connection name: String) throws(SourceConflict) -> Connection {
        guard let index = loadedConnections.firstIndex(where: { $0.name == name }) else {
            if let origin = fileOrigin(name) { throw SourceConflict(reason: "the connection \(quoted(name)) is configured in \(origin), and leaves with it alone") }
            throw SourceConflict(reason: "no connection \(quoted(name)) was loaded" + suggestion(nearest(to: name, among: loadedConnections.map(\.name))))
        }
        defer { merge() }
        return loadedConnections.remove(at: index)
    }

    private func fileOrigin(_ name: String) -> String? {
        guard files.connection(named: name) != nil else { return nil }
        return files.origin(ofConnection: name)?.description ?? files.path
    }

    // MARK: Secrets

    /// Adds a secret, or replaces the one of its name. Secrets without a name stand beside each other.
    package mutating func load(_ secret: IKESecret) throws(SourceConflict) {
        if let own = files.secrets.all.first(where: { $0.name == secret.name }) {
            throw SourceConflict(reason: "the secret \(quoted(secret.name)) is configured in \(own.origin): a name stands in one place")
        }
        if !secret.name.isEmpty, let index = loadedSecrets.firstIndex(where: { $0.name == secret.name }) {
            loadedSecrets[index] = secret
        } else {
            loadedSecrets.append(secret)
        }
        index = nil
        merge()
    }

    /// Of a name that is not there nothing is left to unload.
    package mutating func unload(secret name: String) throws(SourceConflict) {
        if let own = files.secrets.all.first(where: { $0.name == name }) {
            throw SourceConflict(reason: "the secret \(quoted(name)) is configured in \(own.origin), and leaves with it alone")
        }
        loadedSecrets.removeAll { $0.name == name && !name.isEmpty }
        index = nil
        merge()
    }

    /// Returns how many there were.
    @discardableResult
    package mutating func clearSecrets() -> Int {
        let count = loadedSecrets.count
        loadedSecrets = []
        index = nil
        merge()
        return count
    }
}
