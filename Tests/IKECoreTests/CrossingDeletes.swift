// Deletes that cross what else is under way, one order of events each: a pair that ends while it is being made, renewed, or handed to a new IKE SA.
// RFC 7296 sections 1.4.1, 2.8.1, 2.25.1 and 2.25.2.

import IKEWire
@testable import TestSupport
import Testing

@testable import IKECore

@Suite struct CrossingDeletes {
    /// What the lab's peer calls the pair of IKE_AUTH, the one that it makes, and the one that it answers with.
    private static let first: UInt32 = 0x0102_0304, theirs: UInt32 = 0x0a0b_0c0d, answered: UInt32 = 0x0a0b_0c0e

    private func children(_ lab: Lab) -> [ChildSA] { lab.endpoint.inOrder().flatMap { $0.established?.children ?? [] } }
    private func deleting(_ spis: UInt32...) -> [Payload] { [.delete(Delete(protocolID: .esp, spis: spis))] }
    private func activated(_ actions: [Action]) -> [ChildSAID] { actions.compactMap { if case .activateChildSA(let id) = $0 { id } else { nil } } }
    private func results(_ actions: [Action]) -> [Result<String, Failure>] { actions.compactMap { if case .answer(_, let result) = $0 { result } else { nil } } }

    /// A request of the peer's, and our answer to it.
    private func ask(_ lab: Lab, _ exchange: ExchangeType, _ payloads: [Payload]) throws -> (actions: [Action], answer: [Payload]) {
        let bytes = try lab.peer.seal(exchange, payloads)
        lab.peer.nextID += 1
        let actions = lab.handle(lab.datagram(bytes))
        let sent = actions.compactMap { if case .transmit(let datagram) = $0 { datagram.bytes } else { nil } }
        return (actions, try sent.first { try Header.parse($0.span).isResponse }.map { try lab.peer.open($0) } ?? [])
    }

    /// The peer's Delete of the pair that we are asking for overtakes its answer: the pair never carries traffic, and who asked is told.
    @Test func aPairThatIsDeletedBeforeItsAnswerCameNeverStands() throws {
        let lab = try Lab(east: false)
        try lab.connect()
        lab.handle(lab.initiation("second"))
        #expect(try ask(lab, .informational, deleting(Self.answered)).answer == [])
        let asked = try #require(lab.lastRequest)
        let actions = lab.handle(lab.datagram(try lab.peer.seal(.createChildSA, lab.childAnswer(), id: asked.messageID, response: true)))
        let second = try #require(children(lab).first { $0.policy.name == "second" })
        #expect(second.outboundSPI == Self.answered && second.removeAt != nil)
        let stopped = actions.contains { if case .removeChildSA(second.id, keepInbound: true) = $0 { true } else { false } }
        #expect(stopped)
        let installed = lab.handle(.childSAInstalled(second.id, failure: nil))
        #expect(activated(installed).isEmpty && results(installed).count == 1)
        #expect(throws: Failure.self) { try results(installed).first?.get() }
        // What it was is forgotten with its time, and the next one of that SPI is another pair.
        for _ in 0..<3 { lab.deadline() }
        #expect(children(lab).map(\.policy.name) == ["net"])
        #expect(lab.endpoint.inOrder().allSatisfy { $0.established?.earlyDeletes.isEmpty != false })
    }

