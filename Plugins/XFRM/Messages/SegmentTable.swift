// Requests of nf_tables: a table of our own that gives TCP connections through our tunnels segments that fit. RFC 6691, RFC 4301 section 8.2.2.
//
//     table inet martlet-xfrm {
//         map segments4, segments6 { reqid : segment size }
//         chain forward { hook forward, priority mangle: TCP with SYN and without RST goes to `opening` }
//         chain opening { for each family and direction: the reqid of the SA that the packet came from, or goes to -> map -> tcp option maxseg }
//     }
//
// The kernel makes such an option smaller and never larger. Reqids are ours alone, so that nobody else's tunnel is meant.

import CXFRM
import Glibc
import IKEWire

package enum SegmentTable {
    package static let name = "martlet-xfrm"
    /// NFPROTO_INET: IPv4 and IPv6 in one table.
    private static let family: UInt8 = 1
    private static let forward = "forward", opening = "opening"

    // MARK: A transaction's ends

    package static func begin() -> NetlinkMessage { end(UInt16(NFNL_MSG_BATCH_BEGIN)) }
    package static func end() -> NetlinkMessage { end(UInt16(NFNL_MSG_BATCH_END)) }

    private static func end(_ type: UInt16) -> NetlinkMessage {
        var message = NetlinkMessage(type: type, flags: 0, capacity: 64)
        message.body(nfgenmsg(nfgen_family: 0, version: 0, res_id: UInt16(NFNL_SUBSYS_NFTABLES).bigEndian))
        return message
    }

    // MARK: The table

    /// Removes what is there of the name, and everything in it.
    package static func remove(_ name: String = name) -> NetlinkMessage {
        var message = request(NFT_MSG_DELTABLE, 0)
        message.text(NFTA_TABLE_NAME.rawValue, name)
        return message
    }

    /// `isOwned`: it goes with the socket that made it, however that ends, and nobody else can change it. Linux 5.12.
    package static func create(_ name: String = name, isOwned: Bool, each: (consuming NetlinkMessage) -> Void) {
        var table = request(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL)
        table.text(NFTA_TABLE_NAME.rawValue, name)
        table.number(NFTA_TABLE_FLAGS.rawValue, isOwned ? 2 : 0)  // NFT_TABLE_F_OWNER, of newer headers
        each(table)
        for family in [IPAddress.Family.v4, .v6] { each(map(name, family)) }
        var chain = request(NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL)
        chain.text(NFTA_CHAIN_TABLE.rawValue, name)
        chain.text(NFTA_CHAIN_NAME.rawValue, opening)
        each(chain)
        chain = request(NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL)
        chain.text(NFTA_CHAIN_TABLE.rawValue, name)
        chain.text(NFTA_CHAIN_NAME.rawValue, forward)
        chain.nest(NFTA_CHAIN_HOOK.rawValue) { hook in
            hook.number(NFTA_HOOK_HOOKNUM.rawValue, UInt32(NF_INET_FORWARD.rawValue))
            hook.number(NFTA_HOOK_PRIORITY.rawValue, UInt32(bitPattern: -150))  // mangle
        }
        chain.number(NFTA_CHAIN_POLICY.rawValue, UInt32(NF_ACCEPT))
        chain.text(NFTA_CHAIN_TYPE.rawValue, "filter")
        each(chain)
        each(
            rule(name, forward) { expressions in
                expressions.load(meta: NFT_META_L4PROTO.rawValue)
                expressions.compare(to: [6])
                expressions.loadTCPFlags()
                expressions.mask([0x06])
                expressions.compare(to: [0x02])
                expressions.jump(to: opening)
            })
        for family in [IPAddress.Family.v4, .v6] {
            for isInbound in [true, false] {
                each(
                    rule(name, opening) { expressions in
                        expressions.load(meta: NFT_META_NFPROTO.rawValue)
                        expressions.compare(to: [family == .v4 ? 2 : 10])
                        expressions.loadReqid(isInbound: isInbound)
                        expressions.lookUp(mapName(family))
                        expressions.setSegment()
                    })
            }
        }
    }

    // MARK: What fits

    package static func add(_ reqid: UInt32, _ segment: UInt16, _ family: IPAddress.Family) -> NetlinkMessage { element(NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, reqid, segment, family) }
    package static func remove(_ reqid: UInt32, _ family: IPAddress.Family) -> NetlinkMessage { element(NFT_MSG_DELSETELEM, 0, reqid, nil, family) }

    private static func element(_ type: nf_tables_msg_types, _ flags: Int32, _ reqid: UInt32, _ segment: UInt16?, _ family: IPAddress.Family) -> NetlinkMessage {
        var message = request(type, flags, capacity: 256)
        message.text(NFTA_SET_ELEM_LIST_TABLE.rawValue, name)
        message.text(NFTA_SET_ELEM_LIST_SET.rawValue, mapName(family))
        message.nest(NFTA_SET_ELEM_LIST_ELEMENTS.rawValue) { list in
            list.nest(NFTA_LIST_ELEM.rawValue) { element in
                // The kernel's own order, as the register has it.
                element.value(NFTA_SET_ELEM_KEY.rawValue, withUnsafeBytes(of: reqid, Array.init))
                if let segment { element.value(NFTA_SET_ELEM_DATA.rawValue, withUnsafeBytes(of: segment.bigEndian, Array.init)) }
            }
        }
        return message
    }

    // MARK: Parts

    private static func mapName(_ family: IPAddress.Family) -> String { family == .v4 ? "segments4" : "segments6" }

    private static func map(_ table: String, _ family: IPAddress.Family) -> NetlinkMessage {
        var message = request(NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL)
        message.text(NFTA_SET_TABLE.rawValue, table)
        message.text(NFTA_SET_NAME.rawValue, mapName(family))
        message.number(NFTA_SET_FLAGS.rawValue, UInt32(NFT_SET_MAP.rawValue))
        // The types are for whoever lists the table: a mark, as reqids are shown, and a port, which is a number of two octets.
        message.number(NFTA_SET_KEY_TYPE.rawValue, 19)
        message.number(NFTA_SET_KEY_LEN.rawValue, 4)
        message.number(NFTA_SET_DATA_TYPE.rawValue, 13)
        message.number(NFTA_SET_DATA_LEN.rawValue, 2)
        message.number(NFTA_SET_ID.rawValue, family == .v4 ? 4 : 6)
        return message
    }

    private static func rule(_ table: String, _ chain: String, _ body: (inout NetlinkMessage) -> Void) -> NetlinkMessage {
        var message = request(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND)
        message.text(NFTA_RULE_TABLE.rawValue, table)
        message.text(NFTA_RULE_CHAIN.rawValue, chain)
        message.nest(NFTA_RULE_EXPRESSIONS.rawValue, body)
        return message
    }

    private static func request(_ type: nf_tables_msg_types, _ flags: Int32, capacity: Int = 1024) -> NetlinkMessage {
        var message = NetlinkMessage(type: UInt16(NFNL_SUBSYS_NFTABLES) << 8 | UInt16(type.rawValue), flags: UInt16(NLM_F_ACK | flags), capacity: capacity)
        message.body(nfgenmsg(nfgen_family: family, version: 0, res_id: 0))
        return message
    }
}

