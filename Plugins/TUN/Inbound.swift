// From a socket to the TUN device: SPI, replay, ICV, selectors, write.
// RFC 4301 section 5.2, RFC 4303 section 3.4, RFC 3948.

import CLinux
import ESPCore
import IKEWire
import PlaneKit
import PluginABI

extension Worker {
    /// One batch of one socket. Allocates nothing.
    func forwardInbound(_ place: Int) {
        let count = martlet_receive(received, sockets[place].fd)
        guard count > 0 else { return }
        let kind = sockets[place].kind
        var slot: UInt32 = 0
        while slot < UInt32(count) {
            if martlet_received_truncated(received, slot) { drops.add(.truncated) } else { accept(slot, kind, place) }
            slot += 1
        }
    }

    private func accept(_ slot: UInt32, _ kind: martlet_socket_kind, _ place: Int) {
        // Constants, not variables: a variable behind a span would be boxed on the heap.
        let datagram: UnsafeMutablePointer<UInt8> = martlet_received_bytes(received, slot)
        let length = martlet_received_length(received, slot)
        let start: Int
        if kind == MARTLET_SOCKET_ESP4 {
            // A raw IPv4 socket hands over the IP header as well.
            guard length >= 20 else { return drops.add(.malformed) }
            start = Int(datagram[0] & 15) * 4
            guard start >= 20, length >= start else { return drops.add(.malformed) }
        } else {
            start = 0
            if kind == MARTLET_SOCKET_UDP_ENCAP && length == 1 && datagram[0] == 0xff { return }  // a NAT keepalive
        }
        let bytes = datagram + start
        var packet = MutableSpan(_unsafeStart: bytes, count: length - start)
        guard let header = PacketHeader(packet.span) else { return drops.add(.malformed) }
        // Every raw socket sees every packet; a UDP socket gets its own share.
        if kind != MARTLET_SOCKET_UDP_ENCAP && header.spi % workers != index { return }
        guard let sa = inbound[header.spi] else {
            drops.add(.unknownSPI)
            return tell(slot, place, spi: header.spi, length: length - start)
        }
        guard !sa.counters.isExhausted else { return drops.add(.expired) }

        let opened: OpenedPacket
        do throws(ESPError) { opened = try sa.opener.open(&packet) } catch { return refuse(error, sa) }
        sa.counters.sequence.store(sa.opener.window.highest, ordering: .relaxed)
        let isNewest = opened.sequence == sa.opener.window.highest

        // Authentic from here on.
        let isExpected = !isNewest || comesFromPeer(sa, slot, kind)

        var payload = packet._mutatingExtracting(opened.payload)
        let inner: InnerPacket
        do { inner = try InnerPacket(payload.span) } catch {
            sa.counters.malformed.wrappingAdd(1, ordering: .relaxed)
            return drops.add(.malformed)
        }
        guard opened.nextHeader == (inner.isIPv6 ? NextHeader.ipv6 : NextHeader.ipv4) else {
            sa.counters.malformed.wrappingAdd(1, ordering: .relaxed)
            return drops.add(.malformed)
        }
        switch sa.selectors.inbound(inner) {
        case .inside: break
        case .outside:
            sa.counters.rejectedSelector.wrappingAdd(1, ordering: .relaxed)
            return drops.add(.selector)
        case .fragment:
            sa.counters.rejectedSelector.wrappingAdd(1, ordering: .relaxed)
            return drops.add(.fragment)
        }
        if outbound.drops, outbound.drops(inner) { return drops.add(.policy) }
        if sa.flags & MARTLET_SA_NO_ECN.rawValue == 0 {
            switch CongestionNotification.decapsulate(inner: inner.trafficClass, outer: outerTOS(slot, kind)) {
            case .keep: break
            case .mark(let ecn): CongestionNotification.set(ecn, in: &payload)
            case .drop: return drops.add(.ecn)
            }
        }
        if clamps { SegmentSize.clamp(&payload, inner, mtu: sa.innerMTU) }

        // RFC 4555 section 3.12: what comes from elsewhere says nothing of the way to the peer.
        switch sa.counters.count(bytes: inner.length, now: isExpected ? now : nil) {
        case .none: break
        case .soft: events.expired(child: sa.child, spi: sa.spi, inbound: true, hard: false)
        case .hard: events.expired(child: sa.child, spi: sa.spi, inbound: true, hard: true)
        }
        if martlet_packet_write(tun, bytes + opened.payload.lowerBound, inner.length) != 0 { drops.add(.tunWrite) }
    }

    private func outerTOS(_ slot: UInt32, _ kind: martlet_socket_kind) -> UInt8 {
        kind == MARTLET_SOCKET_ESP4 ? martlet_received_bytes(received, slot)[1] : martlet_received_tos(received, slot)
    }

    private func refuse(_ error: ESPError, _ sa: InboundSA) {
        switch error {
        case .replayed:
            sa.counters.replayed.wrappingAdd(1, ordering: .relaxed)
            drops.add(.replay)
        case .rejected:
            sa.counters.rejectedICV.wrappingAdd(1, ordering: .relaxed)
            drops.add(.icv)
        case .dummy: drops.add(.dummy)
        case .malformed, .padding:
            sa.counters.malformed.wrappingAdd(1, ordering: .relaxed)
            drops.add(.malformed)
        case .failed, .room, .sequenceExhausted: drops.add(.crypto)
        }
    }

    /// Tells the core of a packet that no SA takes, rarely: anybody can send them. RFC 7296 section 1.5.
    private func tell(_ slot: UInt32, _ place: Int, spi: UInt32, length: Int) {
        guard strayTokens.take(now: now) else { return }
        let socket = sockets[place], encapsulated = socket.kind == MARTLET_SOCKET_UDP_ENCAP
        var from = martlet_outer_address()
        martlet_received_from(received, slot, &from)
        if !encapsulated { from.port = 0 }
        guard let remote = SocketAddress(from) else { return }
        var address: UInt128 = 0
        if socket.kind == MARTLET_SOCKET_ESP4 {
            // The destination of the IP header, which a raw IPv4 socket hands over.
            let datagram: UnsafeMutablePointer<UInt8> = martlet_received_bytes(received, slot)
            for index in 16..<20 { address = address << 8 | UInt128(datagram[index]) }
        }
        let local = SocketAddress(address: IPAddress(family: remote.address.family, value: address), port: encapsulated ? socket.port : 0)
        events.stray(spi: spi, length: length, encapsulated: encapsulated, local: local.contract, remote: remote.contract)
    }

    /// The newest packet of an SA says where the peer is. RFC 7296 section 2.23.
    /// Whether it comes from where the peer is known to be; if not, the core is told of the place, once a second. RFC 4555 section 3.12.
    private func comesFromPeer(_ sa: InboundSA, _ slot: UInt32, _ kind: martlet_socket_kind) -> Bool {
        var from = martlet_outer_address()
        martlet_received_from(received, slot, &from)
        // Bare ESP has no ports.
        if kind != MARTLET_SOCKET_UDP_ENCAP || sa.encapsulation == .bare { from.port = sa.remote.port }
        if martlet_outer_address.same(from, sa.remote) { return true }
        // By time alone: whoever has the peer's packets come from many places, or from two by turns, is worth no more than one.
        if let last = sa.reportedAt, now &- last < 1_000_000_000 { return false }
        sa.reportedAt = now
        if let address = SocketAddress(from) { events.moved(child: sa.child, spi: sa.spi, to: address.contract) }
        return false
    }
}
