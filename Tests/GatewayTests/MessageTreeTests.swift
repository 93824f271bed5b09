// From a vici message to a configuration: the same rules as for a file, and an explanation that names the key.

import IKECore
import IKECrypto
import IKEWire
import Testing
import ViciWire

@testable import Gateway

@Suite struct MessageTreeTests {
    /// A connection as `swanctl --load-conns` sends it.
    static func site(_ change: (inout ViciMessage) -> Void = { _ in }, child: (inout ViciMessage) -> Void = { _ in }) -> ViciMessage {
        func side(_ id: String) -> ViciMessage {
            var side = ViciMessage()
            side.add("auth", "psk")
            side.add("id", id)
            return side
        }
        var net = ViciMessage()
        net.add("local_ts", list: ["10.1.0.0/16", "fd01::/64"])
        net.add("remote_ts", list: ["10.2.0.0/16", "fd02::/64"])
        net.add("esp_proposals", list: ["aes256gcm16", "aes128-sha256"])
        child(&net)
        var children = ViciMessage()
        children.add("net", section: net)
        var body = ViciMessage()
        body.add("version", "2")
        body.add("remote_addrs", list: ["192.0.2.2"])
        body.add("local", section: side("east.example"))
        body.add("remote", section: side("west.example"))
        body.add("children", section: children)
        change(&body)
        var message = ViciMessage()
        message.add("site", section: body)
        return message
    }

    private static var capabilities: Capabilities { Capabilities(serves: servedTransforms.contains, providers: ["openssl"], methods: ["psk"]) }

    private func result(_ message: ViciMessage, joining running: GatewayConfiguration = GatewayConfiguration(path: "m.conf")) throws -> ConfigurationResult {
        let (_, root) = try MessageTree.connection(message)
        return ConfigurationLoader.validate(ConfigurationLoader.read(tree: root, from: "vici"), Self.capabilities, joining: running)
    }

    @Test func aConnectionIsWhatTheSameFileGives() throws {
        let loaded = try result(Self.site())
        let connection = try #require(loaded.configuration?.connections.first)
        let file = load(
            """
            connections { site { version = 2
            remote_addrs = 192.0.2.2
            local { auth = psk
            id = east.example }
            remote { auth = psk
            id = west.example }
            children { net { local_ts = 10.1.0.0/16, fd01::/64
            remote_ts = 10.2.0.0/16, fd02::/64
            esp_proposals = aes256gcm16, aes128-sha256 } } } }
            secrets { ike { secret = "0123456789abcdef" } }
            """)
        #expect(file.configuration?.connections.first == connection)
        // Its secret may come later.
        #expect(loaded.warnings.map(\.text).contains { $0.hasPrefix("site: the connection 'site' has no secret") })
    }

    @Test(arguments: [
        ("proposals", "aes256gcm16-prfsha256-x25591", "site.proposals: "), ("rekey_time", "soon", "site.rekey_time: 'rekey_time' is a time"),
        ("if_id_in", "7", "site.if_id_in: 'if_id_in = 7' cannot be"), ("remote_adrs", "192.0.2.2", "site.remote_adrs: a connection has no key 'remote_adrs'; did you mean 'remote_addrs'?"),
        ("children", "net", "site.children: 'children' stands there twice"), ("version", "1", "site.version: 'version' stands there twice"),
    ]) func anErrorNamesTheKey(key: String, value: String, begins: String) throws {
        let message = Self.site { $0.add(key, value) }
        do throws(MessageTreeProblem) {
            let (_, root) = try MessageTree.connection(message)
            let read = ConfigurationLoader.validate(ConfigurationLoader.read(tree: root, from: "vici"), Self.capabilities, joining: GatewayConfiguration(path: "m.conf"))
            #expect(read.configuration == nil)
            #expect(read.errors.first?.text.hasPrefix(begins) == true, "\(read.errors.map(\.text))")
        } catch {
            #expect("\(error.position): \(error.reason)".hasPrefix(begins), "\(error)")
        }
    }

