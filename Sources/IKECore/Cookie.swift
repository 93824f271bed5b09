// Cookies: a responder under load remembers nothing of an address that has not shown that it answers there.
// RFC 7296 section 2.6.

import IKECrypto
import IKEWire

struct CookieJar {
    private var secret: [UInt8]
    private var previous: [UInt8]
    private var version: UInt8
    private var renewed: Instant
    /// A secret serves for this long, and as the previous one for as long again.
    private static let secretTime = Duration.seconds(60)

    init(secret: [UInt8], now: Instant) {
        self.secret = secret
        previous = secret
        version = 0
        renewed = now
    }

    /// The cookie for an IKE_SA_INIT request: version | prf(secret, length of the address | address | port | SPIi | Ni).
    func cookie(prf: any PRFAlgorithm, nonce: [UInt8], remote: SocketAddress, initiatorSPI: IKESPI) -> [UInt8]? {
        make(prf, version, secret, nonce, remote, initiatorSPI)
    }

    func verify(_ cookie: [UInt8], prf: any PRFAlgorithm, nonce: [UInt8], remote: SocketAddress, initiatorSPI: IKESPI) -> Bool {
        guard let first = cookie.first else { return false }
        let key = first == version ? secret : previous
        guard first == version || first == version &- 1, let expected = make(prf, first, key, nonce, remote, initiatorSPI) else { return false }
        return constantTimeEqual(expected.span, cookie.span)
    }

    func isStale(_ now: Instant) -> Bool { now.since(renewed) > CookieJar.secretTime }

    mutating func renew(secret new: [UInt8], now: Instant) {
        // A secret that has not been renewed for long serves no more, not even as the previous one.
        previous = now.since(renewed) > CookieJar.secretTime + CookieJar.secretTime ? new : secret
        secret = new
        version &+= 1
        renewed = now
    }

    private func make(_ prf: any PRFAlgorithm, _ version: UInt8, _ key: [UInt8], _ nonce: [UInt8], _ remote: SocketAddress, _ spi: IKESPI) -> [UInt8]? {
        // The nonce, whose length the sender chooses, comes last, so that it cannot pass for a part of an address.
        let address = remote.address.bytes
        let input = [UInt8(address.count)] + address + [UInt8(remote.port >> 8), UInt8(remote.port & 0xff)] + spi.bytes + nonce
        guard let mac = try? KeySchedule.prf(prf, key: key.span, data: input.span) else { return nil }
        let bytes = mac.span
        //= RFC 7296 §2.6: 1 to 64 octets.
        return [version] + bytes.indices.prefix(32).map { bytes[$0] }
    }
}
