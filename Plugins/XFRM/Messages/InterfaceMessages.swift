// Requests about XFRM interfaces over routing netlink, and what the kernel says of those that there are. RFC 3549.
// Ours have an alias, by which another life of the daemon knows them.

import CXFRM

package enum InterfaceMessages {
    /// Of the interfaces that the plugin has made: `ip link` shows it, and whoever takes it away takes the interface over.
    package static let alias = "martlet"

    private static let kind: [UInt8] = Array("xfrm".utf8) + [0]
    private static let isUp: UInt32 = 1

    /// A new one, which is down: nothing passes before it has its alias. -EEXIST where the name or the number has one.
    package static func add(_ name: String, _ number: UInt32) -> NetlinkMessage {
        var message = request(Int(RTM_NEWLINK), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)
        message.attribute(UInt32(IFLA_IFNAME), bytes: Array(name.utf8) + [0])
        message.nest(UInt32(IFLA_LINKINFO)) {
            $0.attribute(UInt32(IFLA_INFO_KIND), bytes: kind)
            $0.nest(UInt32(IFLA_INFO_DATA)) { $0.attribute(xfrm_attr_type_t(rawValue: UInt32(IFLA_XFRM_IF_ID)), number) }
        }
        return message
    }

    /// The alias first, then up: the kernel does it in this order.
    package static func open(_ name: String) -> NetlinkMessage {
        var body = ifinfomsg()
        (body.ifi_flags, body.ifi_change) = (isUp, isUp)
        var message = request(Int(RTM_NEWLINK), NLM_F_ACK, body)
        message.attribute(UInt32(IFLA_IFNAME), bytes: Array(name.utf8) + [0])
        message.attribute(UInt32(IFLA_IFALIAS), bytes: Array(alias.utf8))
        return message
    }

    package static func remove(_ index: Int32) -> NetlinkMessage {
        var body = ifinfomsg()
        body.ifi_index = index
        return request(Int(RTM_DELLINK), NLM_F_ACK, body)
    }

    /// All links of this network namespace.
    package static func dump() -> NetlinkMessage {
        var message = request(Int(RTM_GETLINK), NLM_F_DUMP)
        message.attribute(xfrm_attr_type_t(rawValue: UInt32(IFLA_EXT_MASK)), UInt32(RTEXT_FILTER_SKIP_STATS))
        return message
    }

    /// An interface that cannot be, with a number of one octet: the kernel looks at the kind first, and then makes nothing.
    package static func probe() -> NetlinkMessage {
        var message = request(Int(RTM_NEWLINK), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)
        message.nest(UInt32(IFLA_LINKINFO)) {
            $0.attribute(UInt32(IFLA_INFO_KIND), bytes: kind)
            $0.nest(UInt32(IFLA_INFO_DATA)) { $0.attribute(UInt32(IFLA_XFRM_IF_ID), bytes: [0]) }
        }
        return message
    }

    private static func request(_ type: Int, _ flags: Int32, _ body: ifinfomsg = ifinfomsg()) -> NetlinkMessage {
        var message = NetlinkMessage(type: UInt16(type), flags: UInt16(flags), capacity: 256)
        message.body(body)
        return message
    }
}

/// An XFRM interface that there is.
package struct XFRMLink: Equatable {
    package var index: Int32
    package var name: String
    package var number: UInt32
    package var isOurs: Bool

    /// Nil for links of other kinds, and for what is not whole.
    package init?(_ message: ReceivedMessage) {
        guard message.type == UInt16(RTM_NEWLINK), let body = message.body.load(as: ifinfomsg.self) else { return nil }
        var name = "", alias = "", number: UInt32?
        func text(_ value: NetlinkBytes) -> String { String(decoding: value.raw.prefix { $0 != 0 }, as: UTF8.self) }
        message.eachAttribute(after: MemoryLayout<ifinfomsg>.size) { type, value in
            switch Int(type) {
            case IFLA_IFNAME: name = text(value)
            case IFLA_IFALIAS: alias = text(value)
            case IFLA_LINKINFO: number = Self.number(value)
            default: break
            }
            return true
        }
        guard let number, body.ifi_index > 0, !name.isEmpty else { return nil }
        self.index = body.ifi_index
        (self.name, self.number, isOurs) = (name, number, alias == InterfaceMessages.alias)
    }

    /// Of the kind of link that has one.
    private static func number(_ information: NetlinkBytes) -> UInt32? {
        var isXFRM = false, number: UInt32?
        information.eachAttribute { type, value in
            switch Int(type) {
            case IFLA_INFO_KIND: isXFRM = value.raw.prefix { $0 != 0 }.elementsEqual("xfrm".utf8)
            case IFLA_INFO_DATA:
                value.eachAttribute { type, value in
                    if Int(type) == IFLA_XFRM_IF_ID { number = value.load(as: UInt32.self) }
                    return true
                }
            default: break
            }
            return true
        }
        return isXFRM ? number : nil
    }

    /// Why none of those that are there serves for `number`, where the kernel says that the name or the number is taken; nil where the administrator has made
    /// one. A number that was chosen here and is `exclusive` is nobody else's.
    package static func whyNone(_ name: String, _ number: UInt32, isExclusive: Bool, among links: [XFRMLink]) -> String? {
        guard let found = links.first(where: { $0.number == number }) else { return "the interface \(name), which is to have if_id \(number), is another one of somebody else's" }
        guard !isExclusive else { return "somebody else's interface \(found.name) has if_id \(number), which was to be this tunnel's alone: the next attempt has another number" }
        return found.name == name ? nil : "there is an interface for if_id \(number) already, and not with the name \(name) but \(found.name)"
    }
}
