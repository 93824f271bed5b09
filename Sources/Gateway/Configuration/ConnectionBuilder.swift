// From a checked section of `connections` to a `Connection`. Defaults are swanctl.conf(5)'s.

import IKECore
import IKEWire

/// Reads the values of a section that the schema has checked; what is wrong was reported there and counts as absent.
struct SectionReader {
    let section: ConfigurationSection

    func text(_ key: String) -> String? { section.value(key)?.text }
    func boolean(_ key: String) -> Bool? { text(key).flatMap(booleanValue) }
    func integer(_ key: String) -> UInt64? { text(key).flatMap(integerValue) }
    func port(_ key: String) -> UInt16? { integer(key).flatMap(UInt16.init(exactly:)).flatMap { $0 == 0 ? nil : $0 } }
    func time(_ key: String) -> Duration? { text(key).flatMap(timeValue) }
    func bytes(_ key: String) -> UInt64? { text(key).flatMap(byteValue) }
    /// Where a value stands, or where its section does.
    func position(_ key: String) -> SourcePosition { section.value(key)?.position ?? section.position }
}

struct ConnectionBuilder {
    let capabilities: Capabilities
    let gateway: GatewaySettings
    let certificates: CertificateBuilder

    func build(_ section: ConfigurationSection, _ diagnostics: inout Diagnostics) -> Connection {
        let reader = SectionReader(section: section)
        if reader.integer("version") == 1 {
            diagnostics.error(at: reader.position("version"), "IKEv1 is not spoken: write version = 2, or leave it out")
        }
        var provider: String?
        if let value = section.value("crypto") {
            provider = checkedProvider(value.text, at: value.position, &diagnostics)
        }
        let proposals = ProposalParser(protocolID: .ike, provider: provider, capabilities: capabilities)
            .parse(section.value("proposals"), key: "proposals", fallback: section.position, &diagnostics)
        var connection = Connection(name: section.name, proposals: proposals)
        connection.provider = provider
        connection.localAddresses = addresses("local_addrs", section, &diagnostics)
        connection.remoteAddresses = addresses("remote_addrs", section, &diagnostics)
        connection.localPort = reader.port("local_port") ?? gateway.port
        connection.remotePort = reader.port("remote_port") ?? 500
        connection.encap = reader.boolean("encap") ?? false
        connection.fragmentation = reader.text("fragmentation").map { Fragmentation(rawValue: $0.lowercased()) ?? .yes } ?? .yes
        connection.mobike = reader.boolean("mobike") ?? true
        connection.dpdDelay = reader.time("dpd_delay") ?? .zero
        connection.keyingTries = reader.integer("keyingtries").map { Int(clamping: $0) } ?? 1
        connection.sendCertificate = reader.text("send_cert").flatMap { SendCertificate(rawValue: $0.lowercased()) } ?? .ifasked
        connection.sendCertificateRequests = reader.boolean("send_certreq") ?? true
        connection.sessionsPerUser = reader.integer("sessions_per_user").map { Int(clamping: $0) } ?? 0
        connection.unique = reader.text("unique").flatMap { UniquePolicy(rawValue: $0.lowercased()) } ?? .no
        setLifetime(&connection, reader, &diagnostics)
        connection.childless = reader.text("childless").flatMap { Childless(rawValue: $0.lowercased()) } ?? .allow
        connection.pools = section.value("pools")?.elements.map(\.text) ?? []
        connection.vips = virtualAddresses(section, &diagnostics)
        let children = section.section("children")?.sections ?? []
        let builder = ChildBuilder(capabilities: capabilities, provider: provider, connection: section)
        connection.children = children.map { builder.build($0, &diagnostics) }
        warnOfHaste(connection, reader, &diagnostics)
        // What only passes or drops packets has no peer that could prove anything.
        if connection.isNegotiated || !section.sections.allSatisfy({ $0.name == "children" }) {
            connection.local = authentication("local", section, &diagnostics)
            connection.remote = authentication("remote", section, &diagnostics)
        }
        EAPBuilder(methods: capabilities.eapMethods, certificates: certificates).check(connection, section, &diagnostics)
        switch connection.local.identity {
        case .suffix, .name: diagnostics.error(at: section.section("local")?.position ?? section.position, "our own identity cannot be a pattern: write it out")
        case .any, .exactly: break
        }
        if children.isEmpty {
            diagnostics.missing(.warning, at: section.position, "the connection \(quoted(section.name)) has no children: it carries no traffic")
        }
        if connection.remoteAddresses.allSatisfy({ !$0.isInitiable }),
            let child = children.first(where: { child in
                connection.child(named: child.name).map { $0.mode.isNegotiated && (!$0.startAction.isEmpty || $0.hasTrap) } == true
            }), let policy = connection.child(named: child.name)
        {
            let keys = [("start_action", policy.startAction), ("close_action", policy.closeAction), ("dpd_action", policy.dpdAction)]
            let (key, action) = keys.first { !$0.1.isEmpty && ($0.0 == "start_action" || $0.1.contains(.trap)) } ?? keys[0]
            diagnostics.error(
                at: SectionReader(section: child).position(key),
                "'\(key) = \(action.controlText)' needs an address to go to: 'remote_addrs' of \(quoted(section.name)) has no single address or host name")
        }
        return connection
    }

