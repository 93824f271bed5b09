// What happens to an SA between its first exchange and its end: liveness, lifetimes, restarts, moves and operators.
// RFC 7296 sections 1.4, 2.4, 2.8 and 2.23.

import IKECore
import IKEWire
import Testing
import TestSupport

@Suite struct Lifecycle {
    /// East and west with a child between them.
    private func up(_ seed: UInt64, nat: Bool = false, _ change: (inout Connection, Bool) -> Void = { _, _ in }) throws -> (World, Node, Node) {
        let (world, east, west) = Fixtures.pair(seed: seed, nat: nat, change)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5)) { east.children.count == 1 && west.children.count == 1 }
        try #require(east.children.count == 1 && west.children.count == 1)
        world.run(.milliseconds(100))
        return (world, east, west)
    }

    private func rekeys(_ node: Node) -> Int { node.reports.filter { if case .childSARekeyed = $0 { true } else { false } }.count }
    private func ikeRekeys(_ node: Node) -> Int { node.reports.filter { if case .ikeSARekeyed = $0 { true } else { false } }.count }

    // MARK: Liveness

    @Test func trafficIsProofOfLife() throws {
        let (world, east, west) = try up(50) { connection, _ in connection.dpdDelay = .seconds(10) }
        let before = world.wire.count
        for _ in 0..<30 {
            world.run(.seconds(4))
            #expect(world.sendTraffic(east) == 1 && world.sendTraffic(west) == 1)
        }
        #expect(world.wire.count == before)
        world.run(.seconds(60))
        #expect(world.wire.count > before + 4)
        #expect(Agreement.differences(east, west) == [])
    }

    @Test func aDeadPeerIsNoticed() throws {
        let (world, east, west) = try up(51) { connection, _ in connection.dpdDelay = .seconds(10) }
        west.isDown = true
        world.run(.seconds(200))
        #expect(east.endpoint.status().isEmpty)
        #expect(east.plane.count == 0)
        #expect(east.failures.map(\.code) == [.noAnswer])
    }

    @Test func dpdActionStartBringsTheChildBack() throws {
        let (world, east, west) = try up(52) { connection, east in
            connection.dpdDelay = .seconds(10)
            connection.keyingTries = 0
            if east { connection.children[0].dpdAction = .start }
        }
        west.isDown = true
        world.run(.seconds(200))
        #expect(east.established.isEmpty)
        west.restart()
        world.run(.seconds(200))
        #expect(Agreement.differences(east, west) == [], "\(world.log.suffix(20))")
        #expect(east.children.count == 1)
    }

    // MARK: Lifetimes

    @Test(arguments: 1...20 as ClosedRange<UInt64>) func keysAreRenewedInTheJitterBeforeTheirTime(_ seed: UInt64) throws {
        let (world, east, west) = try up(seed) { connection, east in
            connection.children[0].lifetime = Lifetime(rekeyTime: east ? .seconds(100) : .zero, lifeTime: .seconds(130), randTime: .seconds(20))
        }
        world.run(.seconds(79))
        #expect(rekeys(east) == 0)
        #expect(world.run(.seconds(22)) { rekeys(east) == 1 })
        world.run(.seconds(8))
        #expect(Agreement.differences(east, west) == [])
        #expect(world.sendTraffic(east) == 1 && world.sendTraffic(west) == 1)
    }

    @Test func theIKESAIsRenewedToo() throws {
        let (world, east, west) = try up(54) { connection, east in
            connection.lifetime = Lifetime(rekeyTime: east ? .seconds(100) : .zero, lifeTime: .seconds(130), randTime: .seconds(20))
        }
        world.run(.seconds(79))
        #expect(ikeRekeys(east) == 0)
        world.run(.seconds(26))
        #expect(ikeRekeys(east) == 1 && ikeRekeys(west) == 1)
        #expect(Agreement.differences(east, west) == [])
    }

    /// A child goes when its lifetime ends, and another takes its place: one, though both ends' lifetimes end at once.
    @Test(arguments: [(true, true), (true, false), (false, true)]) func whatIsNotRenewedIsMadeAnew(atEast: Bool, atWest: Bool) throws {
        let (world, east, west) = try up(55) { connection, isEast in
            connection.children[0].lifetime = Lifetime(rekeyTime: .zero, lifeTime: (isEast ? atEast : atWest) ? .seconds(50) : .zero, randTime: .zero)
        }
        for _ in 1...3 {
            let old = try #require(east.children.first)
            #expect(east.children.count == 1 && west.children.count == 1)
            world.run(.seconds(56))
            #expect(!east.children.contains { $0.id == old.id } && east.children.count == 1)
            #expect(Agreement.differences(east, west) == [])
            #expect(world.sendTraffic(east) == 1 && world.sendTraffic(west) == 1)
        }
        #expect(east.plane.count == 1 && west.plane.count == 1 && rekeys(east) == 0)
    }

    @Test func anIKESAThatIsNotRenewedEnds() throws {
        let (other, a, b) = try up(56) { connection, _ in connection.lifetime = Lifetime(rekeyTime: .zero, lifeTime: .seconds(50), randTime: .zero) }
        other.run(.seconds(100))
        #expect(a.endpoint.status().isEmpty && b.endpoint.status().isEmpty)
    }

    @Test func zeroSwitchesLifetimesOff() throws {
        let (world, east, west) = try up(57) { connection, _ in
            connection.lifetime = Lifetime(rekeyTime: .zero, lifeTime: .zero, randTime: .seconds(9))
            connection.children[0].lifetime = Lifetime(rekeyTime: .zero, lifeTime: .zero, randTime: .seconds(9))
        }
        let before = world.wire.count
        world.run(.seconds(1_000_000))
        #expect(world.wire.count == before)
        #expect(Agreement.differences(east, west) == [])
    }

    @Test func bytesAndPacketsExpireToo() throws {
        let (world, east, west) = try up(58)
        world.send(.childSAExpired(try #require(east.children.first?.id), hard: false), to: east)
        world.run(.seconds(10))
        #expect(rekeys(east) == 1)
        #expect(Agreement.differences(east, west) == [])
        let old = try #require(east.children.first?.id)
        world.send(.childSAExpired(old, hard: true), to: east)
        world.run(.seconds(10))
        #expect(east.children.count == 1 && east.children.first?.id != old && east.plane.count == 1 && west.plane.count == 1)
        #expect(Agreement.differences(east, west) == [])
    }

    /// The peer's rekey wins and its Delete of the old SA comes while the keys of ours are still being calculated.
    @Test func theSAOfARekeyThatWasOvertakenIsDeleted() throws {
        for seed in 200..<260 as Range<UInt64> {
            let (world, east, west) = try up(seed)
            world.send(.rekey(.connection("site"), request: RequestID(rawValue: 100)), to: east)
            world.send(.rekey(.connection("site"), request: RequestID(rawValue: 101)), to: west)
            east.jobDelay = 1...300
            world.run(.seconds(5))
            #expect(east.endpoint.status().count == 1 && west.endpoint.status().count == 1, "seed \(seed): \(world.log.suffix(20))")
            #expect(Agreement.differences(east, west) == [])
            #expect(east.answers[RequestID(rawValue: 100)]?.count == 1)
        }
    }

    // MARK: Restarts and moves

    @Test func aPeerThatBeganAnewSaysSo() throws {
        let (world, east, west) = try up(59)
        let old = try #require(west.established.first)
        east.restart()
        Fixtures.initiate(world, east, west, request: 2)
        world.run(.seconds(5)) { west.established.count == 2 }
        let new = try #require(west.established.first { $0.id != old.id })
        #expect(new.initialContact != nil)
        let before = world.wire.count
        world.send(.forget(old.id), to: west)
        #expect(world.wire.count == before)
        world.run(.seconds(60))
        #expect(Agreement.differences(east, west) == [], "\(world.log.suffix(20))")
        #expect(world.sendTraffic(east) == 1 && world.sendTraffic(west) == 1)
    }

    @Test func anSAInAnotherShardIsNotForgotten() throws {
        let (world, east, west) = try up(61)
        east.restart()
        world.send(.establishedElsewhere(connection: "site", true), to: east)
        Fixtures.initiate(world, east, west, request: 2)
        world.run(.seconds(5)) { west.established.count == 2 }
        #expect(west.established.count == 2 && west.established.allSatisfy { $0.initialContact == nil || $0.id == west.established.first?.id })
    }

    @Test func aReboundNATIsFollowed() throws {
        let (world, east, west) = try up(60, nat: true) { connection, _ in connection.dpdDelay = .seconds(10) }
        let before = try #require(west.established.first?.remote)
        east.rebind()
        world.run(.seconds(60))
        let after = try #require(west.established.first?.remote)
        #expect(after != before && after.address == before.address)
        #expect(west.plane.moves.contains(after))
        #expect(east.plane.moves.isEmpty)
        #expect(Agreement.differences(east, west) == [])
    }

    // MARK: Operators

    @Test func theEndIsToldToEveryPeer() throws {
        let (world, east, west) = try up(61)
        world.send(.shutDown, to: east)
        world.run(.seconds(60))
        #expect(east.endpoint.status().isEmpty && west.endpoint.status().isEmpty)
        #expect(east.plane.count == 0 && west.plane.count == 0)
        Fixtures.initiate(world, east, west, request: 7)
        world.run(.seconds(5))
        #expect(east.answers[RequestID(rawValue: 7)]?.count == 1)
        #expect(east.endpoint.status().isEmpty)
    }

    @Test(arguments: 0..<5) func everySelectionIsTerminatedOrRekeyed(_ index: Int) throws {
        for rekey in [true, false] {
            let (world, east, west) = try up(70 + UInt64(index))
            let sa = try #require(east.established.first), child = try #require(sa.children.first)
            let selection: SASelection =
                switch index {
                case 0: .connection("site")
                case 1: .child("net", connection: nil)
                case 2: .child("net", connection: "site")
                case 3: .ikeSA(sa.id)
                default: .childSA(child.id)
                }
            let id = RequestID(rawValue: 9), other = RequestID(rawValue: 10)
            world.send(rekey ? .rekey(selection, request: id) : .terminate(selection, request: id), to: east)
            world.send(rekey ? .rekey(.connection("nobody"), request: other) : .terminate(.child("net", connection: "nobody"), request: other), to: east)
            world.run(.seconds(20))
            #expect(east.answers[id]?.count == 1)
            #expect(throws: Never.self) { try east.answers[id]?.first?.get() }
            #expect(east.answers[other]?.count == 1)
            #expect(throws: Failure.self) { try east.answers[other]?.first?.get() }
            #expect(Agreement.differences(east, west) == [], "\(world.log.suffix(20))")
            let whole = index == 0 || index == 3
            if rekey {
                #expect(ikeRekeys(east) == (whole ? 1 : 0) && rekeys(east) == (whole ? 0 : 1))
                #expect(world.sendTraffic(east) == 1)
            } else {
                #expect(east.children.isEmpty)
                #expect(east.established.count == (whole ? 0 : 1))
            }
        }
    }

    @Test func closeActionStartBringsTheChildBack() throws {
        for whole in [true, false] {
            let (world, east, west) = try up(80) { connection, east in if east { connection.children[0].closeAction = .start } }
            world.send(.terminate(whole ? .connection("site") : .child("net", connection: nil), request: nil), to: west)
            world.run(.milliseconds(500))
            #expect(east.children.isEmpty)
            world.run(.seconds(30))
            #expect(east.children.count == 1 && west.children.count == 1)
            #expect(Agreement.differences(east, west) == [], "\(world.log.suffix(20))")
        }
    }
}
