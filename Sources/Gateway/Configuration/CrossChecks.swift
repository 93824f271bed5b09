// What only shows when connections, children and secrets are looked at together.

import IKECore
import IKEWire

enum CrossChecks {
    /// A connection whose peers, or which itself, authenticates with a password needs to know one.
    static func checkUsers(of connection: Connection, _ section: ConfigurationSection, _ users: UserSecrets, _ directory: DirectoryAbilities?, _ diagnostics: inout Diagnostics) {
        guard connection.isNegotiated else { return }
        if let directory, users.isEmpty, !connection.remote.canBeServed(by: directory), let round = section.sections.first(where: { $0.name.hasPrefix("remote") }) {
            diagnostics.error(
                at: SectionReader(section: round).position("auth"),
                "the directory \(directory.name) cannot serve \(connection.remote.method)\(directory.advice.isEmpty ? "" : ": " + directory.advice)")
        } else if connection.remote.asksForPasswords, users.isEmpty, directory == nil {
            diagnostics.missing(at: section.position, "the connection \(quoted(section.name)) has no users: add a section eap-NAME with `id` and `secret` to `secrets` for each")
        }
        // One that proves itself by EAP alone and has a certificate for it is the server.
        guard connection.local.asksForPasswords, !connection.remote.isEAP || connection.local.certificates.certificates.isEmpty else { return }
        var own = connection.local.identity
        if case .exactly? = connection.local.eapIdentity, let identity = connection.local.eapIdentity { own = identity }
        guard case .exactly(let identity) = own, !users.knows(identity.eapIdentity, isServer: false) else { return }
        diagnostics.missing(
            at: section.position, "the connection \(quoted(section.name)) has no password: add a section eap-\(section.name) with \(SettingText.setting("id", own.text)) and the secret to `secrets`")
    }

    /// Groups, and the look-up of whoever has proven who it is, are a directory's affair; one session more than a user may have is refused when the user is known.
    static func checkGroups(of connection: Connection, _ section: ConfigurationSection, _ directory: DirectoryAbilities?, _ diagnostics: inout Diagnostics) {
        guard let round = section.sections.first(where: { $0.name.hasPrefix("remote") }), connection.isNegotiated else { return }
        let groups = round.value("groups").flatMap { $0.groupNames.isEmpty ? nil : $0 }, lookUp = round.value("user_lookup").flatMap { booleanValue($0.text) == true ? $0 : nil }
        let limit = section.value("sessions_per_user").flatMap { $0.text == "0" ? nil : $0 }
        let isUser = connection.remote.isEAP || connection.remote.method.hasPrefix("pubkey")
        for (key, value) in [("groups", groups), ("user_lookup", lookUp), ("sessions_per_user", limit)] {
            guard let value else { continue }
            if !isUser {
                diagnostics.error(at: value.position, "'\(key)' is refused: it is about users, who prove themselves by EAP or a certificate, and \(connection.remote.method) is another way")
            } else if directory == nil, key != "sessions_per_user" {
                diagnostics.error(at: value.position, "'\(key)' is about users of a directory, and none is loaded: write plugins { ldap { ... } }")
            }
        }
    }

    /// A connection that authenticates with a preshared key needs one: without, it would fail at every attempt.
    static func checkSecret(
        of connection: Connection, _ section: ConfigurationSection, _ secrets: SecretIndex, _ severity: ConfigurationError.Severity, _ diagnostics: inout Diagnostics
    ) {
        guard connection.isNegotiated, connection.local.method == "psk" || connection.remote.method == "psk" else { return }
        var local = connection.local.identity
        // Our identity is then our address, if there is one alone.
        if local == .any, connection.localAddresses.count == 1, case .range(let start, let end) = connection.localAddresses[0], start == end {
            local = .exactly(Identification(kind: start.family == .v4 ? .ipv4 : .ipv6, data: start.bytes))
        }
        let remote = connection.remote.identity
        func written(_ side: String, _ identity: IdentityPattern) -> String? {
            identity == .any ? nil : section.sections.first { $0.name.hasPrefix(side) }?.value("id")?.text ?? identity.text
        }
        guard !secrets.mayServe(local: local, remote: remote) else { return }
        diagnostics.missing(
            severity, at: section.position,
            "the connection \(quoted(section.name)) has no secret: add " + SettingText.secret(of: section.name, own: written("local", local), peer: written("remote", remote)))
    }

    /// Pools that are named are there, on a connection that lends addresses and does not ask for some, to children that use them.
    static func checkPools(of connection: Connection, _ section: ConfigurationSection, _ pools: [PoolConfiguration], _ diagnostics: inout Diagnostics) {
        for element in section.value("pools")?.elements ?? [] where !pools.contains(where: { $0.name == element.text }) {
            let near = suggestion(nearest(to: element.text, among: pools.map(\.name)))
            diagnostics.error(at: element.position, "there is no pool \(quoted(element.text)): write pools { \(element.text) { addrs = ... } }" + near)
        }
        guard !connection.pools.isEmpty else { return }
        let reader = SectionReader(section: section)
        if !connection.vips.isEmpty { diagnostics.error(at: reader.position("vips"), "a connection asks for addresses ('vips') or lends them ('pools'), not both") }
        if !connection.children.isEmpty, connection.children.allSatisfy({ child in !child.remoteTS.contains { if case .dynamic = $0 { true } else { false } } }) {
            diagnostics.warning(at: reader.position("pools"), "no child has 'remote_ts = dynamic': the addresses lent carry no traffic unless a selector names them")
        }
    }

    /// What a connection sends from must be what the gateway listens on.
    static func checkSockets(of connection: Connection, _ section: ConfigurationSection, _ gateway: GatewaySettings, _ diagnostics: inout Diagnostics) {
        let reader = SectionReader(section: section)
        if connection.localPort != gateway.port, connection.localPort != gateway.natPort {
            diagnostics.error(
                at: reader.position("local_port"),
                "the gateway listens on ports \(gateway.port) and \(gateway.natPort), not on \(connection.localPort)")
        }
        guard !gateway.listen.isEmpty else { return }
        let isHeard = connection.localAddresses.contains { pattern in
            if case .name = pattern { true } else { gateway.listen.contains { pattern.matches($0) } }
        }
        if !isHeard { diagnostics.error(at: reader.position("local_addrs"), "'listen' of 'gateway' has none of these addresses") }
    }

    /// A name that `martlet up NAME` could mean twice, and children that ask for the same traffic with the same peer.
    static func checkChildren(of configuration: GatewayConfiguration, _ diagnostics: inout Diagnostics) {
        var owners: [String: String] = [:]
        var repeated: Set<String> = []
        for connection in configuration.connections {
            for child in connection.children {
                let key = "connections.\(connection.name).children.\(child.name)"
                guard let position = configuration.origins[key] else { continue }
                if let owner = owners[child.name] {
                    // Once a name: many configurations call every child "net".
                    guard repeated.insert(child.name).inserted else { continue }
                    diagnostics.warning(at: position, "the child \(quoted(child.name)) is also one of \(quoted(owner)): commands must name the connection too")
                } else {
                    owners[child.name] = connection.name
                }
            }
            // Quadratic in the children of one connection, so only as far as a person writes.
            for (index, child) in connection.children.prefix(256).enumerated() {
                for other in connection.children[..<index] where child.localTS == other.localTS && child.remoteTS == other.remoteTS {
                    guard let position = configuration.origins["connections.\(connection.name).children.\(child.name)"] else { continue }
                    diagnostics.warning(at: position, "the child \(quoted(child.name)) selects the same traffic as \(quoted(other.name))")
                    break
                }
            }
        }
    }
}
