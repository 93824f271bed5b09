// Children that a packet asks for.
// RFC 7296 section 2.9.

import IKECore
import IKEWire
import TestSupport
import Testing

@Suite struct Traps {
    private func packet(_ source: UInt32, _ destination: UInt32) -> TriggeringPacket {
        func one(_ address: UInt32) -> TrafficSelector { TrafficSelector(ipProtocol: 17, startPort: 53, endPort: 53, start: IPAddress(v4: address), end: IPAddress(v4: address)) }
        return TriggeringPacket(source: one(source), destination: one(destination))
    }

    private func ask(_ world: World, _ east: Node, _ west: Node, _ packet: TriggeringPacket, _ request: UInt64) {
        world.send(.initiate(connection: "site", child: "net", packet: packet, local: east.local, remote: west.publicAddress, request: RequestID(rawValue: request)), to: east)
    }

    @Test func thePacketBringsTheWholeChildUpOnce() {
        let (world, east, west) = Fixtures.pair(seed: 1)
        for request in 1...5 as ClosedRange<UInt64> { ask(world, east, west, packet(0x0a01_0001, 0x0a02_0001), request) }
        world.run(.seconds(5))
        #expect(east.children.count == 1 && west.children.count == 1)
        #expect(east.children.first?.localTS == [Fixtures.network(1)] && east.children.first?.remoteTS == [Fixtures.network(2)])
        for request in 1...5 as ClosedRange<UInt64> { #expect(east.answers[RequestID(rawValue: request)]?.count == 1) }
    }

    /// West takes one of the two networks that east asks for: the packet says which pair is wanted.
    @Test func aPacketBesideAnExistingChildGetsItsOwn() {
        let (world, east, west) = Fixtures.pair(seed: 2) { connection, east in
            if east {
                connection.children[0].remoteTS = [.fixed(Fixtures.network(2)), .fixed(Fixtures.network(3))]
            } else {
                connection.children.append(Fixtures.child("other", local: 3, remote: 1))
            }
        }
        ask(world, east, west, packet(0x0a01_0001, 0x0a02_0001), 1)
        world.run(.seconds(5))
        #expect(east.children.count == 1)
        ask(world, east, west, packet(0x0a01_0001, 0x0a03_0001), 2)
        world.run(.seconds(5))
        #expect(east.children.count == 2 && west.children.count == 2, "\(world.log)")
        #expect(Set(east.children.map(\.remoteTS)) == [[Fixtures.network(2)], [Fixtures.network(3)]])
        #expect(Agreement.differences(east, west) == [])
    }

    /// West never takes network 3: tries must not heap up pairs.
    @Test func aPacketThatThePeerLeavesOutLeavesNothing() {
        let (world, east, west) = Fixtures.pair(seed: 3) { connection, east in
            if east { connection.children[0].remoteTS = [.fixed(Fixtures.network(2)), .fixed(Fixtures.network(3))] }
        }
        ask(world, east, west, packet(0x0a01_0001, 0x0a02_0001), 1)
        world.run(.seconds(5))
        for request in 2...6 as ClosedRange<UInt64> {
            ask(world, east, west, packet(0x0a01_0001, 0x0a03_0001), request)
            world.run(.seconds(5))
            guard case .failure(let failure)? = east.answers[RequestID(rawValue: request)]?.first else {
                Issue.record("the request was not refused")
                return
            }
            #expect(failure.code == .trafficSelectorsUnacceptable && failure.summary.contains("10.3.0.1"))
        }
        world.run(.seconds(30))
        #expect(east.children.count == 1 && west.children.count == 1, "\(world.log.suffix(20))")
        #expect(Agreement.differences(east, west) == [])
    }

    /// Nobody answers the first try: the packet is the first selector of the second one as well.
    @Test func aPacketIsKeptInARetry() {
        let (world, east, west) = Fixtures.pair(seed: 5) { connection, east in
            connection.keyingTries = 3
            if east {
                connection.children[0].remoteTS = [.fixed(Fixtures.network(2)), .fixed(Fixtures.network(3))]
            } else {
                connection.children.append(Fixtures.child("other", local: 3, remote: 1))
            }
        }
        world.filter = { _ in false }
        ask(world, east, west, packet(0x0a01_0001, 0x0a03_0001), 1)
        world.run(.seconds(100))
        #expect(east.failures.map(\.code) == [.noAnswer])
        world.filter = { _ in true }
        world.run(.seconds(60))
        #expect(east.children.map(\.remoteTS) == [[Fixtures.network(3)]], "\(world.log.suffix(10))")
        #expect(east.answers[RequestID(rawValue: 1)]?.count == 1)
    }

    /// A packet outside the policy (its address has changed since the trap was set) does not widen the offer.
    @Test func aPacketOutsideThePolicyIsNotOffered() {
        let (world, east, west) = Fixtures.pair(seed: 4) { connection, east in
            if !east { connection.children[0].remoteTS = [.fixed(Fixtures.network(1)), .fixed(Fixtures.network(9))] }
        }
        ask(world, east, west, packet(0x0a09_0001, 0x0a02_0001), 1)
        world.run(.seconds(5))
        #expect(east.children.map(\.localTS) == [[Fixtures.network(1)]])
    }
}