    @Test func whatRestrictsIsRefusedAsInAFile() throws {
        #expect(try result(Self.site(child: { $0.add("mode", "transport") })).errors.map(\.text).contains { $0.hasPrefix("site.children.net.mode: ") })
        #expect(try result(Self.site { $0.add("pools", list: ["rw"]) }).errors.map(\.text).contains { $0.hasPrefix("site.pools: ") })
        // An empty list asks for nothing.
        #expect(try result(Self.site { $0.add("pools", list: []) }).configuration != nil)
        let certificate = ViciMessage.Element.list("cacerts", [[0x30, 0x82, 0xff, 0x00]])
        #expect(
            try result(Self.site { $0.elements[3] = .section("remote", ViciMessage([.value("auth", Array("psk".utf8)), certificate])) }).errors.map(\.text).contains {
                $0.hasPrefix("site.remote.cacerts: ")
            })
    }

    @Test func valuesOfTheWrongFormAreRefused() throws {
        #expect(try result(Self.site { $0.add("local_port", list: ["500"]) }).errors.map(\.text) == ["site.local_port: 'local_port' takes one value, not a list"])
        #expect(try result(Self.site { $0.elements.append(.value("crypto", [0xff, 0xfe])) }).errors.map(\.text).contains("site.crypto: 'crypto' is not text"))
        #expect(try result(Self.site { $0.add("proposals", section: ViciMessage()) }).errors.map(\.text).contains { $0.hasPrefix("site.proposals: 'proposals' is a key") })
    }

    @Test func aTreeIsNoDeeperThanAConfigurationAndSharesItsPaths() throws {
        var deep = ViciMessage()
        for index in 0..<60_000 { deep.add("\(index)", "1") }
        for depth in 1...30 {
            var outer = ViciMessage()
            outer.add(String(repeating: "n", count: 255), section: deep)
            deep = outer
            guard depth > 4 else { continue }
            #expect(throws: MessageTreeProblem.self) { try MessageTree.connection(deep) }
        }
        // What stays is one text for a section's keys, however many.
        let (_, root) = try MessageTree.connection(Self.site())
        let keys = try #require(root.section("connections")?.section("site")?.section("children")?.section("net")?.settings)
        #expect(keys.map(\.position.file) == Array(repeating: "site.children.net", count: keys.count))
        #expect(keys.map(\.position.description) == ["site.children.net.local_ts", "site.children.net.remote_ts", "site.children.net.esp_proposals"])
    }

    @Test func aMessageIsOneConnection() {
        #expect(throws: MessageTreeProblem.self) { try MessageTree.connection(ViciMessage()) }
        var two = Self.site()
        two.add("other", section: ViciMessage())
        #expect(throws: MessageTreeProblem.self) { try MessageTree.connection(two) }
        var value = ViciMessage()
        value.add("site", "yes")
        #expect(throws: MessageTreeProblem.self) { try MessageTree.connection(value) }
        for name in ["", "a\nb", "a\u{1b}[2J", "\u{85}"] {
            var message = ViciMessage()
            message.add(name, section: ViciMessage())
            #expect(throws: MessageTreeProblem.self) { try MessageTree.connection(message) }
        }
    }

    /// Names that nobody knows, as many as a message holds: refused, and the search for words ends.
    @Test func aMessageFullOfNonsenseIsRefused() throws {
        let many = Self.site { body in
            for index in 0..<20_000 { body.add("key\(index)" + String(repeating: "x", count: 40), "1") }
        }
        let refused = try result(many)
        #expect(refused.configuration == nil)
        #expect(refused.errors.count <= 400)
        #expect(try result(Self.site(child: { $0.elements[0] = .list("local_ts", Array(repeating: Array("10.0.0.0/8".utf8), count: 60_000)) })).configuration == nil)
    }
}

