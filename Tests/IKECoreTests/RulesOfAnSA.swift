// What RFC 7296 asks of an established SA, rule by rule, against a scripted peer.

import IKECrypto
import IKEWire
import Testing

@testable import IKECore
@testable import TestSupport

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
        // Another takes its place when it is gone.
        let sent = target.sent.count
        target.receive(try peer.seal(.informational, [], id: 0, response: true))
        #expect(target.sent.count == sent + 1)
        let bytes = try #require(target.sent.last).bytes
        #expect(try Message.parse(bytes.span).header.exchangeType == .createChildSA)
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

    /// RFC 7296 sections 1.5 and 2.5: with and without an SPI of ours, and the answer has the request's SPIs.
    @Test func aHigherVersionIsRefusedByName() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        for bytes in [peer.request, try peer.seal(.informational, [])] {
            var changed = bytes
            changed[17] = 0x30
            let answer = try #require(target.receive(changed).first)
            #expect(try Message.parse(answer.span).payloads.notifications == [.invalidMajorVersion])
            #expect(answer[17] == 0x20 && answer[18] == bytes[18] && answer[0..<16] == changed[0..<16])
            #expect(answer[19] == (bytes[19] ^ 0x28) & 0x28, "a response, from the side that the request is not from")
        }
        #expect(target.endpoint.ikeSACount == 1)
    }

    /// RFC 6989 section 2.5: a public value that fails its checks, in a later request and in a later response.
    @Test func aBadValueLaterEndsTheSA() throws {
        let bad = Payload.keyExchange(KeyExchange(method: 31, data: [UInt8](repeating: 0, count: 32)))
        func child(_ peer: HostilePeer) -> [Payload] {
            var proposal = Fixtures.espProposal([.curve25519])
            proposal.spi = [9, 9, 9, 9]
            return [
                .securityAssociation(SecurityAssociation(proposals: [proposal])), .nonce(peer.nonce), bad, .trafficSelectorInitiator([Fixtures.network(1)]),
                .trafficSelectorResponder([Fixtures.network(2)]),
            ]
        }
        func ike(_ peer: HostilePeer) -> [Payload] {
            var proposal = Fixtures.ikeProposal()
            proposal.spi = [1, 2, 3, 4, 5, 6, 7, 8]
            return [.securityAssociation(SecurityAssociation(proposals: [proposal])), .nonce(peer.nonce), bad]
        }
        for payloads in [child, ike] {
            let target = Target { $0.children = [Fixtures.child(local: 2, remote: 1, pfs: [.curve25519])] }
            let peer = try HostilePeer()
            try peer.connect(target)
            #expect(try peer.ask(target, .createChildSA, payloads(peer)) == [.notify(Notify(.invalidSyntax))])
            #expect(target.endpoint.status().isEmpty)
            #expect(target.remnants == [])
        }
        for (index, payloads) in [child, ike].enumerated() {
            let target = Target { $0.children = [Fixtures.child(local: 2, remote: 1, pfs: [.curve25519])] }
            let peer = try HostilePeer()
            try peer.connect(target)
            target.handle(.rekey(index == 0 ? .child("net", connection: nil) : .connection("site"), request: RequestID(rawValue: 1)))
            let before = target.sent.count
            target.receive(try peer.seal(.createChildSA, payloads(peer), id: 0, response: true))
            // The child that the peer believes in is deleted first, then the IKE SA.
            for id in 1...(index == 0 ? 2 : 1) as ClosedRange<UInt32> { target.receive(try peer.seal(.informational, [], id: id, response: true)) }
            let sent = target.sent[before...].map(\.bytes)
            #expect(try sent.map(peer.open).last == Self.gone)
            #expect(target.answers[RequestID(rawValue: 1)]?.count == 1 && target.endpoint.status().isEmpty)
        }
    }

    /// RFC 7296 section 2.4: who may be there more than once does not say that it is alone.
    @Test func neverUniqueNeverSaysInitialContact() throws {
        for (unique, isSaid) in [(UniquePolicy.never, false), (.no, true), (.keep, true), (.replace, true)] {
            let target = Target(east: true) { $0.unique = unique }
            let peer = try HostilePeer(isInitiator: false)
            target.handle(.initiate(connection: "site", child: nil, packet: nil, local: target.node.local, remote: HostilePeer.address, request: nil))
            let request = try #require(target.sent.last).bytes
            target.receive(try peer.initResponse(to: request))
            let auth = try #require(target.sent.last).bytes
            #expect(try peer.open(auth).notifications.contains(.initialContact) == isSaid)
        }
    }

    /// RFC 7296 sections 2.6 and 3.1: what is sent again with a cookie, and when it has grown old with another.
    @Test func cookiesComeFirstAndFreshOnesReplaceThem() throws {
        let target = Target(east: true), peer = try HostilePeer(isInitiator: false)
        target.handle(.initiate(connection: "site", child: nil, packet: nil, local: target.node.local, remote: HostilePeer.address, request: nil))
        let first = try #require(target.sent.last).bytes, header = try Header.parse(first.span), payloads = try Message.parse(first.span).payloads
        #expect(header.initiatorSPI != .none && header.responderSPI == .none)
        peer.targetSPI = header.initiatorSPI
        var answer = peer.header(.ikeSAInit, id: 0, response: true)
        answer.responderSPI = .none
        for number in 1...3 as ClosedRange<UInt8> {
            let cookie = Payload.notify(Notify(.cookie, data: [number, 2, 3]))
            target.receive(Message(header: answer, payloads: [cookie]).serialized())
            let again = try #require(target.sent.last).bytes, message = try Message.parse(again.span)
            #expect(message.header.initiatorSPI == header.initiatorSPI && message.header.responderSPI == .none && message.payloads == [cookie] + payloads)
            // Sent again without an answer, octet for octet. Section 2.1.
            target.pass(.seconds(2))
            #expect(target.sent.last?.bytes == again)
        }
        let last = try #require(target.sent.last).bytes
        target.receive(try peer.initResponse(to: last))
        let auth = try #require(target.sent.last).bytes
        #expect(try Header.parse(auth.span).exchangeType == .ikeAuth)
    }

    /// RFC 7296 section 2.6.
    @Test func noTwoSAsHaveOneSPI() throws {
        let context = Target().endpoint.context
        var asked = 0
        context.holdsSPI = { _ in
            asked += 1
            return asked < 4
        }
        #expect(context.newIKESPI() != .none && asked == 4)
    }

    /// RFC 7296 sections 2.5, 3.1 and 3.12: order, the Version flag, and what nobody knows.
    @Test func orderAndUnknownsDoNotMatter() throws {
        let target = Target(), peer = try HostilePeer()
        let vendors = [Payload.vendorID(Array("Somebody 1.0".utf8)), .vendorID([0xde, 0xad]), .unknown(PayloadType(rawValue: 200), critical: false, body: [1])]
        var request = peer.initRequest(vendors + peer.initPayloads.reversed())
        request[19] |= 0x10
        // What AUTH covers is what was sent.
        #expect(target.receive(request).count == 1)
        let other = Target(), second = try HostilePeer()
        let answer = try #require(other.receive(second.initRequest(second.initPayloads.reversed() + vendors)).first)
        try second.take(initResponse: answer)
        #expect(try second.ask(other, .ikeAuth, try second.authPayloads().reversed() + vendors)?.contains { $0.type == .authentication } == true)
        let told = other.reports.contains { if case .note(_, let text, _, _) = $0 { text.contains("\"Somebody 1.0\", dead") } else { false } }
        #expect(told)
        // None of ours.
        #expect(try !Message.parse(answer.span).payloads.contains { $0.type == .vendorID })
    }

    @Test func vendorIDsAreBounded() {
        let texts = VendorIDs.texts((0..<100).map { _ in .vendorID([UInt8](repeating: 0x41, count: 1000)) })
        #expect(texts.count == VendorIDs.limit && texts.allSatisfy { $0.utf8.count <= VendorIDs.longest + 5 })
        #expect(VendorIDs.texts([.vendorID(Array("a\"b".utf8)), .vendorID([]), .vendorID([0x1b, 0x5b])]) == ["612262", "", "1b5b"])
    }

    /// RFC 7296 section 2.5.
    @Test func whatIsCriticalAndUnknownIsRefusedByName() throws {
        let unknown = Payload.unknown(PayloadType(rawValue: 200), critical: true, body: [1])
        let target = Target(), peer = try HostilePeer()
        let answer = try #require(target.receive(peer.initRequest(peer.initPayloads + [unknown])).first)
        #expect(try Message.parse(answer.span).payloads == [.notify(Notify(.unsupportedCriticalPayload, data: [200]))])
        try peer.connect(target)
        for exchange in [ExchangeType.createChildSA, .informational] {
            #expect(try peer.ask(target, exchange, peer.createChildPayloads() + [unknown]) == [.notify(Notify(.unsupportedCriticalPayload, data: [200]))])
        }
        #expect(target.endpoint.status().map(\.state) == [.established] && target.installed.count == 1)
    }

    /// RFC 7427 section 4: said where a method of ours signs, and kept for it.
    @Test func signatureHashesAreSaidWhereThereAreSome() throws {
        func hashes(_ payloads: [Payload]) -> [[UInt8]] {
            payloads.compactMap { if case .notify(let notify) = $0, notify.type == .signatureHashAlgorithms { notify.data } else { nil } }
        }
        for own in [[], [2, 3, 4]] as [[UInt16]] {
            let node = Node("x", address: Fixtures.westAddress, connections: [Fixtures.connection(east: false)], seed: 5)
            var crypto = Crypto(preferred: NullCrypto.registry(seed: 5))
            crypto.signatureHashes = own
            let endpoint = Endpoint(shard: 0, crypto: crypto, connections: node.connections, limits: Limits())
            func give(_ event: Event) -> [[UInt8]] {
                var actions = endpoint.handle(event, now: Instant(nanoseconds: 1))[...], sent: [[UInt8]] = []
                while let action = actions.popFirst() {
                    if case .run(let id, let job) = action { actions += endpoint.handle(.jobFinished(id, node.run(job)), now: Instant(nanoseconds: 1)) }
                    if case .transmit(let datagram) = action { sent.append(datagram.bytes) }
                }
                return sent
            }
            let expected: [[UInt8]] = own.isEmpty ? [] : [[0, 2, 0, 3, 0, 4]]
            for theirs in [[], [0, 4, 0, 2], [0, 4, 0]] as [[UInt8]] {
                let peer = try HostilePeer(seed: UInt64(theirs.count) + 50)
                let said = theirs.isEmpty ? [] : [Payload.notify(Notify(.signatureHashAlgorithms, data: theirs))]
                let answer = try #require(give(.datagramReceived(Datagram(local: node.local, remote: HostilePeer.address, marked: false, bytes: peer.initRequest(peer.initPayloads + said)))).first)
                // To who names none, or names them wrong, none are named.
                #expect(hashes(try Message.parse(answer.span).payloads) == (theirs.count == 4 ? expected : []))
                let sa = endpoint.sas.values.first { $0.remoteSPI == peer.spi }
                #expect(sa?.peerHashes == (theirs.count == 4 ? [4, 2] : []))
            }
            let request = try #require(give(.initiate(connection: "site", child: nil, packet: nil, local: node.local, remote: HostilePeer.address, request: nil)).first)
            #expect(hashes(try Message.parse(request.span).payloads) == expected)
        }
        #expect(SignatureHashes.parse(Notify(.signatureHashAlgorithms, data: [UInt8](repeating: 1, count: 1000))).count == SignatureHashes.limit)
    }

    /// RFC 7296 section 2.4.
    @Test func answersToStrangersAreLimitedInRate() throws {
        let target = Target(), peer = try HostilePeer()
        let request = peer.initRequest([.unknown(PayloadType(rawValue: 200), critical: true, body: []), .nonce([UInt8](repeating: 1, count: 16))])
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
        #expect(try Message.parse(answer.span).payloads.notifications == [.noProposalChosen])
        #expect(target.remnants == [])
    }
}
