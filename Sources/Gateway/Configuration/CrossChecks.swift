// What only shows when connections, children and secrets are looked at together.

import IKECore
import IKEWire

enum CrossChecks {
    /// A connection whose peers, or which itself, authenticates with a password needs to know one.
    static func checkUsers(of connection: Connection, _ section: ConfigurationSection, _ users: UserSecrets, _ directory: DirectoryAbilities?, _ diagnostics: inout Diagnostics) {
        guard connection.isNegotiated else { return }
        if connection.remote.asksForPasswords, users.hasNoUsers, directory == nil {
            let nameless = users.namelessSection.map { " (\(quoted($0)) has no `id`: a password without a name lets nobody in)" } ?? ""
            diagnostics.missing(at: section.position, "the connection \(quoted(section.name)) has no users\(nameless): add a section eap-NAME with `id` and `secret` to `secrets` for each")
        }
        if connection.remote.method == "eap-md5", users.hasHashesAlone, directory == nil {
            diagnostics.missing(at: section.position, "the connection \(quoted(section.name)) has no users who could log in: eap-md5 needs their passwords, and `secrets` has NT hashes alone")
        }
        // One that proves itself by EAP alone and has a certificate for it is the server.
        guard connection.local.asksForPasswords, !connection.remote.isEAP || connection.local.certificates.certificates.isEmpty else { return }
        var own = connection.local.identity
        if case .exactly? = connection.local.eapIdentity, let identity = connection.local.eapIdentity { own = identity }
        if case .exactly(let identity) = own, connection.local.method == "eap-md5", users.hasHashAlone(identity.eapIdentity) {
            return diagnostics.missing(at: section.position, "the connection \(quoted(section.name)) has no password: eap-md5 needs one, and an NT hash will not do")
        }
        guard case .exactly(let identity) = own, !users.knows(identity.eapIdentity, isServer: false) else { return }
        diagnostics.missing(
            at: section.position, "the connection \(quoted(section.name)) has no password: add a section eap-\(section.name) with \(SettingText.setting("id", own.text)) and the secret to `secrets`")
    }

    /// A method by which the directory can verify nobody. Where it is one of several, the others are offered before it, or alone.
    static func checkMethod(
        of connection: inout Connection, _ section: ConfigurationSection, _ directory: DirectoryAbilities?, hasUsers: () -> Bool, inside: ConfigurationValue? = nil,
        _ diagnostics: inout Diagnostics
    ) {
        guard connection.isNegotiated, connection.remote.isEAP, let directory, let round = section.sections.first(where: { $0.name.hasPrefix("remote") }) else { return }
        let position = SectionReader(section: round).position("auth"), method = connection.remote.method
        if connection.remote.takesAnyEAP {
            connection.remote.unverifiable = passwordMethods.filter { !directory.canServe($0) }
            connection.remote.offersUnverifiable = hasUsers()
        } else if !directory.canServe(method) {
            let complaint = directory.complaint(about: method)
            if hasUsers() {
                diagnostics.warning(at: position, "the users of the directory \(quoted(directory.name)) cannot log in here, those of `secrets` can: \(complaint)")
            } else {
                diagnostics.error(at: position, "the directory \(quoted(directory.name)) cannot verify anybody here: \(complaint)")
            }
        }
        // Inside of TTLS what leads nowhere is not offered; here nothing is left.
        guard connection.remote.takesAnyEAP || method == "eap-ttls", let inside, !inside.elements.isEmpty, !inside.elements.contains(where: { directory.canServe("eap-" + $0.text.lowercased()) })
        else { return }
        let known = [directory.hasNTHashes ? "mschapv2" : nil, directory.verifiesPasswords ? "gtc" : nil].compactMap { $0 }.joined(separator: ", ")
        diagnostics.warning(
            at: inside.position,
            "users of the directory \(quoted(directory.name)) cannot log in at \(quoted(section.name)) with EAP inside TTLS, which it cannot verify in any of these ways: write ttls_eap = \(known)")
    }

