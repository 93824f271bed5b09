// The ECN field across a tunnel, and the outer TOS.
// RFC 6040 (normal mode), RFC 4301 section 5.1.2.

package enum CongestionNotification {
    /// The outer TOS of a packet whose inner one is `inner`. RFC 6040 section 4.1: the ECN field is copied.
    package static func outer(_ inner: UInt8, copyDSCP: Bool, carryECN: Bool) -> UInt8 {
        (copyDSCP ? inner & 0xfc : 0) | (carryECN ? inner & 3 : 0)
    }

    /// What becomes of the inner ECN field on the way out of a tunnel.
    package enum Decision: Hashable, Sendable {
        case keep
        case mark(UInt8)
        case drop
    }

    /// RFC 6040 section 4.2, figure 4.
    package static func decapsulate(inner: UInt8, outer: UInt8) -> Decision {
        let inside = inner & 3
        switch (inside, outer & 3) {
        case (0, 3): return .drop
        case (0, _): return .keep
        case (1, 3), (2, 3): return .mark(3)
        case (2, 1): return .mark(1)
        default: return .keep
        }
    }

    /// Writes the ECN field of the inner packet at the start of `packet`, the header checksum with it.
    package static func set(_ ecn: UInt8, in packet: inout MutableSpan<UInt8>) {
        guard packet.count >= 20 else { return }
        if packet[0] &>> 4 == 4 {
            let old = packet.span.bigEndian16(at: 0)
            let new = old & 0xfffc | UInt16(ecn & 3)
            let checksum = Checksum.update(packet.span.bigEndian16(at: 10), from: old, to: new)
            packet.store(new, at: 0)
            packet.store(checksum, at: 10)
        } else {
            // The traffic class straddles the first two bytes: its ECN bits are bits 4 and 5 of the second.
            packet[1] = packet[1] & 0xcf | (ecn & 3) &<< 4
        }
    }
}
