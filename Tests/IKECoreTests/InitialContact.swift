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

/// `unique = keep`: swanctl.conf, and strongSwan.
@Suite struct KeptOut {
    private static let elsewhere = SocketAddress(address: IPAddress(v4: 0xcb00_7109), port: 500)
    private static let third = SocketAddress(address: IPAddress(v4: 0xcb00_7110), port: 500)

    private func come(_ target: Target, _ seed: UInt64, from remote: SocketAddress = HostilePeer.address, _ extra: [Payload] = []) throws -> (peer: HostilePeer, isIn: Bool) {
        let peer = try HostilePeer(seed: seed)
        try peer.take(initResponse: try #require(target.receive(peer.initRequest(), from: remote).first))
        let answer = try #require(try peer.ask(target, .ikeAuth, try peer.authPayloads() + extra, from: remote, to: target.node.local))
        let isIn = answer.contains { $0.type == .authentication }
        // A refusal is one notification, and nothing of ours.
        if !isIn { #expect(answer == [.notify(Notify(.authenticationFailed))]) }
        return (peer, isIn)
    }

    private func established(_ target: Target) -> Int { target.reports.count { if case .ikeSAEstablished = $0 { true } else { false } } }

    /// Who comes a second time from elsewhere is refused before anything of it stands; the first one stays, and makes room when it goes.
    @Test func aSecondOneIsRefused() throws {
        let target = Target { $0.unique = .keep }
        let (first, isIn) = try come(target, 1)
        #expect(isIn)
        #expect(try !come(target, 2, from: Self.elsewhere).isIn)
        #expect(established(target) == 1 && target.installed.count == 1 && target.failures.map(\.code) == [.limit])
        #expect(target.failures.allSatisfy { $0.summary.contains("`unique = keep` leaves one for each peer") })
        #expect(try first.ask(target, .informational, []) == [])
        #expect(try first.ask(target, .informational, [.delete(Delete(protocolID: .ike))]) == [])
        #expect(try come(target, 3, from: Self.elsewhere).isIn)
        #expect(try !come(target, 4).isIn)
    }

    @Test func theFirstOneStaysOverARekey() {
        let (world, east, west) = Fixtures.pair(seed: 77) { connection, _ in connection.unique = .keep }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        for node in [west, east] {
            world.send(.rekey(.connection("site"), request: nil), to: node)
            world.run(.seconds(60))
            #expect(west.endpoint.context.users.change { $0.kept.held } == 1 && west.established.count == 1)
        }
        world.send(.terminate(.connection("site"), request: nil), to: east)
        world.run(.seconds(60))
        #expect(west.endpoint.context.users.change { $0.kept.held } == 0)
    }

    /// It authenticates anew from where it is, or has lost what it had; or the connection leaves it to it.
    @Test func whoComesAnewIsNot() throws {
        let target = Target { $0.unique = .keep }
        #expect(try come(target, 1).isIn && come(target, 2).isIn)
        target.pass(.seconds(1))
        #expect(try come(target, 3, from: Self.elsewhere, [.notify(Notify(.initialContact))]).isIn)
        for unique in [UniquePolicy.no, .replace, .never] {
            let other = Target { $0.unique = unique }
            #expect(try come(other, 1).isIn && come(other, 2, from: Self.elsewhere).isIn)
        }
    }

    /// Those that stand when the connection gets the word count, all of them, and no longer when it is taken back.
    @Test func aChangedConnectionCountsThoseThatStand() throws {
        let target = Target { $0.unique = .no }
        #expect(try come(target, 1).isIn && come(target, 2, from: Self.elsewhere).isIn)
        var connection = Fixtures.connection(east: false)
        connection.unique = .keep
        target.handle(.configurationReplaced([connection]))
        #expect(target.status?.state == .established && target.closed == 0)
        #expect(try !come(target, 3, from: Self.third).isIn)
        #expect(established(target) == 2)
        target.handle(.terminate(.connection("site"), request: nil))
        #expect(try come(target, 4, from: Self.third).isIn)
        connection.unique = .never
        target.handle(.connectionChanged(name: "site", connection))
        #expect(try come(target, 5).isIn)
        #expect(target.endpoint.context.users.change { $0.kept.held } == 0)
    }

    /// What is gone, however it went, keeps nobody out.
    @Test func nothingIsLeft() throws {
        let target = Target { $0.unique = .keep }
        for seed in 1...3 as ClosedRange<UInt64> {
            #expect(try come(target, seed, from: seed % 2 == 0 ? Self.elsewhere : Self.third).isIn)
            target.handle(.terminate(.connection("site"), request: nil))
            // Nobody answers the Delete.
        }
        #expect(target.remnants == [] && target.endpoint.context.users.change { $0.kept.held } == 0)
    }
}
