// What clients of the control socket load beside the files: connections, secrets, pools; and the policies that they install.

import IKECore
import IKECrypto

extension RunningGateway: ConfigurationBackend {
    // MARK: Connections that clients load

    package func loadConnection(_ name: String, _ root: ConfigurationSection, _ completion: @escaping @Sendable (LoadResult) -> Void) {
        guard plane != nil else { return completion(Self.refusal("the connection \(quoted(name)) needs a data plane, and no plugin that is loaded provides one")) }
        let plugins = plugins, planes = planes, running = sources.surroundings, index = sources.secretIndex()
        jobs.submit(deadline: Instant.now() + .seconds(30)) {
            ConfigurationLoader.validate(ConfigurationLoader.read(tree: root, from: "vici"), Capabilities(plugins, planes), joining: running, index: index)
        } _: { [weak self] outcome in
            self?.loop.post { [weak self] in
                guard let self else { return }
                guard case .done(let result) = outcome else { return completion(Self.refusal("the connection \(quoted(name)) could not be checked in time")) }
                guard let connection = result.configuration?.connections.first else { return completion(Self.refusal(result.errors)) }
                completion(load(connection, result.configuration?.credentials ?? [], warnings: result.warnings))
            }
        }
    }

    private func load(_ connection: Connection, _ certificates: [Credential], warnings: [ConfigurationError]) -> LoadResult {
        do throws(SourceConflict) {
            let before = try sources.load(connection)
            if !certificates.isEmpty {
                sources.load(certificates, ofConnection: connection.name)
                credentialsChanged()
            }
            guard before != connection else { return .success(warnings.map(\.text)) }
            for warning in warnings { log.write(.info, "CFG", warning.description, connection: connection.name) }
            let changed = "a client has changed the connection: what it no longer allows ends now, the rest counts from the next negotiation on"
            log.write(.info, "CFG", before == nil ? "a client has loaded the connection" : changed, connection: connection.name)
        } catch {
            return Self.refusal(error.reason)
        }
        changed(connection.name)
        initiateStarting(only: [connection.name])
        return .success(warnings.map(\.text))
    }

    /// One connection has come, has changed or has gone: nothing else is looked at, for thousands are loaded one by one.
    private func changed(_ name: String) {
        let connection = sources.connection(named: name)
        for shard in shards { shard.post(.connectionChanged(name: name, connection)) }
        updateTraps(of: name)
    }

    /// Ends the children that `start_action` begins, whoever began them, and leaves the others to live out their time.
    package func unloadConnection(_ name: String) -> LoadResult {
        let connection: Connection
        do throws(SourceConflict) { connection = try sources.unload(connection: name) } catch { return Self.refusal(error.reason) }
        log.write(.info, "CFG", "a client has unloaded the connection", connection: name)
        failures[name] = nil
        changed(name)
        let started = connection.children.filter { $0.startAction.contains(.start) }.map(\.name)
        for shard in shards {
            if !started.isEmpty, started.count == connection.children.count {
                shard.post(.end(.connection(name), because: ClosingReason(.operatorRequest, "a client has unloaded the connection")))
            } else {
                for child in started { shard.post(.terminate(.child(child, connection: name), request: nil)) }
            }
        }
        return .success([])
    }

    package var loadedConnections: [String] { sources.loadedConnections.map(\.name) }

    // MARK: Secrets that clients load

    package func loadSecret(_ kind: SecretKind, id: String, owners: [String], data: SecretBox) -> LoadResult {
        var diagnostics = Diagnostics()
        let place = SourcePosition(path: id.isEmpty ? "secrets" : "secrets." + id)
        let elements = owners.map { ConfigurationValue.Element(text: $0, position: SourcePosition(path: place.file + ".owners")) }
        guard let secret = SecretBuilder().build(kind, id, owners: elements, secret: data, origin: place, &diagnostics) else { return Self.refusal(diagnostics.items) }
        do throws(SourceConflict) {
            guard try sources.load(secret) else { return .success(diagnostics.items.map(\.text)) }
        } catch {
            return Self.refusal(error.reason)
        }
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
        let count = sources.clearSecrets(), others = sources.clearCredentials()
        log.write(.info, "CFG", "a client has cleared the secrets that clients loaded: \(count), and the certificates and keys: \(others)")
        secretsChanged()
        if others > 0 { credentialsChanged() }
    }

