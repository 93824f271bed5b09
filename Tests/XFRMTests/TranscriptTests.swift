// What is sent to the kernel for given SAs and policies, byte for byte: Tests/Vectors/xfrm/transcript.txt. With MARTLET_WRITE_GOLDEN=1 it is
// written anew, to be read before it is committed.

import CLinux
import CXFRM
import ESPCore
import Foundation
import IKEWire
import Testing

@testable import XFRMMessages

struct TranscriptTests {
    /// Keys whose bytes count from `first`, so that each can be found in the message.
    private func withKey<Result>(_ count: Int, from first: UInt8, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try (0..<count).map { first &+ UInt8($0) }.withUnsafeBytes(body)
    }

    /// The parts of a message with their names: header, fixed part, attributes.
    private func render(_ message: borrowing NetlinkMessage, fixed: Int) -> String {
        let bytes = message.withBytes { Array($0) }
        func hex(_ range: Range<Int>) -> String {
            var lines: [String] = []
            for start in stride(from: range.lowerBound, to: range.upperBound, by: 32) {
                let row = bytes[start..<min(start + 32, range.upperBound)].map { String(format: "%02x", $0) }
                lines.append("      " + stride(from: 0, to: row.count, by: 4).map { row[$0..<min($0 + 4, row.count)].joined() }.joined(separator: " "))
            }
            return lines.joined(separator: "\n")
        }
        let type = UInt16(bytes[4]) | UInt16(bytes[5]) << 8
        let names: [UInt16: String] = [0x10: "NEWSA", 0x11: "DELSA", 0x12: "GETSA", 0x13: "NEWPOLICY", 0x14: "DELPOLICY", 0x15: "GETPOLICY", 0x16: "ALLOCSPI", 0x19: "UPDPOLICY", 0x1a: "UPDSA"]
        var text = "  header, \(bytes.count) bytes: XFRM_MSG_\(names[type] ?? String(type))\n\(hex(0..<16))\n"
        if fixed > 0 { text += "  fixed part, \(fixed) bytes\n\(hex(16..<(16 + fixed)))\n" }
        let attributes: [Int: String] = [
            2: "ALG_CRYPT", 4: "ENCAP", 5: "TMPL", 9: "LTIME_VAL", 10: "REPLAY_VAL", 18: "ALG_AEAD", 20: "ALG_AUTH_TRUNC", 23: "REPLAY_ESN_VAL", 24: "SA_EXTRA_FLAGS", 21: "MARK", 25: "PROTO",
            28: "OFFLOAD_DEV", 29: "SET_MARK", 30: "SET_MARK_MASK", 31: "IF_ID",
        ]
        var offset = 16 + (fixed + 3) / 4 * 4
        while offset + 4 <= bytes.count {
            let length = Int(bytes[offset]) | Int(bytes[offset + 1]) << 8, kind = Int(bytes[offset + 2]) | Int(bytes[offset + 3]) << 8
            text += "  attribute XFRMA_\(attributes[kind] ?? String(kind)), \(length) bytes\n\(hex(offset..<min(offset + max(length, 4), bytes.count)))\n"
            offset += (max(length, 4) + 3) / 4 * 4
        }
        return text
    }

