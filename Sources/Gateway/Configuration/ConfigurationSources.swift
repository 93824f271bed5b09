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
    /// Both: those of the files come first.
    package private(set) var merged: GatewayConfiguration

    package init(files: GatewayConfiguration) {
        self.files = files
        merged = files
    }

    package func isLoaded(connection name: String) -> Bool { loadedConnections.contains { $0.name == name } }

    private mutating func merge() {
        merged = files
        merged.connections += loadedConnections
        merged.secrets.all += loadedSecrets
    }

    /// What the files say from now on. A conflict changes nothing.
    package mutating func replaceFiles(_ new: GatewayConfiguration) {
        files = new
        merge()
    }

    /// The connections and secrets of `new` files that clients have loaded already.
    package func conflicts(with new: GatewayConfiguration) -> [ConfigurationError] {
        let connections = Set(loadedConnections.map(\.name)), secrets = Set(loadedSecrets.map(\.name))
        return new.connections.filter { connections.contains($0.name) }.map {
            ConfigurationError(
                at: new.origin(ofConnection: $0.name) ?? SourcePosition(path: new.path), "a client has loaded a connection of the name \(quoted($0.name)) too: unload it, or choose another name")
        }
            + new.secrets.all.filter { secrets.contains($0.name) }.map {
                ConfigurationError(at: $0.origin, "a client has loaded a secret of the name \(quoted($0.name)) too: unload it, or choose another name")
            }
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
        merge()
    }

    /// Of a name that is not there nothing is left to unload.
    package mutating func unload(secret name: String) throws(SourceConflict) {
        if let own = files.secrets.all.first(where: { $0.name == name }) {
            throw SourceConflict(reason: "the secret \(quoted(name)) is configured in \(own.origin), and leaves with it alone")
        }
        loadedSecrets.removeAll { $0.name == name && !name.isEmpty }
        merge()
    }

    /// Returns how many there were.
    @discardableResult
    package mutating func clearSecrets() -> Int {
        let count = loadedSecrets.count
        loadedSecrets = []
        merge()
        return count
    }
}
