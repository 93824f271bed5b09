// Whether a NAT stands between the peers: hashes of addresses as each end sees them.
// RFC 7296 section 2.23. The protocol names SHA-1 for it; nothing secret depends on it, so it is computed here and not by a plugin.

import IKEWire

enum NATDetection {
    /// SHA-1(SPIi | SPIr | address | port).
    static func hash(initiatorSPI: IKESPI, responderSPI: IKESPI, _ endpoint: SocketAddress) -> [UInt8] {
        var input: [UInt8] = []
        input.reserveCapacity(34)
        func append(_ spi: IKESPI) { for byte in 0..<8 { input.append(UInt8(truncatingIfNeeded: spi.rawValue >> UInt64(56 - 8 * byte))) } }
        append(initiatorSPI)
        append(responderSPI)
        input += endpoint.address.bytes
        input.append(UInt8(endpoint.port >> 8))
        input.append(UInt8(endpoint.port & 0xff))
        return sha1(input)
    }

    /// The two notifications of an IKE_SA_INIT message. With `hidden` the source hash is made not to match, so that the peer
    /// encapsulates ESP in UDP.
    static func notifications(initiatorSPI: IKESPI, responderSPI: IKESPI, local: SocketAddress, remote: SocketAddress, hidden: Bool) -> [Payload] {
        let source = hidden ? SocketAddress(address: IPAddress(family: local.address.family, value: 0), port: 0) : local
        return [
            .notify(Notify(.natDetectionSourceIP, data: hash(initiatorSPI: initiatorSPI, responderSPI: responderSPI, source))),
            .notify(Notify(.natDetectionDestinationIP, data: hash(initiatorSPI: initiatorSPI, responderSPI: responderSPI, remote))),
        ]
    }

    struct Verdict: Equatable {
        var localBehindNAT = false
        var remoteBehindNAT = false
    }

    /// What the peer's notifications say; nil when it sent none, so that it does not do NAT traversal.
    static func judge(_ payloads: [Payload], initiatorSPI: IKESPI, responderSPI: IKESPI, local: SocketAddress, remote: SocketAddress) -> Verdict? {
        var sources: [[UInt8]] = []
        var destination: [UInt8]?
        for case .notify(let notify) in payloads {
            if notify.type == .natDetectionSourceIP { sources.append(notify.data) }
            if notify.type == .natDetectionDestinationIP { destination = notify.data }
        }
        guard destination != nil || !sources.isEmpty else { return nil }
        let seenSource = hash(initiatorSPI: initiatorSPI, responderSPI: responderSPI, remote)
        let seenDestination = hash(initiatorSPI: initiatorSPI, responderSPI: responderSPI, local)
        //= RFC 7296 §2.23: those that are there are compared.
        return Verdict(localBehindNAT: destination.map { $0 != seenDestination } ?? false, remoteBehindNAT: !sources.isEmpty && !sources.contains(seenSource))
    }

    /// SHA-1, FIPS 180-4 section 6.1. A liveness check behind a NAT has several of these: nothing is allocated but the digest.
    static func sha1(_ message: [UInt8]) -> [UInt8] {
        var h: (UInt32, UInt32, UInt32, UInt32, UInt32) = (0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0)
        var w = InlineArray<80, UInt32>(repeating: 0)
        let count = message.count, blocks = (count + 8) / 64 + 1
        for block in 0..<blocks {
            for i in 0..<16 {
                var word: UInt32 = 0
                for at in block * 64 + i * 4..<block * 64 + i * 4 + 4 { word = word << 8 | (at < count ? UInt32(message[at]) : at == count ? 0x80 : 0) }
                w[i] = word
            }
            // The length in bits ends the last one.
            if block == blocks - 1 {
                w[14] = UInt32(truncatingIfNeeded: UInt64(count) >> 29)
                w[15] = UInt32(truncatingIfNeeded: UInt64(count) << 3)
            }
            for i in 16..<80 { w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1) }
            var (a, b, c, d, e) = h
            func round(_ f: UInt32, _ k: UInt32, _ word: UInt32) {
                let t = rotate(a, 5) &+ f &+ e &+ k &+ word
                (e, d, c, b, a) = (d, c, rotate(b, 30), a, t)
            }
            for i in 0..<20 { round((b & c) | (~b & d), 0x5a82_7999, w[i]) }
            for i in 20..<40 { round(b ^ c ^ d, 0x6ed9_eba1, w[i]) }
            for i in 40..<60 { round((b & c) | (b & d) | (c & d), 0x8f1b_bcdc, w[i]) }
            for i in 60..<80 { round(b ^ c ^ d, 0xca62_c1d6, w[i]) }
            h = (h.0 &+ a, h.1 &+ b, h.2 &+ c, h.3 &+ d, h.4 &+ e)
        }
        var digest: [UInt8] = []
        digest.reserveCapacity(20)
        func append(_ word: UInt32) { for byte in 0..<4 { digest.append(UInt8(truncatingIfNeeded: word >> UInt32(24 - 8 * byte))) } }
        append(h.0)
        append(h.1)
        append(h.2)
        append(h.3)
        append(h.4)
        return digest
    }

    private static func rotate(_ x: UInt32, _ n: UInt32) -> UInt32 { x << n | x >> (32 - n) }
}
