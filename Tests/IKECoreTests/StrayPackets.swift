// ESP with an SPI that no SA has: who is told of it, how, and how seldom.
// RFC 7296 sections 1.5 and 2.21.4.

import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct StrayPackets {
    private static let spi: UInt32 = 0x7a7a_0001

    private func stray(_ spi: UInt32 = spi, from remote: SocketAddress = SocketAddress(address: HostilePeer.address.address, port: 0), encapsulated: Bool = false, length: Int = 120) -> Hint {
        .strayESP(StrayESP(spi: spi, remote: remote, local: SocketAddress(address: Fixtures.westAddress, port: encapsulated ? 4500 : 0), encapsulated: encapsulated, length: length))
    }

    private func sent(_ target: Target, _ hint: Hint, shardsLeft: Int = 0) -> [Datagram] {
        let before = target.sent.count
        target.handle(.hint(hint, shardsLeft: shardsLeft))
        return Array(target.sent[before...])
    }

    /// With an IKE SA to that address: over it, under its protection, and not often whatever comes.
    @Test func thePeerIsToldOverItsIKESA() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let told = sent(target, stray())
        #expect(try told.map { try peer.open($0.bytes) } == [[.notify(Notify(.invalidSPI, data: Self.spi.bytes))]])
        #expect(try told.map { try Header.parse($0.bytes.span).exchangeType } == [.informational])
        // It is asked once, answered once, and ends nothing.
        target.receive(try peer.seal(.informational, [], id: 0, response: true))
        for index in 0..<20 {
            target.pass(.milliseconds(1100))
            #expect(sent(target, stray(Self.spi + UInt32(index))).isEmpty)
        }
        target.pass(Limits().hintInterval)
        #expect(sent(target, stray()).count == 1)
        #expect(target.endpoint.status().map(\.state) == [.established] && target.endpoint.counters.invalidSPISent == 2)
    }

    /// What an SA has, or is about to have, is no stray: the peer may be quicker than our data plane.
    @Test func whatIsOnItsWayIsNoStray() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let child = try #require(target.installed.first)
        #expect(sent(target, stray(child.inboundSPI)).isEmpty)
        target.handle(.rekey(.child("net", connection: nil), request: nil))
        var offered: UInt32?
        for case .securityAssociation(let association) in try peer.open(try #require(target.sent.last).bytes) { offered = association.proposals.first.flatMap { UInt32(bytes: $0.spi) } }
        target.pass(.seconds(2))
        #expect(sent(target, stray(try #require(offered))).isEmpty)
    }

    /// Behind one NAT the port tells who is meant.
    @Test func anotherBehindTheSameNATIsNotMeant() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let other = SocketAddress(address: HostilePeer.address.address, port: 40_000)
        let told = sent(target, stray(from: other, encapsulated: true))
        // It has no IKE SA here: the word is one for a stranger, to where the packet came from.
        #expect(told.count == 1 && told.first?.remote == other && told.first?.marked == true)
    }

    /// Without an IKE SA: one message without protection, to where the packet came from.
    @Test(arguments: [true, false]) func aStrangerIsToldWithoutProtection(encapsulated: Bool) throws {
        let target = Target()
        let from = SocketAddress(address: HostilePeer.address.address, port: encapsulated ? 40_000 : 0)
        let told = sent(target, stray(from: from, encapsulated: encapsulated))
        let datagram = try #require(told.first), message = try Message.parse(datagram.bytes.span)
        #expect(told.count == 1 && datagram.marked == encapsulated)
        #expect(datagram.remote == SocketAddress(address: from.address, port: encapsulated ? 40_000 : 500) && datagram.local.port == (encapsulated ? 4500 : 500))
        #expect(message.header.initiatorSPI == .none && message.header.responderSPI == .none && message.header.flags == .initiator && message.header.exchangeType == .informational)
        #expect(message.payloads == [.notify(Notify(.invalidSPI, data: Self.spi.bytes))])
        #expect(target.remnants == [])
        // Nobody answers such a message, nor a copy of it that finds its way back.
        let other = Target()
        #expect(other.receive(datagram.bytes).isEmpty)
    }

    /// Few in a second, whoever sends, and never more bytes than came.
    @Test func strangersAreToldSeldom() {
        let target = Target()
        var told = 0
        for index in 0..<500 {
            told += sent(target, stray(Self.spi, from: SocketAddress(address: IPAddress(v4: 0xcb00_7100 + UInt32(index % 250)), port: 0))).count
            if index % 100 == 99 { target.pass(.seconds(1)) }
        }
        #expect((1...6).contains(told))
        #expect(target.remnants == [])
        target.pass(.seconds(5))
        // The answer, in UDP, is as long as an ESP packet of 52 bytes.
        #expect(sent(target, stray(length: 51)).isEmpty)
        target.pass(.seconds(5))
        let answer = sent(target, stray(length: 52))
        #expect(answer.map(\.bytes.count) == [40])
    }

    /// Nobody is told while the daemon ends.
    @Test func nobodyIsToldAtTheEnd() {
        let target = Target()
        target.handle(.shutDown)
        #expect(sent(target, stray()).isEmpty)
    }

    /// Each shard is asked for an IKE SA with that peer; the last one tells the stranger.
    @Test func everyShardIsAskedFirst() {
        var limits = Limits()
        limits.shards = 2
        let target = Target(limits: limits)
        #expect(sent(target, stray(), shardsLeft: 1).isEmpty)
        #expect(target.handedOn.map(\.hint) == [stray()] && target.handedOn.map(\.shardsLeft) == [0])
        #expect(sent(target, stray()).count == 1)
    }

    /// A gateway that has begun anew: the peer learns of it from its own ESP, long before it would have asked by itself.
    @Test(arguments: [true, false]) func aPeerThatHasLostAllIsFoundOutByItsWord(isBehindNAT: Bool) throws {
        let (world, east, west) = Fixtures.pair(seed: 77, nat: isBehindNAT) { connection, isEast in
            connection.dpdDelay = .seconds(3600)
            guard isEast else { return }
            connection.keyingTries = 0
            connection.children[0].startAction = .start
            connection.children[0].dpdAction = .start
        }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5)) { !east.children.isEmpty && !west.children.isEmpty }
        #expect(world.sendTraffic(east) == 1)
        west.restart()
        for connection in west.connections { world.send(.connectionChanged(name: connection.name, connection), to: west) }
        #expect(west.children.isEmpty && world.sendTraffic(east) == 0)
        // Its retransmissions have to end before it believes that.
        world.run(.seconds(200))
        #expect(east.children.count == 1 && west.children.count == 1)
        #expect(world.sendTraffic(east) == 1 && world.sendTraffic(west) == 1)
        #expect(west.endpoint.counters.invalidSPISent >= 1)
    }

    /// The peer has lost one pair alone, and still has the IKE SA: told of that under its protection, it is asked to renew the pair, and the answer
    /// puts both in step.
    @Test func aPeerThatHasLostAPairIsAskedToRenewIt() throws {
        let (world, east, west) = Fixtures.pair(seed: 78) { connection, isEast in
            connection.dpdDelay = .seconds(3600)
            if isEast { connection.children[0].closeAction = .start }
        }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5)) { !east.children.isEmpty && !west.children.isEmpty }
        // West forgets the pair without a word.
        let pair = try #require(west.plane.pairs.keys.first)
        let established = try #require(west.endpoint.all.first?.established)
        let child = try #require(established.children.first { $0.id == pair })
        established.children.removeAll { $0.id == pair }
        established.drop(child)
        _ = west.endpoint.context.takeActions()
        west.plane.forget(pair)
        #expect(world.sendTraffic(east) == 0)
        world.run(.seconds(20))
        #expect(east.children.count == 1 && west.children.count == 1 && east.children.first?.id != nil)
        #expect(world.sendTraffic(east) == 1 && world.sendTraffic(west) == 1)
        #expect(Agreement.differences(east, west) == [])
    }
}
