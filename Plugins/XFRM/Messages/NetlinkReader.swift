// What the kernel sends: messages, their attributes, and what of them the plane needs. Every length is checked, whoever sent it.

import CXFRM
import Glibc
import IKEWire

/// Bytes with checked access; the memory is the caller's.
package struct NetlinkBytes {
    package let raw: UnsafeRawBufferPointer
    package init(_ raw: UnsafeRawBufferPointer) { self.raw = raw }

    package var count: Int { raw.count }

    /// A structure at an offset, or nil where it would not fit.
    package func load<T>(_ offset: Int = 0, as type: T.Type) -> T? {
        guard offset >= 0, raw.count - offset >= MemoryLayout<T>.size else { return nil }
        return raw.loadUnaligned(fromByteOffset: offset, as: type)
    }

    func slice(_ range: Range<Int>) -> NetlinkBytes? {
        guard range.lowerBound >= 0, range.upperBound <= raw.count else { return nil }
        return NetlinkBytes(UnsafeRawBufferPointer(rebasing: raw[range]))
    }

    /// Calls `each` for every whole attribute from an offset on, until it returns false.
    package func eachAttribute(from start: Int = 0, _ each: (UInt16, NetlinkBytes) -> Bool) {
        var offset = start
        while let head = load(offset, as: nlattr.self) {
            let length = Int(head.nla_len)
            guard length >= 4, let value = slice((offset + 4)..<(offset + max(length, 4))) else { return }
            // The two highest bits are flags.
            guard each(head.nla_type & 0x3fff, value) else { return }
            offset += (length + 3) & ~3
        }
    }
}

package struct ReceivedMessage {
    package let header: nlmsghdr
    /// Behind the header.
    package let body: NetlinkBytes

    package var type: UInt16 { header.nlmsg_type }
    package var isError: Bool { type == UInt16(NLMSG_ERROR) }
    package var isEnd: Bool { type == UInt16(NLMSG_DONE) }
    /// Of an error message: 0 for an acknowledgement, else a negative errno. A message that lies about its size is EBADMSG.
    package var error: Int32 { body.load(as: Int32.self).map { $0 > 0 ? -EBADMSG : $0 } ?? -EBADMSG }

    /// Calls `each` for every whole message of a datagram; what is not whole ends it.
    package static func each(in datagram: UnsafeRawBufferPointer, _ each: (ReceivedMessage) -> Void) {
        let bytes = NetlinkBytes(datagram)
        var offset = 0
        while let header = bytes.load(offset, as: nlmsghdr.self) {
            let length = Int(header.nlmsg_len), head = MemoryLayout<nlmsghdr>.size
            guard length >= head, let body = bytes.slice((offset + head)..<(offset + max(length, head))) else { return }
            each(ReceivedMessage(header: header, body: body))
            offset += (length + 3) & ~3
            if offset > bytes.count { return }
        }
    }

    /// Calls `each` for every whole attribute behind a fixed part of `fixed` bytes, until it returns false.
    package func eachAttribute(after fixed: Int, _ each: (UInt16, NetlinkBytes) -> Bool) {
        body.eachAttribute(from: (fixed + 3) & ~3, each)
    }

    package func attribute<T>(_ type: xfrm_attr_type_t, after fixed: Int, as kind: T.Type) -> T? {
        var found: T?
        eachAttribute(after: fixed) { number, value in
            guard number == UInt16(type.rawValue) else { return true }
            found = value.load(as: kind)
            return false
        }
        return found
    }
}

/// What tells SAs apart.
package struct SAIdentifier: Hashable, Sendable {
    package var destination: IPAddress
    package var spi: UInt32
    package init(destination: IPAddress, spi: UInt32) {
        self.destination = destination
        self.spi = spi
    }
}

// MARK: Events