    // MARK: Certificates and keys that clients load

    package func loadCertificate(_ kind: LoadedCertificateKind, data: SecretBox) -> LoadResult {
        read(data, trusted: kind == .authority ? .authorities : kind == .endEntity ? .endEntities : .nothing) { items in
            let (piece, name): (Credential.Kind, String) = kind == .revocationList ? (.crl, "CRL") : kind == .publicKey ? (.publicKey, "public key") : (.certificate, "certificate")
            let wanted = items.filter { $0.kind == piece }
            guard !wanted.isEmpty else { return "it is no \(name)" }
            if kind == .authority, let wrong = wanted.first(where: { !$0.facts.isAuthority }) {
                return "\(quoted(wrong.facts.subjectText)) is no certificate of an authority: it has no basic constraints that make it one (CA)"
            }
            return nil
        }.map { _ in [] }
    }

    package func loadKey(data: SecretBox) -> Result<String, FailureSnapshot> {
        read(data, trusted: .nothing) { items in items.contains { $0.kind == .privateKey } ? nil : "it is no private key" }.map { items in
            items.first { $0.kind == .privateKey }.map { hexText($0.facts.keyID) } ?? ""
        }
    }

    private func read(_ data: SecretBox, trusted: TrustedPart, _ objection: ([Credential]) -> String?) -> Result<[Credential], FailureSnapshot> {
        func refuse(_ reason: String) -> Result<[Credential], FailureSnapshot> { .failure(FailureSnapshot(code: "configuration-refused", summary: reason)) }
        guard let reader = plugins.credentialReader else { return refuse("no loaded plugin reads certificates and keys: load the plugin 'x509'") }
        var items: [Credential] = [], problem: CredentialProblem?
        data.withSecret { (bytes: borrowing SecretBytes) in
            do throws(CredentialProblem) { items = try reader.read(bytes.span, passphrase: [UInt8]().span, origin: "vici", trusted: trusted) } catch { problem = error }
        }
        if let problem { return refuse(problem.reason) }
        if let reason = objection(items) { return refuse(reason) }
        do throws(SourceConflict) { try sources.load(items) } catch { return refuse(error.reason) }
        credentialsChanged()
        return .success(items)
    }

    package func unloadKey(id: String) -> LoadResult {
        guard let bytes = hexBytes(id.utf8) else { return Self.refusal("\(quoted(id)) is no identifier of a key: it has hexadecimal digits") }
        do throws(SourceConflict) { try sources.unload(key: bytes) } catch { return Self.refusal(error.reason) }
        credentialsChanged()
        return .success([])
    }

    package var loadedKeys: [String] { sources.loaded.keys.map { hexText($0.facts.keyID) } }
    package var loadedAuthorities: [String] { sources.loaded.authorities.map(\.name) }
    package var authorities: [Authority] { sources.files.authorities + sources.loaded.authorities }
    package var certificates: [Credential] { CredentialSnapshot(items: sources.credentials, authorities: []).items }

    package func forget(_ fetched: FetchedCredentials) { plugins.credentialReader?.forget(fetched) }

