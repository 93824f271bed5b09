// From the TUN device to the sockets: policy, sequence number, seal, batch.
// RFC 4301 section 5.1, RFC 4303 section 3.3.

import CLinux
import ESPCore
import Glibc
import PlaneKit
import PluginABI

extension Worker {
    /// One batch. Allocates nothing. False when the device is gone.
    func forwardOutbound() -> Bool {
        var works = true
        for slot in 0..<Self.batch {
            let buffer = buffers + slot * stride
            let length = martlet_packet_read(tun, buffer + Self.headroom, stride - Self.headroom - Self.tailroom)
            if length < 0 { works = length == -Int(EIO) }
            guard length > 0 else { break }
            protect(slot, buffer, length)
        }
        // What the marked batch could not send whole goes to the other one.
        for place in sockets.indices {
            flush(place, marked: true)
            flush(place, marked: false)
        }
        return works
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
            guard entry.action == .trap else { return drops.add(entry.action == .drop ? .policy : .noPolicy) }
            drops.add(.noSA)
            return acquire(entry.policy, for: inner)
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
        self.sealed[slot] = SealedPacket(range: sealed, path: path, tos: tos)
        enqueue(slot, marked: marked)
    }

    private func enqueue(_ slot: Int, marked: Bool) {
        guard let packet = sealed[slot] else { return }
        var from = packet.path.from
        var to = packet.path.to
        let sends = sockets[packet.path.socket].sends
        _ = martlet_send_add(
            marked ? sends.1 : sends.0, buffers + slot * stride + packet.range.lowerBound, packet.range.count, &from, &to, packet.tos, UInt32(slot))
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
            { context, slot, error in
                guard let context else { return }
                Unmanaged<Worker>.fromOpaque(context)._withUnsafeGuaranteedRef { $0.refused(Int(slot), error) }
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    /// The kernel would not send a packet. One that is too large for the path, which only a set Don't Fragment bit makes it say, goes out
    /// in fragments, and the next ones of its size are refused to their senders: RFC 4301 section 8.2.
    private func refused(_ slot: Int, _ error: Int32) {
        guard error == EMSGSIZE, let packet = sealed[slot], sockets[packet.path.socket].dontFragment else { return drops.add(.sendFailed) }
        var to = packet.path.to
        let mtu = martlet_path_mtu(&to, mark)
        if mtu > 0 { packet.path.learn(pathMTU: Int(mtu)) }
        enqueue(slot, marked: false)
    }

    /// Tells the inner sender how much fits.
    private func refuse(_ packet: Span<UInt8>, _ inner: InnerPacket, mtu: Int) {
        guard errorTokens.take(now: now) else { return }
        var target = MutableSpan(_unsafeStart: errorBuffer, count: PacketTooBig.maximumLength)
        guard let length = PacketTooBig.build(for: packet, inner, mtu: mtu, into: &target) else { return }
        if martlet_packet_write(tun, errorBuffer, length) != 0 { drops.add(.tunWrite) }
    }

    private func acquire(_ policy: UInt64, for packet: InnerPacket) {
        if let last = lastAcquire[policy], now < last + 1_000_000_000 { return }
        lastAcquire[policy] = now
        events.acquire(policy: policy, for: packet)
    }
}
