// Many peers that prove nothing: what they cost has a limit, and goes away.
// RFC 7296 section 2.6, RFC 8019.

@testable import IKECore
import IKECrypto
import IKEWire
import Testing
import TestSupport

@Suite struct HostileFlood {
    private static let count: UInt64 = 10_000
    /// An address in a network of its own.
    private static func stranger(_ number: UInt64) -> SocketAddress { SocketAddress(address: IPAddress(v4: UInt32(number) << 8 | 1), port: 500) }

    /// One IKE_SA_INIT request, and once more with the cookie that it is answered with.
    @discardableResult
    private func ask(_ target: Target, _ peer: HostilePeer, from remote: SocketAddress) throws -> [UInt8]? {
        guard let answer = target.receive(peer.initRequest(), from: remote).first else { return nil }
        guard case .notify(let notify)? = try Message.parse(answer.span).payloads.first, notify.type == .cookie else { return answer }
        return target.receive(peer.initRequest([.notify(notify)] + peer.initPayloads), from: remote).first
    }

    /// Half-open SAs of peers that begin from `addresses` in turn, with a cookie where one is asked for.
    private func besiege(_ target: Target, _ count: Int, from first: UInt64 = 1, _ address: (UInt64) -> IPAddress) throws -> Int {
        let peer = try HostilePeer()
        for number in first..<first + UInt64(count) {
            peer.spi = IKESPI(rawValue: number)
            try ask(target, peer, from: SocketAddress(address: address(number), port: 500))
        }
        return target.endpoint.halfOpenCount
    }

    @Test func anAddressBringsCookiesAboveItsShareAndIsRefusedWellAbove() throws {
        let target = Target(), limits = Limits()
        let nat = IPAddress(v4: 0xcb00_7101)
        #expect(try besiege(target, 32) { _ in nat } == 32)
        #expect(target.endpoint.counters.cookiesDemanded == 0)
        // Others notice nothing.
        let other = try HostilePeer(seed: 77)
        #expect(try target.receive(other.initRequest(), from: Self.stranger(1)).map { try Message.parse($0.span).payloads.notifications.contains(.cookie) } == [false])
        let most = Limits.halfOpenExcess * limits.halfOpenPerAddress
        #expect(try besiege(target, 1000, from: 1000) { _ in nat } == most + 1)
        #expect(target.endpoint.counters.cookiesTaken == UInt64(most - limits.halfOpenPerAddress))
        #expect(target.endpoint.counters.addressOverLimit == UInt64(1000 - most + limits.halfOpenPerAddress))
        let late = try HostilePeer(seed: 78)
        #expect(try ask(target, late, from: Self.stranger(2)) != nil)
        #expect(target.remnants == [])
        #expect(target.endpoint.halfOpen.held == 0)
    }

    @Test func aNetworkHasAShareToo() throws {
        let limits = Limits(), most = Limits.halfOpenExcess * limits.halfOpenPerPrefix
        let networks: [(first: IPAddress, apart: UInt128)] = [
            (IPAddress(v4: 0xc633_6400), 0xc633_6501), (IPAddress(family: .v6, value: 0x2001_0db8_0000_0100 << 64), UInt128(0x2001_0db8_0000_0200) << 64),
        ]
        for (first, apart) in networks {
            let target = Target()
            let held = try besiege(target, 2000) { number in
                // IPv6: another /64 of the same /56 each time.
                IPAddress(family: first.family, value: first.value | (first.family == .v4 ? UInt128(number % 250) : UInt128(number % 256) << 64 | UInt128(number)))
            }
            #expect(held == most)
            #expect(target.endpoint.counters.networkOverLimit == UInt64(2000 - most))
            let late = try HostilePeer(seed: 79)
            #expect(try ask(target, late, from: SocketAddress(address: IPAddress(family: first.family, value: apart), port: 500)) != nil)
            #expect(target.remnants == [])
        }
    }

