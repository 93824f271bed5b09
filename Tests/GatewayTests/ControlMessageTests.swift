// The shape of the messages: keys, formats and order that vici clients rely on.
@testable import IKECore
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
            code: "no-answer", summary: "198.51.100.7 did not answer", evidence: ["5 tries"], ageSeconds: 9)
        let body = try #require(ConfigurationMessages.connection(connection).section("gw"))
        #expect(body.list("remote_addrs") == ["198.51.100.7", "peer.example.org"])
        #expect(body["unique"] == "UNIQUE_NO")
        #expect(body.section("local-1")?["class"] == "pre-shared key")
        #expect(body.section("remote-1")?["id"] == nil)
        #expect(body.section("children")?.section("net")?.list("local-ts") == ["10.1.0.0/16"])
        let failure = try #require(body.section("martlet-last-failure"))
        #expect(failure["code"] == "no-answer")
        #expect(failure.list("evidence") == ["5 tries"])
    }

    @Test func clipsLongNamesAtACharacter() {
        #expect(clipped(String(repeating: "é", count: 200)).utf8.count == 224)
        #expect(clipped("short") == "short")
    }

    @Test func snapshotsOfTheCoreUseViciNames() throws {
        let now = Instant(nanoseconds: 100_000_000_000)
        let id = Identification(kind: .fqdn, data: Array("left".utf8))
        let status = IKESAStatus(
            id: IKESAID(rawValue: 7), connection: "gw", state: .established,
            local: SocketAddress(address: IPAddress(v4: 0xc000_0201), port: 500),
            remote: SocketAddress(address: IPAddress(family: .v6, value: 1), port: 4500), localIdentity: id, remoteIdentity: nil,
            isInitiator: false, initiatorSPI: IKESPI(rawValue: 1), responderSPI: IKESPI(rawValue: 2), localBehindNAT: false,
            remoteBehindNAT: false, transforms: [.aesCBC(256), .hmacSHA256_128, .prfHMACSHA256, .curve25519], provider: nil, unique: .no, initialContact: nil,
            established: Instant(nanoseconds: 90_000_000_000), rekeyAt: Instant(nanoseconds: 160_000_000_000),
            expiresAt: Instant(nanoseconds: 95_000_000_000),
            children: [
                ChildSAStatus(
                    id: ChildSAID(rawValue: 9), name: "net", reqid: 3, state: .installed, inboundSPI: 1, outboundSPI: 2, encapsulated: true,
                    transforms: [.aesGCM16(128), .extendedSequenceNumbers],
                    localTS: [TrafficSelector(start: IPAddress(v4: 0x0a01_0000), end: IPAddress(v4: 0x0a01_ffff))], remoteTS: [],
                    installed: now, rekeyAt: nil, expiresAt: nil)
            ])
        let sa = IKESASnapshot(status, now: now) { _ in (TrafficSnapshot(bytes: 5, packets: 1), TrafficSnapshot()) }
        #expect(sa.local == EndpointSnapshot(host: "192.0.2.1", port: 500, id: "left"))
        #expect(sa.remote == EndpointSnapshot(host: "::1", port: 4500, id: ""))
        #expect(sa.establishedSeconds == 10)
        #expect(sa.rekeySeconds == 60)
        #expect(sa.lifeSeconds == -5)
        let suite = try #require(sa.suite)
        #expect(suite.encryption == "AES_CBC")
        #expect(suite.encryptionBits == 256)
        #expect(suite.integrity == "HMAC_SHA2_256_128")
        #expect(suite.prf == "PRF_HMAC_SHA2_256")
        #expect(suite.keyExchange == "CURVE_25519")
        let child = try #require(sa.children.first)
        #expect(child.suite.hasExtendedSequenceNumbers)
        #expect(child.localSelectors == ["10.1.0.0/16"])
        #expect(child.inbound.bytes == 5)
        #expect(child.uniqueID == 9)
    }

    @Test func snapshotsOfConnectionsNamePatterns() {
        var connection = Connection(name: "gw", proposals: [])
        connection.remoteAddresses = [.any, .name("peer"), .range(IPAddress(v4: 0x0a00_0000), IPAddress(v4: 0x0aff_ffff))]
        connection.remote.identity = .suffix(.fqdn, Array(".example".utf8))
        var child = ChildPolicy(name: "net", proposals: [])
        child.remoteTS = [.dynamic(ipProtocol: 6, startPort: 22, endPort: 22)]
        connection.children = [child]
        let snapshot = ConnectionSnapshot(connection)
        #expect(snapshot.remoteAddresses == ["%any", "peer", "10.0.0.0/8"])
        #expect(snapshot.remote.first == AuthenticationSnapshot(method: "pre-shared key", id: "*.example"))
        #expect(snapshot.children.first?.localSelectors == ["dynamic"])
        #expect(snapshot.children.first?.remoteSelectors == ["dynamic[tcp/22]"])
    }
}
