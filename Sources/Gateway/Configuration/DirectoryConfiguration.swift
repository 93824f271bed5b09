// The section `plugins { ldap { } }`: its keys, what is wrong with it however the directory answers, and what a directory can verify, so
// that a connection that asks it for something else is refused when the configuration is checked.

package struct DirectoryConfiguration: Hashable, Sendable {
    package let name: String
    package let schema: String
    package let position: SourcePosition
    /// Whether it hands out NT hashes, which EAP-MSCHAPv2 needs.
    package let hasNTHashes: Bool
    /// A password can be tried with every LDAP server.
    package let verifiesPasswords = true

    package var abilities: DirectoryAbilities { DirectoryAbilities(name: name, verifiesPasswords: verifiesPasswords, hasNTHashes: hasNTHashes, advice: advice) }

    /// What to do where EAP-MSCHAPv2 is asked of a directory that cannot verify it.
    package var advice: String {
        guard !hasNTHashes else { return "" }
        let instead = "use EAP-TLS with a look-up of the user, or EAP-GTC or EAP-TTLS with PAP, which are verified by a bind"
        return schema == "ad"
            ? "Active Directory hands out no NT hash: \(instead)" : "the schema \(quoted(schema)) has no NT hash: write nt_hash_attribute = ..., or \(instead)"
    }

    package static let schemas = ["posix", "samba", "freeipa", "ad"]
    private static let expiryFormats = ["filetime", "seconds", "days", "generalized"]

    private static let keys: [SchemaKey] = [
        SchemaKey("uri", .list), SchemaKey("base", .text), SchemaKey("schema", .choice(schemas)),
        SchemaKey("bind_dn", .text), SchemaKey("bind_password", .secret), SchemaKey("bind_password_file", .text),
        SchemaKey("start_tls", .boolean), SchemaKey("verify", .boolean), SchemaKey("ca_file", .text),
        SchemaKey("timeout", .time), SchemaKey("connect_timeout", .time),
        SchemaKey("search_connections", .integer(1...64)), SchemaKey("bind_connections", .integer(1...64)), SchemaKey("queue", .integer(1...100_000)),
        SchemaKey("user_base", .text), SchemaKey("user_filter", .text), SchemaKey("user_dn", .text), SchemaKey("user_attribute", .text), SchemaKey("strip_domain", .boolean),
        SchemaKey("group_base", .text), SchemaKey("group_filter", .text), SchemaKey("group_nested_filter", .text), SchemaKey("group_name_attribute", .text),
        SchemaKey("member_of_attribute", .text), SchemaKey("nt_hash_attribute", .text),
        SchemaKey("disabled_attribute", .text), SchemaKey("locked_attribute", .text), SchemaKey("lock_time", .time),
        SchemaKey("expiry_attribute", .text), SchemaKey("expiry_format", .choice(expiryFormats)),
    ]

    static let section = SchemaSection(
        .exactly("ldap"), "the directory plugin",
        keys: [SchemaKey("priority", .integer(0...1_000_000)), SchemaKey("load", .boolean), SchemaKey("directories", .list)] + keys,
        sections: [SchemaSection(.any, "a directory", keys: keys)])

    /// Every directory that the section names; none without the section or with `load = no`.
    package static func all(in plugins: PluginConfiguration) -> [DirectoryConfiguration] {
        guard let plugin = plugins.plugin("ldap"), plugin.isLoaded else { return [] }
        return names(plugin).map { name in
            func value(_ key: String) -> String? { plugin.option(name.map { "\($0).\(key)" } ?? key) ?? plugin.option(key) }
            let schema = value("schema")?.lowercased() ?? "posix"
            let attribute = value("nt_hash_attribute").flatMap { $0.isEmpty ? nil : $0.lowercased() } ?? (schema == "samba" || schema == "freeipa" ? schema : "no")
            return DirectoryConfiguration(name: name ?? "ldap", schema: schema, position: plugin.position, hasNTHashes: attribute != "no")
        }
    }

    private static func names(_ plugin: PluginConfiguration.Plugin) -> [String?] {
        let names = plugin.option("directories")?.split(whereSeparator: { $0 == "," || $0 == " " }).map(String.init) ?? []
        return names.isEmpty ? [nil] : names
    }

    /// Whether nothing is wrong with the section; `errors` are those that came of reading the file.
    static func isRight(_ plugins: PluginConfiguration, _ errors: [ConfigurationError], files: any FileReader) -> Bool {
        // With an error anywhere nothing is begun, and the plugin would check the same once more.
        guard errors.isEmpty else { return false }
        var diagnostics = Diagnostics()
        check(plugins, files, &diagnostics)
        return !diagnostics.hasErrors
    }

    /// Tells whether a reload has other directories to make: by the section, and by what the files hold that it names. Of this life of the daemon alone.
    package static func fingerprint(_ plugins: PluginConfiguration, files: any FileReader = SystemFileReader()) -> Int {
        var hasher = Hasher()
        guard let plugin = plugins.withoutPositions.plugin("ldap"), plugin.isLoaded else { return 0 }
        hasher.combine(plugin)
        for option in plugin.options where ["bind_password_file", "ca_file"].contains(where: { option.name == $0 || option.name.hasSuffix("." + $0) }) {
            hasher.combine((try? files.read(option.value, limit: CredentialLoader.fileLimit))?.bytes)
        }
        return hasher.finalize()
    }

    /// What can never work.
    static func check(_ plugins: PluginConfiguration, _ files: any FileReader, _ diagnostics: inout Diagnostics) {
        guard let plugin = plugins.plugin("ldap"), plugin.isLoaded else { return }
        for name in names(plugin) {
            func option(_ key: String) -> PluginConfiguration.Option? {
                let own = name.flatMap { name in plugin.options.last { $0.name == "\(name).\(key)" } } ?? plugin.options.last { $0.name == key }
                return own.flatMap { $0.value.isEmpty ? nil : $0 }
            }
            let title = name.map { "the directory \(quoted($0))" } ?? "the directory"
            for key in ["uri", "base"] where option(key) == nil {
                diagnostics.error(at: plugin.position, "\(title) has no '\(key)': write \(key) = \(key == "uri" ? "ldaps://ldap.example" : "\"dc=example,dc=org\"")")
            }
            if let uri = option("uri") {
                // Not shown then: a password may have commas.
                if uri.value.contains("@") {
                    diagnostics.error(at: uri.position, "'uri' takes no user and no password: write bind_dn = ... and bind_password_file = ...")
                } else {
                    for one in uri.value.split(whereSeparator: { $0 == "," || $0 == " " }) where !["ldap://", "ldaps://", "ldapi://"].contains(where: { one.lowercased().hasPrefix($0) }) {
                        diagnostics.error(at: uri.position, "'uri' takes ldaps://HOST, ldap://HOST or ldapi://PATH, and \(quoted(String(one))) is none")
                    }
                }
            }
            for key in ["timeout", "connect_timeout"] {
                guard let time = option(key), let duration = timeValue(time.value), duration < .seconds(1) || duration > .seconds(300) else { continue }
                diagnostics.error(at: time.position, "'\(key)' takes 1s to 300s")
            }
            if let account = option("bind_dn"), option("bind_password") == nil, option("bind_password_file") == nil {
                diagnostics.error(at: account.position, "'bind_dn' needs a password, for a bind without one means nothing: write bind_password_file = ...")
            }
            if let password = option("bind_password"), option("bind_password_file") != nil {
                diagnostics.error(at: password.position, "a directory has 'bind_password' or 'bind_password_file', not both")
            }
            if let base = option("base"), !base.value.contains("=") {
                diagnostics.error(at: base.position, "'base' is a distinguished name, like \"dc=example,dc=org\", and \(quoted(base.value)) is none")
            }
            checkFiles(option, files, &diagnostics)
            for key in ["user_filter", "group_filter", "group_nested_filter"] {
                guard let filter = option(key), filter.value.lowercased() != "no" || key == "user_filter", !isFilter(filter.value) else { continue }
                diagnostics.error(at: filter.position, "'\(key)' is a filter in parentheses that match, like (uid=%u), and \(quoted(filter.value)) is none")
            }
            for (key, sign) in [("user_filter", "%u"), ("user_dn", "%u"), ("group_filter", "%d"), ("group_nested_filter", "%d")] {
                guard let template = option(key), template.value.lowercased() != "no" || key.hasPrefix("user"), !template.value.contains(sign) else { continue }
                diagnostics.error(at: template.position, "'\(key)' needs \(sign), \(sign == "%u" ? "the user's name" : "a distinguished name"), in it")
            }
            if let off = option("verify"), booleanValue(off.value) == false {
                diagnostics.warning(at: off.position, "\(title) is believed whatever its certificate says: whoever is between can let anybody in")
            }
            if let off = option("start_tls"), booleanValue(off.value) == false, let uri = option("uri"), uri.value.lowercased().contains("ldap://") {
                diagnostics.warning(at: off.position, "passwords go to \(title) in clear")
            }
        }
    }

    /// Files that are named are there, and a secret is one that nobody else reads.
    private static func checkFiles(_ option: (String) -> PluginConfiguration.Option?, _ files: any FileReader, _ diagnostics: inout Diagnostics) {
        if let authorities = option("ca_file") {
            do throws(FileFailure) {
                _ = try files.read(authorities.value, limit: CredentialLoader.fileLimit)
            } catch {
                diagnostics.error(at: authorities.position, "'ca_file' cannot be read: \(authorities.value): \(error)")
            }
        }
        guard let secret = option("bind_password_file"), option("bind_password") == nil else { return }
        do throws(FileFailure) {
            let content = try files.read(secret.value, limit: 1023)
            if content.isReadableByOthers {
                diagnostics.error(at: secret.position, "'bind_password_file' can be read by everybody on this machine: chmod 0600 \(secret.value)")
            } else if content.bytes.first.map({ $0 == 10 || $0 == 13 }) ?? true {
                diagnostics.error(at: secret.position, "'bind_password_file' has no password in its first line: \(secret.value)")
            }
        } catch {
            diagnostics.error(at: secret.position, "'bind_password_file' cannot be read: \(secret.value): \(error)")
        }
    }

    /// As far as its parentheses say; the server judges the rest.
    private static func isFilter(_ text: String) -> Bool {
        var depth = 0
        for (index, byte) in text.utf8.enumerated() {
            if byte == UInt8(ascii: "(") { depth += 1 }
            if byte == UInt8(ascii: ")") { depth -= 1 }
            guard depth > 0 || index == text.utf8.count - 1 else { return false }
        }
        return depth == 0 && !text.isEmpty
    }
}