package enum XFRMEvent: Equatable {
    /// A packet that found no SA for a template with this reqid.
    case acquire(PacketThatAsks)
    case expired(SAIdentifier, reqid: UInt32, isHard: Bool)
    /// An authentic packet came from elsewhere.
    case mapping(SAIdentifier, reqid: UInt32, source: IPAddress, port: UInt16)
    /// Somebody has taken an SA, all of them, or a policy (nil: all of them) out of the kernel.
    case removed(SAIdentifier, reqid: UInt32)
    case flushedSAs
    case removedPolicy(index: UInt32?)

    package struct PacketThatAsks: Equatable, Sendable {
        package var sequence: UInt32
        package var reqid: UInt32
        package var mode: UInt8
        /// Of the template.
        package var path: OuterPath
        package var source: IPAddress
        package var destination: IPAddress
        package var ipProtocol: UInt8
        /// Nil where the protocol has none, or they cannot be seen.
        package var sourcePort: UInt16?
        package var destinationPort: UInt16?
        /// Of the policy.
        package var scope = PolicyScope()
    }

    /// Nil for what is none, or is not whole.
    package init?(_ message: ReceivedMessage) {
        switch Int(message.type) {
        case Int(XFRM_MSG_EXPIRE):
            guard let expire = message.body.load(as: xfrm_user_expire.self), let id = SAIdentifier(expire.state) else { return nil }
            self = .expired(id, reqid: expire.state.reqid, isHard: expire.hard != 0)
        case Int(XFRM_MSG_MAPPING):
            guard let mapping = message.body.load(as: xfrm_user_mapping.self), mapping.id.proto == SAMessages.esp, let destination = mapping.id.daddr.address(mapping.id.family),
                let source = mapping.new_saddr.address(mapping.id.family)
            else { return nil }
            self = .mapping(
                SAIdentifier(destination: destination, spi: UInt32(bigEndian: mapping.id.spi)), reqid: mapping.reqid, source: source, port: UInt16(bigEndian: mapping.new_sport))
        case Int(XFRM_MSG_DELSA):
            guard let info = message.attribute(XFRMA_SA, after: MemoryLayout<xfrm_usersa_id>.size, as: xfrm_usersa_info.self), let id = SAIdentifier(info) else { return nil }
            self = .removed(id, reqid: info.reqid)
        case Int(XFRM_MSG_FLUSHSA):
            guard let flush = message.body.load(as: xfrm_usersa_flush.self), flush.proto == SAMessages.esp || flush.proto == 0 || flush.proto == 255 else { return nil }
            self = .flushedSAs
        case Int(XFRM_MSG_DELPOLICY):
            guard let info = message.attribute(XFRMA_POLICY, after: MemoryLayout<xfrm_userpolicy_id>.size, as: xfrm_userpolicy_info.self) else { return nil }
            self = .removedPolicy(index: info.index)
        case Int(XFRM_MSG_FLUSHPOLICY): self = .removedPolicy(index: nil)
        case Int(XFRM_MSG_ACQUIRE):
            guard let acquire = message.body.load(as: xfrm_user_acquire.self), acquire.id.proto == SAMessages.esp,
                let template = message.attribute(XFRMA_TMPL, after: MemoryLayout<xfrm_user_acquire>.size, as: xfrm_user_tmpl.self),
                let outerSource = acquire.saddr.address(template.family), let outerDestination = acquire.id.daddr.address(template.family),
                var packet = PacketThatAsks(
                    acquire.sel, sequence: acquire.seq, reqid: template.reqid, mode: template.mode, path: OuterPath(source: outerSource, destination: outerDestination))
            else { return nil }
            let fixed = MemoryLayout<xfrm_user_acquire>.size
            if let mark = message.attribute(XFRMA_MARK, after: fixed, as: xfrm_mark.self) { packet.scope.mark = KernelMark(value: mark.v, mask: mark.m) }
            packet.scope.interfaceID = message.attribute(XFRMA_IF_ID, after: fixed, as: UInt32.self) ?? 0
            self = .acquire(packet)
        default: return nil
        }
    }
}

extension XFRMEvent.PacketThatAsks {
    fileprivate init?(_ selector: xfrm_selector, sequence: UInt32, reqid: UInt32, mode: UInt8, path: OuterPath) {
        guard let source = selector.saddr.address(selector.family), let destination = selector.daddr.address(selector.family) else { return nil }
        self.init(
            sequence: sequence, reqid: reqid, mode: mode, path: path, source: source, destination: destination, ipProtocol: selector.proto,
            sourcePort: selector.sport_mask == 0 ? nil : UInt16(bigEndian: selector.sport), destinationPort: selector.dport_mask == 0 ? nil : UInt16(bigEndian: selector.dport))
    }
}

extension SAIdentifier {
    /// Nil for what is not ESP.
    package init?(_ info: xfrm_usersa_info) {
        guard info.id.proto == SAMessages.esp, let destination = info.id.daddr.address(info.family) else { return nil }
        self.init(destination: destination, spi: UInt32(bigEndian: info.id.spi))
    }
}

// MARK: Answers

