// How a running gateway's configuration changes when its files are read again.
// SAs of what has not changed stay as they are.

import IKECore
import IKECrypto

extension RunningGateway {
    /// Reads the files again. Wrong ones change nothing.
    func reload() { reloadFiles { _ in } }

    /// `directories`: those that the section of theirs makes, where it has changed.
    private func replace(with new: GatewayConfiguration, directories: (DirectoryRenewal, made: Int)? = nil) {
        let files = sources.files
        var difference = files.difference(to: new)
        func list(_ names: [String]) -> String { names.joined(separator: ", ") }
        for name in difference.removedConnections {
            log.write(.info, "CFG", "the connection is gone from the configuration: its SAs end", connection: name)
            willEnd(connection: name, .configuration, "the connection is gone from the configuration")
            for shard in shards { shard.post(.end(.connection(name), because: ClosingReason(.operatorRequest, "the connection is gone from the configuration"))) }
            failures[name] = nil
        }
        if !difference.addedConnections.isEmpty { log.write(.info, "CFG", "new connections: \(list(difference.addedConnections))") }
        if !difference.changedConnections.isEmpty {
            log.write(.info, "CFG", "changed connections (what they no longer allow ends now, the rest counts from the next negotiation on): \(list(difference.changedConnections))")
        }
        if !difference.connectionsWithNewSecret.isEmpty { log.write(.info, "CFG", "connections with a new secret: \(list(difference.connectionsWithNewSecret))") }
        if difference.areCredentialsChanged { log.write(.info, "CFG", "certificates, keys or authorities have changed: the next proofs of identity go by them") }
        var applied = new
        // What a restart alone changes stays as it runs, so that the next difference is true.
        applied.gateway = files.gateway
        applied.gateway.logLevel = new.gateway.logLevel
        applied.gateway.logFile = new.gateway.logFile
        applied.plugins = files.plugins
        if let directories {
            applied.plugins.takeDirectories(of: new.plugins)
            plugins.use(directories.0)
            self.directories = directories.made
            let names = directories.0.abilities.map(\.name)
            log.write(.info, "CFG", names.isEmpty ? "there is no directory of users any more" : "the directories are asked as the configuration says now: \(list(names))")
            difference.arePluginsChanged = applied.plugins.isOther(than: new.plugins)
        }
        if applied.gateway != new.gateway || difference.arePluginsChanged {
            log.write(.error, "CFG", "of the sections gateway and plugins only the log takes effect now; restart the daemon for the rest")
        }
        sources.replaceFiles(applied)
        log.configure(level: applied.gateway.level, target: applied.gateway.logTarget)
        secretsChanged()
        credentialsChanged()
        poolsChanged()
        connectionsChanged()
        log.write(.info, "CFG", difference.isEmpty && directories == nil ? "nothing has changed" : "the new configuration is in use")
        watchFiles()
        updateTraps(changed: Set(difference.addedConnections + difference.changedConnections))
        initiateStarting(only: Set(difference.addedConnections + difference.changedConnections))
    }

    func connectionsChanged() {
        let connections = configuration.connections
        for shard in shards { shard.post(.configurationReplaced(connections)) }
    }

    /// With the first pool, what earlier lives of the daemon have lent: read here once, and not on a shard.
    func poolsChanged() {
        let wanted = configuration.pools
        if !wanted.isEmpty, let leases {
            do throws(SystemError) {
                if let records = try leases.open() { pools.restore(records, journal: leases) }
            } catch { log.write(.error, "DMN", "leases are in memory alone: \(error)") }
        }
        pools.configure(wanted)
    }

    /// A call under way goes on with the certificates and keys that it began with.
    func credentialsChanged() {
        let snapshot = CredentialSnapshot(items: sources.credentials, authorities: sources.files.authorities + sources.loaded.authorities)
        runner.replaceCredentials(snapshot)
        plugins.credentialReader?.changed(snapshot)
        let hashes = snapshot.authorityHashes
        for shard in shards { shard.post(.authoritiesChanged(hashes)) }
    }

    func secretsChanged() { runner.replaceSecrets(configuration.secrets) }

    static func refusal(_ summary: String, _ evidence: [String] = []) -> LoadResult {
        .failure(FailureSnapshot(code: "configuration-refused", summary: summary, evidence: evidence))
    }

    static func refusal(_ errors: [ConfigurationError]) -> LoadResult {
        let others = errors.count > 1 ? " (and \(errors.count - 1) more)" : ""
        return refusal((errors.first?.text ?? "it is wrong") + others, errors.map(\.text))
    }
}

extension RunningGateway {
    private static let reloads = JobPool.Lane(name: "reload", limit: 1)

