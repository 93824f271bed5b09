// What RFC 7296 asks of an established SA, rule by rule, against a scripted peer.

import IKECrypto
import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct RulesOfAnSA {
    private static let gone: [Payload] = [.delete(Delete(protocolID: .ike))]

    /// RFC 7296 section 2.11: to the address and port that the request came from, from those that it came to.
    @Test func anAnswerGoesBackTheWayTheRequestCame() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let elsewhere = SocketAddress(address: IPAddress(v4: 0xcb00_7105), port: 12345)
        let local = SocketAddress(address: Fixtures.westAddress, port: 4500)
        let request = try peer.seal(.informational, [])
        for _ in 0..<2 {
            let before = target.sent.count
            target.handle(.datagramReceived(Datagram(local: local, remote: elsewhere, marked: true, bytes: request)))
            let answer = try #require(target.sent[before...].first)
            #expect(answer.remote == elsewhere && answer.local == local && answer.marked)
        }
        // The SA itself has not moved: nobody is behind a NAT.
        #expect(target.endpoint.status().first?.remote == HostilePeer.address)
    }

    /// RFC 7296 section 2.21.3.
    @Test func invalidSyntaxEndsTheSAForBoth() throws {
        let without: [(ExchangeType, [Payload])] = [(.createChildSA, []), (.createChildSA, [.nonce([UInt8](repeating: 1, count: 32))]), (.ikeAuth, []), (ExchangeType(rawValue: 99), [])]
        for (exchange, payloads) in without {
            let target = Target(), peer = try HostilePeer()
            try peer.connect(target)
            #expect(try peer.ask(target, exchange, payloads)?.notifications == [.invalidSyntax])
            #expect(target.endpoint.status().isEmpty, "\(exchange)")
            target.pass(.seconds(60))
            #expect(target.remnants == [])
        }
        // And the other way round: the peer says it of a request of ours.
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
        let peer = try HostilePeer()
        try peer.connect(target)
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        let before = target.sent.count
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.invalidSyntax))], id: 0, response: true))
        #expect(target.answers[RequestID(rawValue: 1)]?.count == 1 && target.endpoint.status().isEmpty)
        // No Delete: the peer has dropped it.
        #expect(target.sent.count == before)
    }

    /// RFC 7296 section 2.5.
    @Test func aCriticalPayloadInAResponseEndsTheSA() throws {
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
        let peer = try HostilePeer()
        try peer.connect(target)
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        let before = target.sent.count
        let payloads = peer.createChildPayloads() + [.unknown(PayloadType(rawValue: 200), critical: true, body: [1])]
        target.receive(try peer.seal(.createChildSA, payloads, id: 0, response: true))
        #expect(target.answers[RequestID(rawValue: 1)]?.count == 1)
        #expect(try peer.open(try #require(target.sent[before...].first).bytes) == Self.gone)
        #expect(target.installed.count == 1)
        target.receive(try peer.seal(.informational, [], id: 1, response: true))
        target.pass(.seconds(60))
        #expect(target.remnants == [])
    }

    /// RFC 7296 section 2.3: the peer's window is one, at the end of the daemon too.
    @Test func theLastDeleteWaitsForTheRequestBeforeIt() throws {
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
        let peer = try HostilePeer()
        try peer.connect(target)
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        let before = target.sent.count
        target.handle(.shutDown)
        #expect(target.sent.count == before)
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.noAdditionalSAs))], id: 0, response: true))
        #expect(try peer.open(try #require(target.sent[before...].first).bytes) == Self.gone)
    }

    /// RFC 7296 section 1: nothing else before IKE_AUTH is answered.
    @Test func noRequestBeforeTheAnswerToIKEAuth() throws {
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
        let peer = try HostilePeer()
        try peer.begin(target)
        target.worksAtOnce = false
        #expect(target.receive(try peer.seal(.ikeAuth, try peer.authPayloads())) == [])
        while target.installed.isEmpty { target.workOnce() }
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        let before = target.sent.count
        target.handle(.childSAInstalled(try #require(target.installed.first).id, failure: nil))
        let headers = try target.sent[before...].map { try Header.parse($0.bytes.span) }
        #expect(headers.map(\.exchangeType) == [.ikeAuth, .createChildSA])
        #expect(target.sent.count == before + 2)
    }

    /// RFC 7296 section 3.9: a nonce serves once.
    @Test func aRetryWithAnotherGroupHasAnotherNonce() throws {
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3, pfs: [.curve25519, .ecp256])) }
        let peer = try HostilePeer()
        try peer.connect(target)
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        let first = try peer.open(try #require(target.sent.last).bytes)
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.invalidKEPayload, data: [0, 19]))], id: 0, response: true))
        let second = try peer.open(try #require(target.sent.last).bytes)
        let nonces = (first + second).compactMap { payload -> [UInt8]? in if case .nonce(let nonce) = payload { nonce } else { nil } }
        #expect(nonces.count == 2 && nonces[0] != nonces[1])
    }

    /// RFC 7296 section 2.8: a pair sends nothing after its lifetime, whatever the peer answers.
    @Test func aPairPastItsLifetimeSendsNothing() throws {
        let target = Target {
            $0.children[0].lifetime = Lifetime(rekeyTime: .zero, lifeTime: .seconds(100), randTime: .zero)
            $0.children[0].startAction = .start
        }
        let peer = try HostilePeer()
        try peer.connect(target)
        let child = try #require(target.installed.first)
        target.pass(.seconds(101))
        #expect(target.stopped == [child.id])
        // What should always be up is begun anew.
        #expect(target.again.count == 1)
    }

    /// RFC 7296 section 2.1: a copy of the first request that comes late belongs to the SA that it made.
    @Test func aLateCopyOfTheFirstRequestMakesNoSecondSA() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let copy = peer.request
        #expect(target.receive(copy) == [])
        #expect(target.endpoint.ikeSACount == 1 && target.endpoint.halfOpenCount == 0)
        _ = try peer.ask(target, .informational, Self.gone)
        target.pass(.seconds(60))
        #expect(target.receive(copy).count == 1)
    }

    /// RFC 7296 section 2.6: 1 to 64 octets, whatever the PRF.
    @Test func aCookieIsShortEnoughForEveryPRF() throws {
        let registry = NullCrypto.registry(seed: 3)
        let jar = CookieJar(secret: [1, 2, 3], now: Instant(nanoseconds: 0))
        for prf in registry.prfs {
            let cookie = try #require(jar.cookie(prf: prf, nonce: [1], remote: HostilePeer.address, initiatorSPI: IKESPI(rawValue: 1)))
            #expect((1...64).contains(cookie.count))
            #expect(jar.verify(cookie, prf: prf, nonce: [1], remote: HostilePeer.address, initiatorSPI: IKESPI(rawValue: 1)))
        }
    }

    /// RFC 7296 section 2.5: with and without an SPI of ours.
    @Test func aHigherVersionIsRefusedByName() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        for bytes in [peer.request, try peer.seal(.informational, [])] {
            var changed = bytes
            changed[17] = 0x30
            let answer = try #require(target.receive(changed).first)
            #expect(try Message.parse(answer.span).payloads.notifications == [.invalidMajorVersion])
            #expect(answer[17] == 0x20)
        }
        #expect(target.endpoint.ikeSACount == 1)
    }

    /// RFC 7296 section 2.4.
    @Test func answersToStrangersAreLimitedInRate() throws {
        let target = Target(), peer = try HostilePeer()
        let request = peer.initRequest([.nonce([UInt8](repeating: 1, count: 16))])
        var answers = 0
        for _ in 0..<6000 { answers += target.receive(request).count }
        #expect(answers == 5000)
        target.pass(.seconds(1))
        #expect(target.receive(request).count == 1)
    }

    /// RFC 7296 section 2.23: one of the two notifications alone is looked at as well, and answered with both.
    @Test func oneNATNotificationAloneCounts() throws {
        for keptSource in [true, false] {
            let target = Target(), peer = try HostilePeer()
            let elsewhere = SocketAddress(address: Fixtures.natAddress, port: 1)
            let both = NATDetection.notifications(initiatorSPI: peer.spi, responderSPI: .none, local: HostilePeer.address, remote: elsewhere, hidden: keptSource)
            let answer = try #require(target.receive(peer.initRequest(peer.initPayloads + [both[keptSource ? 0 : 1]])).first)
            #expect(try Message.parse(answer.span).payloads.notifications.count { $0 == .natDetectionSourceIP || $0 == .natDetectionDestinationIP } == 2)
            try peer.take(initResponse: answer)
            _ = try peer.ask(target, .ikeAuth, try peer.authPayloads())
            let status = try #require(target.endpoint.status().first)
            #expect(status.remoteBehindNAT == keptSource && status.localBehindNAT == !keptSource)
        }
    }

    /// RFC 7296 section 3.3.1: a first proposal has no SPI.
    @Test func aFirstProposalWithAnSPIIsRefused() throws {
        let target = Target(), peer = try HostilePeer()
        var proposal = Fixtures.ikeProposal()
        proposal.spi = [1, 2, 3, 4, 5, 6, 7, 8]
        var payloads = peer.initPayloads
        payloads[0] = .securityAssociation(SecurityAssociation(proposals: [proposal]))
        let answer = try #require(target.receive(peer.initRequest(payloads)).first)
        #expect(try Message.parse(answer.span).payloads.notifications.first?.isError == true)
        #expect(target.remnants == [])
    }
}