    package func loadAuthority(_ name: String, _ root: ConfigurationSection) -> LoadResult {
        var capabilities = Capabilities(serves: { _ in false }, providers: [], methods: [])
        capabilities.credentials = plugins.credentialReader
        let result = ConfigurationLoader.validate(ConfigurationLoader.read(tree: root, from: "vici"), capabilities, joining: sources.surroundings)
        guard let configuration = result.configuration, let authority = configuration.authorities.first else { return Self.refusal(result.errors) }
        do throws(SourceConflict) { try sources.load(authority, configuration.credentials) } catch { return Self.refusal(error.reason) }
        credentialsChanged()
        return .success(result.warnings.map(\.text))
    }

    package func unloadAuthority(_ name: String) -> LoadResult {
        do throws(SourceConflict) { try sources.unload(authority: name) } catch { return Self.refusal(error.reason) }
        credentialsChanged()
        return .success([])
    }

    // MARK: Pools that clients load

    package func loadPool(_ name: String, _ root: ConfigurationSection, _ completion: @escaping @Sendable (LoadResult) -> Void) {
        let result = ConfigurationLoader.validate(ConfigurationLoader.read(tree: root, from: "vici"), Capabilities(serves: { _ in false }, providers: [], methods: []), joining: sources.surroundings)
        guard let pool = result.configuration?.pools.first else { return completion(Self.refusal(result.errors)) }
        do throws(SourceConflict) { try sources.load(pool) } catch { return completion(Self.refusal(error.reason)) }
        poolsChanged()
        completion(.success(result.warnings.map(\.text)))
    }

    package func unloadPool(_ name: String) -> LoadResult {
        let lent = pools.snapshots(withLeases: false).first { $0.name == name }?.online ?? 0
        guard lent == 0 || !sources.isLoaded(pool: name) else { return Self.refusal("\(lent) addresses of the pool \(quoted(name)) are lent") }
        do throws(SourceConflict) { try sources.unload(pool: name) } catch { return Self.refusal(error.reason) }
        poolsChanged()
        return .success([])
    }

    package func pools(withLeases: Bool) -> [PoolSnapshot] {
        pools.snapshots(withLeases: withLeases).filter { withLeases || sources.isLoaded(pool: $0.name) }.map { pool in
            PoolSnapshot(
                name: pool.name, base: pool.base.description, size: pool.size, online: pool.online, offline: pool.offline,
                leases: withLeases ? pool.leases.map { PoolSnapshot.Lease(address: $0.address.description, identity: $0.identity.description, isOnline: $0.isOnline) } : nil)
        }
    }

    // MARK: Policies

    package var policies: [PolicySnapshot] {
        traps.installed.map { trap in
            let kind: PolicySnapshot.Kind =
                switch trap.mode {
                case .tunnel, .transport: .trap
                case .pass: .pass
                case .drop: .drop
                }
            var policy = PolicySnapshot(kind: kind, connection: trap.connection, child: trap.child, mode: trap.mode.controlText)
            policy.localSelectors = trap.localTS.map(\.description)
            policy.remoteSelectors = trap.remoteTS.map(\.description)
            return policy
        }
    }

    package func installPolicy(child: String, connection: String?, _ completion: @escaping @Sendable (LoadResult) -> Void) {
        let named = connections(named: connection).filter { $0.child(named: child) != nil }
        guard let first = named.first else { return completion(.failure(FailureSnapshot(notConfigured(InitiateRequest(child: child, ike: connection))))) }
        guard named.count == 1 else {
            return completion(Self.refusal("the child \(quoted(child)) is there more than once: name the connection as well", ["connections: \(named.map(\.name).joined(separator: ", "))"]))
        }
        install(TrapPolicies.Name(connection: first.name, child: child)) { result in
            completion(result.map { [] }.mapError { FailureSnapshot($0) })
        }
    }

    package func uninstallPolicy(child: String, connection: String?) -> LoadResult {
        let name = connection.map { TrapPolicies.Name(connection: $0, child: child) } ?? traps.wanted.first { $0.child == child }
        guard let name, uninstall(name) else { return Self.refusal("no policy of the child \(quoted(child)) is installed") }
        return .success([])
    }
}