    package func reloadFiles(_ completion: @escaping @Sendable (LoadResult) -> Void) {
        let path = sources.files.path
        let plugins = plugins, planes = planes, before = EarlierCredentials(sources.files, isForNamedFiles: false), made = directories
        let state = sources.files.gateway.state
        log.write(.info, "CFG", "reading \(path) again")
        // Perhaps because logs were moved away.
        for observer in observers { observer.reopen() }
        // One at a time: what was read first is applied first.
        jobs.submit(deadline: Instant.now() + .seconds(30), lane: Self.reloads) {
            let read = ConfigurationLoader.read(path: path)
            var capabilities = Capabilities(plugins, planes)
            var renewal: (DirectoryRenewal, made: Int)?
            let fingerprint = DirectoryConfiguration.fingerprint(read.plugins)
            // One that is wrong is not begun: its errors say what is wrong.
            if fingerprint != made, DirectoryConfiguration.isRight(read.plugins, read.errors, files: SystemFileReader()) {
                var settings = read.plugins.settings
                settings.state = state
                let renewed = plugins.renewedDirectories(settings)
                (capabilities.directories, capabilities.directoryFailure) = (renewed.abilities, renewed.failure)
                if renewed.abilities.isEmpty, renewed.failure == nil, read.plugins.plugin("ldap")?.isLoaded == true { capabilities.directoryFailure = "there is no plugin libmartlet-ldap.so" }
                renewal = (renewed, fingerprint)
            }
            return (read, ConfigurationLoader.validate(read, capabilities, before: before), renewal, fingerprint)
        } _: { [weak self] (outcome: JobPool.Outcome<(ReadConfiguration, ConfigurationResult, (DirectoryRenewal, made: Int)?, Int)>) in
            self?.loop.post { [weak self] in
                guard let self else { return }
                guard case .done((let read, let result, let renewal, let fingerprint)) = outcome else {
                    log.write(.error, "CFG", "the configuration could not be read in time; the running one stays")
                    return completion(Self.refusal("the configuration could not be read in time"))
                }
                let errors = result.errors + (result.configuration.map { sources.conflicts(with: $0) } ?? [])
                for diagnostic in errors { log.write(.error, "CFG", diagnostic.description) }
                for warning in result.warnings { log.write(.info, "CFG", warning.description) }
                guard let new = result.configuration, errors.isEmpty else {
                    log.write(.error, "CFG", "the configuration has \(errors.count) errors; the running one stays")
                    return completion(Self.refusal(errors))
                }
                // Another reload was applied meanwhile, with other directories than this one has found.
                guard renewal != nil || fingerprint == directories else { return reloadFiles(completion) }
                text = read
                replace(with: new, directories: renewal)
                completion(.success(result.warnings.map(\.text)))
            }
        }
    }

    // MARK: Certificates and keys that are renewed

    /// Watches the files of certificates and keys of the configuration in use. `read`: the text of it, where it is new.
    func watchFiles(_ read: ReadConfiguration? = nil) {
        if let read { text = read }
        let files = sources.files.credentialFiles, folders = sources.files.credentialFolders
        guard plugins.credentialReader != nil, !files.isEmpty || !folders.isEmpty else { return }
        do throws(SystemError) {
            if fileWatch == nil { fileWatch = try FileWatch(loop) { [unowned self] in filesChanged() } }
            for problem in fileWatch?.watch(WatchedPlaces(files: files, folders: folders)) ?? [] { log.write(.error, "CFG", "\(problem): renewed certificates in it are seen with a reload alone") }
        } catch {
            log.write(.error, "CFG", "\(error): renewed certificates are seen with a reload alone")
        }
    }

    /// The same text as before, with what its files hold now. What is wrong with that leaves everything as it is.
    private func filesChanged() {
        guard let text else { return }
        let plugins = plugins, planes = planes, before = EarlierCredentials(sources.files, isForNamedFiles: true)
        let known = Set(sources.files.warnings.map(\.description) + complaints)
        jobs.submit(deadline: Instant.now() + .seconds(30), lane: Self.reloads) {
            ConfigurationLoader.validate(text, Capabilities(plugins, planes), before: before)
        } _: { [weak self] outcome in
            self?.loop.post { [weak self] in
                // A reload has come between: it has read the files itself.
                guard let self, case .done(let result) = outcome, self.text === text else { return }
                complaints = result.diagnostics.map(\.description)
                for complaint in result.diagnostics where !known.contains(complaint.description) { log.write(.error, "CFG", complaint.description) }
                guard let new = result.configuration else {
                    log.write(.error, "CFG", "files of certificates or keys have changed, and what they hold now cannot be used: what they held before stays in use")
                    return watchFiles()
                }
                let difference = sources.files.difference(to: new)
                guard !difference.isEmpty else {
                    sources.filesRead(new)
                    return watchFiles()
                }
                log.write(.info, "CFG", "files of certificates or keys have changed")
                replace(with: new)
            }
        }
    }
}
