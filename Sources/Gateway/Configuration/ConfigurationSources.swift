// The two places that a configuration comes from: the files, and what clients of the control socket have loaded beside them.
// A name stands in one of the two. What clients loaded ends with the daemon.

import IKECore
import IKECrypto

/// A name that cannot be loaded, or is not there to be unloaded.
package struct SourceConflict: Error, Hashable, Sendable {
    package let reason: String
}

package struct ConfigurationSources: Sendable {
    /// How much clients may load beside the files.
    package struct Limits: Hashable, Sendable {
        package var connections = 65_536
        package var secrets = 65_536
        package var pools = 4_096
        package var credentials = 65_536
        package var authorities = 4_096
        package init() {}
    }
    private enum SecretKey: Hashable, Sendable {
        case named(String)
        case nameless(Int)
    }

    package let limits: Limits
    package private(set) var files: GatewayConfiguration
    // Of both places, those of the files first; and of which clients loaded, in the order in which they did so first.
    private var connections = KeyedList<String, Connection>()
    private var pools = KeyedList<String, PoolConfiguration>()
    private var secrets = KeyedList<SecretKey, IKESecret>()
    private var clientConnections = KeyedList<String, String>()
    private var clientPools = KeyedList<String, String>()
    private var clientSecrets = KeyedList<SecretKey, SecretKey>()
    private var lastNameless = 0
    /// By whose they are: a client that has no names for its secrets loads them again and again.
    private var nameless: [[IdentityPattern]: [SecretKey]] = [:]
    private var index: SecretIndex?
    package private(set) var loaded = LoadedCredentials()

    package init(files: GatewayConfiguration, limits: Limits = Limits()) {
        self.files = files
        self.limits = limits
        replaceFiles(files)
    }

    package var loadedConnections: [Connection] { clientConnections.elements.compactMap { connections[$0] } }
    package var loadedSecrets: [IKESecret] { clientSecrets.elements.compactMap { secrets[$0] } }
    package var loadedPools: [PoolConfiguration] { clientPools.elements.compactMap { pools[$0] } }
    package func isLoaded(connection name: String) -> Bool { clientConnections.contains(name) }
    package func isLoaded(pool name: String) -> Bool { clientPools.contains(name) }

    /// Both: those of the files come first.
    package var merged: GatewayConfiguration {
        var merged = files
        merged.credentials = credentials
        merged.authorities = files.authorities + loaded.authorities
        merged.connections = connections.elements
        merged.secrets.all = secrets.elements
        merged.pools = pools.elements
        return merged
    }
    package func connection(named name: String) -> Connection? { connections[name] }

    /// What a connection that joins is checked against. Without the other connections: whoever holds on to them makes the next change copy them.
    package var surroundings: GatewayConfiguration {
        var surroundings = GatewayConfiguration(path: files.path)
        surroundings.gateway = files.gateway
        surroundings.pools = pools.elements
        surroundings.credentials = credentials.filter { $0.kind == .privateKey }
        return surroundings
    }

    /// Of all secrets; made when it is first asked for after one has changed, for thousands of connections are loaded one by one.
    package mutating func secretIndex() -> SecretIndex {
        let current = index ?? SecretIndex(SharedSecrets(secrets.elements))
        index = current
        return current
    }

    /// What the files say from now on; ask for `conflicts` first.
    package mutating func replaceFiles(_ new: GatewayConfiguration) {
        let loaded = (connections: loadedConnections, pools: loadedPools, secrets: clientSecrets.elements.map { ($0, secrets[$0]) })
        files = new
        (connections, pools, secrets, index) = (KeyedList(), KeyedList(), KeyedList(), nil)
        for connection in new.connections + loaded.connections { connections.set(connection, for: connection.name) }
        for pool in new.pools + loaded.pools { pools.set(pool, for: pool.name) }
        for secret in new.secrets.all { secrets.set(secret, for: .named(secret.name)) }
        for case (let key, let secret?) in loaded.secrets { secrets.set(secret, for: key) }
    }

    /// The same again, but for where its certificates come from and what there is to say of them.
    package mutating func filesRead(_ new: GatewayConfiguration) {
        (files.credentialFiles, files.credentialFolders, files.warnings) = (new.credentialFiles, new.credentialFolders, new.warnings)
    }

    /// The connections, secrets and pools of `new` files that clients have loaded already, and the pools that those of clients would miss.
    package func conflicts(with new: GatewayConfiguration) -> [ConfigurationError] {
        func conflict(_ kind: String, _ name: String, at position: SourcePosition?) -> ConfigurationError {
            ConfigurationError(at: position ?? SourcePosition(path: new.path), "a client has loaded a \(kind) of the name \(quoted(name)) too: unload it, or choose another name")
        }
        var conflicts = new.connections.filter { clientConnections.contains($0.name) }.map { conflict("connection", $0.name, at: new.origin(ofConnection: $0.name)) }
        conflicts += new.secrets.all.filter { clientSecrets.contains(.named($0.name)) }.map { conflict("secret", $0.name, at: $0.origin) }
        conflicts += new.authorities.filter { authority in loaded.authorities.contains { $0.name == authority.name } }.map { conflict("authority", $0.name, at: nil) }
        conflicts += new.pools.filter { clientPools.contains($0.name) }.map { conflict("pool", $0.name, at: nil) }
        let names = Set(new.pools.map(\.name) + clientPools.elements)
        for connection in loadedConnections {
            for pool in connection.pools where !names.contains(pool) {
                conflicts.append(
                    ConfigurationError(
                        at: SourcePosition(path: new.path), "the pool \(quoted(pool)) is gone, and the connection \(quoted(connection.name)) that a client has loaded names it: unload that first"))
            }
        }
        return conflicts
    }

    private static func tooMany(_ limit: Int, _ what: String) -> SourceConflict { SourceConflict(reason: "clients have loaded \(limit) \(what) already, and no more are taken") }

    // MARK: Pools

    package mutating func load(_ pool: PoolConfiguration) throws(SourceConflict) {
        guard isLoaded(pool: pool.name) || !pools.contains(pool.name) else {
            throw SourceConflict(reason: "the pool \(quoted(pool.name)) is configured in \(files.path): a name stands in one place")
        }
        guard isLoaded(pool: pool.name) || clientPools.elements.count < limits.pools else { throw Self.tooMany(limits.pools, "pools") }
        pools.set(pool, for: pool.name)
        clientPools.set(pool.name, for: pool.name)
    }

    package mutating func unload(pool name: String) throws(SourceConflict) {
        guard isLoaded(pool: name) else {
            if pools.contains(name) { throw SourceConflict(reason: "the pool \(quoted(name)) is configured in \(files.path), and leaves with it alone") }
            throw SourceConflict(reason: "no pool \(quoted(name)) was loaded")
        }
        if let user = connections.elements.first(where: { $0.pools.contains(name) }) {
            throw SourceConflict(reason: "the connection \(quoted(user.name)) names the pool \(quoted(name)): change or unload the connection first")
        }
        _ = pools.remove(name)
        _ = clientPools.remove(name)
    }

    // MARK: Connections

    /// Adds a connection, or replaces the one of its name. Returns the one that was there.
    /// Its pools are asked for again: they may have gone since it was checked.
    @discardableResult
    package mutating func load(_ connection: Connection) throws(SourceConflict) -> Connection? {
        let name = connection.name
        if let origin = fileOrigin(name) {
            throw SourceConflict(reason: "the connection \(quoted(name)) is configured in \(origin): a name stands in one place")
        }
        guard isLoaded(connection: name) || clientConnections.elements.count < limits.connections else { throw Self.tooMany(limits.connections, "connections") }
        if let missing = connection.pools.first(where: { !pools.contains($0) }) { throw SourceConflict(reason: "\(name).pools: there is no pool \(quoted(missing)) any more") }
        clientConnections.set(name, for: name)
        return connections.set(connection, for: name)
    }

    package mutating func unload(connection name: String) throws(SourceConflict) -> Connection {
        guard clientConnections.remove(name) != nil, let connection = connections.remove(name) else {
            if let origin = fileOrigin(name) { throw SourceConflict(reason: "the connection \(quoted(name)) is configured in \(origin), and leaves with it alone") }
            throw SourceConflict(reason: "no connection \(quoted(name)) was loaded" + suggestion(nearest(to: name, among: clientConnections.elements)))
        }
        loaded.ofConnections[name] = nil
        return connection
    }

    private func fileOrigin(_ name: String) -> String? {
        guard connections.contains(name), !isLoaded(connection: name) else { return nil }
        return files.origin(ofConnection: name)?.description ?? files.path
    }

    // MARK: Secrets

    /// Adds a secret, or replaces the one of its name. Secrets without a name stand beside each other.
    /// False where the same is there already.
    @discardableResult
    package mutating func load(_ secret: IKESecret) throws(SourceConflict) -> Bool {
        let named = SecretKey.named(secret.name)
        if let before = secrets[named] {
            guard clientSecrets.contains(named) else { throw SourceConflict(reason: "the secret \(quoted(secret.name)) is configured in \(before.origin): a name stands in one place") }
            guard !before.isSame(as: secret) else { return false }
            index = nil
            secrets.set(secret, for: named)
            return true
        }
        if secret.name.isEmpty, nameless[secret.identities, default: []].contains(where: { secrets[$0]?.isSame(as: secret) == true }) { return false }
        guard clientSecrets.elements.count < limits.secrets else { throw Self.tooMany(limits.secrets, "secrets") }
        var key = named
        if secret.name.isEmpty {
            lastNameless += 1
            key = .nameless(lastNameless)
            nameless[secret.identities, default: []].append(key)
        }
        index?.add(secret)
        secrets.set(secret, for: key)
        clientSecrets.set(key, for: key)
        return true
    }

    /// Of a name that is not there nothing is left to unload.
    package mutating func unload(secret name: String) throws(SourceConflict) {
        let key = SecretKey.named(name)
        guard clientSecrets.remove(key) != nil else {
            if let own = secrets[key] { throw SourceConflict(reason: "the secret \(quoted(name)) is configured in \(own.origin), and leaves with it alone") }
            return
        }
        _ = secrets.remove(key)
        index = nil
    }

    /// Returns how many there were.
    @discardableResult
    package mutating func clearSecrets() -> Int {
        let count = clientSecrets.elements.count
        clientSecrets = KeyedList()
        nameless = [:]
        secrets = KeyedList()
        for secret in files.secrets.all { secrets.set(secret, for: .named(secret.name)) }
        index = nil
        return count
    }
}

