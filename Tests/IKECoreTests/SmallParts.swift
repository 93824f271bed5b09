// The parts that an endpoint is made of, each alone: cookies, the message window, retransmission, deadlines, SHA-1.

@testable import IKECore
import IKEWire
import Testing
import TestSupport

@Suite struct Cookies {
    private let prf = NullPRF(.prfHMACSHA256, length: 32)
    private let start = Instant(nanoseconds: 1_000_000_000)
    private let nonce = Array(repeating: 7 as UInt8, count: 32)
    private let remote = SocketAddress(address: IPAddress(v4: 0x0102_0304), port: 500)

    @Test func aCookieIsForOneRequestOfOneAddress() throws {
        let jar = CookieJar(secret: Array(repeating: 1, count: 32), now: start), spi = IKESPI(rawValue: 5)
        let cookie = try #require(jar.cookie(prf: prf, nonce: nonce, remote: remote, initiatorSPI: spi))
        #expect((1...64).contains(cookie.count))
        #expect(jar.verify(cookie, prf: prf, nonce: nonce, remote: remote, initiatorSPI: spi))
        var port = remote, address = remote
        port.port = 501
        address.address = IPAddress(v4: 9)
        #expect(!jar.verify(cookie, prf: prf, nonce: nonce, remote: port, initiatorSPI: spi))
        #expect(!jar.verify(cookie, prf: prf, nonce: nonce, remote: address, initiatorSPI: spi))
        #expect(!jar.verify(cookie, prf: prf, nonce: nonce + [0], remote: remote, initiatorSPI: spi))
        #expect(!jar.verify(cookie, prf: prf, nonce: nonce, remote: remote, initiatorSPI: IKESPI(rawValue: 6)))
        #expect(!jar.verify([], prf: prf, nonce: nonce, remote: remote, initiatorSPI: spi))
        for count in cookie.indices { #expect(!jar.verify(Array(cookie.prefix(count)), prf: prf, nonce: nonce, remote: remote, initiatorSPI: spi)) }
        for index in cookie.indices {
            var flipped = cookie
            flipped[index] ^= 1
            #expect(!jar.verify(flipped, prf: prf, nonce: nonce, remote: remote, initiatorSPI: spi) || index == 0)
        }
    }

    @Test func aNonceDoesNotPassForAnAddress() throws {
        let jar = CookieJar(secret: Array(repeating: 1, count: 32), now: start), spi = IKESPI(rawValue: 5)
        let cookie = try #require(jar.cookie(prf: prf, nonce: nonce, remote: remote, initiatorSPI: spi))
        let front = nonce.suffix(12).reduce(0 as UInt128) { $0 << 8 | UInt128($1) }
        let other = SocketAddress(address: IPAddress(family: .v6, value: front << 32 | remote.address.value), port: 500)
        #expect(!jar.verify(cookie, prf: prf, nonce: Array(nonce.dropLast(12)), remote: other, initiatorSPI: spi))
    }

    @Test func aCookieOutlivesOneRenewal() throws {
        var jar = CookieJar(secret: Array(repeating: 1, count: 32), now: start)
        let spi = IKESPI(rawValue: 5)
        let cookie = try #require(jar.cookie(prf: prf, nonce: nonce, remote: remote, initiatorSPI: spi))
        #expect(!jar.isStale(start + .seconds(60)) && jar.isStale(start + .seconds(61)))
        jar.renew(secret: Array(repeating: 2, count: 32), now: start + .seconds(61))
        #expect(jar.verify(cookie, prf: prf, nonce: nonce, remote: remote, initiatorSPI: spi))
        jar.renew(secret: Array(repeating: 3, count: 32), now: start + .seconds(122))
        #expect(!jar.verify(cookie, prf: prf, nonce: nonce, remote: remote, initiatorSPI: spi))
    }

    @Test func anOldSecretServesNoMore() throws {
        var jar = CookieJar(secret: Array(repeating: 1, count: 32), now: start)
        let spi = IKESPI(rawValue: 5)
        let cookie = try #require(jar.cookie(prf: prf, nonce: nonce, remote: remote, initiatorSPI: spi))
        jar.renew(secret: Array(repeating: 2, count: 32), now: start + .seconds(3600))
        #expect(!jar.verify(cookie, prf: prf, nonce: nonce, remote: remote, initiatorSPI: spi))
    }
}

@Suite struct Windows {
    @Test func oneRequestAtATime() {
        var window = MessageWindow(nextRequest: 4, expected: 7)
        #expect(window.judge(request: 7, bytes: [1]) == .fresh)
        #expect(window.judge(request: 6, bytes: [1]) == .outside)
        #expect(window.judge(request: 8, bytes: [1]) == .outside)
        window.accept(bytes: [1])
        #expect(window.storedResponse == nil)
        #expect(window.judge(request: 7, bytes: [1]) == .duplicate)
        #expect(window.judge(request: 7, bytes: [2]) == .outside)
        window.store(response: [[9]])
        #expect(window.storedResponse == [[9]])
        window.accept(bytes: [3])
        #expect(window.storedResponse == nil)
        #expect(window.judge(request: 7, bytes: [1]) == .outside)
        #expect([window.takeRequestID(), window.takeRequestID()] == [4, 5])
    }

