// What is to be up comes back, whatever took it away. Each of these was found by the simulation (Tests/Simulation/Chaos.swift).
// RFC 7296 sections 2.4 and 2.8; swanctl.conf `start_action`, `close_action`, `dpd_action`, `keyingtries`, `unique`.

import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct Persistence {
    private func pair(_ seed: UInt64, _ change: (inout Connection) -> Void = { _ in }) -> (World, Node, Node) {
        Fixtures.pair(seed: seed) { connection, east in
            connection.dpdDelay = .seconds(10)
            connection.children.append(Fixtures.child("second", local: east ? 3 : 4, remote: east ? 4 : 3))
            guard east else { return }
            connection.keyingTries = 0
            for index in connection.children.indices {
                connection.children[index].startAction = .start
                connection.children[index].dpdAction = .start
                connection.children[index].closeAction = .start
            }
            change(&connection)
        }
    }

    private func begin(_ world: World, _ east: Node, _ west: Node, _ child: String) {
        world.send(.initiate(connection: "site", child: child, packet: nil, local: east.local, remote: west.publicAddress, request: nil), to: east)
    }

    private func names(_ node: Node) -> [String] { node.children.map(\.name).sorted() }

    /// The peer dies while a child is being made, or waits to be made.
    @Test(arguments: [0, 1]) func aChildThatWasToComeOutlivesThePeer(_ waiting: Int) throws {
        let (world, east, west) = pair(301)
        begin(world, east, west, "net")
        world.run(.seconds(5)) { !east.children.isEmpty && !west.children.isEmpty }
        west.isDown = true
        if waiting == 1 {
            world.send(.terminate(.child("net", connection: nil), request: nil), to: east)
            begin(world, east, west, "second")
        } else {
            begin(world, east, west, "second")
        }
        world.run(.seconds(100))
        #expect(east.children.isEmpty)
        west.restart()
        world.run(.seconds(100))
        #expect(names(east) == (waiting == 1 ? ["second"] : ["net", "second"]), "\(world.log.suffix(20))")
        #expect(Agreement.differences(east, west) == [])
    }

    @Test func whatTheDataPlaneRefusesIsTriedAgain() throws {
        let (world, east, west) = pair(302)
        east.plane.refusal = "no memory"
        begin(world, east, west, "net")
        world.run(.seconds(3))
        #expect(east.children.isEmpty && east.failures.map(\.code) == [.dataPlane])
        east.plane.refusal = nil
        world.run(.seconds(20))
        #expect(names(east) == ["net"] && Agreement.differences(east, west) == [], "\(world.log.suffix(20))")
    }

    /// The peer ends a child that our data plane has not installed yet.
    @Test func aChildThatThePeerEndsWhileItIsInstalledIsBegunAgain() throws {
        let (world, east, west) = pair(303)
        east.installDelay = 3000...3000
        begin(world, east, west, "net")
        world.run(.seconds(2)) { !west.children.isEmpty }
        world.run(.milliseconds(100))
        world.send(.terminate(.child("net", connection: nil), request: nil), to: west)
        east.installDelay = 0...0
        world.run(.seconds(20))
        #expect(names(east) == ["net"] && Agreement.differences(east, west) == [], "\(world.log.suffix(20))")
    }

    /// An SA that another one replaces, or that the peer has forgotten, takes nothing with it that is to be up.
    @Test(arguments: [true, false]) func whatIsToBeUpMovesToTheOtherSA(_ replaced: Bool) throws {
        let (world, east, west) = pair(304)
        begin(world, east, west, "net")
        world.run(.seconds(5)) { !east.children.isEmpty && !west.children.isEmpty }
        let old = try #require(east.established.first?.id)
        // West begins one of its own, with another child.
        west.restart()
        world.send(.initiate(connection: "site", child: "second", packet: nil, local: west.local, remote: east.publicAddress, request: nil), to: west)
        world.run(.seconds(5)) { east.established.count == 2 }
        world.send(replaced ? .replaced(old) : .forget(old), to: east)
        world.run(.seconds(150))
        #expect(names(east) == ["net", "second"] && east.established.count == 1, "\(world.log.suffix(20))")
        #expect(Agreement.differences(east, west) == [])
    }

    /// Both ends begin at the same time: which SA is the older depends on who looks, and yet both have to choose the same one.
    @Test(arguments: [UniquePolicy.replace, .keep]) func ofTwoSAsThatCrossBothEndsKeepTheSame(_ unique: UniquePolicy) {
        func status(_ id: UInt64, _ spi: UInt64, isInitiator: Bool, _ at: Int64) -> IKESAStatus {
            let address = SocketAddress(address: IPAddress(v4: 1), port: 500)
            return IKESAStatus(
                id: IKESAID(rawValue: id), connection: "site", state: .established, local: address, remote: address, localIdentity: Fixtures.identity("us"), remoteIdentity: Fixtures.identity("them"),
                isInitiator: isInitiator, initiatorSPI: IKESPI(rawValue: spi), responderSPI: IKESPI(rawValue: spi + 1), localBehindNAT: false, remoteBehindNAT: false, transforms: [], provider: nil,
                unique: unique, initialContact: nil, established: Instant(nanoseconds: 0) + .seconds(at), rekeyAt: nil, expiresAt: nil, children: [])
        }
        for (first, second) in [(100, 200), (200, 100)] as [(UInt64, UInt64)] {
            let here = IdentityIndex(), there = IdentityIndex()
            #expect(here.established(status(1, first, isInitiator: true, 10), shard: 0) == [])
            #expect(there.established(status(1, second, isInitiator: true, 10), shard: 0) == [])
            let mine = here.established(status(2, second, isInitiator: false, 11), shard: 0), theirs = there.established(status(2, first, isInitiator: false, 11), shard: 0)
            // The one with the SPI 100: the first here is the second there.
            #expect(mine == [.terminate(IdentityIndex.Member(sa: IKESAID(rawValue: first == 100 ? 1 : 2), shard: 0))])
            #expect(theirs == [.terminate(IdentityIndex.Member(sa: IKESAID(rawValue: first == 100 ? 2 : 1), shard: 0))])
        }
    }

    /// What circles is told of once, with what makes it: a connection that both ends begin, hosts with one identity, AUTH_LIFETIME that nobody can keep to.
    @Test func whoeverTakesItsOwnPlaceAgainAndAgainIsNoticed() throws {
        func run(_ unique: UniquePolicy, every seconds: Int, count: Int, reauth: Int? = nil, isBrokenFirst: Bool = false, from address: (Int) -> SocketAddress = { _ in HostilePeer.address }) -> [(
            Int, String
        )] {
            let index = IdentityIndex()
            var said: [(Int, String)] = []
            for number in 1...count {
                let at = Instant(nanoseconds: 0) + .seconds(number * seconds)
                let status = IKESAStatus(
                    id: IKESAID(rawValue: UInt64(number)), connection: "site", state: .established, local: Mobike.local, remote: address(number),
                    localIdentity: Fixtures.identity("west.example"), remoteIdentity: Fixtures.identity("east.example"), isInitiator: false,
                    initiatorSPI: IKESPI(rawValue: UInt64(number)), responderSPI: IKESPI(rawValue: 1), localBehindNAT: false, remoteBehindNAT: false, transforms: [], provider: nil,
                    unique: unique, initialContact: nil, established: at, rekeyAt: nil, reauthAt: reauth.map { at + .seconds($0) }, expiresAt: nil, children: [])
                if isBrokenFirst, number > 1 { index.closed(IKESAID(rawValue: UInt64(number - 1))) }
                _ = index.established(status, shard: 0)
                if let circle = index.circle(status.id) { said.append((number, circle.words(status))) }
                // The one before ends a moment later.
                if number > 1 { index.closed(IKESAID(rawValue: UInt64(number - 1))) }
            }
            return said
        }
        // The first takes nobody's place.
        let replaced = run(.replace, every: 4, count: 100)
        #expect(replaced.map(\.0) == [9] && replaced[0].1.contains("unique = replace") && replaced[0].1.contains("close_action = none"))
        #expect(run(.replace, every: 4, count: 1000).count == 3, "once in half an hour")
        let hurried = run(.no, every: 1, count: 20, reauth: 8)
        #expect(hurried.map(\.0) == [9] && hurried[0].1.contains("reauth_time of 8 s"))
        // strongSwan's way: the older one goes first.
        #expect(run(.no, every: 1, count: 20, reauth: 8, isBrokenFirst: true).map(\.1) == hurried.map(\.1))
        let two = run(.replace, every: 4, count: 20) { $0 % 2 == 0 ? HostilePeer.address : Mobike.elsewhere }
        #expect(two.map(\.0) == [9] && two[0].1.contains("two hosts") && two[0].1.contains("\(Mobike.elsewhere.address)"))
        // Who comes again in its time is nobody to speak of, nor are many with one name where that is allowed.
        #expect(run(.replace, every: 60, count: 100).isEmpty && run(.no, every: 300, count: 100, reauth: 300).isEmpty)
        #expect(run(.no, every: 1, count: 100) { SocketAddress(address: IPAddress(v4: 0x0a00_0000 + UInt32($0)), port: 500) }.isEmpty)
    }

    /// What is remembered of peers that come once has a limit.
    @Test func manyPeersAreForgotten() {
        var circles = Circles()
        for number in 0..<(3 * Circles.limit) {
            let key = Circles.Key(local: Fixtures.identity("west.example"), remote: Fixtures.identity("\(number)"), family: .v4, connection: "site")
            #expect(circles.comes(key, from: HostilePeer.address, inPlaceOf: nil, at: Instant(nanoseconds: 0) + .milliseconds(number)) == nil)
            #expect(circles.held <= Circles.limit)
        }
    }
}
