// Routes and rules of others, which a kernel tells of beside ours: nothing that is not ours is asked to go.

import CLinux
import CXFRM
import ESPCore
import Glibc
import IKEWire
import Testing

@testable import XFRMMessages

extension martlet_prefix {
    init(_ prefix: Prefix) {
        self.init()
        (family, length) = (prefix.family.rawValue, UInt8(prefix.length))
        let bytes = IPAddress(family: prefix.family, value: prefix.value).bytes
        withUnsafeMutableBytes(of: &self.bytes) { $0.copyBytes(from: bytes) }
    }
}

/// What the C functions of routing netlink ask a kernel for that says what the test has it say.
enum Asked {
    struct NoSocket: Error {}

    /// The requests, without their numbers. `answers` come to the first of them.
    static func requests(answers: [[UInt8]] = [], _ body: (Int32) -> Void) throws -> [[UInt8]] {
        var ends: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &ends) == 0 else { throw NoSocket() }
        defer { for end in ends { close(end) } }
        let number = martlet_netlink_sequence() &+ 1
        for answer in answers {
            var answer = answer
            withUnsafeBytes(of: number) { answer.replaceSubrange(8..<12, with: $0) }
            guard send(ends[1], answer, answer.count, 0) == answer.count else { throw NoSocket() }
        }
        // Requests are still taken, and no more answers come.
        shutdown(ends[1], Int32(SHUT_WR))
        body(ends[0])
        var requests: [[UInt8]] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while case let count = recv(ends[1], &buffer, buffer.count, Int32(MSG_DONTWAIT)), count > 0 {
            var request = Array(buffer[..<count])
            request.replaceSubrange(8..<12, with: [0, 0, 0, 0])
            requests.append(request)
        }
        return requests
    }

    static func message<T>(_ type: Int, _ body: T, _ attributes: (inout NetlinkMessage) -> Void = { _ in }) -> [UInt8] {
        var message = NetlinkMessage(type: UInt16(type), flags: 0)
        message.body(body)
        attributes(&message)
        return message.withBytes { Array($0) }
    }

    static let end = message(Int(NLMSG_DONE), Int32(0))
    static func type(_ request: [UInt8]) -> Int { Int(request[4]) | Int(request[5]) << 8 }
}

struct RoutingTests {
    private static let ours = UInt8(MARTLET_ROUTE_PROTOCOL), statically: UInt8 = 4

    /// As the kernel tells of it; `by` nil as kernels do that know no such thing.
    private func rule(_ priority: UInt32, _ table: UInt32, by author: UInt8?) -> [UInt8] {
        var head = fib_rule_hdr()
        (head.family, head.action, head.table) = (UInt8(AF_INET), UInt8(FR_ACT_TO_TBL), UInt8(table > 255 ? 252 : table))
        return Asked.message(Int(RTM_NEWRULE), head) {
            $0.attribute(xfrm_attr_type_t(rawValue: UInt32(FRA_PRIORITY)), priority)
            $0.attribute(xfrm_attr_type_t(rawValue: UInt32(FRA_TABLE)), table)
            if let author { $0.attribute(xfrm_attr_type_t(rawValue: UInt32(FRA_PROTOCOL)), author) }
        }
    }

    @Test func rulesOfOthersStay() throws {
        let others = [rule(5211, 254, by: Self.statically), rule(5211, 254, by: nil), rule(5211, 100, by: Self.ours), rule(5212, 254, by: Self.ours)]
        func asked(_ answers: [[UInt8]]) throws -> [[UInt8]] { try Asked.requests(answers: answers + [Asked.end]) { _ = martlet_rule_remove($0, 4, 5211, 254) } }
        #expect(try asked(others).map(Asked.type) == [Int(RTM_GETRULE)])
        let requests = try asked(others + [rule(5211, 254, by: Self.ours)])
        #expect(requests.map(Asked.type) == [Int(RTM_GETRULE), Int(RTM_DELRULE)])
        // What goes is named by all three.
        var named: [UInt16: UInt32] = [:]
        let request = try #require(requests.last)
        request.withUnsafeBytes { bytes in
            ReceivedMessage.each(in: bytes) { message in
                message.eachAttribute(after: MemoryLayout<fib_rule_hdr>.size) { type, value in
                    named[type] = value.load(as: UInt32.self) ?? value.load(as: UInt8.self).map(UInt32.init)
                    return true
                }
            }
        }
        #expect(named[UInt16(FRA_PRIORITY)] == 5211 && named[UInt16(FRA_TABLE)] == 254 && named[UInt16(FRA_PROTOCOL)] == UInt32(Self.ours))
    }

    private func route(_ prefix: UInt32, table: UInt32, by author: UInt8) -> [UInt8] {
        var head = rtmsg()
        (head.rtm_family, head.rtm_dst_len, head.rtm_protocol, head.rtm_type) = (UInt8(AF_INET), 16, author, UInt8(RTN_UNICAST))
        return Asked.message(Int(RTM_NEWROUTE), head) {
            $0.attribute(xfrm_attr_type_t(rawValue: UInt32(RTA_TABLE.rawValue)), table)
            $0.attribute(xfrm_attr_type_t(rawValue: UInt32(RTA_DST.rawValue)), prefix.bigEndian)
        }
    }

    @Test func routesOfOthersStay() throws {
        let answers = [
            route(0x0a02_0000, table: 52100, by: Self.statically), route(0x0a03_0000, table: 52100, by: Self.ours), route(0x0a04_0000, table: 254, by: Self.ours),
        ]
        let requests = try Asked.requests(answers: answers + [Asked.end]) { _ = martlet_route_flush($0, 52100) }
        let removed = requests.filter { Asked.type($0) == Int(RTM_DELROUTE) }
        #expect(removed.count == 1)
        let request = try #require(removed.first)
        // struct rtmsg behind the header: the author stands in its sixth octet.
        #expect(request[16 + 5] == Self.ours)
        var destination: UInt32?
        request.withUnsafeBytes { bytes in
            ReceivedMessage.each(in: bytes) { message in
                destination = message.attribute(xfrm_attr_type_t(rawValue: UInt32(RTA_DST.rawValue)), after: MemoryLayout<rtmsg>.size, as: UInt32.self)
            }
        }
        #expect(destination == UInt32(0x0a03_0000).bigEndian)
    }
}
