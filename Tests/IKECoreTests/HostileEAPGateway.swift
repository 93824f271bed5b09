// A gateway that breaks EAP in IKE_AUTH: whatever it does, it is not believed, and nothing is left.
// RFC 7296 section 2.16, RFC 3748 sections 4 and 5.

@testable import IKECore
import IKECrypto
import IKEWire
import Testing
@testable import TestSupport

@Suite struct HostileEAPGateway {
    private static let carol = Array("carol".utf8), own = Array("carol's own".utf8)

    private func client() throws -> (Target, HostilePeer) {
        let target = Target(east: true) { connection in
            connection.local.method = "eap-test"
            connection.local.eapIdentity = .exactly(Fixtures.identity("carol"))
        }
        let peer = try HostilePeer(isInitiator: false)
        target.handle(.initiate(connection: "site", child: "net", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        target.receive(try peer.initResponse(to: target.sent[0].bytes))
        let first = try peer.open(target.sent.last?.bytes ?? [])
        #expect(!first.contains { $0.type == .authentication } && first.contains { $0.type == .securityAssociation })
        return (target, peer)
    }

    /// Answers the target's last request; what it sends for that, opened.
    private func answer(_ target: Target, _ peer: HostilePeer, _ payloads: [Payload]) throws -> (Header, [Payload])? {
        guard let last = target.sent.last?.bytes else { return nil }
        let id = try Header.parse(last.span).messageID
        guard let bytes = target.receive(try peer.seal(.ikeAuth, payloads, id: id, response: true)).last else { return nil }
        return (try Header.parse(bytes.span), try peer.open(bytes))
    }

    private func expectGone(_ target: Target, _ sent: (Header, [Payload])?, _ what: String) {
        if let sent { #expect(sent.0.exchangeType == .informational, "\(what): \(sent)") }
        guard case .failure? = target.answers[RequestID(rawValue: 1)]?.first else { return #expect(Bool(false), "\(what): no failure") }
        #expect(target.installed.isEmpty, "\(what)")
        #expect(target.remnants == [], "\(what)")
    }

    @Test func aForgedSuccessIsNotBelieved() throws {
        for early in [true, false] {
            let (target, peer) = try client()
            let proof = [peer.identity, try peer.authentication()]
            if early {
                expectGone(target, try answer(target, peer, proof + [.eap(EAPPacket(.success, 5).bytes)]), "at once")
            } else {
                let said = try answer(target, peer, proof + [.eap(EAPPacket(.request, 5, type: 1).bytes)])
                #expect(said?.1.eapMessage == EAPPacket(.response, 5, type: 1, data: Self.carol).bytes)
                expectGone(target, try answer(target, peer, [.eap(EAPPacket(.success, 5).bytes)]), "after the identity")
            }
        }
        // In its place, with another identifier.
        let (target, peer) = try client()
        _ = try answer(target, peer, [peer.identity, try peer.authentication(), .eap(EAPPacket(.request, 5, type: 200, data: [1, 9, 9]).bytes)])
        expectGone(target, try answer(target, peer, [.eap(EAPPacket(.success, 6).bytes)]), "another identifier")
    }

    @Test func aGatewayThatDoesNotProveItselfHearsNothing() throws {
        let (target, peer) = try client()
        let said = try answer(target, peer, [peer.identity, .eap(EAPPacket(.request, 5, type: 1).bytes)])
        #expect(said?.1.eapMessage == nil)
        expectGone(target, said, "without AUTH")

        let (second, wrong) = try client()
        wrong.secret = Array("some other secret".utf8)
        let heard = try answer(second, wrong, [wrong.identity, try wrong.authentication(), .eap(EAPPacket(.request, 5, type: 1).bytes)])
        #expect(heard?.1.eapMessage == nil)
        expectGone(second, heard, "a wrong AUTH")
    }

    @Test func aGatewayWithoutTheKeyIsNotBelieved() throws {
        for right in [true, false] {
            let (target, peer) = try client()
            _ = try answer(target, peer, [peer.identity, try peer.authentication(), .eap(EAPPacket(.request, 5, type: 200, data: [1, 9, 9]).bytes)])
            let proof = try answer(target, peer, [.eap(EAPPacket(.success, 5).bytes)])
            #expect(proof?.1.map(\.type) == [.authentication])
            if right { peer.secret = ScriptedEAP.key([9, 9], Self.own).withSecret { $0.array } ?? [] }
            let end = try answer(target, peer, [try peer.authentication()] + peer.child())
            if right { #expect(target.installed.count == 1) } else { expectGone(target, end, "AUTH with the preshared key") }
        }
    }

    @Test func whatAGatewayMayNotSayEndsIt() throws {
        let wrong: [(String, [Payload])] = [
            ("a response", [.eap(EAPPacket(.response, 6, type: 1).bytes)]), ("a Nak", [.eap(EAPPacket(.request, 6, type: 3).bytes)]),
            ("another method", [.eap(EAPPacket(.request, 6, type: 201).bytes)]),
            ("the identity again", [.eap(EAPPacket(.request, 6, type: 1).bytes)]), ("no packet", [.eap([1, 2, 3])]), ("nothing", []), ("a failure", [.eap(EAPPacket(.failure, 5).bytes)]),
            ("an error", [.notify(Notify(.authenticationFailed))]), ("AUTH", [.authentication(Authentication(method: .sharedKey, data: [1]))]),
            ("critical", [.unknown(PayloadType(rawValue: 200), critical: true, body: [])]),
            ("an unknown error beside EAP", [.eap(EAPPacket(.request, 6, type: 200, data: [0, 9]).bytes), .notify(Notify(NotifyType(rawValue: 9999)))]),
        ]
        for (what, payloads) in wrong {
            let (target, peer) = try client()
            _ = try answer(target, peer, [peer.identity, try peer.authentication(), .eap(EAPPacket(.request, 5, type: 200, data: [0, 9]).bytes)])
            expectGone(target, try answer(target, peer, payloads), what)
        }
    }

    @Test func aGatewayThatGoesOnForEverIsLeft() throws {
        let (target, peer) = try client()
        _ = try answer(target, peer, [peer.identity, try peer.authentication(), .eap(EAPPacket(.request, 5, type: 200, data: [0, 9]).bytes)])
        var last: (Header, [Payload])?
        for round in 0..<100 {
            last = try answer(target, peer, [.eap(EAPPacket(.request, UInt8(round), type: 200, data: [0, 9]).bytes)])
            if last?.0.exchangeType != .ikeAuth { break }
        }
        expectGone(target, last, "rounds")

        let (slow, other) = try client()
        _ = try answer(slow, other, [other.identity, try other.authentication(), .eap(EAPPacket(.request, 5, type: 200, data: [0, 9]).bytes)])
        for round in 0..<40 where slow.answers.isEmpty {
            slow.pass(.seconds(4))
            _ = try answer(slow, other, [.eap(EAPPacket(.request, UInt8(round), type: 200, data: [0, 9]).bytes)])
        }
        expectGone(slow, nil, "slowly")
    }

    @Test func aMethodThatWeDoNotDoGetsANak() throws {
        let (target, peer) = try client()
        let said = try answer(target, peer, [peer.identity, try peer.authentication(), .eap(EAPPacket(.request, 5, type: 13, data: [0x20]).bytes)])
        #expect(said?.1.eapMessage == EAPPacket(.response, 5, type: 3, data: [200]).bytes)
        let notice = try answer(target, peer, [.eap(EAPPacket(.request, 6, type: 2, data: Array("Good morning\u{1b}[2J".utf8)).bytes)])
        #expect(notice?.1.eapMessage == EAPPacket(.response, 6, type: 2).bytes)
        #expect(target.reports.contains { if case .note(_, let text, _, _) = $0 { text.contains("Good morning [2J") } else { false } })
    }

    // MARK: Every message, wrong in every way

    /// What the gateway has to say: its proof with the first request of the method, the method's last request, EAP-Success, its AUTH with the child.
    private enum Step: Int, CaseIterable { case proof, method, success, auth }

    /// An honest conversation up to where the gateway's message is due, and that message.
    private func stage(_ step: Step) throws -> (Target, HostilePeer, Draft) {
        let (target, peer) = try client()
        func honest(_ step: Step) throws -> [Payload] {
            switch step {
            case .proof: [peer.identity, try peer.authentication(), .eap(EAPPacket(.request, 5, type: 200, data: [0, 9]).bytes)]
            case .method: [.eap(EAPPacket(.request, 6, type: 200, data: [1, 9, 9]).bytes)]
            case .success: [.eap(EAPPacket(.success, 6).bytes)]
            case .auth: [try peer.authentication()] + peer.child()
            }
        }
        for earlier in Step.allCases where earlier.rawValue < step.rawValue { _ = try answer(target, peer, try honest(earlier)) }
        if step == .auth { peer.secret = ScriptedEAP.key([9, 9], Self.own).withSecret { $0.array } ?? [] }
        let last = try #require(target.sent.last?.bytes)
        var draft = Draft(peer.header(.ikeAuth, id: try Header.parse(last.span).messageID, response: true))
        draft.inner = try honest(step).map(Raw.init)
        return (target, peer, draft)
    }

    private func outcome(_ target: Target, _ peer: HostilePeer, _ draft: Draft) throws -> Outcome {
        let next = draft.id + 1
        let sent = target.receive(try draft.bytes(peer))
        switch target.answers[RequestID(rawValue: 1)]?.first {
        case .success?: return target.installed.count == 1 ? .accepted : .broken("said to be done, and it is not")
        case .failure? where target.endpoint.status().map(\.state) == [.established]: return target.installed.isEmpty ? .failed : .broken("failed, and there is a child")
        case .failure?: return target.remnants == [] && target.installed.isEmpty ? .closes : .broken("failed, and left \(target.remnants)")
        case nil:
            guard let request = sent.last else { return .silence }
            let header = try Header.parse(request.span)
            return header.exchangeType == .ikeAuth && !header.isResponse && header.messageID == next ? .accepted : .broken("sent \(header)")
        }
    }

    /// As an answer to IKE_AUTH (`HostileRules`); what is said of the child counts where it is made.
    private func allowed(_ one: HostileCase, _ step: Step) -> (Set<Outcome>, String) {
        let (outcomes, section) = one.fault.allowed(.authResponse)
        return outcomes == [.failed] && step != .auth ? ([.accepted], "2.16: the child is made in the last exchange") : (outcomes, section)
    }

    /// How many cases there are: none goes without being missed.
    @Test(arguments: zip([0, 1, 2, 3], [(138, 60), (67, 60), (65, 60), (163, 60)])) func eachMessageWrongInEveryWay(_ number: Int, _ counts: (payloads: Int, envelope: Int)) throws {
        let step = try #require(Step(rawValue: number))
        let control = try stage(step)
        #expect(try outcome(control.0, control.1, control.2) == .accepted)
        for (cases, count) in [(HostileCases.payloads(control.2, .authResponse), counts.payloads), (HostileCases.envelope(control.2, .authResponse), counts.envelope)] {
            #expect(cases.count == count, "\(step)")
            for one in cases {
                let (target, peer, honest) = try stage(step)
                var draft = honest
                one.change(&draft)
                let (outcomes, section) = allowed(one, step)
                #expect(outcomes.count == 1, "\(step), \(one.name)")
                let came = try outcome(target, peer, draft)
                if !outcomes.contains(came) { Issue.record("\(step), \(one.name): \(came), and not \(outcomes) (\(section))") }
                if came == .silence { #expect(try outcome(target, peer, honest) == .accepted, "\(step), after \(one.name)") }
            }
        }
    }
}