extension NetlinkMessage {
    /// nf_tables has its numbers the network's way round.
    fileprivate mutating func number(_ attribute: UInt32, _ value: UInt32) { self.attribute(attribute, bytes: withUnsafeBytes(of: value.bigEndian, Array.init)) }
    fileprivate mutating func text(_ attribute: UInt32, _ text: String) { self.attribute(attribute, bytes: Array(text.utf8) + [0]) }
    fileprivate mutating func value(_ attribute: UInt32, _ bytes: [UInt8]) { nest(attribute) { $0.attribute(NFTA_DATA_VALUE.rawValue, bytes: bytes) } }

    // MARK: Expressions, in the order of a rule. All work on one register, but for what a map gives.

    private static var register: UInt32 { 1 }
    private static var found: UInt32 { 2 }

    private mutating func expression(_ name: String, _ body: (inout NetlinkMessage) -> Void) {
        nest(NFTA_LIST_ELEM.rawValue) { element in
            element.text(NFTA_EXPR_NAME.rawValue, name)
            element.nest(NFTA_EXPR_DATA.rawValue, body)
        }
    }

    fileprivate mutating func load(meta key: UInt32) {
        expression("meta") {
            $0.number(NFTA_META_DREG.rawValue, Self.register)
            $0.number(NFTA_META_KEY.rawValue, key)
        }
    }

