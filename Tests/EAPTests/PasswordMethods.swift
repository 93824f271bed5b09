// MD5-Challenge, GTC and MSCHAPv2: both ends against each other, wrong passwords, unknown users, answers that come later, and messages that are none.

import EAPMethods
import PluginABI
import PluginKit
import Testing

@Suite struct PasswordMethods {
    static nonisolated(unsafe) let methods: [(String, UnsafePointer<martlet_eap_method>)] = [("md5", MD5Challenge.method), ("gtc", GTC.method), ("mschapv2", MSCHAPv2.method)]

    private func pair(_ method: UnsafePointer<martlet_eap_method>, server: [UInt8]?, client: [UInt8]? = Array("right".utf8)) throws -> (Conversation, Conversation) {
        let a = try #require(Conversation(method, server: true)), b = try #require(Conversation(method, server: false))
        a.passwords["carol"] = server
        b.passwords["carol"] = client
        return (a, b)
    }

    @Test(arguments: 0..<3) func theRightPasswordIsTaken(_ index: Int) throws {
        let (server, client) = try pair(Self.methods[index].1, server: Array("right".utf8))
        let end = talk(server, client)
        #expect(end.server?.outcome == MARTLET_EAP_SUCCESS.rawValue)
        #expect(end.client?.outcome == MARTLET_EAP_SUCCESS.rawValue)
        #expect(end.server?.key == end.client?.key)
        #expect(end.server?.key.count == (index == 2 ? 64 : 0))
    }

    @Test(arguments: 0..<3) func aWrongPasswordIsRefusedForThatReason(_ index: Int) throws {
        let (server, client) = try pair(Self.methods[index].1, server: Array("Right".utf8))
        let end = talk(server, client)
        #expect(end.server?.outcome == (index == 2 ? MARTLET_EAP_REFUSED : MARTLET_EAP_FAILURE).rawValue)
        #expect(end.server?.status == MARTLET_E_REJECTED)
        #expect(end.server?.key == [])
    }

    @Test(arguments: 0..<3) func anUnknownUserIsRefusedForThatReason(_ index: Int) throws {
        let (server, client) = try pair(Self.methods[index].1, server: nil)
        let end = talk(server, client)
        // In MSCHAPv2 with the same packet as a wrong password.
        #expect(end.server?.outcome == (index == 2 ? MARTLET_EAP_REFUSED : MARTLET_EAP_FAILURE).rawValue)
        if index == 2 { #expect(String(decoding: end.server?.message.dropFirst(4).prefix(9) ?? [], as: UTF8.self) == "E=691 R=0") }
        #expect(end.server?.status == MARTLET_E_NOT_FOUND)
    }

    @Test(arguments: 0..<3) func aLookUpMayEndLater(_ index: Int) throws {
        let (server, client) = try pair(Self.methods[index].1, server: Array("right".utf8))
        server.answersLater = true
        let first = try #require(server.step(nil))
        let answer = try #require(client.step(first.message))
        #expect(server.step(answer.message) == nil)
        server.release()
        server.release()
        #expect(server.completions == 1)
        #expect(server.late?.outcome == (index == 2 ? MARTLET_EAP_CONTINUE : MARTLET_EAP_SUCCESS).rawValue)
    }

    @Test func aHashIsEnoughForMSCHAPv2AndGTC() throws {
        for method in [MSCHAPv2.method, GTC.method] {
            let (server, client) = try pair(method, server: nil)
            let password = SecretMemory(count: 5)
            for (index, byte) in "right".utf8.enumerated() { password.pointer[index] = byte }
            server.hashes["carol"] = NTHash.of(password).octets
            #expect(talk(server, client).server?.outcome == MARTLET_EAP_SUCCESS.rawValue)
        }
        let (server, client) = try pair(MD5Challenge.method, server: nil)
        server.hashes["carol"] = [UInt8](repeating: 1, count: 16)
        let end = talk(server, client)
        #expect(end.server?.status == MARTLET_E_FAILED, "MD5 needs the password itself")
    }

    @Test func aServerThatDoesNotKnowThePasswordIsNotBelieved() throws {
        let (server, client) = try pair(MSCHAPv2.method, server: Array("right".utf8))
        // The Success of another conversation: its answer to our challenge is another.
        let end = talk(server, client) { round, message in round == 2 ? message.map { $0 == UInt8(ascii: "A") ? UInt8(ascii: "B") : $0 == UInt8(ascii: "1") ? UInt8(ascii: "2") : $0 } : message }
        #expect(end.client?.outcome == MARTLET_EAP_FAILURE.rawValue)
        #expect(end.client?.status == MARTLET_E_REJECTED)
    }

    @Test func aClientHearsWhyItWasRefused() throws {
        let client = try #require(Conversation(MSCHAPv2.method, server: false))
        client.passwords["carol"] = Array("right".utf8)
        _ = client.step([1, 9, 0, 21, 16] + [UInt8](repeating: 3, count: 16))
        let text = Array("E=647 R=0 V=3".utf8)
        let end = try #require(client.step([4, 9, 0, UInt8(text.count + 4)] + text))
        #expect(end.outcome == MARTLET_EAP_REFUSED.rawValue && end.message == [4])
        #expect(end.reason.contains("disabled"))
    }

    /// Every message cut at every octet, and with every bit of its first octets turned: refused or taken, and nothing is read that is not there.
    @Test(arguments: 0..<3, [true, false]) func whatIsNoMessageIsRefused(_ index: Int, _ toServer: Bool) throws {
        for round in 0..<4 {
            let parity = toServer ? 1 : 0
            func run(_ change: @escaping ([UInt8]) -> [UInt8]) throws -> Result? {
                let (server, client) = try pair(Self.methods[index].1, server: Array("right".utf8))
                let end = talk(server, client) { $0 == 2 * round + parity ? change($1) : $1 }
                return toServer ? end.server : end.client
            }
            for count in 0..<80 { _ = try run { Array($0.prefix(count)) } }
            for bit in 0..<256 {
                _ = try run { message in
                    var message = message
                    if bit / 8 < message.count { message[bit / 8] ^= 1 << UInt8(bit % 8) }
                    return message
                }
            }
            let longer = try #require(try run { $0 + [UInt8](repeating: 0x41, count: 5000) })
            // A password of five thousand octets, and a name of so many, are none.
            if toServer, round == 0 { #expect(longer.outcome != MARTLET_EAP_SUCCESS.rawValue) }
        }
    }
}