    @Test func identifiersDoNotComeRound() {
        var window = MessageWindow(nextRequest: .max, expected: .max)
        #expect(window.judge(request: .max, bytes: [1]) == .fresh)
        window.accept(bytes: [1])
        #expect(window.judge(request: 0, bytes: [2]) == .outside && window.judge(request: .max, bytes: [2]) == .outside)
        #expect([window.takeRequestID(), window.takeRequestID(), window.takeRequestID()] == [.max, nil, nil])
    }
}

@Suite struct Retransmissions {
    private func schedule(_ limits: Limits) -> [Duration] {
        let start = Instant(nanoseconds: 0)
        var request = Retransmission([[1]], limits: limits, now: start), waits: [Duration] = [], now = start
        for _ in 0..<1000 {
            waits.append(request.deadline.since(now))
            now = request.deadline
            guard case .sendAgain = request.fire(now: now) else { break }
        }
        return waits
    }

    @Test func eachWaitIsLongerThanTheLast() {
        var limits = Limits()
        limits.retransmitInitial = .seconds(2)
        limits.retransmitGrowth = 2
        limits.retransmitTries = 4
        #expect(schedule(limits) == [.seconds(2), .seconds(4), .seconds(8), .seconds(16), .seconds(32)])
    }

    @Test(arguments: [Double.nan, .infinity, -.infinity, 0, -3, 1e300, 10]) func noGrowthIsTooStrange(_ growth: Double) {
        var limits = Limits()
        limits.retransmitGrowth = growth
        limits.retransmitTries = 500
        let waits = schedule(limits)
        #expect(waits.count == 501)
        #expect(waits.allSatisfy { $0 >= .milliseconds(1500) && $0 <= .seconds(3600) })
    }
}

@Suite struct Deadlines {
    @Test func theyComeInOrder() {
        for seed in 1...200 as ClosedRange<UInt64> {
            let random = NullRandom(seed: seed)
            var queue = DeadlineQueue(), model: [UInt64] = []
            for _ in 0..<50 {
                if random.next() % 3 == 0, !model.isEmpty {
                    let now = Instant(nanoseconds: random.next() % 100)
                    let due = model.min().flatMap { $0 <= now.nanoseconds ? $0 : nil }
                    #expect(queue.pop(due: now)?.rawValue == due, "seed \(seed)")
                    if let due, let index = model.firstIndex(of: due) { model.remove(at: index) }
                } else {
                    let at = random.next() % 100
                    queue.push(Instant(nanoseconds: at), IKESPI(rawValue: at))
                    model.append(at)
                }
                #expect(queue.next?.nanoseconds == model.min(), "seed \(seed)")
                #expect(queue.count == model.count)
            }
            queue.keep { at, _ in at.nanoseconds % 2 == 0 }
            #expect(queue.count == model.filter { $0 % 2 == 0 }.count)
        }
    }

    @Test func theTimeOfTheDeadIsForgotten() throws {
        var limits = Limits()
        limits.closedTime = .zero
        limits.halfOpenTime = .seconds(100_000)
        let target = Target(limits: limits)
        for seed in 1...1400 as ClosedRange<UInt64> {
            let peer = try HostilePeer(seed: seed)
            try peer.connect(target)
            _ = try peer.ask(target, .informational, [.delete(Delete(protocolID: .ike))])
            target.pass(.milliseconds(1))
        }
        #expect(target.endpoint.ikeSACount == 0)
        #expect(target.endpoint.waitingDeadlines <= 1100)
    }
}

/// FIPS 180-4; the messages and digests are the examples of FIPS 180-2, appendix A.
@Suite struct SHA1 {
    @Test(arguments: [
        ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "84983e441c3bd26ebaae4aa1f95129e5e54670f1"),
        (String(repeating: "a", count: 1_000_000), "34aa973cd4c4daa4f61eeb2bdbad27316534016f"),
    ])
    func digest(_ message: String, _ expected: String) { #expect(NATDetection.sha1(Array(message.utf8)) == expected.hexBytes) }
}
