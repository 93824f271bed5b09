// What comes without protection: requests for SAs that are not there, and words about those that are.
// RFC 7296 sections 1.5, 2.4 and 2.21.4.

import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct StrangersWords {
    private func words(_ type: NotifyType, _ header: Header, data: [UInt8] = []) -> [UInt8] { Message(header: header, payloads: [.notify(Notify(type, data: data))]).serialized() }

    @Test func aRequestForAnSAThatIsNotThereIsAnsweredSo() throws {
        for isInitiator in [true, false] {
            let target = Target()
            var header = Header(
                initiatorSPI: IKESPI(rawValue: 7), responderSPI: IKESPI(rawValue: 9), exchangeType: .informational, flags: isInitiator ? .initiator : [], messageID: 42)
            for type in [PayloadType.encrypted, .encryptedFragment] {
                header.nextPayload = type
                let body: Payload =
                    type == .encrypted
                    ? .encrypted(first: .none, body: [UInt8](repeating: 3, count: 40)) : .encryptedFragment(first: .none, number: 1, total: 2, body: [UInt8](repeating: 3, count: 40))
                let request = Message(header: header, payloads: [body]).serialized()
                let answers = target.receive(request)
                let bytes = try #require(answers.first), answer = try Message.parse(bytes.span)
                #expect(answers.count == 1 && answers[0].count <= request.count)
                #expect(answer.header.initiatorSPI == header.initiatorSPI && answer.header.responderSPI == header.responderSPI && answer.header.messageID == 42)
                #expect(answer.header.isResponse && answer.header.isFromInitiator != isInitiator && answer.header.exchangeType == .informational)
                #expect(answer.payloads == [.notify(Notify(.invalidIKESPI))])
            }
            #expect(target.endpoint.counters.invalidSPISent == 2)
        }
    }

    @Test func whatIsNotProtectedIsNotAnswered() throws {
        let target = Target()
        let sealed: Payload = .encrypted(first: .none, body: [UInt8](repeating: 3, count: 40))
        for isResponse in [true, false] {
            for exchange in [ExchangeType.ikeSAInit, .ikeAuth, .createChildSA, .informational] {
                for payload in [.notify(Notify(.invalidIKESPI)), .notify(Notify(.invalidSPI, data: [1, 2, 3, 4])), .vendorID([UInt8](repeating: 0, count: 60)), sealed] as [Payload] {
                    for spis in [(UInt64(7), UInt64(9)), (0, 0), (7, 0), (0, 9)] {
                        // That one is answered, as the other test shows.
                        if !isResponse, exchange != .ikeSAInit, payload == sealed, spis.1 != 0 { continue }
                        // And that one begins an SA, or is refused as one that cannot.
                        if !isResponse, exchange == .ikeSAInit, spis.0 != 0, spis.1 == 0 { continue }
                        let header = Header(
                            initiatorSPI: IKESPI(rawValue: spis.0), responderSPI: IKESPI(rawValue: spis.1), exchangeType: exchange, flags: isResponse ? [.initiator, .response] : .initiator,
                            messageID: 0)
                        #expect(target.receive(Message(header: header, payloads: [payload]).serialized()) == [], "\(exchange) \(payload) \(spis) \(isResponse)")
                    }
                }
            }
        }
        #expect(target.remnants == [])
    }

    /// Every unprotected word in every state: none ends it, none is answered.
    @Test func nothingUnprotectedEndsAnSA() throws {
        let types: [NotifyType] = [
            .invalidIKESPI, .invalidSPI, .invalidMajorVersion, .invalidSyntax, .invalidMessageID, .authenticationFailed, .noProposalChosen, .temporaryFailure, .initialContact, .cookie,
            .invalidKEPayload, .unsupportedCriticalPayload, .noAdditionalSAs, .rekeySA, .setWindowSize,
        ]
        func attack(_ target: Target, _ peer: HostilePeer) -> Int {
            var answers = 0
            for exchange in [ExchangeType.ikeSAInit, .ikeAuth, .createChildSA, .informational] {
                for response in [true, false] {
                    for id: UInt32 in [0, 1, 2] {
                        for payload in types.map({ Payload.notify(Notify($0, data: [0, 19])) }) + [.delete(Delete(protocolID: .ike)), .vendorID([1])] {
                            answers += target.receive(Message(header: peer.header(exchange, id: id, response: response), payloads: [payload]).serialized()).count
                        }
                    }
                }
            }
            return answers
        }
        // Half-open, then established, then with a request of ours under way.
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
        let peer = try HostilePeer()
        try peer.begin(target)
        #expect(attack(target, peer) == 0)
        #expect(try peer.ask(target, .ikeAuth, try peer.authPayloads())?.contains { $0.type == .authentication } == true)
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        #expect(attack(target, peer) == 0)
        #expect(target.endpoint.status().map(\.state) == [.established] && target.failures.isEmpty)
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.noAdditionalSAs))], id: 0, response: true))
        #expect(target.answers.count == 1)
        // And when it is closing.
        target.handle(.terminate(.connection("site"), request: RequestID(rawValue: 2)))
        #expect(attack(target, peer) == 0)
        #expect(target.answers[RequestID(rawValue: 2)] == nil && target.endpoint.status().map(\.state) == [.deleting])
        target.receive(try peer.seal(.informational, [], id: 1, response: true))
        #expect(target.answers[RequestID(rawValue: 2)]?.count == 1)
    }

    /// And as the initiator: what anybody could have sent ends no initiation before its time.
    @Test func nothingUnprotectedEndsAnInitiationAtOnce() throws {
        let target = Target(east: true), peer = try HostilePeer(isInitiator: false)
        target.handle(.initiate(connection: "site", child: nil, packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        let request = try #require(target.sent.last).bytes
        peer.targetSPI = try Header.parse(request.span).initiatorSPI
        for type in [NotifyType.noProposalChosen, .invalidSyntax, .authenticationFailed, .invalidMajorVersion, .invalidIKESPI, .unsupportedCriticalPayload] {
            target.receive(Message(header: peer.header(.ikeSAInit, id: 0, response: true), payloads: [.notify(Notify(type))]).serialized())
        }
        #expect(target.answers.isEmpty && target.failures.isEmpty)
        // The peer's own answer comes behind the forged ones.
        target.receive(try peer.initResponse(to: request))
        let sent = try #require(target.sent.last).bytes
        #expect(try Header.parse(sent.span).exchangeType == .ikeAuth)
        for type in [NotifyType.authenticationFailed, .invalidSyntax, .invalidIKESPI] {
            target.receive(Message(header: peer.header(.ikeAuth, id: 1, response: true), payloads: [.notify(Notify(type))]).serialized())
        }
        #expect(target.answers.isEmpty && target.failures.isEmpty)
        target.receive(try peer.seal(.ikeAuth, [peer.identity, try peer.authentication()] + peer.child(), id: 1, response: true))
        #expect(target.endpoint.status().map(\.state) == [.established])
    }

    @Test func aStrangersWordIsAHintAndNoMore() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let forged = words(.invalidIKESPI, peer.header(.informational, id: 5, response: true))
        func checks(_ bytes: [UInt8]) throws -> Int { try target.receive(bytes).filter { try peer.open($0) == [] }.count }
        #expect(try checks(forged) == 1)
        for _ in 0..<100 { #expect(try checks(forged) == 0) }
        target.receive(try peer.seal(.informational, [], id: 0, response: true))
        for _ in 0..<100 { #expect(try checks(forged) == 0) }
        target.pass(Limits().hintInterval)
        #expect(try checks(forged) == 1)
        target.receive(try peer.seal(.informational, [], id: 1, response: true))
        #expect(target.endpoint.status().map(\.state) == [.established] && target.endpoint.counters.invalidSPIReceived == 202)
        // A peer that is gone does not answer, and that is what ends the SA.
        target.pass(Limits().hintInterval)
        #expect(try checks(forged) == 1)
        target.pass(.seconds(300))
        #expect(target.endpoint.status().isEmpty)
        #expect(target.remnants == [])
    }

    @Test func wordsAboutESPMakeUsAskRarely() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let other = Header(initiatorSPI: IKESPI(rawValue: 3), responderSPI: .none, exchangeType: .informational, flags: .initiator, messageID: 0)
        // Another SPI, and another address, mean nothing.
        #expect(target.receive(words(.invalidSPI, other, data: [9, 9, 9, 9])) == [])
        #expect(target.receive(words(.invalidSPI, other, data: [1, 2, 3, 4]), from: SocketAddress(address: Fixtures.natAddress, port: 500)) == [])
        target.pass(.seconds(1))
        let asked = target.receive(words(.invalidSPI, other, data: [1, 2, 3, 4]))
        #expect(try asked.map(peer.open) == [[]])
        for _ in 0..<50 { #expect(target.receive(words(.invalidSPI, other, data: [1, 2, 3, 4])) == []) }
        #expect(target.endpoint.status().map(\.state) == [.established])
    }

    /// Section 1.5: zero SPIs will do, and random ones, which name no SA.
    @Test(arguments: [(UInt64(0), UInt64(0)), (3, 0), (0, 3), (0xdead_beef_0000_0001, 0xdead_beef_0000_0002), (1, 2)])
    func wordsAboutESPMayHaveAnySPIs(initiator: UInt64, responder: UInt64) throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        func word(_ flags: HeaderFlags, version: UInt8 = 2) -> [UInt8] {
            let header = Header(
                initiatorSPI: IKESPI(rawValue: initiator), responderSPI: IKESPI(rawValue: responder), majorVersion: version, exchangeType: .informational, flags: flags, messageID: 0)
            return words(.invalidSPI, header, data: [1, 2, 3, 4])
        }
        // A response is none.
        #expect(target.receive(word([.initiator, .response])) == [])
        #expect(target.endpoint.counters.invalidSPIReceived == 0)
        #expect(try target.receive(word(.initiator)).map(peer.open) == [[]])
        #expect(target.endpoint.counters.invalidSPIReceived == 1 && target.endpoint.status().map(\.state) == [.established])
    }

    /// The SA meant may live in another shard than the one that the message has met.
    @Test func wordsAboutESPFindTheirShard() throws {
        var limits = Limits()
        limits.shards = 3
        let target = Target(limits: limits), peer = try HostilePeer()
        try peer.connect(target)
        let header = Header(initiatorSPI: .none, responderSPI: .none, exchangeType: .informational, flags: .initiator, messageID: 0)
        // Not here: to the next, with the one behind it.
        #expect(target.receive(words(.invalidSPI, header, data: [9, 9, 9, 9])) == [])
        #expect(target.handedOn.map(\.hint) == [.invalidSPI(0x0909_0909, remote: HostilePeer.address)] && target.handedOn.map(\.shardsLeft) == [1])
        // Here: it ends here. And nowhere: it ends at the last.
        let before = target.sent.count
        target.handle(.hint(.invalidSPI(0x0909_0909, remote: HostilePeer.address), shardsLeft: 0))
        #expect(target.sent.count == before)
        target.handle(.hint(.invalidSPI(0x0102_0304, remote: HostilePeer.address), shardsLeft: 1))
        #expect(target.handedOn.count == 1 && target.sent.count == before + 1)
        #expect(try peer.open(try #require(target.sent.last).bytes) == [])
    }
}