/// An SA as the kernel holds it, without its keys.
package struct SAReport: Equatable {
    package var id: SAIdentifier
    package var reqid: UInt32
    package var bytes: UInt64
    package var packets: UInt64
    package var limits: SALimits
    package var replayed: UInt32
    package var rejectedICV: UInt32
    /// The highest sequence number sent, and the highest seen.
    package var sent: UInt64 = 0
    package var seen: UInt64 = 0
    /// Seconds since 1970 of the last packet, where the kernel says so.
    package var lastUsed: UInt64?
    package var mark = KernelMark.none
    package var interfaceID: UInt32 = 0
    /// Whether a device does its work.
    package var isOffloaded = false
    package var setMarkMask: UInt32 = 0
    /// The packet that this SA is only a placeholder for: an acquire whose SA has not come. It may have the number of the SA that is missed.
    package var awaiting: XFRMEvent.PacketThatAsks?

    package init?(_ message: ReceivedMessage) {
        guard message.type == UInt16(XFRM_MSG_NEWSA), let info = message.body.load(as: xfrm_usersa_info.self), let id = SAIdentifier(info) else { return nil }
        self.id = id
        reqid = info.reqid
        bytes = info.curlft.bytes
        packets = info.curlft.packets
        limits = SALimits(
            softBytes: info.lft.soft_byte_limit, hardBytes: info.lft.hard_byte_limit, softPackets: info.lft.soft_packet_limit, hardPackets: info.lft.hard_packet_limit,
            hardSeconds: info.lft.hard_add_expires_seconds)
        replayed = info.stats.replay
        rejectedICV = info.stats.integrity_failed
        var sent: UInt64 = 0, seen: UInt64 = 0, lastUsed: UInt64?, hasAlgorithm = false, mark = KernelMark.none, interfaceID: UInt32 = 0, isOffloaded = false, setMarkMask: UInt32 = 0
        message.eachAttribute(after: MemoryLayout<xfrm_usersa_info>.size) { type, value in
            switch UInt32(type) {
            case XFRMA_REPLAY_VAL.rawValue:
                if let state = value.load(as: xfrm_replay_state.self) { (sent, seen) = (UInt64(state.oseq), UInt64(state.seq)) }
            case XFRMA_REPLAY_ESN_VAL.rawValue:
                if let state = value.load(as: xfrm_replay_state_esn.self) {
                    sent = UInt64(state.oseq_hi) << 32 | UInt64(state.oseq)
                    seen = UInt64(state.seq_hi) << 32 | UInt64(state.seq)
                }
            case XFRMA_ALG_AEAD.rawValue, XFRMA_ALG_CRYPT.rawValue: hasAlgorithm = true
            case XFRMA_MARK.rawValue: mark = value.load(as: xfrm_mark.self).map { KernelMark(value: $0.v, mask: $0.m) } ?? .none
            case XFRMA_IF_ID.rawValue: interfaceID = value.load(as: UInt32.self) ?? 0
            case XFRMA_SET_MARK_MASK.rawValue: setMarkMask = value.load(as: UInt32.self) ?? 0
            case XFRMA_OFFLOAD_DEV.rawValue: isOffloaded = true
            case XFRMA_LASTUSED.rawValue: lastUsed = value.load(as: UInt64.self)
            default: break
            }
            return true
        }
        self.sent = sent
        self.seen = seen
        self.lastUsed = lastUsed
        (self.mark, self.interfaceID, self.isOffloaded, self.setMarkMask) = (mark, interfaceID, isOffloaded, setMarkMask)
        if !hasAlgorithm, let outer = info.saddr.address(info.family) {
            awaiting = XFRMEvent.PacketThatAsks(info.sel, sequence: info.seq, reqid: info.reqid, mode: info.mode, path: OuterPath(source: outer, destination: id.destination))
            awaiting?.scope = PolicyScope(mark: mark, interfaceID: interfaceID)
        }
    }

    /// Past its soft limit.
    package var isSoftExpired: Bool { bytes >= limits.softBytes || packets >= limits.softPackets }
}

/// A policy as the kernel holds it.
package struct PolicyReport: Equatable {
    package var index: UInt32
    package var direction: UInt8
    package var scope = PolicyScope()

    package init?(_ message: ReceivedMessage) {
        guard message.type == UInt16(XFRM_MSG_NEWPOLICY), let info = message.body.load(as: xfrm_userpolicy_info.self) else { return nil }
        index = info.index
        direction = info.dir
        let fixed = MemoryLayout<xfrm_userpolicy_info>.size
        if let mark = message.attribute(XFRMA_MARK, after: fixed, as: xfrm_mark.self) { scope.mark = KernelMark(value: mark.v, mask: mark.m) }
        scope.interfaceID = message.attribute(XFRMA_IF_ID, after: fixed, as: UInt32.self) ?? 0
    }
}
