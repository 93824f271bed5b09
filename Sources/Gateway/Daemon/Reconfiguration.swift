// How a running gateway's configuration changes: its files are read again, and clients load connections and secrets beside them.
// SAs of what has not changed stay as they are.

import IKECore
import IKECrypto

extension RunningGateway {
    /// Reads the files again. Wrong ones change nothing.
    func reload() { reloadFiles { _ in } }

    private func replace(with new: GatewayConfiguration) {
        let files = sources.files
        let difference = files.difference(to: new)
        func list(_ names: [String]) -> String { names.joined(separator: ", ") }
        for name in difference.removedConnections {
            log.write(.info, "CFG", "the connection is gone from the configuration: its SAs end", connection: name)
            for shard in shards { shard.post(.terminate(.connection(name), request: nil)) }
            failures[name] = nil
        }
        if !difference.addedConnections.isEmpty { log.write(.info, "CFG", "new connections: \(list(difference.addedConnections))") }
        if !difference.changedConnections.isEmpty { log.write(.info, "CFG", "changed connections, from their next negotiation on: \(list(difference.changedConnections))") }
        if !difference.connectionsWithNewSecret.isEmpty { log.write(.info, "CFG", "connections with a new secret: \(list(difference.connectionsWithNewSecret))") }
        var applied = new
        // What a restart alone changes stays as it runs, so that the next difference is true.
        applied.gateway = files.gateway
        applied.gateway.logLevel = new.gateway.logLevel
        applied.gateway.logFile = new.gateway.logFile
        applied.plugins = files.plugins
        if applied.gateway != new.gateway || difference.arePluginsChanged {
            log.write(.error, "CFG", "of the sections gateway and plugins only the log takes effect now; restart the daemon for the rest")
        }
        sources.replaceFiles(applied)
        log.configure(level: applied.gateway.level, target: applied.gateway.logTarget)
        secretsChanged()
        pools.configure(configuration.pools)
        connectionsChanged()
        log.write(.info, "CFG", difference.isEmpty ? "nothing has changed" : "the new configuration is in use")
        updateTraps(changed: Set(difference.addedConnections + difference.changedConnections))
        initiateStarting(only: Set(difference.addedConnections + difference.changedConnections))
    }

    private func connectionsChanged() {
        let connections = configuration.connections
        for shard in shards { shard.post(.configurationReplaced(connections)) }
    }

    private func secretsChanged() { runner.replaceSecrets(configuration.secrets) }

    private static func refusal(_ summary: String, _ evidence: [String] = []) -> LoadResult {
        .failure(FailureSnapshot(code: "configuration-refused", summary: summary, evidence: evidence))
    }

    private static func refusal(_ errors: [ConfigurationError]) -> LoadResult {
        let others = errors.count > 1 ? " (and \(errors.count - 1) more)" : ""
        return refusal((errors.first?.text ?? "it is wrong") + others, errors.map(\.text))
    }
}

extension RunningGateway: ConfigurationBackend {
    package func reloadFiles(_ completion: @escaping @Sendable (LoadResult) -> Void) {
        let path = sources.files.path
        let plugins = plugins
        log.write(.info, "CFG", "reading \(path) again")
        jobs.submit(deadline: Instant.now() + .seconds(30)) {
            ConfigurationLoader.validate(ConfigurationLoader.read(path: path), Capabilities(plugins))
        } _: { [weak self] outcome in
            self?.loop.post { [weak self] in
                guard let self else { return }
                guard case .done(let result) = outcome else {
                    log.write(.error, "CFG", "the configuration could not be read in time; the running one stays")
                    return completion(Self.refusal("the configuration could not be read in time"))
                }
                let errors = result.errors + (result.configuration.map { sources.conflicts(with: $0) } ?? [])
                for diagnostic in errors + result.warnings { log.write(.error, "CFG", diagnostic.description) }
                guard let new = result.configuration, errors.isEmpty else {
                    log.write(.error, "CFG", "the configuration has \(errors.count) errors; the running one stays")
                    return completion(Self.refusal(errors))
                }
                replace(with: new)
                completion(.success(result.warnings.map(\.text)))
            }
        }
    }

    // MARK: Connections that clients load

    package func loadConnection(_ name: String, _ root: ConfigurationSection, _ completion: @escaping @Sendable (LoadResult) -> Void) {
        guard plane != nil else { return completion(Self.refusal("the connection \(quoted(name)) needs a data plane, and no plugin that is loaded provides one")) }
        let plugins = plugins, running = configuration
        jobs.submit(deadline: Instant.now() + .seconds(30)) {
            ConfigurationLoader.validate(ConfigurationLoader.read(tree: root, from: "vici"), Capabilities(plugins), joining: running)
        } _: { [weak self] outcome in
            self?.loop.post { [weak self] in
                guard let self else { return }
                guard case .done(let result) = outcome else { return completion(Self.refusal("the connection \(quoted(name)) could not be checked in time")) }
                guard let connection = result.configuration?.connections.first else { return completion(Self.refusal(result.errors)) }
                completion(load(connection, warnings: result.warnings))
            }
        }
    }