    private func transcript() throws -> String {
        let east = try #require(IPAddress("192.0.2.1")), west = try #require(IPAddress("192.0.2.2"))
        let east6 = try #require(IPAddress("2001:db8::1")), west6 = try #require(IPAddress("2001:db8::2"))
        let sa = MemoryLayout<xfrm_usersa_info>.size, id = MemoryLayout<xfrm_usersa_id>.size
        let policySize = MemoryLayout<xfrm_userpolicy_info>.size, policyID = MemoryLayout<xfrm_userpolicy_id>.size
        var text = "The messages of Plugins/XFRM on a machine with the lower byte first. The sequence number is the socket's: 0 here.\n"
        func put(_ title: String, _ message: borrowing NetlinkMessage, _ fixed: Int) { text += "\n\(title)\n" + render(message, fixed: fixed) }

        var outbound = SADescription(spi: 0xc0ff_ee01, reqid: 0x4d00_0001, path: OuterPath(source: east, destination: west), isInbound: false)
        outbound.setMark = KernelMark(value: 0x4d52_0001, mask: .max)
        outbound.limits = SALimits(softBytes: 0x1111, hardBytes: 0x2222, softPackets: 0x3333, hardPackets: 0x4444)
        let gcm = try #require(KernelAlgorithms.aead(20, bits: 256))
        withKey(36, from: 0x01) { key in put("An outbound SA: AES-256-GCM (32 bytes of key, 4 of salt), limits, bare, marked", SAMessages.add(outbound, .aead(gcm, key)), sa) }

        var inbound = SADescription(
            spi: 0xc0ff_ee02, reqid: 0x4d00_0001, path: OuterPath(source: west, destination: east, ports: .init(source: 61234, destination: 4500)), isInbound: true)
        inbound.replayWindow = 32
        let cbc = try #require(KernelAlgorithms.cipher(12, bits: 128)), sha256 = try #require(KernelAlgorithms.mac(12))
        withKey(16, from: 0x01) { key in
            withKey(32, from: 0x81) { integrity in
                put("An inbound SA: AES-128-CBC, HMAC-SHA2-256-128, window 32, in UDP from port 61234", SAMessages.add(inbound, .separate(cbc, key, sha256, integrity)), sa)
            }
        }
        var wide = SADescription(spi: 0xc0ff_ee03, reqid: 0x4d00_0002, path: OuterPath(source: west6, destination: east6), isInbound: true)
        wide.hasExtendedSequence = true
        wide.replayWindow = 100
        (wide.copiesDF, wide.carriesECN) = (false, false)
        let chacha = try #require(KernelAlgorithms.aead(28, bits: 0))
        withKey(36, from: 0x21) { key in
            put("An inbound SA: ChaCha20-Poly1305, ESN with a window of 100 packets (four words), IPv6, DF not copied, no ECN", SAMessages.add(wide, .aead(chacha, key)), sa)
        }
        var plain = SADescription(spi: 0xc0ff_ee04, reqid: 0x4d00_0003, path: OuterPath(source: east, destination: west), isInbound: false)
        plain.mode = .transport
        plain.copiesDSCP = false
        let null = try #require(KernelAlgorithms.cipher(11, bits: 0)), sha512 = try #require(KernelAlgorithms.mac(14))
        withKey(64, from: 0x41) { integrity in
            put(
                "An outbound SA in transport mode: NULL, HMAC-SHA2-512-256, DSCP not copied", SAMessages.add(plain, .separate(null, UnsafeRawBufferPointer(start: nil, count: 0), sha512, integrity)),
                sa)
        }
        var scoped = SADescription(spi: 0xc0ff_ee05, reqid: 0x4d00_0005, path: OuterPath(source: west6, destination: east6), isInbound: true)
        (scoped.mark, scoped.setMark) = (KernelMark(value: 0x11, mask: 0xff), KernelMark(value: 0x22, mask: 0xff00_0022))
        (scoped.interfaceID, scoped.offload, scoped.copiesDSCP) = (42, OffloadDevice(index: 7, takesPackets: true), true)
        let ctr = try #require(KernelAlgorithms.cipher(13, bits: 256)), hmac = try #require(KernelAlgorithms.mac(12))
        withKey(36, from: 0x01) { key in
            withKey(32, from: 0x81) { integrity in
                put(
                    "An inbound SA: AES-256-CTR (32 bytes of key, 4 of nonce), HMAC-SHA2-256-128, IPv6, DSCP copied in, mark 0x11/0xff, sets mark 0x22/0xff000022, of interface 42, packets in device 7",
                    SAMessages.add(scoped, .separate(ctr, key, hmac, integrity)), sa)
            }
        }
        let ccm = try #require(KernelAlgorithms.aead(15, bits: 128)), gmac = try #require(KernelAlgorithms.aead(21, bits: 256))
        var timed = SADescription(spi: 0xc0ff_ee06, reqid: 0x4d00_0006, path: OuterPath(source: east, destination: west), isInbound: false)
        timed.limits = SALimits(hardSeconds: 0x5555)
        withKey(19, from: 0x01) { key in put("An outbound SA: AES-128-CCM with a tag of 12 bytes (16 bytes of key, 3 of salt), at its end after 0x5555 s", SAMessages.add(timed, .aead(ccm, key)), sa) }
        withKey(36, from: 0x01) { key in put("An outbound SA: AES-256-GMAC (32 bytes of key, 4 of salt)", SAMessages.add(outbound, .aead(gmac, key)), sa) }

        // What the kernel answers about an SA: the request for it, with what it has counted.
        let before = withKey(36, from: 0x01) { key in
            var message = SAMessages.add(wide, .aead(chacha, key))
            _ = message.change(XFRMA_REPLAY_ESN_VAL, after: sa) { value in
                var state = value.loadUnaligned(as: xfrm_replay_state_esn.self)
                (state.oseq, state.seq) = (0xffff_fff0, 0x77)
                withUnsafeBytes(of: state) { value.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0.prefix(value.count))) }
            }
            return message.withBytes { Array($0) }
        }
        try before.withUnsafeBytes { bytes in
            var answers: [ReceivedMessage] = []
            ReceivedMessage.each(in: bytes) { answers.append($0) }
            let answer = try #require(answers.first)
            guard let elsewhere = SAMessages.moved(answer, to: OuterPath(source: west, destination: east, ports: .init(source: 4501, destination: 4500))),
                let back = SAMessages.moved(answer, to: wide.path), var skipped = SAMessages.moved(answer, to: wide.path),
                let ports = SAMessages.moved(answer, to: OuterPath(source: west6, destination: east6, ports: .init(source: 4502, destination: 4500)), replaces: true)
            else { throw Incomplete() }
            put("The third SA again, between addresses of IPv4 and in UDP, with all that it has counted", elsewhere, sa)
            put("The third SA again, where it was", back, sa)
            SAMessages.skip(&skipped)
            put("The same, 0x100000 numbers further on", skipped, sa)
            put("The third SA in its own place, in UDP", ports, sa)
        }
        put("An SA with a mark goes", SAMessages.delete(spi: 0xc0ff_ee05, destination: east6, mark: scoped.mark), id)
        put("An SA goes", SAMessages.delete(spi: 0xc0ff_ee01, destination: west), id)
        put("An SA of IPv6 is asked for", SAMessages.query(spi: 0xc0ff_ee03, destination: east6), id)
        put("All SAs of ESP", SAMessages.dump(), 0)
        put(
            "The placeholder of acquire 77 gets an SPI", SAMessages.allocate(acquire: 77, path: OuterPath(source: east, destination: west), reqid: 0x4d00_0004, mode: .tunnel),
            MemoryLayout<xfrm_userspi_info>.size)

        let selector = try #require(try KernelSelector.outbound(local: [XFRMTests.selector("10.1.0.0", "10.1.255.255")], remote: [XFRMTests.selector("10.2.0.0", "10.2.0.255", 6, 80...80)]).first)
        func policy(_ direction: PolicyDirection, _ content: PolicyContent, _ number: UInt32) -> PolicyDescription {
            let own = direction == .outbound ? selector : selector.reversed
            return PolicyDescription(
                selector: own, direction: direction, content: content, priority: own.priority(isOutbound: direction == .outbound), index: PolicyTable.mark | number << 3 | UInt32(direction.rawValue))
        }
        let template = PolicyTemplate(source: east, destination: west, reqid: 0x4d00_0001, spi: 0xc0ff_ee01)
        put("A policy for TCP from 10.1.0.0/16 to port 80 in 10.2.0.0/24", PolicyMessages.set(policy(.outbound, .protect(template), 1), isNew: true), policySize)
        put(
            "The way back, over any SA of the reqid, in IPv6",
            PolicyMessages.set(policy(.inbound, .protect(PolicyTemplate(source: west6, destination: east6, reqid: 0x4d00_0001)), 2), isNew: true), policySize)
        put("Another one in its place: what is forwarded is dropped", PolicyMessages.set(policy(.forward, .drop, 3), isNew: false), policySize)
        put("A policy goes", PolicyMessages.delete(index: PolicyTable.mark | 1 << 3 | 1, direction: .outbound), policyID)
        var narrow = policy(.outbound, .protect(PolicyTemplate(source: east, destination: west, reqid: 0x4d00_0005, offload: OffloadDevice(index: 7, takesPackets: true))), 4)
        narrow.scope = PolicyScope(mark: KernelMark(value: 0x11, mask: 0xff), interfaceID: 42)
        put("A policy for packets with mark 0x11/0xff of interface 42, in device 7", PolicyMessages.set(narrow, isNew: true), policySize)
        put("That policy goes", PolicyMessages.delete(index: narrow.index, direction: .outbound, scope: narrow.scope), policyID)
        put(
            "The placeholder of an acquire of that policy gets an SPI",
            SAMessages.allocate(acquire: 78, path: OuterPath(source: east, destination: west), reqid: 0x4d00_0005, mode: .tunnel, scope: narrow.scope), MemoryLayout<xfrm_userspi_info>.size)
        put("All policies", PolicyMessages.dump(), 0)
        var table = PolicyTable(), neighbours: [PolicyTable.Operation] = []
        _ = table.set(UInt64.max, NeighbourDiscovery.exemption) { operations, _ in
            neighbours += operations
            return operations.map { _ in true }
        }
        for case .add(let policy) in neighbours { put("Neighbour discovery passes, \(policy.direction)", PolicyMessages.set(policy, isNew: true), policySize) }

        // Of nf_tables, whose attributes lie in one another: as they are, in a fixed part of four octets and the rest.
        func lines(_ title: String, _ message: borrowing NetlinkMessage) {
            let bytes = message.withBytes { Array($0) }
            lines(title, "nf_tables message \(bytes[4])", bytes)
        }
        func lines(_ title: String, _ kind: String, _ bytes: [UInt8]) {
            text += "\n\(title)\n  \(kind) of \(bytes.count) bytes\n"
            for start in stride(from: 0, to: bytes.count, by: 32) {
                let row = bytes[start..<min(start + 32, bytes.count)].map { String(format: "%02x", $0) }
                text += "      " + stride(from: 0, to: row.count, by: 4).map { row[$0..<min($0 + 4, row.count)].joined() }.joined(separator: " ") + "\n"
            }
        }
        lines("A transaction begins", SegmentTable.begin())
        var place = 0
        let parts =
            ["The table, its owner's", "The map of IPv4", "The map of IPv6", "The chain of what opens", "The chain of what is forwarded", "TCP with SYN goes to what opens"]
            + ["IPv4 out of a tunnel", "IPv4 into one", "IPv6 out of a tunnel", "IPv6 into one"]
        SegmentTable.create(isOwned: true) { message in
            lines(parts[place], message)
            place += 1
        }
        lines("1398 bytes fit through the tunnel of reqid 0x4d000001, in IPv4", SegmentTable.add(0x4d00_0001, 1398, .v4))
        lines("That tunnel has gone", SegmentTable.remove(0x4d00_0001, .v4))
        lines("The table goes", SegmentTable.remove())
        lines("The transaction ends", SegmentTable.end())

        // Over routing netlink.
        func routing(_ title: String, _ bytes: [UInt8]) { lines(title, "routing message \(UInt16(bytes[4]) | UInt16(bytes[5]) << 8)", bytes) }
        routing("An XFRM interface for if_id 42, still down", InterfaceMessages.add("ipsec42", 42).withBytes { Array($0) })
        routing("Its alias, and up", InterfaceMessages.open("ipsec42").withBytes { Array($0) })
        routing("It goes", InterfaceMessages.remove(9).withBytes { Array($0) })
        routing("All links", InterfaceMessages.dump().withBytes { Array($0) })
        routing("Whether the kernel knows the kind", InterfaceMessages.probe().withBytes { Array($0) })
        var four = martlet_prefix(Prefix(family: .v4, value: 0x0a02_0000, length: 16)), six = martlet_prefix(Prefix(family: .v6, value: UInt128(0xfd02) << 112, length: 64))
        var source = martlet_prefix(Prefix(family: .v4, value: 0x0a01_0001, length: 32))
        for (title, request) in [
            ("A route to 10.2.0.0/16, new, from 10.1.0.1, of 1438 bytes and segments of 1398", { _ = martlet_route_add($0, 52100, &four, MARTLET_ROUTE_UNICAST, 9, &source, 1438, 1398, false) }),
            ("The same with other sizes in its place", { _ = martlet_route_add($0, 52100, &four, MARTLET_ROUTE_UNICAST, 9, nil, 1400, 0, true) }),
            ("What stays out of the tunnel in fd02::/64", { _ = martlet_route_add($0, 52100, &six, MARTLET_ROUTE_THROW, 9, nil, 0, 0, false) }),
            ("That route goes", { _ = martlet_route_remove($0, 52100, &six, MARTLET_ROUTE_THROW) }),
            ("The first rule of IPv4", { _ = martlet_rule_add($0, 4, 5210, 52100, 0x4d52_0001, 0) }),
            ("The second rule of IPv6", { _ = martlet_rule_add($0, 6, 5211, 254, 0, 0) }),
            ("The third rule of IPv6", { _ = martlet_rule_add($0, 6, 5212, 52100, 0x4d52_0001, -1) }),
        ] as [(String, (Int32) -> Void)] {
            for bytes in try Asked.requests(request) { routing(title, bytes) }
        }
        return text
    }

    private struct Incomplete: Error {}

    @Test func everyMessageIsAsItWasReviewed() throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Vectors/xfrm/transcript.txt")
        let text = try transcript()
        if ProcessInfo.processInfo.environment["MARTLET_WRITE_GOLDEN"] == "1" { try text.write(to: file, atomically: true, encoding: .utf8) }
        #expect(try text == String(contentsOf: file, encoding: .utf8), "the messages are not what they were:\n\(text)")
    }
}
