// From the text of ipsec.conf and ipsec.secrets to a configuration of Martlet, and what was said about it.

import IKEWire

package struct ImportOptions: Sendable {
    /// Nil for the one that the files seem to be for.
    package var dialect: Dialect?
    /// The gateway's own addresses, which tell the local side of a connection.
    package var localAddresses: Set<String> = []
    /// Whether the text has the secrets; else something that no daemon takes stands in their place.
    package var showsSecrets = true
    package init() {}

    package static func isAddress(_ text: String) -> Bool { IPAddress(text) != nil }
}

package struct ImportResult: Sendable {
    /// Nil where a file could not be read or understood.
    package var text: String?
    package var findings: [Finding]
    package var problems: [String]
    package var dialect: Dialect
    /// Whether anything is missing from the result.
    package var isComplete: Bool { findings.allSatisfy { $0.severity == .note } }
    package var connectionCount = 0
    /// Connections that are there as comments, for somebody to decide about.
    package var commentCount = 0
    package var secretCount = 0
}

/// What all connections share.
struct ImportContext {
    var dialect: Dialect
    var localAddresses: Set<IPAddress>
    var secrets: SecretIndex
    /// Why there are no secrets at all.
    var secretsProblem: String?
    var unique: OutputSetting
}

package enum Import {
    /// `secretsPath` is nil for an ipsec.secrets beside the file.
    package static func run(_ path: String, secrets secretsPath: String? = nil, files: any ImportFiles, options: ImportOptions = ImportOptions()) -> ImportResult {
        let parsed = ConfParser.parse(path, files)
        let (detected, evidence) = Dialect.detected(in: parsed.allSettings)
        let dialect = options.dialect ?? detected
        let secretsPath = secretsPath ?? resolved("ipsec.secrets", in: path)
        let secrets = SecretsParser.parse(secretsPath, files, dialect)
        let problems = (parsed.problems + secrets.problems).map { "\($0.origin): \($0.reason)" }
        guard problems.isEmpty else { return ImportResult(text: nil, findings: [], problems: problems, dialect: dialect) }

        var findings = parsed.findings
        let unique = unique(parsed.setup["uniqueids"], &findings)
        let context = ImportContext(
            dialect: dialect, localAddresses: Set(options.localAddresses.compactMap { IPAddress($0) }), secrets: SecretIndex(keys: secrets.keys, dialect: dialect),
            secretsProblem: secrets.missing.map { "\(secretsPath): \($0.reason) (--secrets names another file)" }, unique: unique)
        judge(parsed.setup, &findings)
        for authority in parsed.authorities { findings.add(.notCarried, at: authority.origin, "ca \(authority.name): certificates are not translated yet") }
        var connections = translate(parsed.conns, context, &findings)
        let keys = dialect == .libreswan ? narrow(secrets.keys, &connections, &findings) : secrets.keys
        let undecided = connections.filter { !$0.undecided.isEmpty }
        connections.removeAll { !$0.undecided.isEmpty }
        let pools = settle(&connections, &findings)
        // Theirs are the first names; what is a comment has those that are free.
        connections += undecided.filter(\.pools.isEmpty)
        name(&connections, &findings)
        let written = connections.filter(\.undecided.isEmpty)
        let secretFindings = secrets.findings.all
        var document = Document(connections: connections, pools: pools, secrets: keys, findings: findings.all + secretFindings, options: options)
        document.introduce(path: path, secretsPath: secrets.missing == nil ? secretsPath : nil, dialect: dialect, evidence: options.dialect == nil ? evidence : nil, isChosen: options.dialect != nil)
        return ImportResult(
            text: document.text, findings: findings.all + secretFindings, problems: [], dialect: dialect, connectionCount: written.reduce(0) { $0 + $1.children.count },
            commentCount: connections.count - written.count, secretCount: keys.count)
    }

    /// strongSwan and libreswan replace an SA of the same identities unless told otherwise.
    private static func unique(_ setting: Setting?, _ findings: inout Findings) -> OutputSetting {
        guard let setting else { return OutputSetting(key: "unique", value: "replace", origins: []) }
        let words = ["yes": "replace", "replace": "replace", "no": "no", "never": "never", "keep": "keep"]
        if words[setting.value.lowercased()] == nil { findings.add(.notCarried, setting, "this value is not known; replace is taken") }
        return OutputSetting(key: "unique", value: words[setting.value.lowercased()] ?? "replace", origins: [setting.origin])
    }

    private static func judge(_ setup: [String: Setting], _ findings: inout Findings) {
        for setting in setup.values.sorted(by: { $0.origin.line < $1.origin.line }) where setting.name != "uniqueids" && !setting.value.isEmpty && !Parameters.isComment(setting.name) {
            let rule = Parameters.setup[setting.name] ?? .dropped("Martlet does not know this parameter of config setup")
            if rule.inert.contains(setting.value.lowercased()) { continue }
            findings.add(rule.effect == .hasNone ? .note : .notCarried, setting, rule.reason)
        }
    }

    private static func translate(_ conns: [Section], _ context: ImportContext, _ findings: inout Findings) -> [OutputConnection] {
        var resolver = SectionResolver(conns)
        var connections: [OutputConnection] = []
        var places: [String: Int] = [:]
        for (index, section) in conns.enumerated() where section.name != "%default" {
            switch resolver.settings(of: index) {
            case .failure(let problem): findings.add(.leftOut, problem.setting, in: section.name, problem.reason)
            case .success(let settings):
                var translator = ConnTranslator(section, settings, context)
                guard let connection = translator.translate(&findings) else { continue }
                if let place = places[connection.ikeSA], connection.undecided == connections[place].undecided {
                    connections[place].children += connection.children
                    findings.add(.note, at: section.origin, in: section.name, "it shares the IKE SA of conn \(connections[place].name), as in \(context.dialect.name)")
                } else {
                    places[connection.ikeSA] = connections.count
                    connections.append(connection)
                }
            }
        }
        return connections
    }

    /// The preshared keys so that each lets in whom libreswan lets in, without the connections for which that cannot be had.
    private static func narrow(_ keys: [PresharedKey], _ connections: inout [OutputConnection], _ findings: inout Findings) -> [PresharedKey] {
        var choice = SecretChoice(keys)
        let wrong = choice.settle(connections)
        for index in wrong.sorted() {
            findings.add(
                .leftOut, at: connections[index].origin, in: connections[index].name,
                "a preshared key for other peers would let them in here: Martlet takes one that names either side, libreswan wants both. Write \(connections[index].remoteIdentity.value == .any ? "the identity of the peer" : "preshared keys of single peers")"
            )
        }
        connections = connections.enumerated().filter { !wrong.contains($0.offset) }.map(\.element)
        for (key, identities) in choice.removed.sorted(by: { $0.key < $1.key }) {
            findings.add(.note, at: keys[key].origin, "the preshared key is written without our own identity \(identities.map(\.text).joined(separator: ", ")), so that it stays its peer's alone")
        }
        return choice.keys
    }

    /// The pools, each once. Connections that lend the same addresses with other name servers do not fit together.
    private static func settle(_ connections: inout [OutputConnection], _ findings: inout Findings) -> [OutputPool] {
        var pools: [OutputPool] = []
        var places: [String: Int] = [:]
        connections.removeAll { connection in
            for pool in connection.pools {
                guard let place = places[pool.name] else { continue }
                if pools[place].nameServers == pool.nameServers, pools[place].domains == pool.domains { continue }
                findings.add(.leftOut, at: connection.origin, in: connection.name, "its addresses are lent by another connection too, with other name servers")
                return true
            }
            for pool in connection.pools where places[pool.name] == nil {
                places[pool.name] = pools.count
                pools.append(pool)
            }
            return false
        }
        return pools
    }

    /// Names that sections may have, each once.
    private static func name(_ connections: inout [OutputConnection], _ findings: inout Findings) {
        var names = SectionNames()
        var childNames = SectionNames()
        for index in connections.indices {
            let source = connections[index].name
            connections[index].name = names.name(for: source)
            if connections[index].name != source { findings.add(.note, at: connections[index].origin, in: source, "it is called \(connections[index].name)") }
            for child in connections[index].children.indices { connections[index].children[child].name = childNames.name(for: connections[index].children[child].name) }
        }
    }
}
