// Extended sequence numbers: 64 bits are counted, 32 are sent.
// RFC 4303 section 2.2.1 and Appendix A2.

package enum ExtendedSequence {
    /// The 64-bit number that a packet with the low half `low` most probably has, for a receiver that has seen up to `highest` and
    /// looks back over `window` packets. Nil where it would lie before the first or after the last.
    @inline(__always)
    package static func reconstruct(low: UInt32, highest: UInt64, window: UInt32) -> UInt64? {
        let highestLow = UInt32(truncatingIfNeeded: highest)
        let highestHigh = UInt32(truncatingIfNeeded: highest &>> 32)
        let back = window == 0 ? 0 : window &- 1
        let bottom = highestLow &- back
        let high: UInt32
        if highestLow >= back {
            // Appendix A2.1, case A: the window lies within one subspace.
            if low >= bottom {
                high = highestHigh
            } else {
                guard highestHigh < .max else { return nil }
                high = highestHigh &+ 1
            }
        } else if low >= bottom {
            // Case B: the window reaches back into the subspace before.
            guard highestHigh > 0 else { return nil }
            high = highestHigh &- 1
        } else {
            high = highestHigh
        }
        return UInt64(high) &<< 32 | UInt64(low)
    }
}

/// How many packets an outbound SA may send before new keys are asked for, and in all; 0 for no limit.
package enum PacketLimits {
    //= RFC 4303 §2.2: new keys before the 2^32nd packet, whatever the configuration says; an eighth of the numbers is left for the rekey.
    package static func outbound(soft: UInt64, hard: UInt64, extended: Bool) -> (soft: UInt64, hard: UInt64) {
        guard !extended else { return (soft, hard) }
        let last = UInt64(UInt32.max), early = last / 8 * 7
        return (soft == 0 ? early : min(soft, early), hard == 0 ? last : min(hard, last))
    }
}
