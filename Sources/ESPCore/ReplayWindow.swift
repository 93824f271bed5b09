// The anti-replay window of an inbound SA: a ring of bits over the newest packets.
// RFC 4303 section 3.4.3 and Appendix A; the ring is that of RFC 6479.

/// Which of the last packets were seen. `check` before the ICV is verified, `advance` only after.
package struct ReplayWindow: Sendable {
    package static let defaultSize = 64
    package static let maximumSize = 4096

    /// Packets looked back over; 0 checks nothing.
    package let size: Int
    package let isExtended: Bool
    /// The highest sequence number verified so far, 0 for none.
    package private(set) var highest: UInt64

    private var ring: [UInt64]
    private let ringMask: UInt64

    /// `size` is brought into 0...`maximumSize`. `highest` other than 0 starts later in the sequence, for a window that is resumed.
    package init(size: Int = Self.defaultSize, extended: Bool, highest: UInt64 = 0) {
        self.size = min(max(size, 0), Self.maximumSize)
        isExtended = extended
        self.highest = highest
        // One word more than the window needs, since the newest word is filled only in part.
        var words = 1
        while words < (self.size + 63) / 64 + 1 { words *= 2 }
        ring = Array(repeating: 0, count: words)
        ringMask = UInt64(words - 1)
    }

    /// The full sequence number of a packet that may be new, nil for one that is a replay or too old. Changes nothing.
    //= RFC 4303 §3.4.3
    @inline(__always)
    package func check(_ low: UInt32) -> UInt64? {
        let sequence: UInt64
        if isExtended {
            // With no window to look back over, half of the space in either direction is as good a guess as any.
            let window: UInt32 = size == 0 ? 1 &<< 31 : UInt32(truncatingIfNeeded: size)
            guard let full = ExtendedSequence.reconstruct(low: low, highest: highest, window: window) else { return nil }
            sequence = full
        } else {
            sequence = UInt64(low)
        }
        // A sender never transmits zero: its counter starts at one and must not cycle.
        if sequence == 0 { return nil }
        if sequence > highest || size == 0 { return sequence }
        if highest &- sequence >= UInt64(truncatingIfNeeded: size) { return nil }
        return ring[word(sequence)] & bit(sequence) == 0 ? sequence : nil
    }

    /// Marks a number as seen, for a packet whose ICV was verified.
    @inline(__always)
    package mutating func advance(_ sequence: UInt64) {
        if sequence > highest {
            // Words entered for the first time forget what they held one turn ago.
            let distance = (sequence &>> 6) &- (highest &>> 6)
            if distance > ringMask {
                for index in ring.indices { ring[index] = 0 }
            } else {
                var block = highest &>> 6
                let last = sequence &>> 6
                while block < last {
                    block &+= 1
                    ring[Int(truncatingIfNeeded: block & ringMask)] = 0
                }
            }
            highest = sequence
        } else if highest &- sequence >= UInt64(truncatingIfNeeded: max(size, 1)) {
            return
        }
        ring[word(sequence)] |= bit(sequence)
    }

    @inline(__always)
    private func word(_ sequence: UInt64) -> Int { Int(truncatingIfNeeded: (sequence &>> 6) & ringMask) }
    @inline(__always)
    private func bit(_ sequence: UInt64) -> UInt64 { 1 &<< (sequence & 63) }
}
