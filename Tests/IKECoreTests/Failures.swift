// What each end says when it does not work.

import IKECore
import IKEWire
import Testing
import TestSupport

@Suite struct Failures {
    /// The initiator's failure and the responder's, after a try that must fail. `keepsIKE`: the child alone is refused, and the IKE SA stays.
    private func attempt(_ seed: UInt64, keepsIKE: Bool = false, prepare: (World, Node, Node) -> Void = { _, _, _ in }, change: (inout Connection, Bool) -> Void = { _, _ in }) throws -> (
        Failure, [Failure], World, Node, Node
    ) {
        let (world, east, west) = Fixtures.pair(seed: seed, change)
        prepare(world, east, west)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(120)) { !east.answers.isEmpty }
        let answer = try #require(east.answers[RequestID(rawValue: 1)]?.first)
        world.run(.seconds(120))
        for node in [east, west] { #expect(node.endpoint.status().map(\.state) == (keepsIKE ? [.established] : [])) }
        #expect(Agreement.differences(east, west) == [])
        #expect(east.plane.count == 0 && west.plane.count == 0)
        guard case .failure(let failure) = answer else { throw Unexpected() }
        return (failure, west.failures, world, east, west)
    }
    private struct Unexpected: Error {}

    @Test func noCommonProposal() throws {
        let (failure, theirs, _, _, _) = try attempt(
            10,
            change: { connection, east in
                if !east { connection.proposals = [Proposal(number: 1, protocolID: .ike, transforms: [.aesGCM16(128), .prfHMACSHA384, .curve25519])] }
            })
        #expect(failure.code == .noCommonProposal)
        let other = try #require(theirs.first)
        #expect(other.code == .noCommonProposal)
        #expect(other.evidence.contains { $0.contains("the peer offers") } && other.evidence.contains { $0.contains("connection site accepts") })
        #expect(other.evidence.contains { $0.contains("differs in encryption") && $0.contains("PRF") })
    }

    @Test func wrongSecret() throws {
        let (failure, theirs, _, _, _) = try attempt(11, prepare: { _, _, west in west.secret = Array("another".utf8) })
        #expect(failure.code == .authenticationFailed)
        #expect(theirs.map(\.code) == [.authenticationFailed])
        #expect(!"\(failure)\(theirs)".contains("another"))
    }

    @Test func unknownIdentity() throws {
        let (failure, theirs, _, _, _) = try attempt(
            12,
            change: { connection, east in
                if !east { connection.remote.identity = .exactly(Fixtures.identity("north.example")) }
            })
        #expect(failure.code == .authenticationFailed)
        #expect(theirs.map(\.code) == [.unknownIdentity])
        let text = try #require(theirs.first?.evidence.joined())
        #expect(text.contains("north.example"))
        #expect(theirs.first?.summary.contains("east.example") == true)
    }

    @Test func theResponderIsNotWhoWeExpect() throws {
        let (failure, _, _, _, _) = try attempt(
            13,
            change: { connection, east in
                if east { connection.remote.identity = .suffix(.fqdn, Array(".other.example".utf8)) }
            })
        #expect(failure.code == .unknownIdentity)
    }

    @Test func selectorsUnacceptable() throws {
        let (failure, theirs, _, _, _) = try attempt(
            14, keepsIKE: true,
            change: { connection, east in
                if !east { connection.children[0].localTS = [.fixed(Fixtures.network(9))] }
            })
        #expect(failure.code == .trafficSelectorsUnacceptable)
        #expect(theirs.map(\.code).contains(.trafficSelectorsUnacceptable))
    }

    @Test func noCommonESPProposal() throws {
        let (failure, theirs, _, _, _) = try attempt(
            15, keepsIKE: true,
            change: { connection, east in
                if !east { connection.children[0].proposals = [Proposal(number: 1, protocolID: .esp, transforms: [.aesGCM16(128), .noExtendedSequenceNumbers])] }
            })
        #expect(failure.code == .noCommonProposal)
        #expect(theirs.map(\.code).contains(.noCommonProposal))
    }

    @Test func noAnswer() throws {
        let (failure, _, world, _, _) = try attempt(16, prepare: { world, _, _ in world.filter = { _ in false } })
        #expect(failure.code == .noAnswer)
        #expect(failure.summary.contains("192.0.2.2") && failure.summary.contains("500") && failure.summary.contains("7 times"))
        #expect(world.wire.count == 7)
    }

    @Test func noConnectionForTheAddress() throws {
        let (failure, theirs, _, _, _) = try attempt(
            17,
            change: { connection, east in
                if !east { connection.remoteAddresses = [.range(IPAddress(v4: 1), IPAddress(v4: 2))] }
            })
        #expect(failure.code == .noCommonProposal)
        // For the request and for its repetition.
        #expect(theirs.map(\.code) == [.noConnection, .noConnection])
    }

    @Test func theDataPlaneRefuses() throws {
        let (_, theirs, _, _, _) = try attempt(18, keepsIKE: true, prepare: { _, _, west in west.plane.refusal = "no such device" })
        #expect(theirs.map(\.code).contains(.dataPlane))
    }

    @Test func keyingTriesAreCounted() throws {
        let (world, east, west) = Fixtures.pair(seed: 19) { connection, _ in connection.keyingTries = 3 }
        world.filter = { _ in false }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(1000)) { !east.answers.isEmpty }
        #expect(world.wire.count == 21)
        #expect(east.answers.count == 1)
    }
}
