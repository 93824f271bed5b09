// Clients of the control socket that send what no client sends: they are refused or closed, and the next client is served.
import Glibc
import IKECore
import Testing
import ViciWire

@testable import Gateway

@Suite struct ControlHostileTests {
    typealias Fixture = ControlServerTests.Fixture

    /// Sends bytes while the server reads them; true when the server has closed the connection without an answer.
    private func isClosed(_ fixture: Fixture, _ client: TestClient, _ bytes: [UInt8]) throws -> Bool {
        for start in stride(from: 0, to: bytes.count, by: 32_768) {
            client.send(bytes: Array(bytes[start..<min(bytes.count, start + 32_768)]))
            fixture.pump()
        }
        return try client.receive(fixture.pump) == nil
    }

    private func frame(_ body: [UInt8]) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: body.count >> (24 - 8 * $0)) } + body }
    private func request(_ name: String, _ message: [UInt8]) -> [UInt8] { frame([ViciPacketType.commandRequest.rawValue, UInt8(name.utf8.count)] + Array(name.utf8) + message) }
    private func section(_ name: String, _ body: [UInt8]) -> [UInt8] { [1, UInt8(name.utf8.count)] + Array(name.utf8) + body + [2] }

    private func serves(_ fixture: Fixture) throws -> Bool { try fixture.call(try fixture.client(), "version")["daemon"] == "martletd" }

    @Test func tooManyKeysSectionsAndItemsEndTheConnection() throws {
        let fixture = try Fixture()
        // 100,000 keys of no length, 100,000 sections in one another, 100,000 items: each below the limit of bytes, above that of elements or depth.
        for message in [
            section("site", Array(repeating: [3, 0, 0, 0] as [UInt8], count: 100_000).flatMap(\.self)),
            Array(repeating: [1, 1, UInt8(ascii: "a")] as [UInt8], count: 100_000).flatMap(\.self) + Array(repeating: 2, count: 100_000),
            section("site", [4, 1, UInt8(ascii: "x")] + Array(repeating: [5, 0, 0] as [UInt8], count: 100_000).flatMap(\.self) + [6]),
        ] {
            #expect(try isClosed(fixture, try fixture.client(), request("load-conn", message)))
            #expect(try serves(fixture))
        }
        #expect(fixture.backend.loads.isEmpty)
        // More than a packet may have.
        let client = try fixture.client()
        #expect(try isClosed(fixture, client, [0xff, 0xff, 0xff, 0xff]))
        #expect(try serves(fixture))
    }

    @Test func whatIsNearTheLimitsIsRefusedInWords() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        // Deep as the protocol allows, names as long, and as many keys at the bottom as a packet has room for: a path of 8 KB for each of them is half a gigabyte.
        let name = String(repeating: "n", count: 255)
        var deep = ViciMessage()
        for index in 0..<50_000 { deep.add("\(index)", "") }
        for _ in 0..<31 {
            var outer = ViciMessage()
            outer.add(name, section: deep)
            deep = outer
        }
        let packet = try ViciPacket.commandRequest(name: "load-conn", deep).framed()
        // In pieces that the socket takes: server and client are one thread here.
        for start in stride(from: 0, to: packet.count, by: 32_768) {
            client.send(bytes: Array(packet[start..<min(start + 32_768, packet.count)]))
            fixture.pump()
        }
        guard case .commandResponse(let answer) = try client.receive(fixture.pump) else {
            Issue.record("no answer")
            return
        }
        #expect(answer["success"] == "no" && answer["errmsg"]?.hasSuffix("sections this deep in one another") == true)
        #expect(fixture.backend.loads.isEmpty)
        for bad in ["", "\u{0}", "a\nb", "\u{1b}]0;x"] {
            var message = ViciMessage()
            message.add(bad, section: ViciMessage())
            try client.send(.commandRequest(name: "load-conn", message))
            guard case .commandResponse(let answer) = try client.receive(fixture.pump) else {
                Issue.record("no answer to the name \(bad.debugDescription)")
                return
            }
            #expect(answer["success"] == "no")
            #expect(answer["errmsg"]?.unicodeScalars.allSatisfy { $0.value >= 0x20 } == true)
        }
    }

    @Test func wrongTypesAreRefused() throws {
        let fixture = try Fixture()
        let client = try fixture.client()
        func answer(_ name: String, _ message: ViciMessage) throws -> ViciMessage {
            try client.send(.commandRequest(name: name, message))
            guard case .commandResponse(let answer) = try client.receive(fixture.pump) else { return ViciMessage() }
            return answer
        }
        var key = ViciMessage()
        key.add("type", "ike")
        key.add("data", list: ["a secret in a list"])
        #expect(try answer("load-shared", key)["errmsg"] == "load-shared needs data, once")
        var owners = ViciMessage()
        owners.add("type", "ike")
        owners.add("data", "0123456789abcdef")
        owners.add("owners", "everybody")
        #expect(try answer("load-shared", owners)["errmsg"] == "owners is a list")
        var name = ViciMessage()
        name.add("name", section: ViciMessage())
        for command in ["unload-conn", "unload-pool"] { #expect(try answer(command, name)["errmsg"] == "\(command) needs name") }
        for command in ["load-conn", "load-pool"] { #expect(try answer(command, name)["success"] == "yes") }
        var list = ViciMessage()
        list.add("site", list: ["a"])
        for command in ["load-conn", "load-pool"] { #expect(try answer(command, list)["success"] == "no") }
        #expect(fixture.backend.secrets.isEmpty)
    }

    @Test func aClientThatGoesInTheMiddleOfAMessageLeavesNothing() throws {
        let fixture = try Fixture()
        let whole = request("load-shared", [3, 4] + Array("type".utf8) + [0, 3] + Array("ike".utf8) + [3, 4] + Array("data".utf8) + [0, 16] + Array("0123456789abcdef".utf8))
        for count in 1..<whole.count {
            do {
                let client = try fixture.client()
                client.send(bytes: Array(whole[..<count]))
                fixture.pump()
            }
            fixture.pump()
        }
        #expect(fixture.backend.secrets.isEmpty)
        #expect(fixture.server.fds.count == 1, "only the listening socket is left")
        let client = try fixture.client()
        for byte in whole {
            client.send(bytes: [byte])
            fixture.pump()
        }
        guard case .commandResponse(let answer) = try client.receive(fixture.pump) else {
            Issue.record("no answer")
            return
        }
        #expect(answer["success"] == "yes" && fixture.backend.secrets.count == 1)
    }
}
