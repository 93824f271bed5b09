// Many peers that prove nothing: what they cost has a limit, and goes away.
// RFC 7296 section 2.6, RFC 8019.

@testable import IKECore
import IKECrypto
import IKEWire
import Testing
import TestSupport

@Suite struct HostileFlood {
    private static let count: UInt64 = 10_000

    @Test func initRequestsWithoutCookiesCostNextToNothing() throws {
        let target = Target(), peer = try HostilePeer()
        var bytes = 0
        for number in 1...Self.count {
            peer.spi = IKESPI(rawValue: number)
            let request = peer.initRequest()
            let answer = target.receive(request)
            #expect(answer.count == 1)
            bytes += answer.reduce(0) { $0 + $1.count } - request.count
        }
        let limits = Limits()
        #expect(target.endpoint.halfOpenCount == limits.cookieThreshold)
        #expect(target.endpoint.ikeSACount == limits.cookieThreshold)
        #expect(target.endpoint.counters.cookiesDemanded == Self.count - UInt64(limits.cookieThreshold))
        #expect(target.jobs == limits.cookieThreshold)
        #expect(bytes <= 0)
        #expect(target.reports.count < 30)
        #expect(target.remnants == [])
    }

    @Test func cookiesDoNotLiftTheLimit() throws {
        var limits = Limits()
        limits.cookieThreshold = 10
        limits.halfOpen = 200
        let target = Target(limits: limits), peer = try HostilePeer()
        for number in 1...2000 as ClosedRange<UInt64> {
            peer.spi = IKESPI(rawValue: number)
            guard let answer = target.receive(peer.initRequest()).first else { continue }
            if case .notify(let notify)? = try Message.parse(answer.span).payloads.first, notify.type == .cookie {
                target.receive(peer.initRequest([.notify(notify)] + peer.initPayloads))
            }
        }
        #expect(target.endpoint.halfOpenCount == 200)
        #expect(target.endpoint.ikeSACount == 200)
        #expect(target.endpoint.counters.overLimit > 0)
        #expect(target.remnants == [])
        // And then it works again.
        try HostilePeer(seed: 5).connect(target)
    }

    @Test func peersThatAreRefusedCountAsHalfOpen() throws {
        let target = Target()
        for seed in 1...30 as ClosedRange<UInt64> {
            let peer = try HostilePeer(seed: seed)
            try peer.begin(target)
            peer.secret = [1]
            #expect(try peer.ask(target, .ikeAuth, try peer.authPayloads())?.notifications == [.authenticationFailed])
        }
        #expect(target.endpoint.halfOpenCount == 30)
        let next = try HostilePeer(seed: 99)
        let answer = try #require(target.receive(next.initRequest()).first)
        #expect(try Message.parse(answer.span).payloads.notifications == [.cookie])
        #expect(target.remnants == [])
    }

    @Test func strangersDoNotFillTheLog() throws {
        let target = Target { $0.remoteAddresses = [.range(IPAddress(v4: 1), IPAddress(v4: 2))] }
        let peer = try HostilePeer()
        for number in 1...Self.count {
            peer.spi = IKESPI(rawValue: number)
            target.receive(peer.initRequest())
        }
        #expect(target.failures.count == 20)
        target.now = target.now + .seconds(3)
        target.receive(peer.initRequest())
        #expect(target.failures.count == 21)
        let told = target.reports.contains { if case .note(_, let text, _, _) = $0 { text.contains("9980") } else { false } }
        #expect(told)
    }

    @Test func aRequestForHundredsOfTransformTypesIsRefusedWithoutDelay() throws {
        let none = (6...255).map { Transform(type: TransformType(rawValue: $0), id: 0) }
        let offered = (1...8).map { Proposal(number: $0, protocolID: .ike, transforms: [.aesGCM16(128), .prfHMACSHA512, .modp2048] + none) }
        #expect(Negotiation.choose(configured: [Fixtures.ikeProposal()], offered: offered, protocolID: .ike) == nil)
        let target = Target(), peer = try HostilePeer()
        var payloads = peer.initPayloads
        payloads[0] = .securityAssociation(SecurityAssociation(proposals: offered))
        #expect(target.receive(peer.initRequest(payloads)).count == 1)
        let text = target.failures.flatMap { $0.evidence + $0.advice }.joined()
        #expect(text.utf8.count < 20_000)
    }

    @Test func aShortRequestGetsNoLongerAnswer() {
        let target = Target()
        for exchange in [ExchangeType.ikeSAInit, .ikeAuth, .informational] {
            for version: UInt8 in [1, 2, 3, 15] {
                let header = Header(initiatorSPI: IKESPI(rawValue: 1), responderSPI: .none, majorVersion: version, exchangeType: exchange, flags: .initiator, messageID: 0)
                #expect(target.receive(Message(header: header, payloads: []).serialized()) == [])
                let padded = Message(header: header, payloads: [.vendorID(Array(repeating: 1, count: 30))]).serialized()
                #expect(target.receive(padded).count == (version > 2 || (version == 2 && exchange == .ikeSAInit) ? 1 : 0))
            }
        }
    }

    @Test func jobsThatNeverEndAreForgotten() throws {
        let target = Target()
        target.worksAtOnce = false
        for number in 1...30 as ClosedRange<UInt64> {
            let peer = try HostilePeer(seed: number)
            target.receive(peer.initRequest())
        }
        #expect(target.held.jobs == 30)
        #expect(target.remnants == [])
    }
}