    /// What is above our certificate goes out with it where it is at hand. Where it is not, and is no root that clients know, they refuse us.
    static func checkIssuers(of configuration: GatewayConfiguration, _ sections: [ConfigurationSection], _ credentials: [Credential], _ diagnostics: inout Diagnostics) {
        let subjects = Set(credentials.filter { $0.kind == .certificate }.map(\.facts.subject))
        var said: Set<[UInt8]> = []
        for (connection, section) in zip(configuration.connections, sections) where connection.isNegotiated {
            guard let round = section.sections.first(where: { $0.name.hasPrefix("local") }) else { continue }
            var own = credentials.filter { connection.local.certificates.certificates.contains($0.der) }
            if own.isEmpty, connection.local.method == "pubkey" || connection.remote.isEAP, case .exactly(let identity) = connection.local.identity {
                let keys = Set(credentials.filter { $0.kind == .privateKey }.map(\.facts.keyID))
                own = credentials.filter { $0.kind == .certificate && keys.contains($0.facts.keyID) && $0.facts.proves(identity) }
            }
            for certificate in own where certificate.kind == .certificate && !subjects.contains(certificate.facts.issuer) && said.insert(certificate.facts.serial + certificate.facts.issuer).inserted {
                diagnostics.warning(
                    at: round.value("certs")?.position ?? round.position,
                    "our certificate \(quoted(certificate.facts.subjectText)): the certificate of its issuer, \(quoted("\(Identification(kind: .derDN, data: certificate.facts.issuer))")), is not here, so that nobody sends it: where that is an intermediate authority, Windows, Android and others refuse us. Put it behind ours in the same file"
                )
            }
        }
    }

    private static let passwordMethods = ["eap-md5", "eap-gtc", "eap-mschapv2", "eap-ttls", "eap-peap"]

    /// A directory that is named is there; of several one should be.
    static func checkDirectory(of connection: Connection, _ section: ConfigurationSection, _ directories: [DirectoryAbilities], _ diagnostics: inout Diagnostics) {
        guard let round = section.sections.first(where: { $0.name.hasPrefix("remote") }), connection.isNegotiated else { return }
        let names = directories.map(\.name)
        if let value = round.value("directory") {
            guard !names.contains(value.text) else { return }
            let known = names.isEmpty ? "none is loaded" : "there is \(names.map(quoted).joined(separator: ", "))"
            diagnostics.error(
                at: value.position,
                "there is no directory \(quoted(value.text)) (\(known)): write plugins { ldap { directories = \((names.filter { $0 != "ldap" } + [value.text]).joined(separator: ", ")) } }"
                    + suggestion(nearest(to: value.text, among: names)))
        } else if names.count > 1, connection.remote.isEAP || connection.remote.looksUpUser || !connection.remote.groups.isEmpty, let first = names.first {
            diagnostics.warning(
                at: round.position, "users are looked for in the directory \(quoted(first)) alone, the first of \(names.count): write directory = \(names.joined(separator: " or directory = "))")
        }
    }

    /// Connections that take the same peers in the same way, and differ in how users prove who they are: the first is asked for, and nobody comes to the others.
    static func checkMethods(of configuration: GatewayConfiguration, _ sections: [ConfigurationSection], _ diagnostics: inout Diagnostics) {
        struct Door: Hashable {
            let local: AuthenticationPolicy, identity: IdentityPattern, eapIdentity: IdentityPattern?, addresses: [AddressPattern], from: [AddressPattern], proposals: [Proposal]
        }
        var first: [Door: Connection] = [:]
        for (connection, section) in zip(configuration.connections, sections) where connection.isNegotiated && connection.remote.isEAP && !connection.local.isEAP {
            let door = Door(
                local: connection.local, identity: connection.remote.identity, eapIdentity: connection.remote.eapIdentity, addresses: connection.localAddresses,
                from: connection.remoteAddresses, proposals: connection.proposals)
            guard let before = first[door] else {
                first[door] = connection
                continue
            }
            guard before.remote.method != connection.remote.method, let round = section.sections.first(where: { $0.name.hasPrefix("remote") }) else { continue }
            diagnostics.warning(
                at: SectionReader(section: round).position("auth"),
                "nobody comes to \(quoted(connection.name)): \(quoted(before.name)) takes the same peers and asks them for \(before.remote.method): write another `id` to 'local' or `eap_id` to 'remote', or auth = eap-dynamic to one connection for both"
            )
        }
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
