// An SA with other addresses. The kernel has no request to change them: it is read, removed, and added again with all that it has counted.
// RFC 4555 section 3.5 asks that SAs move; RFC 4303 section 3.3.3 that no sequence number is sent twice, section 3.4.3 that none is taken twice.

import CXFRM
import IKEWire

/// What an SA had counted in its last moment: the kernel's announcement of its deletion says so, when no packet can be counted any more.
package struct LastState {
    package let id: SAIdentifier
    private let counted: xfrm_lifetime_cur
    /// XFRMA_REPLAY_ESN_VAL or XFRMA_REPLAY_VAL, as it came.
    private var replay: (type: xfrm_attr_type_t, bytes: [UInt8])?

    /// Nil for what announces no deletion of an SA of ESP, or is not whole.
    package init?(_ message: ReceivedMessage) {
        guard message.type == UInt16(XFRM_MSG_DELSA) else { return nil }
        let fixed = MemoryLayout<xfrm_usersa_id>.size
        guard let info = message.attribute(XFRMA_SA, after: fixed, as: xfrm_usersa_info.self), let id = SAIdentifier(info) else { return nil }
        self.id = id
        counted = info.curlft
        var found: (type: xfrm_attr_type_t, bytes: [UInt8])?
        message.eachAttribute(after: fixed) { type, value in
            switch UInt32(type) {
            case XFRMA_REPLAY_ESN_VAL.rawValue: found = (XFRMA_REPLAY_ESN_VAL, Array(value.raw))
            case XFRMA_REPLAY_VAL.rawValue where found == nil: found = (XFRMA_REPLAY_VAL, Array(value.raw))
            default: break
            }
            return true
        }
        replay = found
    }

    /// Puts it in place of what an SA that was read before had counted. False where the two do not fit.
    package func complete(_ message: inout NetlinkMessage) -> Bool {
        let fixed = MemoryLayout<xfrm_usersa_info>.size
        guard let replay else { return false }
        var fits = false
        guard
            message.change(
                replay.type, after: fixed,
                { value in
                    guard value.count == replay.bytes.count else { return }
                    value.copyBytes(from: replay.bytes)
                    fits = true
                }), fits
        else { return false }
        return message.change(XFRMA_LTIME_VAL, after: fixed) { value in withUnsafeBytes(of: counted) { if value.count == $0.count { value.copyMemory(from: $0) } } }
    }
}

extension SAMessages {
    /// How far an outgoing SA is put ahead where nobody has said what it sent last: its peer takes gaps, and no number twice.
    package static let margin: UInt32 = 1 << 20

    /// Skips numbers of an SA that was read before, so that those it has sent since are not sent again.
    package static func skip(_ message: inout NetlinkMessage) {
        let fixed = MemoryLayout<xfrm_usersa_info>.size
        if message.change(
            XFRMA_REPLAY_ESN_VAL, after: fixed,
            { value in
                guard value.count >= MemoryLayout<xfrm_replay_state_esn>.size else { return }
                var state = value.loadUnaligned(as: xfrm_replay_state_esn.self)
                let (low, carries) = state.oseq.addingReportingOverflow(margin)
                state.oseq = low
                if carries { state.oseq_hi &+= 1 }
                withUnsafeBytes(of: state) { value.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0.prefix(value.count))) }
            })
        {
            return
        }
        _ = message.change(XFRMA_REPLAY_VAL, after: fixed) { value in
            guard value.count >= MemoryLayout<xfrm_replay_state>.size else { return }
            var state = value.loadUnaligned(as: xfrm_replay_state.self)
            let (sum, overflows) = state.oseq.addingReportingOverflow(margin)
            state.oseq = overflows ? .max : sum
            withUnsafeBytes(of: state) { value.copyMemory(from: $0) }
        }
    }

    /// Whether the kernel keeps the keys of an answer to `query` to itself, as one in lockdown does: there they are zeros.
    package static func hidesKeys(_ answer: ReceivedMessage) -> Bool {
        var hides = false
        answer.eachAttribute(after: MemoryLayout<xfrm_usersa_info>.size) { type, value in
            let head: Int
            switch UInt32(type) {
            case XFRMA_ALG_AEAD.rawValue: head = MemoryLayout<xfrm_algo_aead>.size
            case XFRMA_ALG_AUTH_TRUNC.rawValue: head = MemoryLayout<xfrm_algo_auth>.size
            case XFRMA_ALG_CRYPT.rawValue: head = MemoryLayout<xfrm_algo>.size
            default: return true
            }
            let key = value.raw.dropFirst(head)
            if !key.isEmpty, key.allSatisfy({ $0 == 0 }) { hides = true }
            return true
        }
        return hides
    }

    /// The SA of an answer to `query` again, with other addresses and everything else as it was, its sequence numbers and counters included.
    /// With `replaces` it takes the place of one that differs in its ports alone. Nil where the answer is none.
    package static func moved(_ answer: ReceivedMessage, to path: OuterPath, replaces: Bool = false) -> NetlinkMessage? {
        guard answer.type == UInt16(XFRM_MSG_NEWSA), var info = answer.body.load(as: xfrm_usersa_info.self), info.id.proto == esp else { return nil }
        var message = NetlinkMessage(
            type: UInt16(replaces ? XFRM_MSG_UPDSA : XFRM_MSG_NEWSA), flags: UInt16(NLM_F_ACK | (replaces ? NLM_F_REPLACE : NLM_F_CREATE | NLM_F_EXCL)))
        info.id.daddr = xfrm_address_t(path.destination)
        info.saddr = xfrm_address_t(path.source)
        info.family = path.destination.family.kernel
        info.seq = 0
        let current = info.curlft
        message.body(info)
        var types: Set<UInt32> = []
        answer.eachAttribute(after: MemoryLayout<xfrm_usersa_info>.size) { type, _ in
            types.insert(UInt32(type))
            return true
        }
        answer.eachAttribute(after: MemoryLayout<xfrm_usersa_info>.size) { type, value in
            switch UInt32(type) {
            case XFRMA_ENCAP.rawValue, XFRMA_LASTUSED.rawValue, XFRMA_LTIME_VAL.rawValue, XFRMA_PAD.rawValue, XFRMA_COADDR.rawValue, XFRMA_SRCADDR.rawValue: break
            // The kernel says the same again in the form that has no length.
            case XFRMA_ALG_AUTH.rawValue where types.contains(XFRMA_ALG_AUTH_TRUNC.rawValue): break
            default: message.attribute(xfrm_attr_type_t(rawValue: UInt32(type)), value.raw, UnsafeRawBufferPointer(start: nil, count: 0))
            }
            return true
        }
        if let ports = path.ports { message.attribute(XFRMA_ENCAP, encapsulation(ports)) }
        message.attribute(XFRMA_LTIME_VAL, current)
        return message
    }
}
