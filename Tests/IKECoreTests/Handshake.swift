// The first exchanges between two endpoints over a perfect network.

import IKECore
import IKEWire
import Testing
import TestSupport

@Suite struct Handshake {
    @Test func aChildComesUp() throws {
        let (world, east, west) = Fixtures.pair(seed: 1)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5)) { !east.answers.isEmpty }
        let answer = try #require(east.answers[RequestID(rawValue: 1)]?.first)
        #expect(throws: Never.self) { try answer.get() }
        world.run(.seconds(1))
        #expect(Agreement.differences(east, west) == [], "\(world.log)")
        #expect(east.children.count == 1)
        #expect(world.sendTraffic(east) == 1)
        #expect(world.sendTraffic(west) == 1)
        #expect(world.wire.count == 4)
        // Port 4500 from IKE_AUTH, for MOBIKE: nothing is encapsulated for that.
        #expect(world.wire.map(\.marked) == [false, false, true, true])
        #expect(east.children.first?.encapsulated == false && west.children.first?.encapsulated == false)
    }

    @Test func initiatingWhatIsUpSucceeds() throws {
        let (world, east, west) = Fixtures.pair(seed: 2)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        Fixtures.initiate(world, east, west, request: 2)
        let answer = try #require(east.answers[RequestID(rawValue: 2)]?.first)
        #expect(try answer.get().contains("already up"))
        #expect(east.children.count == 1)
    }

    @Test func aNATMovesBothEndsToTheSharedPort() {
        let (world, east, west) = Fixtures.pair(seed: 3, nat: true)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        #expect(Agreement.differences(east, west) == [], "\(world.log)")
        #expect(east.children.first?.encapsulated == true)
        #expect(west.children.first?.encapsulated == true)
        #expect(world.wire.suffix(2).allSatisfy { $0.marked })
        #expect(east.established.first?.localBehindNAT == true)
        #expect(west.established.first?.remoteBehindNAT == true)
        world.run(.seconds(65))
        #expect(east.keepalives == 3)
        #expect(west.keepalives == 0)
    }

    @Test func anotherKeyExchangeMethodIsTriedWhenAsked() {
        let (world, east, west) = Fixtures.pair(seed: 4) { connection, east in
            connection.proposals = [Fixtures.ikeProposal(east ? [.curve25519, .ecp256] : [.ecp256])]
        }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        #expect(Agreement.differences(east, west) == [], "\(world.log)")
        #expect(east.established.first?.transforms.contains(.ecp256) == true)
        #expect(world.wire.count == 6)
    }

    @Test func cookiesAreDemandedAndBrought() {
        var limits = Limits()
        limits.cookieThreshold = 0
        let (world, east, west) = Fixtures.pair(seed: 5, limits: limits)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        #expect(Agreement.differences(east, west) == [], "\(world.log)")
        #expect(east.children.count == 1)
        #expect(west.endpoint.counters.cookiesDemanded == 1)
    }

    @Test func severalChildrenShareAnIKESA() {
        let (world, east, west) = Fixtures.pair(seed: 6) { connection, east in
            connection.children.append(Fixtures.child("second", local: east ? 3 : 4, remote: east ? 4 : 3, pfs: [.ecp256]))
        }
        Fixtures.initiate(world, east, west)
        Fixtures.initiate(world, east, west, child: "second", request: 2)
        world.run(.seconds(5))
        #expect(Agreement.differences(east, west) == [], "\(world.log)")
        #expect(Set(east.children.map(\.name)) == ["net", "second"])
        #expect(east.established.count == 1)
        #expect(world.sendTraffic(east) == 2)
    }

    @Test func selectorsAreNarrowed() {
        let (world, east, west) = Fixtures.pair(seed: 7) { connection, east in
            if east { connection.children[0].remoteTS = [.fixed(TrafficSelector(start: IPAddress(v4: 0), end: IPAddress(v4: .max)))] }
        }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        #expect(east.children.first?.remoteTS == [Fixtures.network(2)])
        #expect(west.children.first?.localTS == [Fixtures.network(2)])
    }
}
