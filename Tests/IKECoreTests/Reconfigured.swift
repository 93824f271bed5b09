// Connections that change while SAs of them are up: what is no longer allowed goes at once, whoever began it.

import IKECore
import IKEWire
import TestSupport
import Testing

@Suite struct Reconfigured {
    private func up(_ seed: UInt64, _ change: (inout Connection, _ east: Bool) -> Void = { _, _ in }) throws -> (World, Node, Node) {
        let (world, east, west) = Fixtures.pair(seed: seed, change)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        #expect(east.children.count == 1 && west.children.count == 1)
        return (world, east, west)
    }

    private func change(_ world: World, _ node: Node, _ body: (inout Connection) -> Void) {
        body(&node.connections[0])
        world.send(.configurationReplaced(node.connections), to: node)
        world.run(.seconds(10))
    }

    @Test(arguments: [true, false]) func aChildThatIsGoneEnds(_ ofTheInitiator: Bool) throws {
        let (world, east, west) = try up(1) { connection, east in connection.children.append(Fixtures.child("second", local: east ? 3 : 4, remote: east ? 4 : 3)) }
        Fixtures.initiate(world, east, west, child: "second", request: 2)
        world.run(.seconds(5))
        change(world, ofTheInitiator ? east : west) { $0.children.removeAll { $0.name == "net" } }
        #expect(east.children.map(\.name) == ["second"] && west.children.map(\.name) == ["second"])
        #expect(east.established.count == 1)
        // And it does not come back: not by the peer's wish either.
        Fixtures.initiate(world, ofTheInitiator ? west : east, ofTheInitiator ? east : west, child: "net", request: 3)
        world.run(.seconds(10))
        #expect(east.children.map(\.name) == ["second"])
        #expect(Agreement.differences(east, west) == [])
    }

    @Test(arguments: [true, false]) func aChildThatIsNarrowerNowEnds(_ ofTheInitiator: Bool) throws {
        let (world, east, west) = try up(2)
        let node = ofTheInitiator ? east : west
        let narrow = TrafficSelector(start: IPAddress(v4: ofTheInitiator ? 0x0a01_0000 : 0x0a02_0000), end: IPAddress(v4: ofTheInitiator ? 0x0a01_00ff : 0x0a02_00ff))
        change(world, node) { $0.children[0].localTS = [.fixed(narrow)] }
        #expect(east.children.isEmpty && west.children.isEmpty)
        Fixtures.initiate(world, east, west, request: 2)
        world.run(.seconds(10))
        #expect(node.children.map(\.localTS) == [[narrow]])
        #expect(Agreement.differences(east, west) == [])
    }

    /// Another PRF, first at both ends, then taken by a rekey of either; the traffic goes on, and so it does over the next rekey, from the other end.
    @Test(arguments: [true, false]) func theNextRekeyTakesAnotherPRF(ofTheInitiator: Bool) throws {
        let (world, east, west) = try up(5)
        let first = ofTheInitiator ? east : west
        for (node, prf) in [(first, Transform.prfHMACSHA384), (first === east ? west : east, .prfHMACSHA512)] {
            for end in [east, west] { change(world, end) { $0.proposals = [Proposal(number: 1, protocolID: .ike, transforms: [.aesGCM16(256), prf, .curve25519])] } }
            #expect(east.established.count == 1)
            world.send(.rekey(.connection("site"), request: nil), to: node)
            world.run(.seconds(10))
            world.send(.rekey(.child("net", connection: nil), request: nil), to: first)
            world.run(.seconds(10))
            for end in [east, west] { #expect(end.established.map { $0.transforms.first { $0.type == .prf } } == [prf]) }
            #expect(world.sendTraffic(east) == 1 && world.sendTraffic(west) == 1)
            #expect(Agreement.differences(east, west) == [])
        }
    }

    @Test func whatOnlyTunesOrWidensLeavesTheSAsAlone() throws {
        let (world, east, west) = try up(3)
        let before = west.children.map(\.id)
        change(world, west) {
            $0.children[0].lifetime.rekeyTime = .seconds(7200)
            $0.children[0].remoteTS.append(.fixed(Fixtures.network(7)))
            $0.dpdDelay = .seconds(30)
        }
        #expect(west.children.map(\.id) == before && east.children.count == 1)
    }

    /// The peer that is up is no longer the one that the connection is for.
    @Test func anotherIdentityEndsTheIKESA() throws {
        let (world, east, west) = try up(4)
        change(world, west) { $0.remote.identity = .exactly(Fixtures.identity("north.example")) }
        #expect(east.established.isEmpty && west.established.isEmpty)
        #expect(Agreement.differences(east, west) == [])
    }

    @Test func aRekeyFollowsTheNewPolicy() throws {
        let (world, east, west) = try up(5)
        change(world, west) { $0.children[0].proposals = [Fixtures.espProposal([.curve25519])] }
        change(world, east) { $0.children[0].proposals = [Fixtures.espProposal([.curve25519])] }
        #expect(west.children.count == 1)
        world.send(.rekey(.child("net", connection: nil), request: nil), to: east)
        world.run(.seconds(20))
        #expect(east.children.first?.transforms.contains(.curve25519) == true)
        #expect(Agreement.differences(east, west) == [])
    }

    /// The connection goes while its peer is proving who it is.
    @Test func aRemovedConnectionIsNotEstablished() throws {
        for milliseconds in 0...60 as ClosedRange<Int64> {
            let (world, east, west) = Fixtures.pair(seed: 6)
            west.jobDelay = 8...8
            Fixtures.initiate(world, east, west)
            world.run(.milliseconds(milliseconds))
            let wasUp = !west.established.isEmpty
            west.connections = []
            world.send(.configurationReplaced([]), to: west)
            if wasUp { world.send(.terminate(.connection("site"), request: nil), to: west) }
            world.run(.seconds(120))
            #expect(west.established.isEmpty && west.children.isEmpty, "after \(milliseconds) ms")
        }
    }

    /// Liveness that is switched off, or on, while an SA is up.
    @Test func livenessFollowsTheConfiguration() throws {
        let (world, east, west) = try up(7) { connection, _ in connection.dpdDelay = .seconds(30) }
        change(world, west) {
            $0.dpdDelay = .zero
            $0.children[0].localTS = [.fixed(Fixtures.network(9))]
        }
        change(world, east) { $0.dpdDelay = .zero }
        #expect(west.children.isEmpty && west.established.count == 1)
        let quiet = world.wire.count
        world.run(.seconds(300))
        #expect(world.wire.count == quiet)
        change(world, west) { $0.dpdDelay = .seconds(10) }
        world.run(.seconds(60))
        #expect(world.wire.count >= quiet + 8)
    }

    /// The operator's word counts for what a rekey under way makes, whichever side began it.
    @Test(arguments: 1...40) func downMeansTheSuccessorToo(_ seed: UInt64) throws {
        let (world, east, west) = try up(seed)
        let random = NullRandom(seed: seed)
        world.send(.rekey(.connection("site"), request: nil), to: random.next() % 2 == 0 ? east : west)
        world.run(.milliseconds(Int64(random.next() % 40)))
        world.send(.terminate(.connection("site"), request: nil), to: east)
        world.run(.seconds(120))
        #expect(east.established.isEmpty && west.established.isEmpty, "seed \(seed): \(world.log.suffix(12))")
    }
}
