// TCP's maximum segment size, lowered to what fits the tunnel.
// RFC 9293 section 3.7.1, RFC 6691.

package enum SegmentSize {
    /// Lowers the MSS option of a SYN to fit packets of `mtu` bytes, checksum included. Returns whether anything changed. `packet`
    /// starts with the IP header that `inner` was read from.
    @discardableResult
    package static func clamp(_ packet: inout MutableSpan<UInt8>, _ inner: InnerPacket, mtu: Int) -> Bool {
        guard inner.ipProtocol == 6, !inner.isLaterFragment else { return false }
        let offset = inner.transportOffset
        let end = min(inner.length, packet.count)
        guard offset + 20 <= end, packet[offset + 13] & 0x02 != 0 else { return false }
        let limit = mtu - (inner.isIPv6 ? 40 : 20) - 20
        guard limit >= 0 else { return false }
        let largest = UInt16(clamping: max(limit, 216))
        let optionsEnd = offset + Int(packet[offset + 12] &>> 4) * 4
        guard optionsEnd <= end else { return false }
        var option = offset + 20
        while option < optionsEnd {
            let kind = packet[option]
            if kind == 0 { return false }
            if kind == 1 {
                option += 1
                continue
            }
            guard option + 1 < optionsEnd else { return false }
            let length = Int(packet[option + 1])
            guard length >= 2, option + length <= optionsEnd else { return false }
            if kind == 2 && length == 4 {
                let old = packet.span.bigEndian16(at: option + 2)
                guard old > largest else { return false }
                packet.store(largest, at: option + 2)
                fixChecksum(&packet, offset, at: option + 2, from: old, to: largest)
                return true
            }
            option += length
        }
        return false
    }

    private static func fixChecksum(
        _ packet: inout MutableSpan<UInt8>, _ offset: Int, at position: Int, from old: UInt16, to new: UInt16
    ) {
        // An option may begin at an odd place; its two bytes then lie swapped in the sum.
        let swapped = (position - offset) % 2 != 0
        let checksum = Checksum.update(
            packet.span.bigEndian16(at: offset + 16), from: swapped ? old.byteSwapped : old, to: swapped ? new.byteSwapped : new)
        packet.store(checksum, at: offset + 16)
    }
}
