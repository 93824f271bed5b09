// The ICMP error for an inner packet that does not fit: Fragmentation Needed, or Packet Too Big.
// RFC 1191, RFC 792, RFC 8201, RFC 4443 section 3.2, RFC 4301 section 8.2.

package enum PacketTooBig {
    /// Bytes that the largest error takes.
    package static let maximumLength = 1280

    /// Writes the error for `packet` into `target` and returns its length, or nil for a packet that must not be answered: a later
    /// fragment, an ICMP error, one from or to a group. It is sent in the name of the packet's destination, from where the sender's
    /// host would expect it through the same interface.
    package static func build(
        for packet: Span<UInt8>, _ inner: InnerPacket, mtu: Int, into target: inout MutableSpan<UInt8>
    ) -> Int? {
        guard !inner.isLaterFragment, target.count >= maximumLength, mtu > 0 else { return nil }
        return inner.isIPv6
            ? ipv6(packet, inner, mtu: UInt32(clamping: max(mtu, 1280)), &target) : ipv4(packet, inner, mtu: UInt16(clamping: max(mtu, 68)), &target)
    }

    private static func ipv4(_ packet: Span<UInt8>, _ inner: InnerPacket, mtu: UInt16, _ target: inout MutableSpan<UInt8>) -> Int? {
        let source = UInt32(truncatingIfNeeded: inner.source)
        let destination = UInt32(truncatingIfNeeded: inner.destination)
        // Not to or about groups, broadcasts and the unspecified address. RFC 1122 section 3.2.2.
        guard source != 0, source &>> 28 < 14, destination &>> 28 < 14 else { return nil }
        if inner.ipProtocol == 1 {
            guard let type = inner.sourcePort.map({ $0 &>> 8 }), type == 8 || type == 0 || type == 13 || type == 14 else { return nil }
        }
        // RFC 1812 section 4.3.2.3: as much of the packet as fits 576 bytes.
        let quoted = min(inner.length, packet.count, 576 - 28)
        let total = 28 + quoted
        for index in 0..<28 { target[index] = 0 }
        target[0] = 0x45
        target[1] = 0xc0
        target.store(UInt16(total), at: 2)
        target[8] = 64
        target[9] = 1
        target.store(destination, at: 12)
        target.store(source, at: 16)
        target[20] = 3
        target[21] = 4
        target.store(mtu, at: 26)
        for index in 0..<quoted { target[28 + index] = packet[index] }
        target.store(Checksum.finish(Checksum.add(target.span, 0..<20)), at: 10)
        target.store(Checksum.finish(Checksum.add(target.span, 20..<total)), at: 22)
        return total
    }

    private static func ipv6(_ packet: Span<UInt8>, _ inner: InnerPacket, mtu: UInt32, _ target: inout MutableSpan<UInt8>) -> Int? {
        // Not to a group or the unspecified address. RFC 4443 section 2.4 (e): an error about a group is allowed for this type, but it
        // could not come from the group's address.
        guard inner.source != 0, inner.source &>> 120 != 0xff, inner.destination &>> 120 != 0xff else { return nil }
        if inner.ipProtocol == 58 {
            guard let type = inner.sourcePort.map({ $0 &>> 8 }), type >= 128 else { return nil }
        }
        let quoted = min(inner.length, packet.count, maximumLength - 48)
        let total = 48 + quoted
        for index in 0..<48 { target[index] = 0 }
        target[0] = 0x60
        target.store(UInt16(total - 40), at: 4)
        target[6] = 58
        target[7] = 64
        target.store(inner.destination, at: 8)
        target.store(inner.source, at: 24)
        target[40] = 2
        target.store(mtu, at: 44)
        for index in 0..<quoted { target[48 + index] = packet[index] }
        // The pseudo-header: both addresses, the length, the next header. RFC 8200 section 8.1.
        let pseudo = Checksum.add(target.span, 8..<40) + UInt64(total - 40) + 58
        target.store(Checksum.finish(Checksum.add(target.span, 40..<total, to: pseudo)), at: 42)
        return total
    }
}
