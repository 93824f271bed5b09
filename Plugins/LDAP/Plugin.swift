// Directories by LDAP (RFC 4511), through libldap. One directory, "ldap", or several named by `directories`, of which the first is also "ldap".

import Glibc
import LDAPSchema
import PluginABI
import PluginKit

private nonisolated(unsafe) let descriptor = Descriptor.make(
    name: "ldap", version: "0.1", provides: [.directory("ldap")], beginsAgain: true,
    initialize: { table in initialize(Host(table)) })

/// The plugin's entry symbol.
@c public func martlet_plugin_query() -> UnsafePointer<martlet_plugin>? { descriptor }

private func initialize(_ host: Host) -> martlet_status {
    // ldap.conf and .ldaprc say what other programs of this host are to do.
    // Whoever reads the environment meanwhile must not see it change: the daemon has set it before it had threads.
    if getenv("LDAPNOINIT") == nil { setenv("LDAPNOINIT", "1", 1) }
    let names = host.setting("directories")?.split(whereSeparator: { $0 == "," || $0 == " " }).map(String.init) ?? []
    var isFirst = true
    for name in names.isEmpty ? ["ldap"] : names {
        let settings: Settings
        do throws(Settings.Defect) {
            settings = try Settings(host, prefix: names.isEmpty ? "" : name + ".")
        } catch {
            host.log(.error, "the directory \(name) cannot be used: \(error.text)")
            return MARTLET_E_INVALID
        }
        for server in settings.servers {
            if case .plain = server.transport { host.log(.warning, "passwords go to \(server.uri) in clear: start_tls is off") }
        }
        if !settings.verifiesCertificates { host.log(.warning, "the directory \(name) is believed whatever its certificate says: verify is off") }
        let directory = LDAPDirectory(host, name: name, settings)
        let table = Directory.table(of: directory, name: name)
        if isFirst, name != "ldap", host.provide(.directory("ldap"), table) != MARTLET_OK { return MARTLET_E_FAILED }
        guard host.provide(.directory(name), table) == MARTLET_OK else { return MARTLET_E_INVALID }
        isFirst = false
    }
    return MARTLET_OK
}
