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

    // MARK: How packets are carried

    private func carriage(_ child: String, connection: String = "", features: PlaneFeatures = .all, plane: String? = "xfrm") -> (carriage: Carriage?, errors: [String]) {
        var capabilities = Capabilities(serves: { transform in servedTransforms.contains(transform) }, providers: ["openssl"], methods: ["psk"])
        (capabilities.features, capabilities.planeName) = (features, plane)
        let text = site(connection: connection, child: child)
        let result = ConfigurationLoader.validate(ConfigurationLoader.read(path: "m.conf", reader: MemoryFiles(["m.conf": text])), capabilities)
        return (result.configuration?.connections.first?.children.first?.carriage, result.errors.map(\.text))
    }

    @Test func marksAreWrittenAsInSwanctl() throws {
        let (found, errors) = carriage("mark_in = 0x2a/0xff\nmark_out = 7\nset_mark_in = %same/0xffff\nset_mark_out = 9/0x0f\nmark_in_sa = yes")
        #expect(errors.isEmpty)
        let carriage = try #require(found)
        #expect(carriage.inbound.mark == Carriage.Mark(number: .fixed(42), mask: 0xff) && carriage.outbound.mark == Carriage.Mark(number: .fixed(7), mask: .max))
        #expect(carriage.inbound.setMark == Carriage.Mark(number: .fixed(42), mask: 0xffff) && carriage.outbound.setMark == Carriage.Mark(number: .fixed(9), mask: 15))
        #expect(carriage.marksInboundSA)
        let unique = try #require(self.carriage("mark_in = %unique/0xf000\nmark_out = %unique-dir\nset_mark_out = %same").carriage)
        #expect(unique.inbound.mark == Carriage.Mark(number: .unique, mask: 0xf000))
        #expect(unique.outbound.mark?.number == .uniqueInEachDirection && unique.outbound.setMark?.number == .uniqueInEachDirection)
        // None, as swanctl.conf(5) has the defaults.
        #expect(self.carriage("mark_in = 0/0x00000000\nmark_out = 0\nset_mark_in = 0/0x00000000\nif_id_in = 0\ncopy_df = yes\ncopy_dscp = out\nhw_offload = no").carriage == Carriage())
    }

    @Test func theOtherKeysOfTheHeader() throws {
        let found = try #require(carriage("copy_df = no\ncopy_ecn = no\ncopy_dscp = yes\nhw_offload = yes\nif_id_out = 0x10", connection: "if_id_in = 3\nif_id_out = 4").carriage)
        #expect(!found.copiesDF && !found.copiesECN && found.copiesDSCP == .yes && found.offload == .crypto)
        #expect(found.copiesDSCP(isInbound: true) && found.copiesDSCP(isInbound: false))
        // The child's word counts before the connection's.
        #expect(found.inbound.interfaceID == .fixed(3) && found.outbound.interfaceID == .fixed(16))
    }

    /// `%unique` of a connection is one number for all of an IKE SA's children; a child's own word is the child's alone.
    @Test func aConnectionHasUniqueNumbersForAllItsChildren() throws {
        let (found, errors) = carriage("copy_df = no", connection: "if_id_in = %unique\nif_id_out = %unique-dir")
        #expect(errors.isEmpty && found?.inbound.interfaceID == .uniqueOfIKESA && found?.outbound.interfaceID == .uniqueOfIKESAInEachDirection, "\(errors)")
        #expect(try #require(carriage("if_id_in = %unique", connection: "if_id_in = %unique-dir").carriage).inbound.interfaceID == .unique)
        #expect(carriage("start_action = trap", connection: "if_id_in = %unique").errors.contains { $0.contains("no '%unique' number") })
    }

    /// Numbers that nobody chose are never the same, in either way to ask for them.
    @Test func uniqueNumbersAreUnique() {
        var seen: Set<UInt32> = []
        for instance in [1, 2, 3, 70_000] as [UInt32] {
            for number in [Carriage.Number.uniqueInEachDirection] { for isInbound in [true, false] { seen.insert(number.value(of: instance, isInbound: isInbound)) } }
            #expect(Carriage.Number.unique.value(of: instance, isInbound: true) == Carriage.Number.unique.value(of: instance, isInbound: false))
            seen.insert(Carriage.Number.unique.value(of: instance, isInbound: true))
        }
        #expect(seen.count == 12)
    }

    @Test(arguments: [
        ("mark_in = 0x100/0xff", "no packet would ever have this mark"), ("mark_out = many", "'mark_out' is a mark"), ("mark_in = 1/", "'mark_in' is a mark"),
        ("set_mark_in = %same", "there is no 'mark_in'"), ("set_mark_out = %unique", "'set_mark_out' is a mark"), ("if_id_in = eth0", "'if_id_in' is the number"),
        ("mark_out = %unique\nstart_action = trap", "no '%unique' number"),
    ]) func whatCannotBeIsRefused(child: String, says: String) { #expect(carriage(child).errors.contains { $0.contains(says) }, "\(carriage(child).errors)") }

    /// A plane that cannot do it is told of when the configuration is checked, and not by packets that go astray.
    @Test(arguments: [
        "mark_in = 1", "mark_out = 1", "set_mark_in = 1", "set_mark_out = 1", "if_id_in = 1", "if_id_out = 1", "hw_offload = crypto", "hw_offload = packet", "copy_dscp = in", "copy_dscp = yes",
    ])
    func aPlaneThatCannotDoItIsNamed(child: String) {
        #expect(carriage(child).errors.isEmpty)
        let refused = carriage(child, features: [], plane: "tun").errors
        #expect(refused.count == 1 && refused[0].contains("'\(child)' cannot be: the data plane tun"), "\(refused)")
        #expect(carriage(child, features: [], plane: "xfrm").errors.first?.contains("its kernel is too old") == true)
    }

    @Test func whatATunnelOfUserSpaceCanDoIsTaken() {
        for child in ["copy_df = no", "copy_ecn = no", "copy_dscp = no", "hw_offload = auto", "replay_window = 4096"] {
            #expect(carriage(child, features: [], plane: "tun").errors.isEmpty, "\(child)")
        }
    }

    @Test func whoPassesByRoutesPassesForEverybody() {
        func errors(_ child: String, features: PlaneFeatures = []) -> [String] {
            var capabilities = Capabilities(serves: { transform in servedTransforms.contains(transform) }, providers: ["openssl"], methods: ["psk"])
            (capabilities.features, capabilities.planeName) = (features, "tun")
            let text = "connections { shunts { children { lan { mode = pass\n\(child) } } } }"
            return ConfigurationLoader.validate(ConfigurationLoader.read(path: "m.conf", reader: MemoryFiles(["m.conf": text])), capabilities).errors.map(\.text)
        }
        #expect(errors("remote_ts = 10.0.0.0/8").isEmpty && errors("local_ts = 0.0.0.0/0\nremote_ts = 10.0.0.0/8").isEmpty)
        for child in ["local_ts = 10.0.0.0/8\nremote_ts = 10.0.0.0/8", "local_ts = ::/0\nremote_ts = 10.0.0.0/8"] {
            #expect(errors(child).first?.contains("for some senders alone cannot be") == true && errors(child, features: .passesExactly).isEmpty, "\(child)")
        }
        #expect(errors("remote_ts = 10.0.0.0/8[tcp/22]").first?.contains("with a protocol or ports cannot be") == true)
    }
}