    private func checkedProvider(_ name: String, at position: SourcePosition, _ diagnostics: inout Diagnostics) -> String? {
        if capabilities.providers.contains(name) { return name }
        diagnostics.error(at: position, unknownProvider(name, among: capabilities.providers))
        return nil
    }

    private func addresses(_ key: String, _ section: ConfigurationSection, _ diagnostics: inout Diagnostics) -> [AddressPattern] {
        guard let value = section.value(key) else { return [.any] }
        var patterns: [AddressPattern] = []
        for element in value.elements {
            do throws(AddressProblem) {
                patterns.append(try AddressPattern(configured: element.text))
            } catch {
                diagnostics.error(at: element.position, error.message)
            }
        }
        return patterns.isEmpty ? [.any] : patterns
    }

    /// A few of each family, as many as a gateway of ours lends.
    private func virtualAddresses(_ section: ConfigurationSection, _ diagnostics: inout Diagnostics) -> [IPAddress] {
        var addresses: [IPAddress] = []
        for element in section.value("vips")?.elements ?? [] {
            guard let address = IPAddress(element.text) else {
                diagnostics.error(at: element.position, "\(quoted(element.text)) is no address; 0.0.0.0 and :: ask for any")
                continue
            }
            guard addresses.count(where: { $0.family == address.family }) < ConnectionSettings.vipLimit else {
                diagnostics.error(at: element.position, "'vips' asks for at most \(ConnectionSettings.vipLimit) addresses of each family")
                continue
            }
            if !address.isUnspecified, addresses.contains(address) {
                diagnostics.error(at: element.position, "'vips' asks for \(element.text) twice")
                continue
            }
            addresses.append(address)
        }
        return addresses
    }

    /// `over_time` is a tenth of the longer of `rekey_time` and `reauth_time`, `rand_time` is `over_time`. With `reauth_time` alone keys are
    /// renewed then, with new IKE SAs.
    private func setLifetime(_ connection: inout Connection, _ reader: SectionReader, _ diagnostics: inout Diagnostics) {
        let reauth = reader.time("reauth_time") ?? .zero
        let rekey = reader.time("rekey_time") ?? (reauth == .zero ? .seconds(4 * 3600) : .zero)
        let over = reader.time("over_time") ?? max(rekey, reauth) / 10
        let rand = reader.time("rand_time") ?? over
        let shortest = [rekey, reauth].filter { $0 > .zero }.min() ?? .zero
        if shortest > .zero, rand >= shortest, reader.section.value("rand_time") != nil {
            diagnostics.warning(at: reader.position("rand_time"), "'rand_time' is not below '\(shortest == rekey ? "rekey_time" : "reauth_time")': the keys may be renewed at once")
        }
        connection.reauthTime = reauth
        connection.overTime = over
        connection.lifetime = Lifetime(rekeyTime: rekey, lifeTime: rekey == .zero ? .zero : rekey + over, randTime: shortest == .zero ? .zero : min(rand, max(rekey, reauth)))
    }

