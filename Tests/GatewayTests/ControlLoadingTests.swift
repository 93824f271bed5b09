// What clients load, unload and ask for over the control socket; and where the bytes of a secret go.
import IKECore
import IKECrypto
import Testing
import ViciWire

@testable import Gateway

@Suite struct ControlLoadingTests {
    typealias Fixture = ControlServerTests.Fixture

    private func call(_ fixture: Fixture, _ client: TestClient, _ name: String, _ message: ViciMessage = ViciMessage()) throws -> ViciMessage {
        try client.send(.commandRequest(name: name, message))
        guard case .commandResponse(let answer) = try client.receive(fixture.pump) else {
            Issue.record("no response to \(name)")
            return ViciMessage()
        }
        return answer
    }

    private func key(type: String = "IKE", owners: [String] = ["east.example", "west.example"], data: [UInt8]? = [0, 0xff, 7]) -> ViciMessage {
        var message = ViciMessage()
        message.add("id", "ike-1")
        message.add("type", type)
        if let data { message.elements.append(.value("data", data)) }
        message.add("owners", list: owners)
        return message
    }

    @Test func loadsAConnectionAndLogsWho() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        fixture.backend.loadResult = .success(["site: it has no secret"])
        let answer = try call(fixture, client, "load-conn", MessageTreeTests.site())
        #expect(answer["success"] == "yes")
        #expect(answer.list("martlet-warnings") == ["site: it has no secret"])
        #expect(fixture.backend.loads.first?.root.section("connections")?.section("site")?.value("remote_addrs")?.elements.map(\.text) == ["192.0.2.2"])
        #expect(fixture.log.contains("load-conn 'site', by pid"))
        #expect(try call(fixture, client, "get-conns").list("conns") == ["site"])
    }

    @Test func aWrongConnectionSaysWhatIsWrong() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        var message = ViciMessage()
        message.add("name", "site")
        let answer = try call(fixture, client, "load-conn", message)
        #expect(answer["success"] == "no")
        #expect(answer["errmsg"] == "connections: the message is one section, of the connection's name")
        #expect(fixture.backend.loads.isEmpty)
        #expect(try call(fixture, client, "unload-conn")["errmsg"] == "unload-conn needs name")
        message = ViciMessage()
        message.add("name", "nosuch")
        #expect(try call(fixture, client, "unload-conn", message)["success"] == "no")
    }

    @Test func aSharedKeyIsTakenAsItIs() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        let answer = try call(fixture, client, "load-shared", key())
        #expect(answer["success"] == "yes")
        let secret = try #require(fixture.backend.secrets.first)
        #expect(secret.owners == ["east.example", "west.example"])
        let bytes = secret.data.withSecret { secret in
            let span = secret.span
            return span.indices.map { span[$0] }
        }
        #expect(bytes == [0, 0xff, 7])
        #expect(try call(fixture, client, "get-shared").list("keys") == ["ike-1"])
        #expect(try call(fixture, client, "clear-creds")["success"] == "yes")
        #expect(try call(fixture, client, "get-shared").list("keys") == [])
        #expect(!fixture.log.all.contains { $0.contains("\u{7}") })
    }

    @Test func aSharedKeyIsOfItsKind() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        for type in ["IKE", "EAP", "xauth", "NTLM"] { #expect(try call(fixture, client, "load-shared", key(type: type))["success"] == "yes") }
        #expect(fixture.backend.kinds == [.ike, .eap, .eap, .ntlm])
    }

    @Test func sharedKeysOfOtherKindsAreRefusedByName() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        for (type, word) in [("ppk", "RFC 8784"), ("", "needs type"), ("password", "no secret of the type 'password'")] {
            let answer = try call(fixture, client, "load-shared", key(type: type))
            #expect(answer["success"] == "no")
            #expect(answer["errmsg"]?.contains(word) == true, "\(type): \(answer["errmsg"] ?? "")")
        }
        #expect(try call(fixture, client, "load-shared", key(data: nil))["errmsg"] == "load-shared needs data, once")
        var twice = key()
        twice.elements.append(.value("data", [1]))
        #expect(try call(fixture, client, "load-shared", twice)["errmsg"] == "load-shared needs data, once")
        #expect(fixture.backend.secrets.isEmpty)
    }

    @Test func listsOfWhatIsNotThereYetAreEmpty() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        #expect(try call(fixture, client, "get-keys").elements == [.list("keys", [])])
        #expect(try call(fixture, client, "get-authorities").elements == [.list("authorities", [])])
        #expect(try call(fixture, client, "get-pools").isEmpty)
        for (event, command) in [("list-cert", "list-certs"), ("list-authority", "list-authorities"), ("list-policy", "list-policies")] {
            try fixture.register(client, event)
            #expect(try call(fixture, client, command).isEmpty)
        }
        #expect(try call(fixture, client, "reload-settings")["success"] == "yes")
    }

    @Test func forgetsWhatWasFetchedByItsType() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        #expect(try call(fixture, client, "flush-certs")["success"] == "yes")
        for type in ["any", "x509_crl", "OCSP_RESPONSE", "X509"] { #expect(try fixture.call(client, "flush-certs", [("type", type)])["success"] == "yes") }
        #expect(fixture.backend.forgotten == [[.revocationLists, .statusAnswers], [.revocationLists, .statusAnswers], .revocationLists, .statusAnswers, []])
        #expect(try fixture.call(client, "flush-certs", [("type", "everything")])["errmsg"]?.contains("EVERYTHING") == true)
        #expect(fixture.backend.forgotten.count == 5)
    }

    @Test func installsAndListsPolicies() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        #expect(try fixture.call(client, "install", [("child", "net"), ("ike", "gw")])["success"] == "yes")
        try fixture.register(client, "list-policy")
        try fixture.request(client, "list-policies", [("trap", "yes")])
        guard case .event(name: "list-policy", let event) = try client.receive(fixture.pump) else {
            Issue.record("no event")
            return
        }
        #expect(event.section("gw/net")?.elements.map(\.name) == ["child", "ike", "mode", "local-ts", "remote-ts"])
        #expect(try client.receive(fixture.pump) == .commandResponse(ViciMessage()))
        #expect(try fixture.call(client, "list-policies", [("pass", "yes"), ("drop", "yes")]).isEmpty)
        #expect(try fixture.call(client, "uninstall", [("child", "none")])["success"] == "no")
        #expect(try fixture.call(client, "install")["errmsg"] == "install needs child")
    }

    @Test func countersHaveTheNamesAndTheOrderThatClientsKnow() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        let names = [
            "ike-rekey-init", "ike-rekey-resp", "child-rekey", "invalid", "invalid-spi", "ike-init-in-req", "ike-init-in-resp", "ike-init-out-req", "ike-init-out-resp", "ike-auth-in-req",
            "ike-auth-in-resp", "ike-auth-out-req", "ike-auth-out-resp", "create-child-in-req", "create-child-in-resp", "create-child-out-req", "create-child-out-resp", "info-in-req",
            "info-in-resp", "info-out-req", "info-out-resp",
        ]
        let all = try call(fixture, client, "get-counters")
        #expect(all.elements.map(\.name) == ["counters", "success"])
        #expect(all.section("counters")?.section("")?.elements == names.map { .value($0, Array("0".utf8)) })
        #expect(try fixture.call(client, "get-counters", [("name", "gw")]).section("counters")?.section("gw")?.elements.count == names.count)
        #expect(try fixture.call(client, "get-counters", [("all", "yes")]).section("counters")?.isEmpty == true)
        #expect(try fixture.call(client, "get-counters", [("name", "nobody")])["errmsg"] == "the connection 'nobody' has counted nothing")
        #expect(try fixture.call(client, "reset-counters", [("name", "nobody")])["success"] == "no")
        #expect(try call(fixture, client, "reset-counters")["success"] == "yes")
    }

    @Test func loadsAndListsPools() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        var pool = ViciMessage()
        pool.add("addrs", "10.3.0.0/24")
        var message = ViciMessage()
        message.add("rw", section: pool)
        #expect(try call(fixture, client, "load-pool", message)["success"] == "yes")
        let plain = try call(fixture, client, "get-pools")
        #expect(plain.section("rw")?.elements.map(\.name) == ["base", "size", "online", "offline"])
        let leases = try fixture.call(client, "get-pools", [("leases", "yes")]).section("rw")?.section("leases")
        #expect(leases?.section("0")?.elements == [.value("address", Array("10.3.0.1".utf8)), .value("identity", Array("rw.example".utf8)), .value("status", Array("online".utf8))])
        #expect(try fixture.call(client, "unload-pool", [("name", "rw")])["success"] == "no")
        #expect(try call(fixture, client, "load-pool")["errmsg"] == "pools: the message is one section, of the pool's name")
    }

    @Test func aChangeAndItsResultAreLoggedWhateverTheLevel() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        #expect(try call(fixture, client, "load-conn", MessageTreeTests.site())["success"] == "yes")
        #expect(try fixture.call(client, "unload-conn", [("name", "gone")])["success"] == "no")
        #expect(try fixture.call(client, "version")["daemon"] == "martletd")
        let lines = fixture.log.all.filter { $0.contains("control: ") }.map { $0.replacing(#/by pid \d+ uid \d+ gid \d+/#, with: "by P") }
        #expect(
            lines == [
                "0 control: load-conn 'site', by P", "0 control: load-conn 'site', by P: done", "0 control: unload-conn 'gone', by P", "0 control: unload-conn 'gone', by P: failed: 'no gone'",
            ])
    }

    @Test func aPartOfTheSAsDoesNotPassForAll() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        try fixture.register(client, "list-sa")
        fixture.backend.sas = [sampleSA()]
        fixture.backend.missing = FailureSnapshot(code: "limit", summary: "not all are known")
        let answer = try fixture.call(client, "list-sas")
        #expect(answer["success"] == "no" && answer["errmsg"] == "not all are known")
        #expect(GatewayView(shardCount: 0).missing == nil)
        #expect(GatewayView(shardCount: 2).missingShards?.summary.contains("2 of 2 shards") == true)
        let withoutPlane = GatewayView(shardCount: 0, isPlaneMissing: true)
        #expect(withoutPlane.missingShards == nil && withoutPlane.missing != nil)
    }

    @Test func tellsOfMovesAndAlerts() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        for name in ["ike-update", "alert"] { try fixture.register(client, name) }
        let place = EndpointSnapshot(host: "192.0.2.9", port: 4500, id: "")
        fixture.server.publish(.ikeSAMoved(local: place, remote: place, sampleSA()))
        fixture.server.publish(.alert(type: "proposal-mismatch-ike", nil, FailureSnapshot(code: "no-common-proposal", summary: "nothing in common")))
        guard case .event(name: "ike-update", let moved) = try client.receive(fixture.pump), case .event(name: "alert", let alert) = try client.receive(fixture.pump) else {
            Issue.record("no events")
            return
        }
        #expect(moved.elements.map(\.name) == ["local-host", "local-port", "remote-host", "remote-port", "gw"])
        #expect(moved["remote-host"] == "192.0.2.9" && moved.section("gw")?["remote-host"] == "198.51.100.7")
        #expect(alert["type"] == "proposal-mismatch-ike" && alert.section("martlet-failure")?["summary"] == "nothing in common")
    }
}