@Suite struct ConfigurationSourcesTests {
    private func connection(_ name: String, remote: String = "192.0.2.2") throws -> Connection {
        let text = site().replacing("connections { site {", with: "connections { \(name) {").replacing("192.0.2.2", with: remote)
        return try #require(load(text).configuration?.connections.first)
    }
    private func secret(_ name: String, data: String = "0123456789abcdef") -> IKESecret {
        IKESecret(name: name, identities: [], secret: SecretBox(SecretBytes(copying: Array(data.utf8).span)), origin: SourcePosition(path: name))
    }
    private func sources() throws -> ConfigurationSources { ConfigurationSources(files: try #require(load(site()).configuration)) }

    @Test func whatClientsLoadStandsBesideTheFiles() throws {
        var sources = try sources()
        #expect(try sources.load(connection("other")) == nil)
        #expect(sources.merged.connections.map(\.name) == ["site", "other"])
        let changed = try connection("other", remote: "192.0.2.3")
        let before = try sources.load(changed)
        #expect(before?.name == "other" && before != changed)
        #expect(sources.loadedConnections == [changed])
        // The files are read again: what clients loaded stays.
        sources.replaceFiles(sources.files)
        #expect(sources.merged.connections.map(\.name) == ["site", "other"])
        #expect(try sources.unload(connection: "other") == changed)
        #expect(sources.merged.connections.map(\.name) == ["site"])
    }

    @Test func aNameStandsInOnePlace() throws {
        var sources = try sources()
        let site = try connection("site"), origin = sources.files.origin(ofConnection: "site")
        #expect(throws: SourceConflict(reason: "the connection 'site' is configured in \(origin?.description ?? ""): a name stands in one place")) { try sources.load(site) }
        #expect(throws: SourceConflict.self) { try sources.unload(connection: "site") }
        #expect(throws: SourceConflict(reason: "no connection 'othr' was loaded")) { try sources.unload(connection: "othr") }
        #expect(throws: SourceConflict.self) { try sources.load(secret("ike-site")) }
        #expect(throws: SourceConflict.self) { try sources.unload(secret: "ike-site") }
        try sources.load(connection("other"))
        try sources.load(secret("ike-other"))
        let files = try #require(load(other).configuration)
        #expect(
            sources.conflicts(with: files).map(\.message).sorted() == [
                "a client has loaded a connection of the name 'other' too: unload it, or choose another name",
                "a client has loaded a secret of the name 'ike-other' too: unload it, or choose another name",
            ])
        #expect(sources.conflicts(with: sources.files).isEmpty)
    }
    private var other: String { site().replacing("connections { site {", with: "connections { other {").replacing("ike-site {", with: "ike-other {") }

    @Test func changesHappenInPlace() throws {
        var sources = try sources()
        let names = (0..<500).map { "c\($0)" }
        let sample = try connection("sample")
        func named(_ name: String, tries: Int) -> Connection {
            var connection = sample
            (connection.name, connection.keyingTries) = (name, tries)
            return connection
        }
        for name in names { try sources.load(named(name, tries: 1)) }
        for name in names.reversed() { #expect(try sources.load(named(name, tries: 2))?.keyingTries == 1) }
        for name in names where name.hasSuffix("7") { #expect(try sources.unload(connection: name).name == name) }
        try sources.load(named("c7", tries: 3))
        let rest = names.filter { !$0.hasSuffix("7") } + ["c7"]
        #expect(sources.loadedConnections.map(\.name) == rest && sources.merged.connections.map(\.name) == ["site"] + rest)
        #expect(rest.allSatisfy { sources.connection(named: $0)?.name == $0 && sources.isLoaded(connection: $0) })
        #expect(!sources.isLoaded(connection: "c17") && sources.connection(named: "c17") == nil && !sources.isLoaded(connection: "site"))
    }

    @Test func thereIsAnEndToWhatClientsLoad() throws {
        var limits = ConfigurationSources.Limits()
        (limits.connections, limits.secrets, limits.pools) = (1, 2, 1)
        var sources = ConfigurationSources(files: try #require(load(site()).configuration), limits: limits)
        try sources.load(connection("a"))
        try sources.load(connection("a"))
        let b = try connection("b")
        #expect(throws: SourceConflict(reason: "clients have loaded 1 connections already, and no more are taken")) { try sources.load(b) }
        try sources.load(secret("a"))
        // The same without a name, as often as a client likes.
        for index in 0..<9 { #expect(try sources.load(secret("")) == (index == 0)) }
        #expect(throws: SourceConflict.self) { try sources.load(secret("b")) }
        try sources.load(pool("a"))
        #expect(throws: SourceConflict.self) { try sources.load(pool("b")) }
    }

    private func pool(_ name: String) -> PoolConfiguration { PoolConfiguration(name: name, start: IPAddress(v4: 1), end: IPAddress(v4: 9)) }

    @Test func aPoolStaysWhileAConnectionNamesIt() throws {
        var sources = try sources()
        var connection = try connection("other")
        connection.pools = ["rw"]
        // It was there when the connection was checked, and has gone meanwhile.
        #expect(throws: SourceConflict(reason: "other.pools: there is no pool 'rw' any more")) { try sources.load(connection) }
        try sources.load(pool("rw"))
        try sources.load(connection)
        #expect(throws: SourceConflict(reason: "the connection 'other' names the pool 'rw': change or unload the connection first")) { try sources.unload(pool: "rw") }
        #expect(try sources.unload(connection: "other").pools == ["rw"])
        try sources.unload(pool: "rw")
        // One of the files: they do not lose it by a reload either.
        var files = sources.files
        files.pools = [pool("rw")]
        sources.replaceFiles(files)
        try sources.load(connection)
        files.pools = []
        #expect(sources.conflicts(with: files).map(\.message) == ["the pool 'rw' is gone, and the connection 'other' that a client has loaded names it: unload that first"])
    }

    @Test func theIndexOfSecretsFollows() throws {
        var sources = ConfigurationSources(files: GatewayConfiguration(path: "m.conf"))
        func named(_ name: String, _ identity: String) -> IKESecret {
            let pattern = IdentityPattern.exactly(Identification(kind: .fqdn, data: Array(identity.utf8)))
            return IKESecret(name: name, identities: [pattern], secret: SecretBox(SecretBytes(copying: Array("0123456789abcdef".utf8).span)), origin: SourcePosition(path: name))
        }
        func serves(_ identity: String) -> Bool {
            sources.secretIndex().mayServe(local: .exactly(Identification(kind: .fqdn, data: Array(identity.utf8))), remote: .exactly(Identification(kind: .fqdn, data: Array("nobody".utf8))))
        }
        #expect(!serves("east"))
        try sources.load(named("a", "EAST"))
        #expect(serves("east") && !serves("west"))
        try sources.load(named("a", "west"))
        #expect(!serves("east") && serves("west"))
        try sources.load(named("", "east"))
        #expect(serves("east"))
        sources.clearSecrets()
        #expect(!serves("east") && !serves("west"))
    }

    @Test func secretsAreReplacedByNameAndClearedAlone() throws {
        var sources = try sources()
        try sources.load(secret("a"))
        try sources.load(secret(""))
        #expect(try !sources.load(secret("")))
        try sources.load(secret("", data: "another secret, of other bytes"))
        #expect(try !sources.load(secret("a")))
        let second = secret("a", data: "another secret, of other bytes")
        #expect(try sources.load(second))
        #expect(sources.loadedSecrets.map(\.name) == ["a", "", ""])
        #expect(sources.loadedSecrets[0] === second)
        #expect(sources.merged.secrets.all.count == 4)
        try sources.unload(secret: "a")
        try sources.unload(secret: "a")
        try sources.unload(secret: "")
        #expect(sources.clearSecrets() == 2)
        #expect(sources.merged.secrets.all.map(\.name) == ["ike-site"])
    }
}
