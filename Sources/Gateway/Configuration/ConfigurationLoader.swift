// Loads a configuration: files to a tree, the tree checked against the schema, the rest resolved and checked against each other.
// In two steps, for the plugins that say what can be served are themselves configured: `read`, then `validate`.

import IKECore
import IKEWire

/// What loading gave: every complaint, and a configuration unless one of them is an error.
package struct ConfigurationResult: Sendable {
    package var configuration: GatewayConfiguration?
    /// Errors and warnings, in the order of files and lines.
    package var diagnostics: [ConfigurationError]
    package var errors: [ConfigurationError] { diagnostics.filter { $0.severity == .error } }
    package var warnings: [ConfigurationError] { diagnostics.filter { $0.severity == .warning } }
}

/// A configuration that was read and whose names and types were checked.
package final class ReadConfiguration: Sendable {
    package let path: String
    /// As far as they are right. Enough to load the plugins by.
    package let gateway: GatewaySettings
    package let plugins: PluginConfiguration
    let tree: ConfigurationSection
    let readableByOthers: Set<String>
    /// Whether some of the text or of the references could not be read.
    let isIncomplete: Bool
    let diagnostics: [ConfigurationError]

    package var errors: [ConfigurationError] { diagnostics.filter { $0.severity == .error } }

    init(
        path: String, gateway: GatewaySettings, plugins: PluginConfiguration, tree: ConfigurationSection, readableByOthers: Set<String>, isIncomplete: Bool, diagnostics: [ConfigurationError]
    ) {
        (self.path, self.gateway, self.plugins, self.tree) = (path, gateway, plugins, tree)
        (self.readableByOthers, self.isIncomplete, self.diagnostics) = (readableByOthers, isIncomplete, diagnostics)
    }
}