    /// Whoever begins the connection is told `reauth_time`. Where we begin it, at the one address that it has, that is not the peer.
    private func warnOfHaste(_ connection: Connection, _ reader: SectionReader, _ diagnostics: inout Diagnostics) {
        guard connection.reauthTime > .zero, connection.reauthTime < ConnectionSettings.shortestReauthTime else { return }
        if connection.remoteAddresses.count == 1, connection.remoteAddresses.allSatisfy(\.isInitiable), connection.children.contains(where: { $0.startAction.contains(.start) }) { return }
        diagnostics.warning(
            at: reader.position("reauth_time"),
            "'reauth_time' is below 30 minutes: a strongSwan that begins the connection takes its own over_time (24 minutes where it is not set) off it, and authenticates anew after what is left, at once where nothing is: write 30m or more, or over_time in its configuration"
        )
    }

    /// The one round of `local` or `remote`.
    private func authentication(_ side: String, _ section: ConfigurationSection, _ diagnostics: inout Diagnostics) -> AuthenticationPolicy {
        let rounds = section.sections.filter { $0.name.hasPrefix(side) }
        guard let round = rounds.first else {
            diagnostics.missing(
                at: section.position,
                "the connection \(quoted(section.name)) has no section '\(side)': write \(side) { auth = psk }, and who it is as 'id' on a line of its own in it")
            return AuthenticationPolicy()
        }
        for other in rounds.dropFirst() {
            diagnostics.error(at: other.position, "a second authentication round (RFC 4739) is not there yet: \(quoted(round.name)) is the first")
        }
        let reader = SectionReader(section: round)
        var policy = AuthenticationPolicy()
        if let value = round.value("id") {
            do throws(IdentityProblem) {
                policy.identity = try IdentityPattern(configured: value.text)
            } catch {
                diagnostics.error(at: value.position, error.message)
            }
        }
        let auth = (reader.text("auth") ?? "pubkey").lowercased()
        policy.method = CertificateBuilder.isPublicKey(auth) ? "pubkey" : auth
        if side == "remote" {
            policy.groups = round.value("groups")?.groupNames ?? []
            policy.looksUpUser = reader.boolean("user_lookup") ?? false
            policy.looksUpNobody = reader.boolean("user_lookup") == false && policy.groups.isEmpty
            policy.directory = reader.text("directory")
        }
        if policy.isEAP {
            let isAlone = section.sections.first { $0.name.hasPrefix("local") }?.value("auth")?.text.lowercased().hasPrefix("eap") == true
            EAPBuilder(methods: capabilities.eapMethods, certificates: certificates).build(&policy, isLocal: side == "local", isAlone: isAlone, round, &diagnostics)
            return policy
        }
        if !Self.methods.contains(policy.method) {
            let kind = auth.lowercased()
            if kind.hasPrefix("xauth") || kind.hasPrefix("ike:") {
                diagnostics.error(at: reader.position("auth"), "the authentication \(quoted(auth)) is not there yet: write auth = psk, or auth = pubkey")
            } else {
                diagnostics.error(at: reader.position("auth"), "there is no authentication \(quoted(auth))" + suggestion(nearest(to: kind, among: Self.methods)))
            }
        } else if !capabilities.methods.contains(policy.method) {
            diagnostics.error(at: reader.position("auth"), "no loaded plugin provides the authentication \(quoted(auth))")
        }
        if policy.method == "pubkey" {
            certificates.build(&policy, round, isLocal: side == "local", auth: auth, &diagnostics)
        } else if policy.method == "psk" {
            for key in CertificateBuilder.keys where round.value(key) != nil && (key != "revocation" || reader.text(key)?.lowercased() != "relaxed") {
                let text = "\(quoted(key)) is about certificates, and 'auth = psk' takes none: take it out, or write auth = pubkey"
                if side == "local" { diagnostics.warning(at: reader.position(key), text) } else { diagnostics.error(at: reader.position(key), text) }
            }
            for section in round.sections { diagnostics.error(at: section.position, "\(quoted(section.name)) is about certificates, and 'auth = psk' takes none: take it out, or write auth = pubkey") }
        } else {
            certificates.build(&policy, round, isLocal: side == "local", &diagnostics)
        }
        return policy
    }

    private static let methods = ["psk", "pubkey"]
}

func unknownProvider(_ name: String, among providers: [String]) -> String {
    let known = providers.isEmpty ? "none is loaded" : "loaded are \(providers.joined(separator: ", "))"
    return "there is no crypto provider \(quoted(name)) (\(known))" + suggestion(nearest(to: name, among: providers))
}