// MARK: Certificates and keys

extension ConfigurationSources {
    /// Those of the files come first.
    package var credentials: [Credential] { files.credentials + loaded.all }

    package mutating func load(_ items: [Credential]) throws(SourceConflict) {
        guard loaded.count + items.count <= limits.credentials else { throw Self.tooMany(limits.credentials, "certificates and keys") }
        loaded.add(items)
    }

    /// The certificates that came with a connection, in place of those that came with it before.
    package mutating func load(_ items: [Credential], ofConnection name: String) { loaded.ofConnections[name] = items.isEmpty ? nil : items }

    /// Of a key that is not there nothing is left to unload.
    package mutating func unload(key id: [UInt8]) throws(SourceConflict) {
        if loaded.remove(key: id) { return }
        if let own = files.credentials.first(where: { $0.kind == .privateKey && $0.facts.keyID == id }) {
            throw SourceConflict(reason: "the key is one of \(own.origin), and leaves with it alone")
        }
    }

    package mutating func load(_ authority: Authority, _ items: [Credential]) throws(SourceConflict) {
        if files.authorities.contains(where: { $0.name == authority.name }) {
            throw SourceConflict(reason: "the authority \(quoted(authority.name)) is configured in \(files.path): a name stands in one place")
        }
        guard loaded.authorities.count < limits.authorities || loaded.authorities.contains(where: { $0.name == authority.name }) else { throw Self.tooMany(limits.authorities, "authorities") }
        loaded.add(authority, items)
    }

    package mutating func unload(authority name: String) throws(SourceConflict) {
        guard loaded.remove(authority: name) else {
            if files.authorities.contains(where: { $0.name == name }) { throw SourceConflict(reason: "the authority \(quoted(name)) is configured in \(files.path), and leaves with it alone") }
            throw SourceConflict(reason: "no authority \(quoted(name)) was loaded")
        }
    }

    /// Certificates, CRLs and keys, but not authorities: they have an unloading of their own.
    package mutating func clearCredentials() -> Int { loaded.clear() }
}