package enum ConfigurationLoader {
    /// All of it at once.
    package static func load(
        path: String, reader: any FileReader = SystemFileReader(), limits: ConfigurationLimits = ConfigurationLimits(),
        serves: @escaping (Transform) -> Bool, providers: [String], methods: [String]
    ) -> ConfigurationResult {
        validate(read(path: path, reader: reader, limits: limits), Capabilities(serves: serves, providers: providers, methods: methods), files: reader)
    }

    /// Reads the file and what it includes, follows references, checks names and types.
    package static func read(
        path: String, reader: any FileReader = SystemFileReader(), limits: ConfigurationLimits = ConfigurationLimits()
    ) -> ReadConfiguration {
        check(ConfigurationParser.parse(path, reader: reader, limits: limits), path: path, limits: limits)
    }

    /// Checks a tree that did not come from a file: vici's. Its secrets are `ConfigurationValue(secret:)`.
    package static func read(tree: ConfigurationSection, from source: String, limits: ConfigurationLimits = ConfigurationLimits()) -> ReadConfiguration {
        check(ParsedFiles(root: tree), path: source, limits: limits)
    }

    private static func check(_ parsed: ParsedFiles, path: String, limits: ConfigurationLimits) -> ReadConfiguration {
        var diagnostics = parsed.diagnostics
        let (tree, referenced) = ReferenceResolver.resolve(parsed.root, names: SchemaTable.rootNames, limits: limits, diagnostics: &diagnostics)
        let isIncomplete = diagnostics.hasErrors
        checkRoot(parsed.root, referenced: referenced, &diagnostics)
        SchemaTable.root.check(tree, &diagnostics)
        let builder = SettingsBuilder()
        // Its complaints come with `validate`, which builds these once more and knows the providers.
        var ignored = Diagnostics()
        return ReadConfiguration(
            path: path, gateway: builder.buildGateway(tree.section("gateway"), capabilities: nil, &ignored),
            plugins: builder.buildPlugins(tree.section("plugins")), tree: tree,
            readableByOthers: Set(parsed.files.filter(\.isReadableByOthers).map(\.path)), isIncomplete: isIncomplete, diagnostics: diagnostics.items)
    }

    /// Builds connections and secrets, and checks them against what the plugins can do and against each other.
    ///
    /// Connections that a client loads join a `running` configuration: its section `gateway` and its secrets are theirs. A secret may come
    /// after the connection that needs it, so that one that is missing is a warning then.
    /// `before` has what damaged files held when they were whole. `index` is of the running configuration's secrets, for callers that have it already.
    package static func validate(
        _ read: ReadConfiguration, _ capabilities: Capabilities, joining running: GatewayConfiguration? = nil, index: SecretIndex? = nil, files: any FileReader = SystemFileReader(),
        before: EarlierCredentials = EarlierCredentials()
    ) -> ConfigurationResult {
        var diagnostics = Diagnostics()
        for item in read.diagnostics { diagnostics.add(item) }
        diagnostics.isIncomplete = read.isIncomplete
        var configuration = GatewayConfiguration(path: read.path)
        configuration.gateway = running?.gateway ?? SettingsBuilder().buildGateway(read.tree.section("gateway"), capabilities: capabilities, &diagnostics)
        configuration.plugins = read.plugins
        var capabilities = capabilities
        let isDirectoryRight = DirectoryConfiguration.isRight(read.plugins, read.errors, files: files)
        DirectoryConfiguration.check(read.plugins, files, &diagnostics)
        // What the section makes of the directories counts where none runs, unless one should: then its failure is in the log.
        if isDirectoryRight, let failure = capabilities.directoryFailure, let plugin = read.plugins.plugin("ldap"), plugin.isLoaded {
            diagnostics.error(at: plugin.position, "the directory cannot be used: \(failure)")
        }
        if capabilities.directories.isEmpty, !isDirectoryRight || capabilities.directoryFailure != nil || !capabilities.areDirectoriesLoaded {
            capabilities.directories = DirectoryConfiguration.all(in: read.plugins).map(\.abilities)
        }
        ObserverConfiguration.check(read.plugins, &diagnostics)

        let secrets = (read.tree.section("secrets")?.sections ?? []).filter { SecretBuilder.kind($0.name) != nil }
        configuration.secrets = SharedSecrets(secrets.compactMap { SecretBuilder().build($0, &diagnostics) })
        for secret in secrets {
            guard let value = secret.value("secret"), read.readableByOthers.contains(value.position.file) else { continue }
            let position = SourcePosition(file: value.position.file, line: 1, column: 1)
            diagnostics.warning(at: position, "the file holds secrets and everybody on this machine can read it: chmod o-r")
        }

        let loader = CredentialLoader(reader: capabilities.credentials, files: files, base: running == nil ? folder(of: read.path) : nil, before: before)
        loader.load(read.tree, &diagnostics)
        configuration.pools = (read.tree.section("pools")?.sections ?? []).compactMap { PoolBuilder().build($0, &diagnostics) }
        let index = index ?? SecretIndex(running?.secrets ?? configuration.secrets)
        // A client may load users after the connection, and one by one: nothing is said of them then.
        let users = UserSecrets(configuration.secrets)
        for (secret, reason) in users.repeated { diagnostics.warning(at: secret.origin, reason) }
        let builder = ConnectionBuilder(
            capabilities: capabilities, gateway: configuration.gateway, certificates: CertificateBuilder(loader: loader, loadedKeys: running?.keyIDs ?? [], isJoining: running != nil))
        for section in read.tree.section("connections")?.sections ?? [] {
            var connection = builder.build(section, &diagnostics)
            connection.places = ConfigurationPlaces(section, connection, configuration.secrets)
            configuration.connections.append(connection)
            let name = "connections." + section.name
            configuration.origins[name] = section.position
            for child in section.section("children")?.sections ?? [] { configuration.origins[name + ".children." + child.name] = child.position }
            CrossChecks.checkPools(of: connection, section, configuration.pools + (running?.pools ?? []), &diagnostics)
            CrossChecks.checkDirectory(of: connection, section, capabilities.directories, &diagnostics)
            CrossChecks.checkGroups(of: connection, section, capabilities.directories.first, &diagnostics)
            CrossChecks.checkSockets(of: connection, section, configuration.gateway, &diagnostics)
            // A secret that is wrong is reported itself.
            guard configuration.secrets.all.count == secrets.count else { continue }
            CrossChecks.checkSecret(of: connection, section, index, running == nil ? .error : .warning, &diagnostics)
            let directory = capabilities.directories.first { connection.remote.directory == nil || $0.name == connection.remote.directory }
            // Looked at where it matters alone: clients load thousands of connections one by one.
            CrossChecks.checkMethod(
                of: &configuration.connections[configuration.connections.count - 1], section, directory,
                hasUsers: { running.map { $0.secrets.all.contains { $0.kind != .ike && !$0.identities.isEmpty } } ?? !users.hasNoUsers },
                inside: read.tree.section("plugins")?.section("eap")?.value("ttls_eap"),
                &diagnostics)
            if running == nil { CrossChecks.checkUsers(of: connection, section, users, directory ?? capabilities.directories.first, &diagnostics) }
        }
        CrossChecks.checkChildren(of: configuration, &diagnostics)
        CrossChecks.checkMethods(of: configuration, read.tree.section("connections")?.sections ?? [], &diagnostics)
        if running == nil { CrossChecks.checkIssuers(of: configuration, read.tree.section("connections")?.sections ?? [], loader.credentials, &diagnostics) }
        (configuration.credentials, configuration.authorities) = (loader.credentials, loader.authorities)
        (configuration.credentialFiles, configuration.credentialFolders) = (loader.paths, loader.folders)

        let sorted = diagnostics.items.enumerated().sorted { a, b in
            (a.element.position, a.offset) < (b.element.position, b.offset)
        }.map(\.element)
        configuration.warnings = sorted.filter { $0.severity == .warning }
        return ConfigurationResult(configuration: diagnostics.hasErrors ? nil : configuration, diagnostics: sorted)
    }

    /// Settings outside every section are wrong. A section of another name is there to be referred to, or a mistake.
    private static func checkRoot(_ root: ConfigurationSection, referenced: Set<String>, _ diagnostics: inout Diagnostics) {
        for setting in root.settings {
            diagnostics.error(at: setting.position, "\(quoted(setting.name)) stands outside every section")
        }
        for section in root.sections where !SchemaTable.rootNames.contains(section.name) && !referenced.contains(section.name) {
            if let hint = nearest(to: section.name, among: SchemaTable.rootNames) {
                diagnostics.error(at: section.position, "there is no section \(quoted(section.name))" + suggestion(hint))
            } else {
                diagnostics.warning(at: section.position, "the section \(quoted(section.name)) has no effect: nothing refers to it")
            }
        }
    }
}
