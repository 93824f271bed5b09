// From the TUN device to the sockets: policy, sequence number, seal, batch.
// RFC 4301 section 5.1, RFC 4303 section 3.3.

import CLinux
import ESPCore
import Glibc
import PluginABI

extension Worker {
    /// One batch. Allocates nothing.
    func forwardOutbound() {
        for slot in 0..<Self.batch {
            let buffer = buffers + slot * stride
            let length = martlet_packet_read(tun, buffer + Self.headroom, stride - Self.headroom - Self.tailroom)
            guard length > 0 else { break }
            protect(slot, buffer, length)
        }
        for place in sockets.indices {
            flush(place, marked: false)
            flush(place, marked: true)
        }
    }

    private func protect(_ slot: Int, _ buffer: UnsafeMutablePointer<UInt8>, _ length: Int) {
        var packet = MutableSpan(_unsafeStart: buffer + Self.headroom, count: length)
        let inner: InnerPacket
        do { inner = try InnerPacket(packet.span) } catch { return drops.add(.malformed) }

        let policies = outbound
        let place: Int
        switch policies.table.match(inner) {
        case .policy(let index): place = index
        case .none: return drops.add(.noPolicy)
        case .fragment: return drops.add(.fragment)
        }
        let entry = policies.entries[place]
        guard let sa = entry.sa, let path = entry.path else {
            drops.add(.noSA)
            return acquire(entry.policy)
        }
        guard !sa.counters.isExhausted else { return drops.add(.expired) }

        if clamps { SegmentSize.clamp(&packet, inner, mtu: path.innerMTU) }
        if inner.length > path.innerMTU && inner.dontFragment {
            drops.add(.tooBig)
            return refuse(packet.span, inner, mtu: path.innerMTU)
        }

        let flags = sa.flags
        let tos = CongestionNotification.outer(
            inner.trafficClass, copyDSCP: flags & MARTLET_SA_COPY_DSCP.rawValue != 0, carryECN: flags & MARTLET_SA_NO_ECN.rawValue == 0)
        var whole = MutableSpan(_unsafeStart: buffer, count: stride)
        let sealed: Range<Int>
        do throws(ESPError) {
            sealed = try sa.sealer.seal(
                &whole, payload: Self.headroom..<(Self.headroom + inner.length), nextHeader: inner.isIPv6 ? NextHeader.ipv6 : NextHeader.ipv4,
                sequence: sa.reserveSequence())
        } catch {
            return drops.add(error == .sequenceExhausted ? .sequenceExhausted : .crypto)
        }
        sa.counters.sequence.wrappingAdd(1, ordering: .relaxed)
        switch sa.counters.count(bytes: inner.length, now: now) {
        case .none: break
        case .soft: events.expired(child: sa.child, spi: sa.spi, inbound: false, hard: false)
        case .hard: events.expired(child: sa.child, spi: sa.spi, inbound: false, hard: true)
        }

        // A packet that does not fit goes out in fragments, and then without the bit whatever the inner one has.
        let marked = flags & MARTLET_SA_COPY_DF.rawValue != 0 && inner.dontFragment && !inner.isIPv6
        var from = path.from
        var to = path.to
        let sends = sockets[path.socket].sends
        _ = martlet_send_add(marked ? sends.1 : sends.0, buffer + sealed.lowerBound, sealed.count, &from, &to, tos, UInt32(slot))
    }

    private func flush(_ place: Int, marked: Bool) {
        let batch = marked ? sockets[place].sends.1 : sockets[place].sends.0
        guard martlet_send_batch_count(batch) > 0 else { return }
        if sockets[place].dontFragment != marked {
            martlet_socket_dont_fragment(sockets[place].fd, sockets[place].family, marked)
            sockets[place].dontFragment = marked
        }
        _ = martlet_send_flush(
            batch, sockets[place].fd,
            { context, _, error in
                guard let context else { return }
                Unmanaged<Worker>.fromOpaque(context)._withUnsafeGuaranteedRef { $0.drops.add(error == EMSGSIZE ? .tooBig : .sendFailed) }
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    /// Tells the inner sender how much fits.
    private func refuse(_ packet: Span<UInt8>, _ inner: InnerPacket, mtu: Int) {
        guard errorTokens.take(now: now) else { return }
        var target = MutableSpan(_unsafeStart: errorBuffer, count: PacketTooBig.maximumLength)
        guard let length = PacketTooBig.build(for: packet, inner, mtu: mtu, into: &target) else { return }
        if martlet_packet_write(tun, errorBuffer, length) != 0 { drops.add(.tunWrite) }
    }

    private func acquire(_ policy: UInt64) {
        if let last = lastAcquire[policy], now < last + 1_000_000_000 { return }
        lastAcquire[policy] = now
        events.acquire(policy: policy)
    }
}
