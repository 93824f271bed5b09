// IKE SAs that have replaced one another: what the successor takes over of what was under way, and how many may be left behind.
// RFC 7296 sections 1.3.2 and 2.8, RFC 4555 section 3.5.

import IKEWire
@testable import TestSupport
import Testing

@testable import IKECore

@Suite struct Succession {
    /// The look-up of paths is under way when the peer's rekey of the IKE SA is accepted: the new SA moves as well, and not the old one alone.
    @Test func aSearchForPathsMovesTheSuccessor() throws {
        let lab = try Lab(east: true, mobike: true)
        try lab.connectAsInitiator()
        try lab.ask(.createChildSA, lab.rekeyIKE())
        lab.moveHere()
        #expect(lab.jobs.count == 2)
        // The rekey is done, then the look-up for the old SA, then what that has set off.
        for _ in 0..<4 { lab.work() }
        #expect(lab.jobs.isEmpty)
        let standing = try #require(lab.endpoint.status().first { $0.state == .established })
        #expect(standing.local.address == Fixtures.natAddress)
        let children = lab.endpoint.all.flatMap { $0.established?.children ?? [] }
        #expect(children.map(\.path.ends.local.address) == [Fixtures.natAddress])
    }

    /// The old IKE SA ends while a new one is being made beside it, and what it carried waits for the new one (seeds 39 and 42 of Chaos). Where that
    /// comes to nothing it is tried again, as the configuration says: there is no old one that goes on.
    @Test func anInitiationThatNobodyStandsBehindAnyMoreIsTriedAgain() throws {
        let (world, east, west) = Fixtures.pair(seed: 9) { connection, isEast in
            guard isEast else { return }
            connection.keyingTries = 0
            connection.children[0].startAction = .start
            connection.children[0].closeAction = .start
        }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5)) { !east.children.isEmpty && !west.children.isEmpty }
        world.cut(east, west)
        world.send(.reauthenticate(.connection("site"), request: RequestID(rawValue: 2)), to: east)
        world.send(.forget(try #require(east.established.first).id), to: east)
        world.run(.seconds(100))
        #expect(east.children.isEmpty)
        world.mendAll()
        world.run(.seconds(100))
        #expect(east.children.count == 1)
        #expect(east.answers[RequestID(rawValue: 2)]?.count == 1)
    }

    /// A child that is asked for while the identities are being proven anew waits for the new IKE SA, and comes up on the old one where the new one
    /// comes to nothing (seeds 51 and 485 of Chaos).
    @Test func aChildThatWaitedForTheNewIKESAComesUpOnTheOldOne() throws {
        let (world, east, west) = Fixtures.pair(seed: 10) { connection, isEast in
            connection.children.append(Fixtures.child("second", local: isEast ? 3 : 4, remote: isEast ? 4 : 3))
        }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5)) { !east.children.isEmpty && !west.children.isEmpty }
        // No new IKE SA comes up.
        world.filter = { datagram in (try? Header.parse(datagram.bytes.span)).map { $0.exchangeType != .ikeSAInit } ?? true }
        world.send(.reauthenticate(.connection("site"), request: RequestID(rawValue: 2)), to: east)
        Fixtures.initiate(world, east, west, child: "second", request: 3)
        world.run(.seconds(30))
        #expect(east.children.map(\.name) == ["net"])
        world.run(.seconds(60))
        #expect(east.children.map(\.name).sorted() == ["net", "second"] && west.children.count == 2)
        let reauthenticated = try #require(east.answers[RequestID(rawValue: 2)]?.first), second = try #require(east.answers[RequestID(rawValue: 3)]?.first)
        #expect(throws: Failure.self) { try reauthenticated.get() }
        #expect(throws: Never.self) { try second.get() }
        #expect(Agreement.differences(east, west) == [])
    }

    /// Section 2.8.2: who wants the IKE SA gone while it is being rekeyed wants the new one gone. That one's Delete waits for the answer to the old one's: a
    /// peer that rekeys as well knows only by that which of the two stays (seed 411 of Lossless).
    @Test func theNewIKESAIsDeletedAfterTheOldOne() throws {
        let lab = try Lab(east: false)
        try lab.connect()
        let old = try #require(lab.endpoint.status().first)
        lab.handle(.rekey(.connection("site"), request: nil))
        lab.work()
        let request = try #require(lab.lastRequest)
        lab.handle(.terminate(.connection("site"), request: lab.request))
        func sent(_ actions: [Action]) throws -> [Header] { try actions.compactMap { if case .transmit(let datagram) = $0 { try Header.parse(datagram.bytes.span) } else { nil } } }
        lab.handle(lab.datagram(try lab.peer.seal(.createChildSA, lab.ikeAnswer(), id: request.messageID, response: true)))
        let (id, job) = try #require(lab.jobs.first)
        let first = try sent(lab.handle(.jobFinished(id, lab.node.run(job))))
        #expect(first.map(\.exchangeType) == [.informational] && first.map(\.initiatorSPI) == [old.initiatorSPI])
        let actions = lab.handle(lab.datagram(try lab.peer.seal(.informational, [], id: request.messageID + 1, response: true)))
        let second = try sent(actions)
        #expect(second.map(\.exchangeType) == [.informational] && second.allSatisfy { $0.initiatorSPI != old.initiatorSPI })
        #expect(lab.endpoint.status().map(\.state) == [.deleting])
    }

    /// Our answer to the peer's rekey is lost, and our NAT gives us another port: the peer sends its request again to where nobody hears it, and knows the old
    /// IKE SA alone. There it is shown where we are (seed 3754 of Roaming).
    @Test(arguments: [true, false]) func aPeerThatHasNotHeardOfTheNewIKESAIsShownWhereWeAre(mobike: Bool) throws {
        let (world, east, west) = Fixtures.pair(seed: 12, nat: true) { connection, _ in connection.mobike = mobike }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5)) { !east.children.isEmpty && !west.children.isEmpty }
        world.run(.seconds(1))
        let before = east.established.map(\.initiatorSPI)
        world.filter = { datagram in (try? Header.parse(datagram.bytes.span)).map { !($0.exchangeType == .createChildSA && $0.isResponse) } ?? true }
        world.send(.rekey(.connection("site"), request: RequestID(rawValue: 2)), to: west)
        world.run(.milliseconds(500))
        #expect(east.established.map(\.initiatorSPI) != before && west.established.map(\.initiatorSPI) == before)
        world.filter = { _ in true }
        east.rebind()
        world.run(.seconds(100))
        #expect(west.answers[RequestID(rawValue: 2)]?.count == 1)
        #expect(Agreement.differences(east, west) == [] && east.children.count == 1 && east.established.count == 1)
        #expect(world.sendTraffic(east) == 1 && world.sendTraffic(west) == 1)
        // Nothing was made anew.
        #expect(east.reports.count { if case .ikeSAEstablished = $0 { true } else { false } } == 1)
    }

    /// Our answer to the peer's rekey is lost for long, and what we ask on the new IKE SA is not understood meanwhile: the peer does not know it. When it deletes the
    /// old one, it does: our request begins from the beginning, and does not count as unanswered (seeds 2223 and 3290 of Roaming).
    @Test func whatThePeerCouldNotReadBeforeItKnewTheNewIKESAIsAskedAgain() throws {
        var limits = Limits()
        limits.retransmitTries = 4
        let (world, east, west) = Fixtures.pair(seed: 12, limits: limits)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5)) { !east.children.isEmpty && !west.children.isEmpty }
        let old = try #require(east.established.first).initiatorSPI
        func isOld(_ datagram: Datagram) -> Bool { (try? Header.parse(datagram.bytes.span))?.initiatorSPI == old }
        // The peer hears nothing of ours but on the old IKE SA, and there no answer to its rekey until its fifth try.
        var sendings = 0
        world.filter = { datagram in
            guard datagram.local.address == Fixtures.westAddress else { return isOld(datagram) && sendings >= 5 }
            if isOld(datagram), (try? Header.parse(datagram.bytes.span))?.exchangeType == .createChildSA { sendings += 1 }
            return true
        }
        world.send(.rekey(.connection("site"), request: RequestID(rawValue: 2)), to: west)
        world.run(.seconds(1)) { east.established.first?.initiatorSPI != old }
        world.send(.rekey(.child("net", connection: nil), request: RequestID(rawValue: 3)), to: east)
        world.run(.seconds(30)) { west.established.first.map { $0.initiatorSPI != old } ?? true }
        #expect(sendings == 5)
        world.run(.seconds(1))
        world.filter = { _ in true }
        #expect(east.answers[RequestID(rawValue: 3)] == nil)
        world.run(.seconds(60))
        #expect(throws: Never.self) { try #require(east.answers[RequestID(rawValue: 3)]?.first).get() }
        #expect(east.established.count == 1 && east.children.count == 1 && Agreement.differences(east, west) == [])
    }

    /// A peer that rekeys the IKE SA over and over and deletes none does not fill the table: its rekeys are put off until the old ones are gone.
    @Test func replacedIKESAsDoNotHeapUp() {
        let (world, east, west) = Fixtures.pair(seed: 8)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5)) { !east.children.isEmpty && !west.children.isEmpty }
        // East's Deletes are lost.
        world.filter = { datagram in (try? Header.parse(datagram.bytes.span)).map { $0.exchangeType != .informational || datagram.local.address != Fixtures.eastAddress } ?? true }
        var most = 0
        for index in 0..<60 {
            world.send(.rekey(.connection("site"), request: RequestID(rawValue: UInt64(100 + index))), to: east)
            world.run(.milliseconds(200))
            most = max(most, west.endpoint.ikeSACount)
        }
        #expect(most == west.limits.replacedIKESAs + 1)
        #expect(west.endpoint.counters.overLimit > 0)
        // When the Deletes come through, rekeys do again, and nothing is left.
        world.filter = { _ in true }
        world.run(.seconds(200))
        world.send(.rekey(.connection("site"), request: RequestID(rawValue: 999)), to: east)
        world.run(.seconds(60))
        #expect(Agreement.differences(east, west).isEmpty && east.established.count == 1)
        #expect(world.sendTraffic(east) == 1 && world.sendTraffic(west) == 1)
    }
}