    /// Of a site anybody may have as many networks as he likes.
    @Test func aSiteHoldsHalfOfAll() throws {
        var limits = Limits()
        limits.halfOpen = 400
        let target = Target(limits: limits)
        #expect(try besiege(target, 1000) { IPAddress(family: .v6, value: UInt128(0x2001_0db8_0077_0000) << 64 | UInt128($0 % 250) << 72 | UInt128($0)) } == 200)
        #expect(target.endpoint.counters.networkOverLimit == 800)
        let late = try HostilePeer(seed: 79)
        #expect(try ask(target, late, from: Self.stranger(1)) != nil)
        #expect(target.remnants == [] && target.endpoint.halfOpen.held == 0)
    }

    enum Stranger: CaseIterable { case waits, fails, logsIn }

    /// Strangers from everywhere take more places than there are: they get less time, and honest peers get in.
    @Test(arguments: Stranger.allCases) func whoOnlyTakesPlacesKeepsNobodyOut(_ kind: Stranger) throws {
        var limits = Limits()
        limits.halfOpen = 200
        let target = Target(limits: limits) { connection in
            guard kind == .logsIn else { return }
            connection.remote.method = "eap-test"
            connection.remote.eapIdentity = .any
        }
        // One who logs in has ten seconds at least, the others three.
        let (rate, seconds) = kind == .logsIn ? (15, 30) : (40, 20)
        var number: UInt64 = 0
        for second in 0..<seconds {
            for _ in 0..<rate {
                number += 1
                let stranger = try HostilePeer(seed: number + 1000), place = Self.stranger(number << 8)
                guard let answer = try ask(target, stranger, from: place), kind != .waits else { continue }
                try stranger.take(initResponse: answer)
                // He does not wait, and proves that he is nobody; or nothing yet.
                stranger.secret = [1]
                target.receive(try stranger.seal(.ikeAuth, kind == .fails ? try stranger.authPayloads() : [stranger.identity] + stranger.child()), from: place)
            }
            #expect(try ask(target, HostilePeer(seed: number), from: Self.stranger(number << 8 | 7)) != nil, "second \(second)")
            target.pass(.seconds(1))
        }
        #expect(target.endpoint.counters.overLimit == 0 && target.endpoint.counters.displaced > (kind == .fails ? 0 : 100))
        #expect(target.remnants == [] && target.endpoint.halfOpen.held == 0)
    }