    fileprivate mutating func compare(to bytes: [UInt8]) {
        expression("cmp") {
            $0.number(NFTA_CMP_SREG.rawValue, Self.register)
            $0.number(NFTA_CMP_OP.rawValue, UInt32(NFT_CMP_EQ.rawValue))
            $0.value(NFTA_CMP_DATA.rawValue, bytes)
        }
    }

    fileprivate mutating func loadTCPFlags() {
        expression("payload") {
            $0.number(NFTA_PAYLOAD_DREG.rawValue, Self.register)
            $0.number(NFTA_PAYLOAD_BASE.rawValue, UInt32(NFT_PAYLOAD_TRANSPORT_HEADER.rawValue))
            $0.number(NFTA_PAYLOAD_OFFSET.rawValue, 13)
            $0.number(NFTA_PAYLOAD_LEN.rawValue, 1)
        }
    }

    fileprivate mutating func mask(_ bytes: [UInt8]) {
        expression("bitwise") {
            $0.number(NFTA_BITWISE_SREG.rawValue, Self.register)
            $0.number(NFTA_BITWISE_DREG.rawValue, Self.register)
            $0.number(NFTA_BITWISE_LEN.rawValue, UInt32(bytes.count))
            $0.value(NFTA_BITWISE_MASK.rawValue, bytes)
            $0.value(NFTA_BITWISE_XOR.rawValue, [UInt8](repeating: 0, count: bytes.count))
        }
    }

    /// Of the first SA that the packet came through, or is to go through. A packet without one ends the rule.
    fileprivate mutating func loadReqid(isInbound: Bool) {
        expression("xfrm") {
            $0.number(NFTA_XFRM_DREG.rawValue, Self.register)
            $0.number(NFTA_XFRM_KEY.rawValue, UInt32(NFT_XFRM_KEY_REQID.rawValue))
            $0.attribute(NFTA_XFRM_DIR.rawValue, bytes: [isInbound ? 0 : 1])
            $0.number(NFTA_XFRM_SPNUM.rawValue, 0)
        }
    }

    fileprivate mutating func lookUp(_ map: String) {
        expression("lookup") {
            $0.text(NFTA_LOOKUP_SET.rawValue, map)
            $0.number(NFTA_LOOKUP_SREG.rawValue, Self.register)
            $0.number(NFTA_LOOKUP_DREG.rawValue, Self.found)
        }
    }

    /// TCP's option 2, two octets behind its head.
    fileprivate mutating func setSegment() {
        expression("exthdr") {
            $0.number(NFTA_EXTHDR_SREG.rawValue, Self.found)
            $0.attribute(NFTA_EXTHDR_TYPE.rawValue, bytes: [2])
            $0.number(NFTA_EXTHDR_OFFSET.rawValue, 2)
            $0.number(NFTA_EXTHDR_LEN.rawValue, 2)
            $0.number(NFTA_EXTHDR_OP.rawValue, UInt32(NFT_EXTHDR_OP_TCPOPT.rawValue))
        }
    }

    fileprivate mutating func jump(to chain: String) {
        expression("immediate") {
            $0.number(NFTA_IMMEDIATE_DREG.rawValue, UInt32(NFT_REG_VERDICT.rawValue))
            $0.nest(NFTA_IMMEDIATE_DATA.rawValue) { data in
                data.nest(NFTA_DATA_VERDICT.rawValue) { verdict in
                    verdict.number(NFTA_VERDICT_CODE.rawValue, UInt32(bitPattern: NFT_JUMP.rawValue))
                    verdict.text(NFTA_VERDICT_CHAIN.rawValue, chain)
                }
            }
        }
    }
}
