// What a peer that has proven nothing can make us send, compute and hold.
// RFC 7296 sections 2.1 and 2.6, RFC 6989 section 2.5.

import IKECrypto
import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct UnprovenPeers {
    private static let victim = SocketAddress(address: IPAddress(v4: 0xcb00_7109), port: 500)

    /// The cookie that the answer asks for.
    private func cookie(_ answers: [[UInt8]]) throws -> Payload? {
        try answers.first.flatMap { bytes in try Message.parse(bytes.span).payloads.first { [$0].notifications == [.cookie] } }
    }

    // MARK: Comparisons

    /// Proposals that have nothing in common with any of ours, and cost a comparison each all the same.
    private func foreign(_ count: Int) -> [Proposal] {
        (0..<count).map { Proposal(number: UInt8($0 + 1), protocolID: .ike, transforms: [Transform(type: .encryption, id: UInt16(1000 + $0)), .prfHMACSHA256, .curve25519]) }
    }

    private func crowd(_ count: Int, sharing: Int) -> [Connection] {
        (0..<count).map { index in
            var connection = Fixtures.connection(east: false)
            connection.name = "c\(index)"
            let other = Transform(type: .encryption, id: UInt16(3000 + index / sharing))
            connection.proposals = [Proposal(number: 1, protocolID: .ike, transforms: [other, .prfHMACSHA256, .curve25519])]
            return connection
        }
    }

    /// Hundreds of connections that share one list cost one comparison with it.
    @Test func aSharedListIsComparedOnce() throws {
        var limits = Limits()
        limits.comparisons = 100
        let target = Target(limits: limits), peer = try HostilePeer()
        target.handle(.configurationReplaced(crowd(500, sharing: 500)))
        let offer = [Payload.securityAssociation(SecurityAssociation(proposals: foreign(100)))] + peer.initPayloads.dropFirst()
        let answer = try #require(target.receive(peer.initRequest(offer)).first)
        #expect(try Message.parse(answer.span).payloads.notifications == [.noProposalChosen])
        #expect(target.endpoint.counters.cookiesDemanded == 0)
    }

    /// What an address that has not answered can make us compare is bounded; what one that has is bounded as well, and nothing is kept.
    @Test func comparisonsHaveALimit() throws {
        var limits = Limits()
        limits.comparisons = 100
        let target = Target(limits: limits), peer = try HostilePeer()
        let ours = Fixtures.connection(east: false)
        target.handle(.configurationReplaced(crowd(30, sharing: 1) + [ours]))
        let offer = [Payload.securityAssociation(SecurityAssociation(proposals: foreign(100)))] + peer.initPayloads.dropFirst()
        let demanded = try #require(try cookie(target.receive(peer.initRequest(offer))))
        #expect(target.jobs == 0 && target.endpoint.ikeSACount == 0)
        // Sixteen lists of a hundred are looked at, and no more.
        let refusal = try #require(target.receive(peer.initRequest([demanded] + offer)).first)
        #expect(try Message.parse(refusal.span).payloads.notifications == [.noProposalChosen])
        #expect(target.endpoint.counters.overLimit == 1 && target.endpoint.ikeSACount == 0)
        // Who offers little reaches the last connection.
        try peer.begin(target)
        #expect(target.endpoint.ikeSACount == 1)
    }

    /// A request that would not be kept is not read.
    @Test func aRequestThatIsTooLongIsNotRead() throws {
        let target = Target(), peer = try HostilePeer()
        let long = peer.initRequest(peer.initPayloads + [.unknown(.vendorID, critical: false, body: [UInt8](repeating: 1, count: 8192))])
        #expect(target.receive(long).isEmpty && target.endpoint.counters.overLimit == 1 && target.jobs == 0)
    }

    // MARK: Bytes

    @Test func threeTimesWhatCameIsTheMost() {
        var proof = AddressProof(isProven: false, factor: 3)
        func spent(_ counts: Int...) -> [Bool] { counts.map { proof.spend($0) } }
        #expect(spent(1) == [false])
        proof.receive(100)
        #expect(spent(200, 100, 1) == [true, true, false])
        proof.receive(1)
        #expect(spent(3, 1) == [true, false])
        proof.prove()
        #expect(spent(1_000_000) == [true])
    }

    /// Whatever is repeated: never more than three times the octets go out.
    @Test func aReplayedRequestDoesNotAmplify() throws {
        let target = Target(), peer = try HostilePeer()
        let request = peer.initRequest()
        var sent = 0
        for count in 1...50 {
            sent += target.receive(request, from: Self.victim).byteCount
            #expect(sent <= 3 * count * request.count)
        }
        #expect(sent > 0 && target.jobs == 1)
    }

    /// No answer that is longer than allowed before the address has shown that it answers: a cookie first, and nothing computed.
    @Test func aLongAnswerNeedsACookieFirst() throws {
        var limits = Limits()
        limits.amplification = 1
        let target = Target(limits: limits), peer = try HostilePeer()
        // Our nonce is the longer one.
        let demanded = try #require(try cookie(target.receive(peer.initRequest())))
        #expect(target.jobs == 0 && target.endpoint.ikeSACount == 0)
        try peer.take(initResponse: try #require(target.receive(peer.initRequest([demanded] + peer.initPayloads)).first))
        #expect(try peer.ask(target, .ikeAuth, try peer.authPayloads())?.contains { $0.type == .authentication } == true)
        #expect(target.endpoint.counters.answersHeldBack == 0 && target.endpoint.counters.cookiesTaken == 1)
    }

    /// IKE_AUTH from another address than IKE_SA_INIT: its sender holds the keys, and may have written any address on it.
    @Test func keysDoNotProveAnotherAddress() throws {
        var limits = Limits()
        limits.amplification = 0
        let target = Target(limits: limits), peer = try HostilePeer()
        let demanded = try #require(try cookie(target.receive(peer.initRequest())))
        try peer.take(initResponse: try #require(target.receive(peer.initRequest([demanded] + peer.initPayloads)).first))
        let request = try peer.seal(.ikeAuth, try peer.authPayloads())
        #expect(target.receive(request, from: Self.victim) == [])
        #expect(target.receive(request, from: Self.victim) == [])
        // The answer, the question whether it gets there, and the answer again.
        #expect(target.endpoint.counters.answersHeldBack == 3)
        // Nor do they keep the answer from where IKE_SA_INIT came from: somebody may have been first with a copy.
        #expect(target.receive(request).count == 1)
    }

    /// Nor does the next message, which whoever holds the keys can make without having seen an answer: only an answer to a request of ours does.
    @Test(arguments: [false, true]) func keysAndACountDoNotProveAnotherAddress(mobike: Bool) throws {
        let target = Target(), peer = try HostilePeer(), local = target.node.local
        try peer.take(initResponse: try #require(target.receive(peer.initRequest()).first))
        var came = 0
        func write(_ exchange: ExchangeType, _ payloads: [Payload]) throws {
            let request = try peer.seal(exchange, payloads)
            peer.nextID += 1
            came += request.count
            target.receive(request, from: Self.victim, to: local)
        }
        func gone() -> Int { target.sent.filter { $0.remote == Self.victim }.reduce(0) { $0 + $1.bytes.count } }
        try write(.ikeAuth, try peer.authPayloads() + (mobike ? [Mobike.supported] : []))
        try #require(target.status?.state == .established && target.status?.mobike == mobike)
        let check = try peer.lastRequest(of: target)
        #expect(check.datagram.remote == Self.victim && check.payloads.notifications == (mobike ? [.cookie2] : []))
        for _ in 0..<5 {
            try write(.informational, [])
            target.pass(.seconds(3))
            #expect(gone() <= 3 * came)
        }
        // ESP goes to the one that got our IKE_SA_INIT.
        let path = try #require(target.installed.first)
        #expect(path.remote.address == HostilePeer.address.address && target.moves.isEmpty)
        target.handle(.rekey(.childSA(path.id), request: nil))
        target.pass(.seconds(300))
        #expect(gone() <= 3 * came && target.moves.isEmpty)
    }

    /// A NAT that gives port 4500 another address than port 500.
    @Test(arguments: [false, true]) func whoAnswersFromThereIsThere(mobike: Bool) throws {
        let target = Target(), peer = try HostilePeer(), local = target.node.local
        try peer.take(initResponse: try #require(target.receive(peer.initRequest()).first))
        _ = try peer.ask(target, .ikeAuth, try peer.authPayloads() + (mobike ? [Mobike.supported] : []), from: Self.victim, to: local)
        try peer.answerLast(target, [])
        #expect(target.status?.remote == Self.victim && target.moves.last?.remote == Self.victim)
        let before = target.sent.count
        target.pass(.seconds(5))
        #expect(target.sent.count == before && target.status?.state == .established)
    }

    @Test func theLastRequestRepeatedFromElsewhereDoesNotAmplify() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let request = try peer.seal(.informational, [])
        #expect(target.receive(request).count == 1)
        let repeated = target.receive(request, from: Self.victim)
        #expect(repeated.count == 1 && repeated.byteCount <= 3 * request.count)
    }

    // MARK: Calculations

    @Test func forgedProofsAreTriedSlowlyAndThePeersOwnStillCounts() throws {
        var limits = Limits()
        limits.forgeries = 16
        let target = Target(limits: limits), peer = try HostilePeer()
        try peer.begin(target)
        let request = try peer.seal(.ikeAuth, try peer.authPayloads())
        var forged = request
        forged[forged.count - 1] ^= 1
        for _ in 0..<1000 { #expect(target.receive(forged) == []) }
        #expect(target.endpoint.counters.authNotTried == UInt64(1000 - limits.forgeries))
        #expect(target.receive(request) == [])
        target.pass(.seconds(1))
        #expect(target.receive(request).count == 1)
        #expect(target.endpoint.status().map(\.state) == [.established])
    }

    /// A value that costs a calculation and is none: nothing is kept of it, and it counts as long as any other half-open SA.
    /// RFC 7296 section 2.1: whoever has seen a client's SPI, address and nonce, and comes first with a request of its own, keeps nobody out.
    @Test func whoIsFirstWithAnotherOnesSPIKeepsNobodyOut() throws {
        let target = Target(), peer = try HostilePeer(), thief = try HostilePeer(seed: 99)
        thief.spi = peer.spi
        thief.nonce = peer.nonce
        #expect(target.receive(thief.initRequest()).count == 1)
        try peer.connect(target)
        #expect(target.endpoint.status().filter { $0.state == .established }.count == 1 && target.endpoint.halfOpenCount == 1)
    }

    @Test func aBadValueCostsItsSender() throws {
        let target = Target(), peer = try HostilePeer()
        var payloads = peer.initPayloads
        payloads[1] = .keyExchange(KeyExchange(method: 31, data: [UInt8](repeating: 0, count: 32)))
        let request = peer.initRequest(payloads), share = Limits().halfOpenPerAddress
        for _ in 0..<share { #expect(try target.receive(request).map { try Message.parse($0.span).payloads.notifications } == [[.invalidSyntax]]) }
        // No IKE SA is made of it. RFC 6989 section 2.5.
        #expect(target.jobs == share && target.endpoint.ikeSACount == 0 && target.endpoint.halfOpenCount == 0)
        for number in 1...100 as ClosedRange<UInt64> {
            peer.spi = IKESPI(rawValue: number)
            #expect(try cookie(target.receive(peer.initRequest(payloads))) != nil)
        }
        #expect(target.jobs == share)
        // Well above it cookies do not help either.
        for number in 1...1000 as ClosedRange<UInt64> {
            peer.spi = IKESPI(rawValue: number)
            guard let demanded = try cookie(target.receive(peer.initRequest(payloads))) else { continue }
            target.receive(peer.initRequest([demanded] + payloads))
        }
        #expect(target.jobs == Limits.halfOpenExcess * share)
        target.pass(Limits().halfOpenTime)
        #expect(target.receive(peer.initRequest()).count == 1 && target.endpoint.halfOpenCount == 1)
        #expect(target.remnants == [])
    }

    /// Whoever asks for the slowest method that is configured keeps nobody waiting but those who do as well.
    @Test func slowAgreementsLeaveRoomForQuickOnes() throws {
        var limits = Limits()
        limits.slowAgreementsAtOnce = 8
        let target = Target(limits: limits) { $0.proposals = [Fixtures.ikeProposal([.curve25519, .modp2048])] }
        target.worksAtOnce = false
        let peer = try HostilePeer()
        let slow: [Payload] = [
            .securityAssociation(SecurityAssociation(proposals: [Fixtures.ikeProposal([.modp2048])])), .keyExchange(KeyExchange(method: 14, data: [UInt8](repeating: 2, count: 256))),
            .nonce(peer.nonce),
        ]
        for number in 1...20 as ClosedRange<UInt64> {
            peer.spi = IKESPI(rawValue: number)
            target.receive(peer.initRequest(slow))
        }
        #expect(target.jobs == 8 && target.endpoint.counters.agreementsOverLimit == 12)
        peer.spi = IKESPI(rawValue: 99)
        target.receive(peer.initRequest())
        #expect(target.jobs == 9)
        target.pass(.seconds(60))
        target.receive(peer.initRequest(slow))
        #expect(target.jobs == 10)
        #expect(target.remnants == [])
    }

    @Test func onlySoManyAgreementsAtOnce() throws {
        var limits = Limits()
        limits.agreementsAtOnce = 8
        let target = Target(limits: limits), peer = try HostilePeer()
        target.worksAtOnce = false
        for number in 1...20 as ClosedRange<UInt64> {
            peer.spi = IKESPI(rawValue: number)
            target.receive(peer.initRequest())
        }
        #expect(target.jobs == 8 && target.endpoint.counters.agreementsOverLimit == 12)
        target.work()
        peer.spi = IKESPI(rawValue: 21)
        #expect(target.receive(peer.initRequest()).count == 1)
        #expect(target.remnants == [])
    }

    // MARK: Memory

    @Test func aVeryLongRequestIsNotKept() throws {
        let target = Target(), peer = try HostilePeer()
        let padding = (0..<30).map { Payload.vendorID([UInt8](repeating: UInt8($0), count: 300)) }
        #expect(target.receive(peer.initRequest(peer.initPayloads + padding)) == [])
        #expect(target.endpoint.ikeSACount == 0 && target.jobs == 0 && target.endpoint.counters.overLimit == 1)
        #expect(target.receive(peer.initRequest(peer.initPayloads + padding.prefix(20))).count == 1)
    }
}
