// Modes of children: tunnels, transport mode where the plane carries it, and policies that pass or drop.

import IKECore
import IKEWire
import Testing

@testable import Gateway

@Suite struct ConfigurationPolicyTests {
    private func load(_ text: String, carriesTransport: Bool = false, plane: String? = "tun") -> ConfigurationResult {
        var capabilities = Capabilities(serves: { transform in servedTransforms.contains(transform) }, providers: ["openssl"], methods: ["psk"])
        capabilities.carriesTransport = carriesTransport
        capabilities.planeName = plane
        return ConfigurationLoader.validate(ConfigurationLoader.read(path: "m.conf", reader: MemoryFiles(["m.conf": text])), capabilities)
    }

    @Test func transportModeNeedsAPlaneThatCarriesIt() {
        let text = site(child: "mode = transport")
        #expect(load(text).errors.map(\.text).first?.contains("the data plane tun carries tunnels alone") == true)
        #expect(load(text, plane: nil).errors.map(\.text).first?.contains("no data plane") == true)
        let taken = load(text, carriesTransport: true)
        #expect(taken.errors.isEmpty && taken.configuration?.connections.first?.children.map(\.mode) == [.transport])
        #expect(load(site(child: "mode = beet")).errors.count == 1)
    }

    private func shunts(_ child: String, connection: String = "", others: String = "") -> String {
        "connections { shunts { \(connection)\nchildren { lan { \(child)\nremote_ts = 192.168.0.0/16 }\n\(others) } } }"
    }

    @Test(arguments: ["pass", "drop"]) func aPolicyNeedsNoPeer(mode: String) throws {
        let result = load(shunts("mode = \(mode)\nstart_action = trap"))
        #expect(result.diagnostics.isEmpty, "\(result.diagnostics)")
        let connection = try #require(result.configuration?.connections.first)
        #expect(!connection.isNegotiated && connection.children.map(\.mode.rawValue) == [mode])
        #expect(connection.children[0].isInstalledAtStart && !connection.children[0].hasTrap)
        // Nobody is ever taken for a peer of it.
        #expect(ConnectionSelection.candidates([connection], local: IPAddress(v4: 1), remote: IPAddress(v4: 2)).isEmpty)
        #expect(load(shunts("mode = \(mode)")).configuration?.connections.first?.children[0].isInstalledAtStart == false)
    }

    /// With a tunnel beside it, the connection is one like others.
    @Test func aTunnelBesideItNeedsAllThatTunnelsNeed() {
        let text = shunts("mode = pass\nstart_action = trap", connection: "remote_addrs = 192.0.2.2", others: "net { remote_ts = 10.2.0.0/16 }")
        #expect(load(text).errors.contains { $0.text.contains("no section 'local'") })
    }

    @Test func nothingStartsAPolicy() {
        #expect(load(shunts("mode = drop\nstart_action = start")).errors.map(\.text) == ["m.conf:3:16: 'mode = drop' has no tunnel to start: write start_action = trap, which installs the policy"])
        let warned = load(shunts("mode = pass\nstart_action = trap\nclose_action = trap"))
        #expect(warned.errors.isEmpty && warned.warnings.map(\.text).first?.contains("'close_action' has no effect") == true)
    }
}
