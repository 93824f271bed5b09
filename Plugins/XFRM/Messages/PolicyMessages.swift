// Requests about policies: XFRM_MSG_NEWPOLICY, UPDPOLICY, DELPOLICY, GETPOLICY. RFC 4301 section 4.4.1.

import CXFRM
import ESPCore
import IKEWire

package enum PolicyDirection: UInt8, Sendable, Hashable, CaseIterable {
    case inbound = 0, outbound = 1, forward = 2
}

/// What a policy asks of a packet: an SA with this reqid.
package struct PolicyTemplate: Hashable, Sendable {
    package var source: IPAddress
    package var destination: IPAddress
    package var reqid: UInt32
    /// 0 for any SA of the reqid.
    package var spi: UInt32
    package var mode: XFRMMode
    /// Where hardware carries whole packets it has to know the policy, too.
    package var offload: OffloadDevice?

    package init(source: IPAddress, destination: IPAddress, reqid: UInt32, spi: UInt32 = 0, mode: XFRMMode = .tunnel, offload: OffloadDevice? = nil) {
        self.source = source
        self.destination = destination
        self.reqid = reqid
        self.spi = spi
        self.mode = mode
        self.offload = offload
    }
}

/// Which packets a policy sees at all, whatever its selector.
package struct PolicyScope: Hashable, Sendable {
    package var mark = KernelMark.none
    /// 0 for none.
    package var interfaceID: UInt32 = 0
    package init(mark: KernelMark = .none, interfaceID: UInt32 = 0) {
        self.mark = mark
        self.interfaceID = interfaceID
    }

    func add(to message: inout NetlinkMessage) {
        if mark.mask != 0 { message.attribute(XFRMA_MARK, mark.contract) }
        if interfaceID != 0 { message.attribute(XFRMA_IF_ID, interfaceID) }
    }
}

package enum PolicyContent: Hashable, Sendable {
    case protect(PolicyTemplate)
    case pass
    case drop
}

package struct PolicyDescription: Hashable, Sendable {
    package var selector: KernelSelector
    package var direction: PolicyDirection
    package var content: PolicyContent
    package var priority: UInt32
    /// The kernel's name for the policy; its lowest three bits are the direction.
    package var index: UInt32
    package var scope: PolicyScope

    package init(selector: KernelSelector, direction: PolicyDirection, content: PolicyContent, priority: UInt32, index: UInt32, scope: PolicyScope = PolicyScope()) {
        self.selector = selector
        self.direction = direction
        self.content = content
        self.priority = priority
        self.index = index
        self.scope = scope
    }
}

package enum PolicyMessages {
    /// A new one must not take the place of one that is there: that would be somebody else's.
    package static func set(_ policy: PolicyDescription, isNew: Bool) -> NetlinkMessage {
        var message = NetlinkMessage(
            type: UInt16(isNew ? XFRM_MSG_NEWPOLICY : XFRM_MSG_UPDPOLICY), flags: UInt16(NLM_F_ACK | (isNew ? NLM_F_CREATE | NLM_F_EXCL : NLM_F_CREATE | NLM_F_REPLACE)), capacity: 512)
        var info = xfrm_userpolicy_info()
        info.sel = policy.selector.contract
        info.lft.soft_byte_limit = unlimited
        info.lft.hard_byte_limit = unlimited
        info.lft.soft_packet_limit = unlimited
        info.lft.hard_packet_limit = unlimited
        info.priority = policy.priority
        info.index = policy.index
        info.dir = policy.direction.rawValue
        info.action = UInt8(policy.content == .drop ? XFRM_POLICY_BLOCK : XFRM_POLICY_ALLOW)
        message.body(info)
        if case .protect(let template) = policy.content {
            var part = xfrm_user_tmpl()
            part.id.daddr = xfrm_address_t(template.destination)
            part.id.spi = template.spi.bigEndian
            part.id.proto = SAMessages.esp
            part.family = template.destination.family.kernel
            part.saddr = xfrm_address_t(template.source)
            part.reqid = template.reqid
            part.mode = template.mode.rawValue
            part.aalgos = .max
            part.ealgos = .max
            part.calgos = .max
            message.attribute(XFRMA_TMPL, part)
            if let offload = template.offload { message.attribute(XFRMA_OFFLOAD_DEV, offload.contract(isInbound: policy.direction != .outbound, isIPv6: policy.selector.family == .v6)) }
        }
        policy.scope.add(to: &message)
        return message
    }

    /// By its index alone: whatever else is there for the same selector is not ours.
    package static func delete(index: UInt32, direction: PolicyDirection, scope: PolicyScope = PolicyScope()) -> NetlinkMessage {
        var message = NetlinkMessage(type: UInt16(XFRM_MSG_DELPOLICY), flags: UInt16(NLM_F_ACK), capacity: 128)
        var id = xfrm_userpolicy_id()
        id.index = index
        id.dir = direction.rawValue
        message.body(id)
        scope.add(to: &message)
        return message
    }

    package static func dump() -> NetlinkMessage { NetlinkMessage(type: UInt16(XFRM_MSG_GETPOLICY), flags: UInt16(NLM_F_DUMP), capacity: 64) }
}
