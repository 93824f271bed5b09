// A responder that forges, mutates and stalls, against an initiator that must come to one end.

@testable import IKECore
import IKECrypto
import IKEWire
import Testing
import TestSupport

@Suite struct HostileResponder {
    private func start(_ change: (inout Connection) -> Void = { _ in }) throws -> (Target, HostilePeer, [UInt8]) {
        let target = Target(east: true, change), peer = try HostilePeer(isInitiator: false)
        target.handle(.initiate(connection: "site", child: "net", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        return (target, peer, try #require(target.sent.last).bytes)
    }
    /// The answer to IKE_AUTH, of a peer that behaves.
    private func answer(_ peer: HostilePeer) throws -> [Payload] { [peer.identity, try peer.authentication()] + peer.child() }

    private func outcome(_ target: Target) -> [Result<String, Failure>] { target.answers[RequestID(rawValue: 1)] ?? [] }

    @Test func theScriptedPeerIsUnderstoodWhenItBehaves() throws {
        let (target, peer, request) = try start()
        let auth = try #require(target.receive(try peer.initResponse(to: request)).first)
        #expect(try peer.open(auth).contains { $0.type == .authentication })
        target.receive(try peer.seal(.ikeAuth, try answer(peer), id: 1, response: true))
        #expect(target.endpoint.status().map(\.state) == [.established])
        #expect(target.installed.count == 1)
        #expect(throws: Never.self) { try outcome(target).first?.get() }
    }

    /// Section 3.10.1: whatever stands beside it.
    @Test(arguments: [9999, 24, 7] as [UInt16]) func anUnknownErrorInTheAnswerToIKEAuthFailsAllOfIt(_ error: UInt16) throws {
        let (target, peer, request) = try start()
        target.receive(try peer.initResponse(to: request))
        let told = target.receive(try peer.seal(.ikeAuth, try answer(peer) + [.notify(Notify(NotifyType(rawValue: error)))], id: 1, response: true))
        guard case .failure? = outcome(target).first else { return #expect(Bool(false), "the IKE SA stands") }
        #expect(target.installed.isEmpty && target.endpoint.status().allSatisfy { $0.state != .established })
        // The responder believes in it, and is told.
        #expect(try peer.open(try #require(told.first)).contains(.delete(Delete(protocolID: .ike))))
    }

    @Test func aForgedErrorDoesNotEndTheInitiation() throws {
        for error in [NotifyType.noProposalChosen, .authenticationFailed, .invalidSyntax, .invalidMajorVersion] {
            let (target, peer, request) = try start()
            let header = Header(initiatorSPI: try Header.parse(request.span).initiatorSPI, responderSPI: .none, exchangeType: .ikeSAInit, flags: .response, messageID: 0)
            target.receive(Message(header: header, payloads: [.notify(Notify(error))]).serialized())
            #expect(outcome(target).isEmpty)
            target.receive(try peer.initResponse(to: request))
            target.receive(try peer.seal(.ikeAuth, try answer(peer), id: 1, response: true))
            #expect(target.endpoint.status().map(\.state) == [.established], "\(error)")
        }
    }

    @Test func anErrorThatNothingContradictsEndsIt() throws {
        let (target, _, request) = try start()
        let header = Header(initiatorSPI: try Header.parse(request.span).initiatorSPI, responderSPI: .none, exchangeType: .ikeSAInit, flags: .response, messageID: 0)
        target.receive(Message(header: header, payloads: [.notify(Notify(.noProposalChosen))]).serialized())
        target.pass(.seconds(5))
        #expect(target.failures.map(\.code) == [.noCommonProposal])
        #expect(outcome(target).count == 1)
        #expect(target.remnants == [])
    }

    /// RFC 7296 section 2.21.1: the peer's own answer was lost, and comes with the next try.
    @Test func aForgedErrorIsOutlived() throws {
        let (target, peer, request) = try start()
        peer.targetSPI = try Header.parse(request.span).initiatorSPI
        func forge() { target.receive(Message(header: peer.header(.ikeSAInit, id: 0, response: true), payloads: [.notify(Notify(.noProposalChosen))]).serialized()) }
        forge()
        target.pass(.seconds(2))
        #expect(target.sent.count == 2 && target.sent.last?.bytes == request && outcome(target).isEmpty)
        target.receive(try peer.initResponse(to: request))
        target.receive(try peer.seal(.ikeAuth, try answer(peer), id: 1, response: true))
        #expect(target.endpoint.status().map(\.state) == [.established])
        // Who refuses again is believed soon.
        let (other, second, again) = try start()
        second.targetSPI = try Header.parse(again.span).initiatorSPI
        let refusal = Message(header: second.header(.ikeSAInit, id: 0, response: true), payloads: [.notify(Notify(.noProposalChosen))]).serialized()
        other.receive(refusal)
        other.pass(.milliseconds(1_600))
        other.receive(refusal)
        #expect(outcome(other).isEmpty)
        other.pass(.milliseconds(600))
        #expect(other.failures.map(\.code) == [.noCommonProposal] && outcome(other).count == 1 && other.sent.count == 2)
    }

    /// RFC 6989 section 2.5: what has a bad public value is dropped, and whatever else it says.
    @Test func aBadValueIsPassedOver() throws {
        func bad(_ peer: HostilePeer) -> [Payload] {
            peer.initPayloads.map { if case .keyExchange(let value) = $0 { .keyExchange(KeyExchange(method: value.method, data: [UInt8](repeating: 0, count: value.data.count))) } else { $0 } }
        }
        let (target, peer, request) = try start()
        let forged = Header(initiatorSPI: try Header.parse(request.span).initiatorSPI, responderSPI: IKESPI(rawValue: 0x0bad), exchangeType: .ikeSAInit, flags: .response, messageID: 0)
        #expect(target.receive(Message(header: forged, payloads: bad(peer)).serialized()) == [])
        #expect(outcome(target).isEmpty)
        target.receive(try peer.initResponse(to: request))
        target.receive(try peer.seal(.ikeAuth, try answer(peer), id: 1, response: true))
        #expect(target.endpoint.status().map(\.state) == [.established])
        // Not for ever: each costs a calculation.
        let (other, _, again) = try start()
        let header = Header(initiatorSPI: try Header.parse(again.span).initiatorSPI, responderSPI: IKESPI(rawValue: 0x0bad), exchangeType: .ikeSAInit, flags: .response, messageID: 0)
        for number in 1...6 {
            other.receive(Message(header: header, payloads: bad(peer)).serialized())
            #expect(outcome(other).count == number / 6)
        }
        #expect(other.remnants == [])
    }

    /// What is asked for while such a value is being tried is not forgotten with it (seed 3592 of Chaos).
    @Test func whatIsAskedForWhileABadValueIsTriedStillComes() throws {
        let (target, peer, request) = try start { $0.children.append(Fixtures.child("second", local: 3, remote: 4)) }
        let bad = peer.initPayloads.map { payload -> Payload in
            guard case .keyExchange(let value) = payload else { return payload }
            return .keyExchange(KeyExchange(method: value.method, data: [UInt8](repeating: 0, count: value.data.count)))
        }
        let forged = Header(initiatorSPI: try Header.parse(request.span).initiatorSPI, responderSPI: IKESPI(rawValue: 0x0bad), exchangeType: .ikeSAInit, flags: .response, messageID: 0)
        target.worksAtOnce = false
        target.receive(Message(header: forged, payloads: bad).serialized())
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 2)))
        target.worksAtOnce = true
        target.work()
        #expect(target.answers[RequestID(rawValue: 2)] == nil)
        target.receive(try peer.initResponse(to: request))
        let before = target.sent.count
        target.receive(try peer.seal(.ikeAuth, try answer(peer), id: 1, response: true))
        #expect(try target.sent[before...].map { try Header.parse($0.bytes.span).exchangeType } == [.createChildSA])
    }

    /// What answers an older request, because the network was slow, is no answer to the one that is under way.
    @Test func lateAnswersToOlderRequestsAreNone() throws {
        let (target, _, request) = try start { $0.proposals[0].transforms.append(.ecp256) }
        let spi = try Header.parse(request.span).initiatorSPI
        func say(_ notify: Notify) {
            let header = Header(initiatorSPI: spi, responderSPI: .none, exchangeType: .ikeSAInit, flags: .response, messageID: 0)
            target.receive(Message(header: header, payloads: [.notify(notify)]).serialized())
        }
        say(Notify(.invalidKEPayload, data: [0, 19]))
        #expect(target.sent.count == 2)
        say(Notify(.invalidKEPayload, data: [0, 19]))
        say(Notify(.cookie, data: [1]))
        let withCookie = try #require(target.sent.last).bytes
        say(Notify(.cookie, data: [2]))
        #expect(target.sent.count == 3)
        // Once it was sent again, another cookie is an answer to it.
        target.pass(.seconds(2))
        #expect(target.sent.count == 4 && target.sent.last?.bytes == withCookie)
        say(Notify(.cookie, data: [3]))
        #expect(target.sent.count == 5 && target.sent.last?.bytes != withCookie && outcome(target).isEmpty)
    }

    /// Something without protection, with the SPI of the request.
    private func forge(_ target: Target, _ request: [UInt8], _ notify: Notify) throws {
        let header = Header(initiatorSPI: try Header.parse(request.span).initiatorSPI, responderSPI: .none, exchangeType: .ikeSAInit, flags: .response, messageID: 0)
        target.receive(Message(header: header, payloads: [.notify(notify)]).serialized())
    }

    /// Whether our AUTH, which is in the endpoint's last message, covers the request.
    private func covers(_ target: Target, _ peer: HostilePeer, _ request: [UInt8]) throws -> Bool {
        let payloads = try peer.open(try #require(target.sent.last).bytes)
        let theirs = try #require(payloads.first { $0.type == .identificationInitiator })
        guard case .identificationInitiator(let identity) = theirs else { return false }
        return payloads.contains(try peer.authentication(of: request, identity))
    }

    /// A forged INVALID_KE_PAYLOAD comes before the peer's own answer: that is one to the request before, whose key and octets count.
    @Test(arguments: [false, true], [false, true]) func anAnswerIsToTheRequestWithItsMethod(isGenerating: Bool, isSentBackTwice: Bool) throws {
        let (target, peer, request) = try start { $0.proposals[0].transforms.append(.ecp256) }
        if isGenerating { target.worksAtOnce = false }
        try forge(target, request, Notify(.invalidKEPayload, data: [0, 19]))
        #expect(target.sent.count == (isGenerating ? 1 : 2))
        if isSentBackTwice {
            // What is said while the key is made says nothing of it.
            try forge(target, request, Notify(.invalidKEPayload, data: [0, 31]))
            #expect(target.sent.count == (isGenerating ? 1 : 3) && target.sent.last?.bytes == request)
        }
        target.receive(try peer.initResponse(to: request))
        target.work()
        target.work()
        target.work()
        #expect(try covers(target, peer, request))
        target.receive(try peer.seal(.ikeAuth, try answer(peer), id: 1, response: true))
        #expect(target.endpoint.status().map(\.state) == [.established])
        #expect(throws: Never.self) { try outcome(target).first?.get() }
    }

    /// A forged COOKIE comes before the peer's own answer. Nothing tells that answer from one to the request with the cookie: so the proof is made over the wrong
    /// one and refused, and all begins anew, this time without believing a cookie as long as something else may come.
    @Test func aForgedCookieDoesNotEndTheInitiation() throws {
        let (target, peer, request) = try start()
        try forge(target, request, Notify(.cookie, data: [1, 2, 3]))
        #expect(target.sent.count == 2)
        target.receive(try peer.initResponse(to: request))
        #expect(try !covers(target, peer, request))
        target.receive(try peer.seal(.ikeAuth, [.notify(Notify(.authenticationFailed))], id: 1, response: true))
        #expect(outcome(target).isEmpty && target.endpoint.ikeSACount == 1 && target.failures.isEmpty)
        let again = try #require(target.sent.last).bytes, header = try Header.parse(again.span), before = try Header.parse(request.span)
        #expect(header.exchangeType == .ikeSAInit && header.initiatorSPI != before.initiatorSPI)
        // The same again.
        let second = try HostilePeer(isInitiator: false, seed: 7)
        try forge(target, again, Notify(.cookie, data: [1, 2, 3]))
        #expect(target.sent.last?.bytes == again)
        target.receive(try second.initResponse(to: again))
        #expect(try covers(target, second, again))
        target.receive(try second.seal(.ikeAuth, try answer(second), id: 1, response: true))
        #expect(target.endpoint.status().map(\.state) == [.established] && target.installed.count == 1)
        #expect(outcome(target).count == 1)
        #expect(throws: Never.self) { try outcome(target).first?.get() }
    }

    /// A peer that wants a cookie both times, and does not accept our proof: that is believed after one interval, and the failure the second time.
    @Test func aPeerThatWantsACookieAndRefusesIsBelieved() throws {
        let (target, _, first) = try start()
        var request = first
        for round in 1...2 {
            let peer = try HostilePeer(isInitiator: false, seed: UInt64(round))
            let before = target.sent.count
            try forge(target, request, Notify(.cookie, data: [7]))
            #expect(target.sent.count == before + (round == 1 ? 1 : 0))
            target.pass(.seconds(2))
            let withCookie = try #require(target.sent[before...].first).bytes
            #expect(withCookie != request)
            target.receive(try peer.initResponse(to: withCookie))
            #expect(try covers(target, peer, withCookie))
            target.receive(try peer.seal(.ikeAuth, [.notify(Notify(.authenticationFailed))], id: 1, response: true))
            request = try #require(target.sent.last).bytes
        }
        #expect(target.failures.map(\.code) == [.authenticationFailed] && outcome(target).count == 1)
        #expect(target.remnants == [])
    }

    @Test func mutatedInitResponsesComeToOneEnd() throws {
        let control = try HostilePeer(isInitiator: false)
        for (name, payloads) in mutations(control.initPayloads) {
            let (target, peer, request) = try start()
            let header = Header(initiatorSPI: try Header.parse(request.span).initiatorSPI, responderSPI: peer.spi, exchangeType: .ikeSAInit, flags: .response, messageID: 0)
            target.receive(Message(header: header, payloads: payloads).serialized())
            #expect(target.remnants == [], "\(name)")
            #expect(outcome(target).count == 1, "\(name)")
            #expect(target.installed.isEmpty, "\(name)")
        }
    }

    @Test func mutatedAuthResponsesComeToOneEnd() throws {
        let count = try { () -> Int in
            let (target, peer, request) = try start()
            target.receive(try peer.initResponse(to: request))
            return mutations(try answer(peer)).count
        }()
        for index in 0..<count {
            let (target, peer, request) = try start()
            target.receive(try peer.initResponse(to: request))
            let (name, payloads) = mutations(try answer(peer))[index]
            target.receive(try peer.seal(.ikeAuth, payloads, id: 1, response: true))
            #expect(target.installed.isEmpty, "\(name)")
            // RFC 7296 section 1.3.1: an IKE SA whose child is missing may stay, and nothing of the child.
            if target.remnants != [] { #expect(target.endpoint.status().map(\.children.count) == [0] && target.held == (0, 0, 0, 0), "\(name)") }
            #expect(outcome(target).count == 1, "\(name)")
            if case .success? = outcome(target).first { Issue.record("\(name): succeeded") }
        }
    }

    @Test func whoCannotProveItselfIsToldSo() throws {
        let (target, peer, request) = try start()
        target.receive(try peer.initResponse(to: request))
        peer.secret = [1]
        let told = target.receive(try peer.seal(.ikeAuth, try answer(peer), id: 1, response: true))
        #expect(try peer.open(try #require(told.first)).notifications == [.authenticationFailed])
        #expect(target.installed.isEmpty)
        #expect(target.remnants == [])
    }

    @Test func anotherIdentityIsNotAccepted() throws {
        let (target, peer, request) = try start()
        target.receive(try peer.initResponse(to: request))
        let mallory = Fixtures.identity("mallory.example")
        peer.identity = .identificationResponder(mallory)
        peer.identityBody = mallory.body
        target.receive(try peer.seal(.ikeAuth, try answer(peer), id: 1, response: true))
        #expect(target.failures.map(\.code) == [.unknownIdentity])
        #expect(target.remnants == [])
    }

    @Test func nobodyTalksUsDown() throws {
        // A method that was not offered, and an SA of what was not offered.
        for payloads: [Payload] in [
            [.notify(Notify(.invalidKEPayload, data: [0, 14]))], [.notify(Notify(.invalidKEPayload, data: [0, 31]))], [.notify(Notify(.invalidKEPayload, data: [0]))],
        ] {
            let (target, _, request) = try start()
            let header = Header(initiatorSPI: try Header.parse(request.span).initiatorSPI, responderSPI: .none, exchangeType: .ikeSAInit, flags: .response, messageID: 0)
            target.receive(Message(header: header, payloads: payloads).serialized())
            #expect(target.sent.count == 1)
            #expect(target.remnants == [])
            #expect(outcome(target).count == 1)
        }
        let (target, peer, request) = try start()
        var weak = peer.initPayloads
        weak[0] = .securityAssociation(SecurityAssociation(proposals: [Proposal(number: 1, protocolID: .ike, transforms: [.aesGCM16(128), .prfHMACSHA256, .curve25519])]))
        #expect(target.receive(try peer.initResponse(to: request, weak)) == [])
        #expect(target.remnants == [])
        #expect(target.failures.map(\.code) == [.peerMisbehaved])
    }

    @Test func cookiesWithoutEndEnd() throws {
        let (target, _, request) = try start()
        let spi = try Header.parse(request.span).initiatorSPI
        for number in 0..<20 as Range<UInt8> where outcome(target).isEmpty {
            let header = Header(initiatorSPI: spi, responderSPI: .none, exchangeType: .ikeSAInit, flags: .response, messageID: 0)
            target.receive(Message(header: header, payloads: [.notify(Notify(.cookie, data: [number]))]).serialized())
            // The first request with a cookie has to be sent again before another cookie counts.
            target.pass(.seconds(2))
        }
        #expect(Set(target.sent.map(\.bytes)).count == 6)
        #expect(target.remnants == [])
        #expect(outcome(target).count == 1)
    }

    @Test func answersWithWrongFlagsAreNone() throws {
        let (target, peer, request) = try start()
        let right = try peer.initResponse(to: request)
        for flags: UInt8 in [0x00, 0x08, 0x28] {
            var wrong = right
            wrong[19] = flags
            #expect(target.receive(wrong) == [])
        }
        var other = right
        other[20] = 1
        #expect(target.receive(other) == [])
        #expect(target.receive(right).count == 1)
    }
}
