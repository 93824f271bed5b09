// The shape of the messages: keys, formats and order that vici clients rely on.
import IKEWire
import Testing
import ViciWire

@testable import Gateway

@Suite struct ControlMessageTests {
    @Test func listSAHasTheKeysOfThatEventInOrder() throws {
        let sa = sampleSA()
        let event = try #require(SAMessages.list(sa, children: sa.children).first)
        #expect(event.sections.map(\.name) == ["gw"])
        let body = try #require(event.section("gw"))
        #expect(
            body.elements.map(\.name) == [
                "uniqueid", "version", "state", "local-host", "local-port", "local-id", "remote-host", "remote-port", "remote-id",
                "initiator", "initiator-spi", "responder-spi", "nat-remote", "nat-any", "encr-alg", "encr-keysize", "prf-alg",
                "dh-group", "established", "rekey-time", "child-sas",
            ])
        #expect(body["initiator-spi"] == "00000000000000ab")
        #expect(body["responder-spi"] == "0123456789abcdef")
        #expect(body["initiator"] == "yes")
        #expect(body["state"] == "ESTABLISHED")
        #expect(body["local-port"] == "4500")
        let children = try #require(body.section("child-sas"))
        #expect(children.sections.map(\.name) == ["net0-1"])
        let child = try #require(children.section("net0-1"))
        #expect(
            child.elements.map(\.name).filter { !$0.hasPrefix("martlet-") } == [
                "name", "uniqueid", "reqid", "state", "mode", "protocol", "encap", "spi-in", "spi-out", "encr-alg", "encr-keysize", "esn",
                "bytes-in", "packets-in", "use-in", "bytes-out", "packets-out", "rekey-time", "life-time", "install-time", "local-ts",
                "remote-ts",
            ])
        #expect(child["spi-in"] == "c0ffee01")
        #expect(child["spi-out"] == "0000001d")
        #expect(child["esn"] == "1")
        #expect(child["use-out"] == nil)
        #expect(child.list("remote-ts") == ["10.2.0.0/16", "2001:db8::/64"])
        #expect(child["martlet-replayed"] == "4")
    }

    @Test func manyChildrenTakeSeveralEventsThatFitAPacket() throws {
        let sa = sampleSA(children: 1_000)
        let events = SAMessages.list(sa, children: sa.children)
        #expect(events.count == 4)
        var names: [String] = []
        for event in events {
            _ = try ViciPacket.event(name: "list-sa", event).framed()
            names += event.section("gw")?.section("child-sas")?.sections.map(\.name) ?? []
        }
        #expect(names.count == 1_000)
        #expect(Set(names).count == 1_000)
    }

    @Test func anSAWithoutChildrenStillHasTheSection() throws {
        let event = try #require(SAMessages.list(sampleSA(), children: []).first)
        #expect(event.section("gw")?.section("child-sas")?.isEmpty == true)
    }

    @Test func whatIsNotThereYetIsLeftOut() throws {
        var sa = sampleSA()
        sa.state = .connecting
        sa.suite = nil
        sa.establishedSeconds = nil
        sa.remote.id = ""
        sa.children[0].state = .installing
        let body = try #require(SAMessages.list(sa, children: sa.children).first?.section("gw"))
        for key in ["encr-alg", "established", "rekey-time"] { #expect(body[key] == nil) }
        #expect(body["remote-id"] == "%any")
        let child = try #require(body.section("child-sas")?.section("net0-1"))
        for key in ["spi-in", "bytes-in", "install-time"] { #expect(child[key] == nil) }
        #expect(child["state"] == "INSTALLING")
    }

    @Test func upDownEventsSayUpOnlyWhenUp() {
        #expect(SAMessages.ikeUpDown(isUp: true, sampleSA())["up"] == "yes")
        #expect(SAMessages.ikeUpDown(isUp: false, sampleSA())["up"] == nil)
        #expect(SAMessages.ikeUpDown(isUp: true, sampleSA()).section("gw")?.section("child-sas") == nil)
        let rekey = SAMessages.childRekey(sampleSA(), old: sampleSA().children[0], new: sampleSA().children[0])
        let pair = rekey.section("gw")?.section("child-sas")?.section("net0")
        #expect(pair?.sections.map(\.name) == ["old", "new"])
    }

    @Test func listConnShowsAuthenticationChildrenAndTheLastFailure() throws {
        var connection = ConnectionSnapshot(name: "gw")
        connection.localAddresses = ["192.0.2.1"]
        connection.remoteAddresses = ["198.51.100.7", "peer.example.org"]
        connection.local = [AuthenticationSnapshot(method: "pre-shared key", id: "left")]
        connection.remote = [AuthenticationSnapshot(method: "pre-shared key", id: "")]
        var child = ChildConfigurationSnapshot(name: "net")
        child.localSelectors = ["10.1.0.0/16"]
        connection.children = [child]
        connection.lastFailure = FailureSnapshot(
            code: "no_answer", summary: "198.51.100.7 did not answer", details: ["5 tries"], ageSeconds: 9)
        let body = try #require(ConfigurationMessages.connection(connection).section("gw"))
        #expect(body.list("remote_addrs") == ["198.51.100.7", "peer.example.org"])
        #expect(body["unique"] == "UNIQUE_NO")
        #expect(body.section("local-1")?["class"] == "pre-shared key")
        #expect(body.section("remote-1")?["id"] == "%any")
        #expect(body.section("children")?.section("net")?.list("local-ts") == ["10.1.0.0/16"])
        let failure = try #require(body.section("martlet-last-failure"))
        #expect(failure["code"] == "no_answer")
        #expect(failure.list("details") == ["5 tries"])
    }

    @Test func namesAlgorithmsAsViciClientsDo() {
        let suite = SuiteSnapshot(
            chosen: Proposal(
                number: 1, protocolID: .ike,
                transforms: [.aesCBC(256), .hmacSHA256_128, .prfHMACSHA256, .curve25519, .extendedSequenceNumbers]))
        #expect(suite.encryption == "AES_CBC")
        #expect(suite.encryptionBits == 256)
        #expect(suite.integrity == "HMAC_SHA2_256_128")
        #expect(suite.prf == "PRF_HMAC_SHA2_256")
        #expect(suite.keyExchange == "CURVE_25519")
        #expect(suite.hasExtendedSequenceNumbers)
        #expect(AlgorithmNames.name(Transform(type: .prf, id: 999)) == "(999)")
    }

    @Test func clipsLongNamesAtACharacter() {
        #expect(clipped(String(repeating: "é", count: 200)).utf8.count == 224)
        #expect(clipped("short") == "short")
    }

    @Test(arguments: [
        ("0", "::"), ("1", "::1"), ("20010db8000000000000000000000001", "2001:db8::1"),
        ("20010db8000000010001000100010001", "2001:db8:0:1:1:1:1:1"),  // RFC 5952 section 4.2.2
        ("20010000000000010000000000000001", "2001:0:0:1::1"),  // the longest run, section 4.2.3
        ("20010db8000000000001000000000001", "2001:db8::1:0:0:1"),  // the first of equals
        ("fe800000000000000000000000000000", "fe80::"),
    ])
    func writesIPv6AsRFC5952Says(hex: String, text: String) throws {
        let value = try #require(UInt128(hex, radix: 16))
        #expect(SelectorText.address(IPAddress(family: .v6, value: value)) == text)
    }

    @Test func writesSelectors() {
        func v4(_ value: UInt32) -> IPAddress { IPAddress(v4: value) }
        func text(_ start: UInt32, _ end: UInt32, protocol number: UInt8 = 0, ports: (UInt16, UInt16) = (0, 65_535)) -> String {
            SelectorText.selector(
                TrafficSelector(ipProtocol: number, startPort: ports.0, endPort: ports.1, start: v4(start), end: v4(end)))
        }
        #expect(text(0x0a01_0000, 0x0a01_ffff) == "10.1.0.0/16")
        #expect(text(0, .max) == "0.0.0.0/0")
        #expect(text(0x0a01_0001, 0x0a01_0001) == "10.1.0.1/32")
        #expect(text(0x0a01_0001, 0x0a01_0009) == "10.1.0.1..10.1.0.9")
        #expect(text(0x0a01_0000, 0x0a01_ffff, protocol: 6, ports: (443, 443)) == "10.1.0.0/16[tcp/443]")
        #expect(text(0x0a01_0000, 0x0a01_ffff, protocol: 17) == "10.1.0.0/16[udp]")
        #expect(text(0x0a01_0000, 0x0a01_ffff, protocol: 47, ports: (1_000, 2_000)) == "10.1.0.0/16[47/1000-2000]")
        #expect(text(0x0a01_0000, 0x0a01_ffff, protocol: 6, ports: (65_535, 0)) == "10.1.0.0/16[tcp/OPAQUE]")
        let all = TrafficSelector(start: IPAddress(family: .v6, value: 0), end: IPAddress(family: .v6, value: .max))
        #expect(SelectorText.selector(all) == "::/0")
    }
}