    /// A NAT in front of many honest clients: all of them get in, with a cookie where it is many at once.
    @Test func threeHundredClientsBehindOneAddressConnect() throws {
        let target = Target()
        let nat = IPAddress(v4: 0xcb00_7101)
        // Two hundred have begun and wait for their answers when the others come.
        var begun: [(HostilePeer, SocketAddress)] = []
        for number in 1...300 as ClosedRange<UInt64> {
            let peer = try HostilePeer(seed: number), remote = SocketAddress(address: nat, port: UInt16(number) + 1024)
            let answer = try ask(target, peer, from: remote)
            try peer.take(initResponse: try #require(answer))
            begun.append((peer, remote))
            guard begun.count > 200 else { continue }
            let (first, place) = begun.removeFirst()
            #expect(target.receive(try first.seal(.ikeAuth, try first.authPayloads()), from: place).count == 1)
        }
        for (peer, remote) in begun { #expect(target.receive(try peer.seal(.ikeAuth, try peer.authPayloads()), from: remote).count == 1) }
        #expect(target.endpoint.status().count { $0.state == .established } == 300)
        #expect(target.endpoint.halfOpenCount == 0 && target.endpoint.halfOpen.held == 0)
    }

    @Test func everyShardHasAnEqualPartOfALimit() {
        var limits = Limits()
        limits.shards = 3
        #expect(limits.share(of: 100) == 34 && limits.share(of: 99) == 33 && limits.share(of: 1) == 1 && limits.share(of: 0) == 0)
        limits.halfOpenPerAddress = 6
        var ledger = HalfOpen(limits)
        let now = Instant(nanoseconds: 0)
        let address = IPAddress(v4: 1)
        for count in 0..<100 {
            let verdict = ledger.verdict(address, now: now)
            #expect(verdict == (count < 2 ? .open : count < 16 ? .cookieFirst : .refused(.address)))
            ledger.add(address, IKESPI(rawValue: 1), now: now) { _ in .waiting }
        }
        for _ in 0..<100 { ledger.remove(address) }
        let last = ledger.verdict(address, now: now)
        #expect(last == .open && ledger.held == 0 && ledger.count == 0)
    }

    @Test func initRequestsWithoutCookiesCostNextToNothing() throws {
        let target = Target(), peer = try HostilePeer()
        var bytes = 0
        for number in 1...Self.count {
            peer.spi = IKESPI(rawValue: number)
            let request = peer.initRequest()
            let answer = target.receive(request, from: Self.stranger(number))
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

    /// Requests of which nothing is kept count as nothing half-open. When they use up the answers, a cookie gets an honest peer its own: here the group to
    /// begin with.
    @Test func requestsThatAreRefusedDoNotStarveHonestPeers() throws {
        let target = Target(), peer = try HostilePeer()
        let weak = Proposal(number: 1, protocolID: .ike, transforms: [.aesCBC(128), .prfHMACSHA1, .hmacSHA1_96, .modp1024])
        let strange: [Payload] = [.securityAssociation(SecurityAssociation(proposals: [weak])), .keyExchange(KeyExchange(method: 2, data: [UInt8](repeating: 1, count: 128))), .nonce(peer.nonce)]
        for number in 1...Self.count {
            peer.spi = IKESPI(rawValue: number)
            target.receive(peer.initRequest(strange), from: Self.stranger(number))
        }
        #expect(target.endpoint.halfOpenCount == 0 && target.endpoint.counters.cookiesDemanded > 0)
        let honest = try HostilePeer(seed: 7)
        let offer: [Payload] = [
            .securityAssociation(SecurityAssociation(proposals: [Fixtures.ikeProposal([.ecp256, .curve25519])])), .keyExchange(KeyExchange(method: 19, data: [UInt8](repeating: 1, count: 64))),
            .nonce(honest.nonce),
        ]
        let demand = try #require(target.receive(honest.initRequest(offer)).first), cookie = try Message.parse(demand.span).payloads
        #expect(cookie.notifications == [.cookie])
        let answer = try #require(target.receive(honest.initRequest(cookie + offer)).first)
        #expect(try Message.parse(answer.span).payloads == [.notify(Notify(.invalidKEPayload, data: [0, 31]))])
        // In peace nobody is asked for one.
        target.now = target.now + .seconds(2)
        let calm = try #require(target.receive(try HostilePeer(seed: 8).initRequest(), from: Self.stranger(1)).first)
        #expect(try !Message.parse(calm.span).payloads.notifications.contains(.cookie))
    }

    @Test func cookiesDoNotLiftTheLimit() throws {
        var limits = Limits()
        limits.cookieThreshold = 10
        limits.halfOpen = 200
        let target = Target(limits: limits), peer = try HostilePeer()
        for number in 1...2000 as ClosedRange<UInt64> {
            peer.spi = IKESPI(rawValue: number)
            try ask(target, peer, from: Self.stranger(number))
        }
        #expect(target.endpoint.halfOpenCount == 200)
        #expect(target.endpoint.ikeSACount == 200)
        #expect(target.endpoint.counters.overLimit > 0)
        #expect(target.remnants == [])
        // And then it works again.
        try HostilePeer(seed: 5).connect(target)
    }

    @Test func peersThatAreRefusedCountAsHalfOpen() throws {
        var limits = Limits()
        limits.cookieThreshold = 30
        let target = Target(limits: limits)
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
        let told = target.reports.contains { if case .note(_, let text, _, _) = $0 { text.contains("4980") } else { false } }
        #expect(told)
    }

    @Test func aRequestForHundredsOfTransformTypesIsRefusedWithoutDelay() throws {
        let none = (6...255).map { Transform(type: TransformType(rawValue: $0), id: 0) }
        let offered = (1...3).map { Proposal(number: $0, protocolID: .ike, transforms: [.aesGCM16(128), .prfHMACSHA512, .modp2048] + none) }
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
                // INVALID_MAJOR_VERSION alone: what is not a whole IKE_SA_INIT gets no answer.
                #expect(target.receive(padded).count == (version > 2 ? 1 : 0))
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
