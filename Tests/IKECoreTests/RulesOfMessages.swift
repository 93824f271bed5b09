// What RFC 7296 asks of the messages we send, rule by rule: SPIs, nonces, key exchange payloads, repetitions, Deletes that cross.

import IKECrypto
import IKEWire
import Synchronization
import TestSupport
import Testing

@testable import IKECore

@Suite struct RulesOfMessages {
    private static let first = RequestID(rawValue: 1)

    private func initiate(_ target: Target, child: String = "net", request: RequestID = first) {
        target.handle(.initiate(connection: "site", child: child, packet: nil, local: target.node.local, remote: HostilePeer.address, request: request))
    }

    /// Zero for a while, then numbers.
    private final class SlowRandom: RandomSource {
        private let zeros: Mutex<Int>
        private let rest = NullRandom(seed: 3)
        init(zeros: Int) { self.zeros = Mutex(zeros) }
        func fill(_ bytes: inout MutableSpan<UInt8>) {
            let isZero = zeros.withLock { left in
                defer { left -= 1 }
                return left > 0
            }
            if isZero { for index in bytes.indices { bytes[index] = 0 } } else { rest.fill(&bytes) }
        }
    }

    /// RFC 7296 section 3.1, RFC 4303 section 2.1, RFC 3948 sections 1 and 2.1.
    @Test func noSPIIsZeroOrReserved() {
        let context = Context(shard: 0, crypto: Crypto(preferred: Registry(random: SlowRandom(zeros: 20))), limits: Limits(), pools: NoPools())
        for _ in 0..<10 { #expect(context.newIKESPI() != .none) }
        for _ in 0..<10 { #expect(context.newInboundSPI() > 255) }
        #expect(context.held.inboundSPIs == 10)
    }

    /// A peer's SPI that is zero, or one of the 255 reserved ones, is not sent to: as the responder and as the initiator of the exchange.
    @Test func aReservedSPIIsNotTaken() throws {
        for spi: UInt32 in [0, 1, 255] {
            let target = Target(), peer = try HostilePeer()
            try peer.connect(target)
            #expect(try peer.ask(target, .createChildSA, peer.createChildPayloads(spi: spi))?.notifications == [.noProposalChosen])
            #expect(target.installed.count == 1)
            let other = Target(east: true), responder = try HostilePeer(isInitiator: false)
            initiate(other)
            other.receive(try responder.initResponse(to: other.sent[0].bytes))
            other.receive(try responder.seal(.ikeAuth, [responder.identity, try responder.authentication()] + responder.child(spi: spi), id: 1, response: true))
            #expect(other.installed.isEmpty)
        }
    }

    // MARK: IKE_SA_INIT

    private func payloads(of bytes: [UInt8]) throws -> [Payload] { try Message.parse(bytes.span).payloads }

    /// RFC 7296 sections 1.2, 2.6, 2.7 and 3.1: the SPI of the responder is zero and all proposals are there, each time.
    @Test func everyTryOffersTheSame() throws {
        let target = Target(east: true) { $0.proposals = [Fixtures.ikeProposal([.curve25519, .ecp256])] }
        initiate(target)
        let firstBytes = target.sent[0].bytes
        let spi = try Header.parse(firstBytes.span).initiatorSPI
        for answer in [Notify(.cookie, data: [1, 2, 3]), Notify(.cookie, data: [4, 5, 6]), Notify(.invalidKEPayload, data: [0, 19])] {
            let header = Header(initiatorSPI: spi, responderSPI: .none, exchangeType: .ikeSAInit, flags: .response, messageID: 0)
            target.receive(Message(header: header, payloads: [.notify(answer)]).serialized())
            // Another cookie counts when the request with the first was sent again.
            if answer.data == [1, 2, 3] { target.pass(.seconds(2)) }
        }
        #expect(target.sent.count == 5)
        let first = try payloads(of: target.sent[0].bytes)
        for (index, datagram) in target.sent.enumerated() {
            let message = try Message.parse(datagram.bytes.span)
            #expect(message.header.initiatorSPI == spi && spi != .none && message.header.responderSPI == .none)
            #expect(message.header.flags == .initiator && message.header.majorVersion == 2 && message.header.minorVersion == 0 && message.header.messageID == 0)
            #expect(message.payloads.first { $0.type == .securityAssociation } == first.first { $0.type == .securityAssociation }, "\(index)")
            #expect(message.payloads.nonce == first.nonce)
            // Section 2.6.1: a fresh cookie in the place of the one before.
            let cookies = message.payloads.compactMap { if case .notify(let notify) = $0, notify.type == .cookie { notify.data } else { nil } }
            #expect(cookies == [[], [[1, 2, 3]], [[1, 2, 3]], [[4, 5, 6]], [[4, 5, 6]]][index])
        }
        guard case .keyExchange(let value)? = try payloads(of: target.sent[4].bytes).first(where: { $0.type == .keyExchange }) else {
            Issue.record("no KE")
            return
        }
        #expect(value.method == 19)
    }

    /// RFC 7296 section 2.10: at least 16 octets and half of the PRF's key, and never the same.
    @Test func noncesAreLongAndNew() throws {
        var nonces: Set<[UInt8]> = []
        var count = 0
        func see(_ payloads: [Payload]) throws {
            let nonce = try #require(payloads.nonce)
            #expect(nonce.count >= 32 && nonce.count <= 256)
            nonces.insert(nonce)
            count += 1
        }
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
        for seed in 1...3 as ClosedRange<UInt64> {
            let peer = try HostilePeer(seed: seed)
            try peer.connect(target)
            try see(try payloads(of: peer.response))
            try see(try #require(try peer.ask(target, .createChildSA, peer.createChildPayloads(spi: 0x1000 + UInt32(seed)))))
            let before = target.sent.count
            target.handle(.rekey(.ikeSA(try #require(target.endpoint.status().last?.id)), request: nil))
            try see(try peer.open(try #require(target.sent[before...].first).bytes))
        }
        let initiator = Target(east: true)
        initiate(initiator)
        try see(try payloads(of: initiator.sent[0].bytes))
        // 32 octets are half of the longest key of a PRF there is here.
        #expect(initiator.node.endpoint.context.crypto.preferred.prfs.allSatisfy { $0.keyLength <= 64 })
        #expect(nonces.count == count && count == 10)
    }

    /// RFC 7296 section 2.23: the answer has both hashes too, and they are right.
    @Test func theAnswerToIKESAInitHasTheHashesOfBothEnds() throws {
        let target = Target(), peer = try HostilePeer()
        let nat = NATDetection.notifications(initiatorSPI: peer.spi, responderSPI: .none, local: HostilePeer.address, remote: target.node.local, hidden: false)
        let answer = try #require(target.receive(peer.initRequest(peer.initPayloads + nat)).first)
        let message = try Message.parse(answer.span)
        let verdict = NATDetection.judge(
            message.payloads, initiatorSPI: peer.spi, responderSPI: message.header.responderSPI, local: HostilePeer.address, remote: target.node.local)
        #expect(verdict == NATDetection.Verdict(localBehindNAT: false, remoteBehindNAT: false))
        let types = message.payloads.notifications
        #expect(types.contains(.natDetectionSourceIP) && types.contains(.natDetectionDestinationIP))
    }

    // MARK: Keepalives, RFC 3948

    /// Section 2.3: from and to the ports of ESP in UDP, which are those of IKE behind a NAT.
    @Test func keepalivesHaveThePortsOfESP() throws {
        let target = Target(), peer = try HostilePeer()
        let nat = NATDetection.notifications(initiatorSPI: peer.spi, responderSPI: .none, local: HostilePeer.address, remote: SocketAddress(address: Fixtures.natAddress, port: 1), hidden: false)
        try peer.take(initResponse: try #require(target.receive(peer.initRequest(peer.initPayloads + nat)).first))
        let local = SocketAddress(address: Fixtures.westAddress, port: 4500), remote = SocketAddress(address: Fixtures.eastAddress, port: 4500)
        target.handle(.datagramReceived(Datagram(local: local, remote: remote, marked: true, bytes: try peer.seal(.ikeAuth, try peer.authPayloads()))))
        target.pass(.seconds(21))
        let path = try #require(target.keepalivePath), child = try #require(target.installed.first)
        #expect(path == (local, remote))
        #expect(child.encapsulated && child.local == local && child.remote == remote)
    }

    /// Section 4: a peer that sends nothing else counts as silent.
    @Test func keepalivesAreNoSignOfLife() throws {
        let target = Target { $0.dpdDelay = .seconds(10) }
        let peer = try HostilePeer()
        try peer.connect(target)
        let before = target.sent.count
        for _ in 0..<24 {
            target.pass(.milliseconds(500))
            #expect(target.receive([0xff]) == [])
        }
        #expect(target.sent.count > before)
        #expect(try peer.open(try #require(target.sent.last).bytes) == [])
        target.pass(.seconds(100))
        #expect(target.endpoint.status().isEmpty)
    }

    // MARK: Key exchange

    /// RFC 7296 section 1.3: the group in use is one that the peer takes.
    @Test func aRekeyBeginsWithTheGroupInUse() throws {
        let target = Target { $0.proposals = [Fixtures.ikeProposal([.ecp256, .curve25519])] }
        let peer = try HostilePeer()
        try peer.connect(target)
        target.handle(.rekey(.connection("site"), request: nil))
        guard case .keyExchange(let value)? = try peer.open(try #require(target.sent.last).bytes).first(where: { $0.type == .keyExchange }) else {
            Issue.record("no KE")
            return
        }
        #expect(value.method == 31)
    }

    /// RFC 7296 sections 3.3.6 and 3.4: without a group there is no KE payload, and one that comes is ignored.
    @Test func withoutAGroupThereIsNoPublicValue() throws {
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
        let peer = try HostilePeer()
        try peer.connect(target)
        var payloads = peer.createChildPayloads()
        var proposal = Fixtures.espProposal([.curve25519, .keyExchangeNone])
        proposal.spi = [9, 9, 9, 9]
        payloads[0] = .securityAssociation(SecurityAssociation(proposals: [proposal]))
        payloads.append(.keyExchange(KeyExchange(method: 31, data: peer.key.publicValue)))
        let jobs = target.jobs
        let answer = try #require(try peer.ask(target, .createChildSA, payloads))
        #expect(target.jobs == jobs, "the public value was looked at")
        guard case .securityAssociation(let chosen)? = answer.first(where: { $0.type == .securityAssociation }) else {
            Issue.record("\(answer)")
            return
        }
        #expect(chosen.proposals.first?.transform(.keyExchange) == nil)
        #expect(!answer.contains { $0.type == .keyExchange })
        #expect(target.installed.count == 2)
        initiate(target, child: "second")
        let request = try peer.open(try #require(target.sent.last).bytes)
        #expect(request.nonce != nil && !request.contains { $0.type == .keyExchange })
    }

    /// RFC 7296 section 5: whatever a plugin serves.
    @Test func ikeIsNeitherWithoutCipherNorWithoutIntegrity() throws {
        var registry = NullCrypto.registry(seed: 1)
        let null = Transform(type: .encryption, id: 11)
        registry.add(NullCipher(null, keyLength: 0))
        registry.add(NullMAC(.integrityNone, keyLength: 0, tagLength: 0))
        let rest: [Transform] = [.prfHMACSHA256, .curve25519]
        func suite(_ transforms: [Transform]) -> IKESuite? { registry.suite(Proposal(number: 1, protocolID: .ike, transforms: transforms + rest)) }
        #expect(suite([.aesCBC(256), .hmacSHA256_128]) != nil)
        #expect(suite([null, .hmacSHA256_128]) == nil)
        #expect(suite([null, .integrityNone]) == nil)
        #expect(suite([.aesCBC(256), .integrityNone]) == nil)
        #expect(suite([.aesCBC(256)]) == nil)
    }

    // MARK: TEMPORARY_FAILURE, section 2.25

    @Test func notNowIsNotAskedAgainAtOnce() throws {
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
        let peer = try HostilePeer()
        try peer.connect(target)
        initiate(target, child: "second")
        let asked = target.sent.count
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.temporaryFailure))], id: 0, response: true))
        target.pass(.milliseconds(990))
        #expect(target.sent.count == asked)
        #expect(target.answers.isEmpty)
        target.pass(.seconds(3))
        #expect(target.sent.count > asked)
        #expect(try peer.open(try #require(target.sent.last).bytes).contains { $0.type == .securityAssociation })
    }

    // MARK: Deletes, section 1.4.1

    /// Both delete the same pair: neither answer names it, our packets stop with the peer's request, and its SPI serves no other.
    @Test func deletesThatCrossNameThePairOnce() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let child = try #require(target.endpoint.status().first?.children.first)
        target.handle(.terminate(.childSA(child.id), request: Self.first))
        let ours = try peer.open(try #require(target.sent.last).bytes)
        #expect(ours == [.delete(Delete(protocolID: .esp, spis: [child.inboundSPI]))])
        #expect(target.stopped.isEmpty)
        // The peer's Delete, before its answer to ours.
        #expect(try peer.ask(target, .informational, [.delete(Delete(protocolID: .esp, spis: [child.outboundSPI]))]) == [])
        #expect(target.stopped == [child.id])
        #expect(target.held.inboundSPIs == 1, "the inbound SPI went before the answer")
        target.receive(try peer.seal(.informational, [], id: 0, response: true))
        #expect(target.answers[Self.first]?.count == 1)
        target.pass(.seconds(2))
        #expect(target.held.inboundSPIs == 1, "what was on its way is not taken any more")
        target.pass(.seconds(8))
        #expect(target.held.inboundSPIs == 0 && target.endpoint.status().map(\.state) == [.established])
    }

    /// A pair whose Delete nobody answers is not taken away alone: the IKE SA goes with it.
    @Test func aHalfClosedPairStaysUntilTheAnswer() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let child = try #require(target.endpoint.status().first?.children.first)
        target.handle(.terminate(.childSA(child.id), request: Self.first))
        target.pass(.seconds(20))
        #expect(target.held.inboundSPIs == 1 && target.stopped.isEmpty)
        target.pass(.seconds(100))
        #expect(target.endpoint.status().isEmpty)
        #expect(target.remnants == [])
    }

    // MARK: Repetitions and secrets

    /// RFC 7296 section 2.12: with the SA go its keys.
    @Test func theKeysOfAClosedSAAreForgotten() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        weak let channel = target.endpoint.firstEstablished?.channel
        #expect(channel != nil)
        _ = try peer.ask(target, .informational, [.delete(Delete(protocolID: .ike))])
        #expect(channel == nil)
    }
}
