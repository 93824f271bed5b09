// Who says that it has no other SA with its peer.
// RFC 7296 section 2.4; swanctl.conf `unique`.

import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct InitialContact {
    /// What IKE_AUTH of `connection` says, with what is established already: connections to the same peer, one after the other.
    private func says(_ connections: [Connection], elsewhere: [String] = []) throws -> [Bool] {
        let target = Target(east: true)
        target.handle(.configurationReplaced(connections))
        for name in elsewhere { target.handle(.establishedElsewhere(connection: name, true)) }
        return try connections.filter { !elsewhere.contains($0.name) }.enumerated().map { number, connection in
            let peer = try HostilePeer(isInitiator: false, seed: UInt64(number) &* 1000 &+ 4711)
            if case .exactly(let identity) = connection.remote.identity {
                peer.identity = .identificationResponder(identity)
                peer.identityBody = identity.body
            }
            target.handle(.initiate(connection: connection.name, child: "net", packet: nil, local: target.node.local, remote: HostilePeer.address, request: nil))
            let request = try #require(target.sent.last).bytes
            let auth = try #require(target.receive(try peer.initResponse(to: request)).first)
            let said = try peer.open(auth).notifications.contains(.initialContact)
            target.receive(try peer.seal(.ikeAuth, [peer.identity, try peer.authentication()] + peer.child(spi: 0x0102_0304 + UInt32(number)), id: 1, response: true))
            #expect(target.endpoint.status().filter { $0.state == .established }.count == number + 1)
            return said
        }
    }

    private func connection(_ name: String, unique: UniquePolicy = .no, peer: String = "west.example", own: String = "east.example") -> Connection {
        var connection = Fixtures.connection(east: true)
        connection.name = name
        connection.unique = unique
        connection.local.identity = .exactly(Fixtures.identity(own))
        connection.remote.identity = .exactly(Fixtures.identity(peer))
        return connection
    }

    @Test(arguments: [UniquePolicy.no, .keep, .replace]) func theFirstSaysSo(unique: UniquePolicy) throws {
        #expect(try says([connection("a", unique: unique)]) == [true])
    }

    @Test func whoMayBeThereMoreThanOnceDoesNot() throws {
        #expect(try says([connection("a", unique: .never)]) == [false])
    }

    /// It is said of the identities, not of a connection: the second would make the peer drop the first.
    @Test func aSecondConnectionToTheSamePeerDoesNot() throws {
        #expect(try says([connection("a"), connection("b")]) == [true, false])
        #expect(try says([connection("a"), connection("b", peer: "south.example")]) == [true, true])
        #expect(try says([connection("a"), connection("b", own: "another.example")]) == [true, true])
    }

    /// A gateway may say it too, and the initiator takes it to heart.
    @Test(arguments: [false, true]) func theResponderMaySaySo(says: Bool) throws {
        let target = Target(east: true), peer = try HostilePeer(isInitiator: false)
        target.handle(.initiate(connection: "site", child: "net", packet: nil, local: target.node.local, remote: HostilePeer.address, request: nil))
        target.receive(try peer.initResponse(to: try #require(target.sent.last).bytes))
        let contact = says ? [Payload.notify(Notify(.initialContact))] : []
        target.receive(try peer.seal(.ikeAuth, [peer.identity, try peer.authentication()] + contact + peer.child(), id: 1, response: true))
        #expect(target.endpoint.status().map { $0.initialContact != nil } == [says])
    }

    /// Two that begin at the same moment, as when a gateway starts: one says it.
    @Test func norDoesOneThatComesUpBesideAnother() throws {
        for (other, expected) in [(connection("b"), [true, false]), (connection("b", peer: "south.example"), [true, true])] {
            let target = Target(east: true), connections = [connection("a"), other]
            target.handle(.configurationReplaced(connections))
            let requests = try connections.map { connection in
                target.handle(.initiate(connection: connection.name, child: "net", packet: nil, local: target.node.local, remote: HostilePeer.address, request: nil))
                return try #require(target.sent.last).bytes
            }
            let said = try requests.enumerated().map { number, request in
                let peer = try HostilePeer(isInitiator: false, seed: UInt64(number) &* 1000 &+ 4711)
                return try peer.open(try #require(target.receive(try peer.initResponse(to: request)).first)).notifications.contains(.initialContact)
            }
            #expect(said == expected)
        }
    }

    @Test func norWithOneInAnotherShard() throws {
        #expect(try says([connection("a"), connection("b")], elsewhere: ["a"]) == [false])
        #expect(try says([connection("a"), connection("b", peer: "south.example")], elsewhere: ["a"]) == [true])
    }
}
