// A client that breaks EAP in IKE_AUTH: whatever it does, nobody is let in, and nothing is left.
// RFC 7296 section 2.16, RFC 3748 sections 4 and 5.

@testable import IKECore
import IKECrypto
import IKEWire
import Testing
@testable import TestSupport

@Suite struct HostileEAP {
    private static let carol = Array("carol".utf8), own = Array("carol's own".utf8)

    // MARK: The peer as the client

    private func gateway(rounds: Int = 0, limits: Limits = Limits()) -> Target {
        let target = Target(limits: limits) { connection in
            connection.remote.method = "eap-test"
            connection.remote.eapIdentity = .any
        }
        target.node.eapRounds = rounds
        return target
    }

    /// The first IKE_AUTH, answered with an identity, AUTH and the request for an identity.
    private func begun(_ target: Target) throws -> (HostilePeer, EAPPacket) {
        let peer = try HostilePeer()
        try peer.begin(target)
        let first = try #require(try peer.ask(target, .ikeAuth, [peer.identity] + peer.child()))
        #expect(first.map(\.type) == [.identificationResponder, .authentication, .eap])
        return (peer, try #require(first.eapMessage.flatMap { EAPPacket($0) }))
    }

    private func say(_ peer: HostilePeer, _ target: Target, _ packet: EAPPacket, _ more: [Payload] = []) throws -> [Payload] {
        try peer.ask(target, .ikeAuth, [.eap(packet.bytes)] + more) ?? []
    }

    private func challenge(_ peer: HostilePeer, _ target: Target, _ request: EAPPacket) throws -> EAPPacket {
        let answer = try say(peer, target, EAPPacket(.response, request.identifier, type: 1, data: Self.carol))
        return try #require(answer.eapMessage.flatMap { EAPPacket($0) })
    }

    /// EAP to its Success; the key of it.
    private func succeeded(_ peer: HostilePeer, _ target: Target, _ request: EAPPacket) throws -> [UInt8] {
        let asked = try challenge(peer, target, request)
        let challenge = Array(asked.data.dropFirst())
        let end = try say(peer, target, EAPPacket(.response, asked.identifier, type: 200, data: ScriptedEAP.answer(challenge, Self.own)))
        #expect(end.eapMessage.flatMap { EAPPacket($0) } == EAPPacket(.success, asked.identifier))
        return ScriptedEAP.key(challenge, Self.own).withSecret { $0.array } ?? []
    }

    private func expectRefused(_ target: Target, _ answer: [Payload], _ what: String = "") {
        // RFC 7296 section 2.21: EAP's own word for it, or an error; not both.
        let isFailure = answer.eapMessage.flatMap { EAPPacket($0) }?.code == .failure
        #expect(isFailure ? answer.notifications == [] : answer.notifications.contains { $0 == .authenticationFailed || $0 == .invalidSyntax }, "\(what): \(answer)")
        #expect(target.endpoint.status().allSatisfy { $0.state != .established }, "\(what)")
        #expect(target.installed.isEmpty)
        #expect(target.remnants == [], "\(what)")
    }

    @Test func anHonestClientComesIn() throws {
        let target = gateway()
        let (peer, request) = try begun(target)
        peer.secret = try succeeded(peer, target, request)
        let last = try #require(try peer.ask(target, .ikeAuth, [try peer.authentication()]))
        // The gateway's own is made with the same key. Section 2.16.
        #expect(last.first == (try peer.authentication(ofResponder: Fixtures.identity("west.example"))))
        #expect(last.contains { $0.type == .authentication } && last.contains { $0.type == .securityAssociation })
        #expect(!last.contains { $0.type == .identificationResponder })
        #expect(target.installed.count == 1)
    }

    /// The answers in EAP and the AUTH at their end, each wrong in the ways that any payload can be (`HostileRules`).
    @Test(arguments: 0..<3) func eachMessageWrongInEveryWay(_ step: Int) throws {
        func stage() throws -> (Target, HostilePeer, Draft) {
            let target = gateway()
            let (peer, first) = try begun(target)
            let honest: Payload
            switch step {
            case 0: honest = .eap(EAPPacket(.response, first.identifier, type: 1, data: Self.carol).bytes)
            case 1:
                let asked = try challenge(peer, target, first)
                honest = .eap(EAPPacket(.response, asked.identifier, type: 200, data: ScriptedEAP.answer(Array(asked.data.dropFirst()), Self.own)).bytes)
            default:
                peer.secret = try succeeded(peer, target, first)
                honest = try peer.authentication()
            }
            var draft = Draft(peer.header(.ikeAuth, id: peer.nextID, response: false))
            draft.inner = [Raw(honest)]
            return (target, peer, draft)
        }
        var taken = 0, refused = 0
        for one in HostileCases.payloads(try stage().2, .authRequest) {
            var (target, peer, draft) = try stage()
            one.change(&draft)
            let answer = try target.receive(try draft.bytes(peer)).first.map { try peer.open($0) } ?? []
            let (allowed, section) = one.fault.allowed(.authRequest)
            if allowed.contains(.accepted) {
                let isFailure = answer.eapMessage.flatMap { EAPPacket($0) }?.code == .failure
                #expect(!answer.isEmpty && !answer.notifications.contains(where: \.isError) && !isFailure, "step \(step), \(one.name): \(answer), \(section)")
                taken += 1
            } else if allowed == [.fatal(.unsupportedCriticalPayload)] {
                #expect(answer.notifications == [.unsupportedCriticalPayload] && target.remnants == [], "step \(step), \(one.name): \(answer), \(section)")
                refused += 1
            } else {
                expectRefused(target, answer, "step \(step), \(one.name), \(section)")
                refused += 1
            }
        }
        #expect(taken > 20 && refused > 20, "\(taken) were taken, and \(refused) refused")
    }

    @Test func anotherIdentifierIsNoAnswer() throws {
        for step in 0..<2 {
            let target = gateway()
            let (peer, first) = try begun(target)
            let request = step == 0 ? first : try challenge(peer, target, first)
            let data = step == 0 ? Self.carol : ScriptedEAP.answer(Array(request.data.dropFirst()), Self.own)
            let answer = try say(peer, target, EAPPacket(.response, request.identifier &+ 1, type: request.type, data: data))
            expectRefused(target, answer, "step \(step)")
            #expect(answer.eapMessage.flatMap { EAPPacket($0) }?.code == .failure)
            #expect(target.failures.last?.code == .peerMisbehaved)
        }
    }

    @Test func whatIsNoEAPPacketIsRefused() throws {
        let honest = EAPPacket(.response, 0, type: 1, data: Self.carol)
        for count in 0..<honest.bytes.count {
            let target = gateway()
            let (peer, request) = try begun(target)
            var bytes = honest.bytes
            bytes[1] = request.identifier
            let answer = try peer.ask(target, .ikeAuth, [.eap(Array(bytes.prefix(count)))]) ?? []
            expectRefused(target, answer, "cut to \(count)")
        }
        for (what, code, type) in [
            ("request", EAPPacket.Code.request, UInt8(1)), ("success", .success, 0), ("failure", .failure, 0), ("another type", .response, 77), ("nak", .response, 3), ("expanded nak", .response, 254),
        ] {
            let target = gateway()
            let (peer, request) = try begun(target)
            expectRefused(target, try say(peer, target, EAPPacket(code, request.identifier, type: type, data: code == .response ? [1] : [])), what)
        }
        for length in [0, 3, 5, 0xffff] {
            let target = gateway()
            let (peer, request) = try begun(target)
            var bytes = EAPPacket(.response, request.identifier, type: 1, data: Self.carol).bytes
            (bytes[2], bytes[3]) = (UInt8(length >> 8), UInt8(length & 0xff))
            expectRefused(target, try peer.ask(target, .ikeAuth, [.eap(bytes)]) ?? [], "length \(length)")
        }
        for identity in [[], [UInt8](repeating: 0x61, count: 254), [0x61, 0, 0x62]] {
            let target = gateway()
            let (peer, request) = try begun(target)
            expectRefused(target, try say(peer, target, EAPPacket(.response, request.identifier, type: 1, data: identity)), "identity \(identity)")
        }
    }

    @Test func twoMessagesOfEAPAreNone() throws {
        let target = gateway()
        let (peer, request) = try begun(target)
        let packet = EAPPacket(.response, request.identifier, type: 1, data: Self.carol)
        expectRefused(target, try say(peer, target, packet, [.eap(packet.bytes)]))
    }

    @Test func authBeforeEAPIsDoneIsRefused() throws {
        for withEAP in [true, false] {
            let target = gateway()
            let (peer, request) = try begun(target)
            let asked = try challenge(peer, target, request)
            let answer = EAPPacket(.response, asked.identifier, type: 200, data: ScriptedEAP.answer(Array(asked.data.dropFirst()), Self.own))
            peer.secret = ScriptedEAP.key(Array(asked.data.dropFirst()), Self.own).withSecret { $0.array } ?? []
            expectRefused(target, try peer.ask(target, .ikeAuth, (withEAP ? [.eap(answer.bytes)] : []) + [try peer.authentication()]) ?? [])
        }
    }

    @Test func authWithAnotherKeyIsRefused() throws {
        for (what, secret) in [("the preshared key", Array("the secret that both have".utf8)), ("nothing", []), ("the user's password", Self.own)] {
            let target = gateway()
            let (peer, request) = try begun(target)
            _ = try succeeded(peer, target, request)
            peer.secret = secret
            expectRefused(target, try peer.ask(target, .ikeAuth, [try peer.authentication()]) ?? [], what)
        }
        let target = gateway()
        let (peer, request) = try begun(target)
        _ = try succeeded(peer, target, request)
        expectRefused(target, try say(peer, target, EAPPacket(.response, 1, type: 200)), "no AUTH")
    }

    @Test func anotherMethodOfAUTHIsRefused() throws {
        let target = gateway()
        let (peer, request) = try begun(target)
        peer.secret = try succeeded(peer, target, request)
        guard case .authentication(var proof) = try peer.authentication() else { return }
        proof.method = .digitalSignature
        expectRefused(target, try peer.ask(target, .ikeAuth, [.authentication(proof)]) ?? [])
    }

    @Test func eapHasAnEnd() throws {
        let target = gateway(rounds: 200)
        let (peer, request) = try begun(target)
        var asked = try challenge(peer, target, request), answer: [Payload] = []
        for _ in 0..<100 {
            answer = try say(peer, target, EAPPacket(.response, asked.identifier, type: 200, data: asked.data))
            guard let next = answer.eapMessage.flatMap({ EAPPacket($0) }), next.code == .request else { break }
            asked = next
        }
        expectRefused(target, answer)
        #expect(target.failures.last?.summary.contains("beyond 64 messages") == true, "\(target.failures)")

        let other = gateway(rounds: 200)
        let (second, first) = try begun(other)
        asked = try challenge(second, other, first)
        for _ in 0..<100 {
            let more = Payload.vendorID([UInt8](repeating: 1, count: 20_000))
            answer = try say(second, other, EAPPacket(.response, asked.identifier, type: 200, data: asked.data), [more])
            guard let next = answer.eapMessage.flatMap({ EAPPacket($0) }), next.code == .request else { break }
            asked = next
        }
        expectRefused(other, answer)
    }

    /// Whoever has the keys of an SA and has proven nothing makes us open no more messages of one kind than of another.
    @Test func otherExchangesHaveTheSameEnd() throws {
        var limits = Limits()
        limits.eapRounds = 8
        let target = gateway(limits: limits)
        let (peer, asked) = try begun(target)
        let first = peer.nextID
        for _ in 0..<20 { #expect(target.receive(try peer.seal(.informational, [], id: first)) == []) }
        #expect(target.endpoint.context.counters.authNotTried == 12)
        expectRefused(target, try say(peer, target, EAPPacket(.response, asked.identifier, type: 1, data: Self.carol)))
    }

    /// RFC 7296 section 2.21.2; a Delete says the same.
    @Test(arguments: [[.notify(Notify(.authenticationFailed))], [.delete(Delete(protocolID: .ike))]] as [[Payload]]) func aClientThatGoesIsGone(_ word: [Payload]) throws {
        let target = gateway(), (peer, _) = try begun(target)
        #expect(try peer.ask(target, .informational, word) == [])
        #expect(target.failures.map(\.code) == [.peerRefused])
        #expect(target.endpoint.status().allSatisfy { $0.state != .connecting } && target.remnants == [])
    }

    @Test func silenceEndsIt() throws {
        for step in 0..<3 {
            let target = gateway()
            let (peer, request) = try begun(target)
            if step == 1 { _ = try challenge(peer, target, request) }
            if step == 2 { _ = try succeeded(peer, target, request) }
            #expect(target.endpoint.halfOpenCount == 1)
            target.pass(.seconds(31))
            // Somebody who has been asked for a password may be typing it.
            #expect(target.endpoint.halfOpenCount == (step == 1 ? 1 : 0))
            target.pass(.seconds(90))
            #expect(target.failures.map(\.code) == [.noAnswer] && target.failures.allSatisfy { $0.summary.contains("did not go on with EAP in time") }, "\(target.failures)")
            #expect(target.endpoint.halfOpenCount == 0 && target.endpoint.ikeSACount == 0)
            #expect(target.remnants == [])
        }
    }

    @Test func aRepeatedRequestGetsTheSameOctets() throws {
        let target = gateway()
        let peer = try HostilePeer()
        try peer.begin(target)
        let request = try peer.seal(.ikeAuth, [peer.identity] + peer.child())
        let first = target.receive(request), again = target.receive(request)
        #expect(!first.isEmpty && first == again)
        #expect(target.jobs == 2, "the key exchange and AUTH, once each")
        // One of the next number, sealed by somebody else, changes nothing.
        var forged = try peer.seal(.ikeAuth, [.eap(EAPPacket(.response, 0, type: 1).bytes)], id: 2)
        forged[forged.count - 1] ^= 1
        #expect(target.receive(forged).isEmpty)
        #expect(target.endpoint.halfOpenCount == 1)
    }

    @Test func aFailureIsTheEnd() throws {
        let target = gateway()
        let (peer, request) = try begun(target)
        let asked = try challenge(peer, target, request)
        let wrong = try say(peer, target, EAPPacket(.response, asked.identifier, type: 200, data: [1, 2, 3]))
        #expect(wrong.eapMessage.flatMap { EAPPacket($0) } == EAPPacket(.failure, asked.identifier))
        peer.secret = ScriptedEAP.key(Array(asked.data.dropFirst()), Self.own).withSecret { $0.array } ?? []
        #expect(try peer.ask(target, .ikeAuth, [try peer.authentication()]) == nil)
        #expect(target.remnants == [])
    }
}
