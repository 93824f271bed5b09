// A peer that answers MOBIKE's requests wrong in every way: our update after a change of addresses, and our check of where it has moved to.
// RFC 4555 sections 3.5 and 3.7.

@testable import IKECore
import IKEWire
import Testing
@testable import TestSupport

@Suite struct HostileMobike {
    /// What the target has asked.
    private enum Asked: Int { case update, check }

    private struct Stage {
        let asked: Asked
        let target: Target
        let peer: HostilePeer
        let request: Datagram
        let cookie: [UInt8]
        /// The honest answer.
        var draft: Draft
    }

    private func stage(_ asked: Asked) throws -> Stage {
        let (target, peer) = asked == .update ? try Mobike.initiator() : try Mobike.responder()
        if asked == .update {
            target.route = { _ in Mobike.second }
            target.handle(.localAddressesChanged([Mobike.second]))
        } else {
            _ = try peer.ask(target, .informational, [Mobike.update], from: Mobike.elsewhere, to: Mobike.local)
        }
        let request = try peer.lastRequest(of: target), cookie = try #require(request.payloads.firstNotify(.cookie2))
        var draft = Draft(peer.header(.informational, id: request.id, response: true))
        let seen = NATDetection.notifications(initiatorSPI: peer.targetSPI, responderSPI: peer.spi, local: Mobike.peer, remote: request.datagram.local, hidden: false)
        draft.inner = ((asked == .update ? seen : []) + [.notify(cookie)]).map(Raw.init)
        return Stage(asked: asked, target: target, peer: peer, request: request.datagram, cookie: cookie.data, draft: draft)
    }

    /// `accepted`: the request is done with, and the SA stands.
    private func outcome(_ stage: Stage, _ draft: Draft) throws -> Outcome {
        let target = stage.target, before = target.sent.count
        target.receive(try draft.bytes(stage.peer), from: stage.request.remote, to: stage.request.local)
        target.pass(.seconds(3))
        let sent = target.sent[before...].map(\.bytes)
        let deletes = sent.contains { bytes in ((try? stage.peer.open(bytes)) ?? []).contains { if case .delete = $0 { true } else { false } } }
        if deletes || target.endpoint.status().allSatisfy({ $0.state != .established }) { return .closes }
        // A check may not be sent again before more has come from there; what it is for shows whether it was answered.
        let isDone = stage.asked == .check ? target.moves.last?.remote == Mobike.elsewhere : !sent.contains(stage.request.bytes)
        return isDone ? .accepted : .silence
    }

    /// By the rules of any answer, but that the COOKIE2 in it has to be ours; a check may be answered without one.
    private func allowed(_ one: HostileCase, _ draft: Draft, _ stage: Stage) -> (Set<Outcome>, String) {
        let (outcomes, section) = one.fault.allowed(.livenessResponse)
        guard outcomes == [.accepted] || outcomes == [.failed] else { return (outcomes, section) }
        let cookies = draft.payloads.filter { $0.type == 41 && $0.body.count >= 4 && $0.body[2...3] == [0x40, 0x11] }.map { Array($0.body.dropFirst(4 + Int($0.body[1]))) }
        let fits = cookies.first.map { $0 == stage.cookie } ?? (stage.asked == .check)
        return (fits ? [.accepted] : [.closes], fits ? section : "RFC 4555 3.7")
    }

    @Test(arguments: zip([0, 1], [(140, 60), (69, 60)])) func eachAnswerWrongInEveryWay(_ number: Int, _ counts: (payloads: Int, envelope: Int)) throws {
        let asked = try #require(Asked(rawValue: number)), control = try stage(asked)
        #expect(try outcome(control, control.draft) == .accepted)
        for (cases, count) in [(HostileCases.payloads(control.draft, .livenessResponse), counts.payloads), (HostileCases.envelope(control.draft, .livenessResponse), counts.envelope)] {
            #expect(cases.count == count, "\(asked)")
            for one in cases {
                let stage = try stage(asked)
                var draft = stage.draft
                one.change(&draft)
                let (outcomes, section) = allowed(one, draft, stage)
                #expect(outcomes.count == 1, "\(asked), \(one.name)")
                let came = try outcome(stage, draft)
                if !outcomes.contains(came) { Issue.record("\(asked), \(one.name): \(came), and not \(outcomes) (\(section))") }
                if came == .silence { #expect(try outcome(stage, stage.draft) == .accepted, "\(asked), after \(one.name)") }
            }
        }
    }
}
