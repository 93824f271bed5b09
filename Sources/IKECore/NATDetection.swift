// Whether a NAT stands between the peers: hashes of addresses as each end sees them.
// RFC 7296 section 2.23. The protocol names SHA-1 for it; nothing secret depends on it, so it is computed here and not by a plugin.

import IKEWire

enum NATDetection {
    /// SHA-1(SPIi | SPIr | address | port).
    static func hash(initiatorSPI: IKESPI, responderSPI: IKESPI, _ endpoint: SocketAddress) -> [UInt8] {
        var input: [UInt8] = []
        input.reserveCapacity(34)
        for spi in [initiatorSPI.rawValue, responderSPI.rawValue] { for shift in stride(from: 56, through: 0, by: -8) { input.append(UInt8(truncatingIfNeeded: spi >> UInt64(shift))) } }
        input += endpoint.address.bytes
        input += [UInt8(endpoint.port >> 8), UInt8(endpoint.port & 0xff)]
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

    /// SHA-1, FIPS 180-4 section 6.1.
    static func sha1(_ message: [UInt8]) -> [UInt8] {
        var h: [UInt32] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0]
        var padded = message + [0x80]
        while padded.count % 64 != 56 { padded.append(0) }
        let bits = UInt64(message.count) * 8
        for shift in stride(from: 56, through: 0, by: -8) { padded.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift))) }
        var w = [UInt32](repeating: 0, count: 80)
        for block in stride(from: 0, to: padded.count, by: 64) {
            for i in 0..<16 {
                w[i] = UInt32(padded[block + i * 4]) << 24 | UInt32(padded[block + i * 4 + 1]) << 16 | UInt32(padded[block + i * 4 + 2]) << 8 | UInt32(padded[block + i * 4 + 3])
            }
            for i in 16..<80 { w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1) }
            var (a, b, c, d, e) = (h[0], h[1], h[2], h[3], h[4])
            for i in 0..<80 {
                let f: UInt32, k: UInt32
                switch i {
                case 0..<20: (f, k) = ((b & c) | (~b & d), 0x5a82_7999)
                case 20..<40: (f, k) = (b ^ c ^ d, 0x6ed9_eba1)
                case 40..<60: (f, k) = ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc)
                default: (f, k) = (b ^ c ^ d, 0xca62_c1d6)
                }
                let t = rotate(a, 5) &+ f &+ e &+ k &+ w[i]
                (e, d, c, b, a) = (d, c, rotate(b, 30), a, t)
            }
            h[0] &+= a
            h[1] &+= b
            h[2] &+= c
            h[3] &+= d
            h[4] &+= e
        }
        return h.flatMap { [UInt8(truncatingIfNeeded: $0 >> 24), UInt8(truncatingIfNeeded: $0 >> 16), UInt8(truncatingIfNeeded: $0 >> 8), UInt8(truncatingIfNeeded: $0)] }
    }

    private static func rotate(_ x: UInt32, _ n: UInt32) -> UInt32 { x << n | x >> (32 - n) }
}