    /// SPIs are remembered only while a pair is being made, and so many.
    @Test func deletesOfWhatIsNotThereAreNotHeapedUp() throws {
        let lab = try Lab(east: false)
        try lab.connect()
        #expect(try ask(lab, .informational, deleting(7777)).answer == [])
        let established = try #require(lab.endpoint.inOrder().first?.established)
        #expect(established.earlyDeletes.isEmpty)
        lab.handle(lab.initiation("second"))
        for spi in 1...100 as ClosedRange<UInt32> { #expect(try ask(lab, .informational, deleting(5000 + spi)).answer == []) }
        #expect(established.earlyDeletes.count == 16)
        try lab.respond(.createChildSA, [.notify(Notify(.noProposalChosen))])
        lab.handle(lab.initiation("pfs"))
        lab.work()
        try lab.respond(.createChildSA, lab.childAnswer(pfs: true))
        lab.work()
        #expect(established.earlyDeletes.isEmpty && children(lab).allSatisfy { $0.removeAt == nil })
    }

    /// The peer deletes a pair on the old IKE SA, not knowing yet that its rekey is done: the new one holds the pair, and ends it.
    @Test func aDeleteOnTheOldIKESAEndsThePairOnTheNewOne() throws {
        let lab = try Lab(east: false)
        try lab.connect()
        let child = try #require(children(lab).first)
        _ = try ask(lab, .createChildSA, lab.rekeyIKE())
        lab.work()
        let successor = try #require(lab.endpoint.inOrder().last?.established)
        #expect(lab.endpoint.inOrder().count == 2 && successor.children.map(\.id) == [child.id])
        let (actions, answer) = try ask(lab, .informational, deleting(Self.first))
        #expect(answer == deleting(child.inboundSPI))
        #expect(child.removeAt != nil && actions.contains { if case .removeChildSA(child.id, keepInbound: true) = $0 { true } else { false } })
        // The new one wakes for what is left of it, and what is to be up comes up again.
        #expect(actions.contains { if case .initiateAgain(_, "net", _, _, _) = $0 { true } else { false } })
        #expect(try ask(lab, .informational, deleting(Self.first)).answer == [])
        for _ in 0..<3 { lab.deadline() }
        #expect(children(lab).isEmpty)
    }

    /// As above, where our own Delete of the pair is under way on the new IKE SA: section 1.4.1, the answer does not name it again.
    @Test func aDeleteOnTheOldIKESAThatCrossesOursNamesNothing() throws {
        let lab = try Lab(east: false)
        try lab.connect()
        let child = try #require(children(lab).first)
        _ = try ask(lab, .createChildSA, lab.rekeyIKE())
        lab.work()
        lab.handle(.terminate(.childSA(child.id), request: lab.request))
        #expect(child.state == .deleting)
        #expect(try ask(lab, .informational, deleting(Self.first)).answer == [])
        #expect(child.removeAt != nil)
    }

    /// Section 2.25.1: the peer closes the pair that we are renewing. Answered as usual; what our rekey comes to is the peer's to say.
    @Test func aDeleteOfAPairThatWeRekeyIsAnsweredAsUsual() throws {
        let lab = try Lab(east: false)
        try lab.connect()
        let child = try #require(children(lab).first)
        lab.handle(.rekey(.childSA(child.id), request: lab.request))
        #expect(child.state == .rekeying)
        let (actions, answer) = try ask(lab, .informational, deleting(Self.first))
        #expect(answer == deleting(child.inboundSPI) && child.removeAt != nil)
        #expect(actions.contains { if case .initiateAgain(_, "net", _, _, _) = $0 { true } else { false } })
        // The peer no longer has what was to be replaced: nobody asks for it on the strength of that rekey.
        let asked = try #require(lab.lastRequest)
        let rest = lab.handle(
            lab.datagram(try lab.peer.seal(.createChildSA, [.notify(Notify(.childSANotFound, protocolID: .esp, spi: child.inboundSPI.bytes))], id: asked.messageID, response: true)))
        #expect(results(rest).count == 1 && !rest.contains { if case .transmit = $0 { true } else { false } })
        #expect(lab.endpoint.context.holdings.inboundSPIs == [child.inboundSPI])
    }

    /// Section 2.25.1: the peer rekeys the pair that we are closing.
    @Test func aRekeyOfAPairThatWeCloseIsPutOff() throws {
        let lab = try Lab(east: false)
        try lab.connect()
        let child = try #require(children(lab).first)
        lab.handle(.terminate(.childSA(child.id), request: lab.request))
        #expect(try ask(lab, .createChildSA, lab.rekeyChild()).answer.notifications == [.temporaryFailure])
        #expect(children(lab).map(\.id) == [child.id] && lab.installs.isEmpty)
    }

    /// The same while our Delete waits for its turn: what the operator has ended does not live on in a new pair.
    @Test func aRekeyOfAPairThatIsToBeClosedIsPutOff() throws {
        let lab = try Lab(east: false)
        try lab.connect()
        let child = try #require(children(lab).first)
        lab.handle(lab.initiation("second"))
        lab.handle(.terminate(.childSA(child.id), request: lab.request))
        #expect(child.state == .installed)
        #expect(try ask(lab, .createChildSA, lab.rekeyChild()).answer.notifications == [.temporaryFailure])
        #expect(children(lab).map(\.id) == [child.id] && lab.installs.isEmpty)
        try lab.respond(.createChildSA, [.notify(Notify(.noProposalChosen))])
        #expect(child.state == .deleting)
    }

    /// Section 2.25: "not now" counts while it goes on. What was put off and came to nothing is no reason to close the IKE SA hours later.
    @Test func aTaskThatHasComeToNothingIsNotPutOff() throws {
        let lab = try Lab(east: false)
        try lab.connect()
        let child = try #require(children(lab).first), established = try #require(lab.endpoint.inOrder().first?.established)
        lab.handle(.rekey(.childSA(child.id), request: lab.request))
        try lab.respond(.createChildSA, [.notify(Notify(.temporaryFailure))])
        #expect(established.postponedSince != nil)
        // The peer was closing it.
        _ = try ask(lab, .informational, deleting(Self.first))
        #expect(established.postponedSince != nil)
        for _ in 0..<3 where !established.delayed.isEmpty { lab.deadline() }
        #expect(established.delayed.isEmpty && established.postponedSince == nil)
    }

    /// The peer's answer to our last request, and what comes of it.
    private func reply(_ lab: Lab, _ exchange: ExchangeType, _ payloads: [Payload]) throws -> [Action] {
        let asked = try #require(lab.lastRequest)
        return lab.handle(lab.datagram(try lab.peer.seal(exchange, payloads, id: asked.messageID, response: true)))
    }

    /// An operator ends a pair while our rekey of it is under way: the new pair goes as well, and the operator hears of it when it has gone.
    @Test(arguments: [false, true]) func whatIsEndedWhileWeRekeyItDoesNotLiveOn(installing: Bool) throws {
        let lab = try Lab(east: false)
        try lab.connect()
        let child = try #require(children(lab).first), operatorsRequest = RequestID(rawValue: 7)
        lab.handle(.rekey(.childSA(child.id), request: nil))
        func end() { #expect(results(lab.handle(.terminate(.childSA(child.id), request: operatorsRequest))).isEmpty) }
        if !installing { end() }
        try lab.respond(.createChildSA, lab.childAnswer())
        if installing { end() }
        let new = try #require(children(lab).last)
        #expect(new.id != child.id && results(lab.handle(.childSAInstalled(new.id, failure: nil))).isEmpty)
        #expect(child.state == .deleting)
        #expect(results(try reply(lab, .informational, deleting(Self.first))).isEmpty)
        #expect(new.state == .deleting)
        #expect(results(try reply(lab, .informational, deleting(Self.answered))).count == 1)
        #expect(children(lab).allSatisfy { $0.removeAt != nil })
    }

    /// As above, where the rekey is the peer's and the data plane installs its pair.
    @Test func whatIsEndedWhileThePeerRekeysItDoesNotLiveOn() throws {
        let lab = try Lab(east: false)
        try lab.connect()
        let child = try #require(children(lab).first)
        _ = try ask(lab, .createChildSA, lab.rekeyChild())
        let new = try #require(children(lab).last)
        lab.handle(.terminate(.childSA(child.id), request: lab.request))
        lab.handle(.childSAInstalled(new.id, failure: nil))
        _ = try reply(lab, .informational, deleting(Self.first))
        #expect(new.state == .deleting)
        // The peer closes it at the same time: that was to be.
        #expect(!(try ask(lab, .informational, deleting(Self.theirs)).actions.contains { if case .initiateAgain = $0 { true } else { false } }))
        #expect(children(lab).allSatisfy { $0.removeAt != nil })
    }

    /// Nor is it made anew where the peer no longer had it.
    @Test func whatIsEndedWhileWeRekeyItIsNotMadeAnew() throws {
        let lab = try Lab(east: false)
        try lab.connect()
        let child = try #require(children(lab).first)
        lab.handle(.rekey(.childSA(child.id), request: nil))
        lab.handle(.terminate(.childSA(child.id), request: lab.request))
        let actions = try reply(lab, .createChildSA, [.notify(Notify(.childSANotFound, protocolID: .esp, spi: child.inboundSPI.bytes))])
        #expect(results(actions).count == 1 && !actions.contains { if case .transmit = $0 { true } else { false } })
    }

    /// The pair's life ends while the peer's rekey of it is being installed: it sends no more, and the peer will not delete it any more, so the new pair
    /// carries our packets from the start (seed 10460 of Chaos).
    @Test(arguments: [true, false]) func aPairThatExpiresWhileThePeerRekeysItHandsOver(answeredFirst: Bool) throws {
        let lab = try Lab(east: false)
        try lab.connect()
        let child = try #require(children(lab).first)
        _ = try ask(lab, .createChildSA, lab.rekeyChild())
        let new = try #require(children(lab).last)
        #expect(new.id != child.id && new.state == .installing)
        #expect(activated(lab.handle(.childSAExpired(child.id, hard: true))).isEmpty)
        if answeredFirst { try lab.respond(.informational, deleting(Self.first)) }
        #expect(activated(lab.handle(.childSAInstalled(new.id, failure: nil))) == [new.id])
        if !answeredFirst { try lab.respond(.informational, deleting(Self.first)) }
        for _ in 0..<2 { lab.deadline() }
        #expect(children(lab).map(\.id) == [new.id] && new.outboundSPI == Self.theirs)
    }

    /// Its life ends when the peer's new pair is there, and ours is on its way as well.
    @Test func aPairThatExpiresInACollisionHandsOver() throws {
        let lab = try Lab(east: false)
        try lab.connect()
        let child = try #require(children(lab).first)
        lab.handle(.rekey(.childSA(child.id), request: lab.request))
        _ = try ask(lab, .createChildSA, lab.rekeyChild())
        let new = try #require(children(lab).last)
        #expect(activated(lab.handle(.childSAInstalled(new.id, failure: nil))).isEmpty)
        let actions = lab.handle(.childSAExpired(child.id, hard: true))
        #expect(activated(actions) == [new.id])
        // It was replaced: nothing has to begin anew.
        #expect(!actions.contains { if case .initiateAgain = $0 { true } else { false } })
    }

    /// The same, where the data plane is done with the peer's pair only after ours has won: the peer's is installed, and its answer goes out, late.
    @Test func theRedundantPairThatComesLateCarriesNothing() throws {
        let lab = try Lab(east: false)
        try lab.connect()
        let child = try #require(children(lab).first)
        lab.handle(.rekey(.childSA(child.id), request: lab.request))
        lab.peer.nonce = [UInt8](repeating: 0, count: 32)
        _ = try ask(lab, .createChildSA, lab.rekeyChild())
        let redundant = try #require(children(lab).last)
        lab.peer.nonce = [UInt8](repeating: 0xff, count: 32)
        try lab.respond(.createChildSA, lab.childAnswer())
        let ours = try #require(children(lab).last)
        #expect(activated(lab.handle(.childSAInstalled(ours.id, failure: nil))) == [ours.id])
        #expect(activated(lab.handle(.childSAInstalled(redundant.id, failure: nil))).isEmpty)
    }

    /// A rekey of ours that has lost, and is answered when the old pair is forgotten, which the peer has deleted for its own: it is redundant still, and ours to
    /// delete (seed 4139 of Lossless: two pairs stood for ever).
    @Test func theRedundantPairThatOutlastsTheOldOneGoes() throws {
        let lab = try Lab(east: false)
        try lab.connect()
        let child = try #require(children(lab).first)
        lab.handle(.rekey(.childSA(child.id), request: lab.request))
        lab.peer.nonce = [UInt8](repeating: 0xff, count: 32)
        _ = try ask(lab, .createChildSA, lab.rekeyChild())
        let theirs = try #require(children(lab).last)
        lab.handle(.childSAInstalled(theirs.id, failure: nil))
        #expect(activated(try ask(lab, .informational, deleting(Self.first)).actions) == [theirs.id])
        for _ in 0..<5 where children(lab).contains(where: { $0.id == child.id }) { lab.deadline() }
        #expect(children(lab).map(\.id) == [theirs.id])
        // The lowest of the four nonces is the peer's, in our exchange.
        lab.peer.nonce = [UInt8](repeating: 0, count: 32)
        try lab.respond(.createChildSA, lab.childAnswer())
        let ours = try #require(children(lab).last)
        let actions = lab.handle(.childSAInstalled(ours.id, failure: nil))
        #expect(ours.id != theirs.id && ours.state == .deleting && theirs.isCurrent)
        #expect(activated(actions).isEmpty && results(actions).count == 1)
    }

    /// A rekey of ours that has won: that the peer deletes the old pair first does not bring its own, redundant pair into use.
    @Test func theRedundantPairOfACollisionCarriesNothing() throws {
        let lab = try Lab(east: false)
        try lab.connect()
        let child = try #require(children(lab).first)
        lab.handle(.rekey(.childSA(child.id), request: lab.request))
        // The lowest of the four nonces is the peer's, in its own exchange.
        lab.peer.nonce = [UInt8](repeating: 0, count: 32)
        _ = try ask(lab, .createChildSA, lab.rekeyChild())
        let redundant = try #require(children(lab).last)
        lab.handle(.childSAInstalled(redundant.id, failure: nil))
        lab.peer.nonce = [UInt8](repeating: 0xff, count: 32)
        try lab.respond(.createChildSA, lab.childAnswer())
        let ours = try #require(children(lab).last)
        #expect(activated(lab.handle(.childSAInstalled(ours.id, failure: nil))) == [ours.id])
        #expect(activated(try ask(lab, .informational, deleting(Self.first)).actions).isEmpty)
    }

    /// The data plane refuses the pair that a rekey has made at the end that asked for it, which deletes it, and goes on with the old one. So does the other end: the old
    /// pair does not go after a minute as one that was replaced, and no tunnel is down meanwhile (seed 9333 of Chaos: the other end rekeyed as well).
    @Test(arguments: [false, true]) func thePairGoesOnThatAFailedRekeyWasToReplace(bothRekey: Bool) throws {
        let (world, east, west) = Fixtures.pair(seed: 31) { connection, _ in connection.children[0].lifetime.lifeTime = .seconds(3600) }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5)) { !east.children.isEmpty && !west.children.isEmpty }
        let before = east.children.map(\.inboundSPI), ends = west.children.map(\.expiresAt)
        world.faults.delay = 20...20
        east.plane.refusal = "no memory"
        for node in bothRekey ? [east, west] : [east] { world.send(.rekey(.child("net", connection: nil), request: RequestID(rawValue: 2)), to: node) }
        world.run(.seconds(1))
        east.plane.refusal = nil
        let failed = try #require(east.answers[RequestID(rawValue: 2)]?.first)
        #expect(throws: Failure.self) { try failed.get() }
        #expect(east.children.map(\.inboundSPI) == before && west.children.map(\.outboundSPI) == before && west.children.map(\.expiresAt) == ends)
        world.run(.seconds(100))
        #expect(east.children.map(\.inboundSPI) == before && Agreement.differences(east, west) == [])
        #expect((east.reports + west.reports).allSatisfy { if case .childSADown = $0 { false } else { true } })
        #expect(world.sendTraffic(east) == 1 && world.sendTraffic(west) == 1)
        // Either end may rekey it again.
        for (index, node) in [west, east].enumerated() {
            world.send(.rekey(.child("net", connection: nil), request: RequestID(rawValue: UInt64(10 + index))), to: node)
            world.run(.seconds(20))
            #expect(throws: Never.self) { try node.answers[RequestID(rawValue: UInt64(10 + index))]?.first?.get() }
        }
        #expect(east.children.count == 1 && east.children.map(\.inboundSPI) != before && Agreement.differences(east, west) == [])
    }
}