    private func load(_ connection: Connection, warnings: [ConfigurationError]) -> LoadResult {
        do throws(SourceConflict) {
            let before = try sources.load(connection)
            guard before != connection else { return .success(warnings.map(\.text)) }
            for warning in warnings { log.write(.info, "CFG", warning.description, connection: connection.name) }
            log.write(.info, "CFG", before == nil ? "a client has loaded the connection" : "a client has changed the connection, from its next negotiation on", connection: connection.name)
        } catch {
            return Self.refusal(error.reason)
        }
        connectionsChanged()
        updateTraps(changed: [connection.name])
        initiateStarting(only: [connection.name])
        return .success(warnings.map(\.text))
    }

    /// Ends what `start_action` began, and leaves the SAs that somebody else began to live out their time.
    package func unloadConnection(_ name: String) -> LoadResult {
        let connection: Connection
        do throws(SourceConflict) { connection = try sources.unload(connection: name) } catch { return Self.refusal(error.reason) }
        log.write(.info, "CFG", "a client has unloaded the connection", connection: name)
        failures[name] = nil
        connectionsChanged()
        updateTraps(changed: [])
        let started = connection.children.filter { $0.startAction.contains(.start) }.map(\.name)
        for shard in shards {
            if !started.isEmpty, started.count == connection.children.count {
                shard.post(.terminate(.connection(name), request: nil))
            } else {
                for child in started { shard.post(.terminate(.child(child, connection: name), request: nil)) }
            }
        }
        return .success([])
    }

    package var loadedConnections: [String] { sources.loadedConnections.map(\.name) }

    // MARK: Secrets that clients load

    package func loadSecret(id: String, owners: [String], data: SecretBox) -> LoadResult {
        var diagnostics = Diagnostics()
        let place = SourcePosition(path: id.isEmpty ? "secrets" : "secrets." + id)
        let elements = owners.map { ConfigurationValue.Element(text: $0, position: SourcePosition(path: place.file + ".owners")) }
        guard let secret = SecretBuilder().build(id, owners: elements, secret: data, origin: place, &diagnostics) else { return Self.refusal(diagnostics.items) }
        do throws(SourceConflict) { try sources.load(secret) } catch { return Self.refusal(error.reason) }
        for warning in diagnostics.items { log.write(.info, "CFG", warning.description) }
        secretsChanged()
        return .success(diagnostics.items.map(\.text))
    }

    package func unloadSecret(id: String) -> LoadResult {
        do throws(SourceConflict) { try sources.unload(secret: id) } catch { return Self.refusal(error.reason) }
        secretsChanged()
        return .success([])
    }

    package var loadedSecrets: [String] { sources.loadedSecrets.map(\.name).filter { !$0.isEmpty } }

    package func clearSecrets() {
        let count = sources.clearSecrets()
        log.write(.info, "CFG", "a client has cleared the secrets that clients loaded: \(count)")
        secretsChanged()
    }

    // MARK: Policies

    package var policies: [PolicySnapshot] {
        traps.installed.map { trap in
            var policy = PolicySnapshot(kind: .trap, connection: trap.connection, child: trap.child, mode: "TUNNEL")
            policy.localSelectors = trap.localTS.map(\.description)
            policy.remoteSelectors = trap.remoteTS.map(\.description)
            return policy
        }
    }

    package func installPolicy(child: String, connection: String?, _ completion: @escaping @Sendable (LoadResult) -> Void) {
        let named = configuration.connections.filter { (connection == nil || connection == $0.name) && $0.child(named: child) != nil }
        guard let first = named.first else { return completion(.failure(FailureSnapshot(notConfigured(InitiateRequest(child: child, ike: connection))))) }
        guard named.count == 1 else {
            return completion(Self.refusal("the child \(quoted(child)) is there more than once: name the connection as well", ["connections: \(named.map(\.name).joined(separator: ", "))"]))
        }
        install(TrapPolicies.Name(connection: first.name, child: child)) { result in
            completion(result.map { [] }.mapError { FailureSnapshot($0) })
        }
    }

    package func uninstallPolicy(child: String, connection: String?) -> LoadResult {
        let name = traps.wanted.first { $0.child == child && (connection == nil || connection == $0.connection) }
        guard let name, uninstall(name) else { return Self.refusal("no policy of the child \(quoted(child)) is installed") }
        return .success([])
    }
}
