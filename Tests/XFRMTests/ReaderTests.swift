// What comes from the kernel: whole messages are read right, and nothing else hurts.

import CXFRM
import ESPCore
import Foundation
import IKEWire
import Testing

@testable import XFRMMessages

struct ReaderTests {
    private static let east = IPAddress(v4: 0xc000_0201), west = IPAddress(v4: 0xc000_0202)

    /// An answer of the kernel: a request with another type.
    private func bytes<T>(_ type: Int, _ body: T, _ attributes: (inout NetlinkMessage) -> Void = { _ in }) -> [UInt8] {
        var message = NetlinkMessage(type: UInt16(type), flags: 0)
        message.body(body)
        attributes(&message)
        return message.withBytes { Array($0) }
    }

    private func read(_ datagram: [UInt8]) -> [ReceivedMessage] {
        // What a message shows stays for the length of the test: this is never freed.
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(datagram.count, 1), alignment: 8)
        memory.copyBytes(from: datagram)
        var all: [ReceivedMessage] = []
        ReceivedMessage.each(in: UnsafeRawBufferPointer(rebasing: memory[..<datagram.count])) { all.append($0) }
        return all
    }

    /// Everything that the plugin makes of a datagram.
    private func use(_ datagram: [UInt8]) -> Int {
        var count = 0
        datagram.withUnsafeBytes { raw in
            ReceivedMessage.each(in: raw) { message in
                count += 1
                _ = message.isError ? message.error : 0
                _ = XFRMEvent(message)
                _ = SAReport(message)
                _ = PolicyReport(message)
                _ = SAMessages.hidesKeys(message)
                if let last = LastState(message) {
                    var other = NetlinkMessage(type: UInt16(XFRM_MSG_NEWSA), flags: 0)
                    other.body(xfrm_usersa_info())
                    _ = last.complete(&other)
                }
                if let moved = SAMessages.moved(message, to: OuterPath(source: Self.west, destination: Self.east, ports: .init(source: 1, destination: 2))) { count += moved.count & 0 }
            }
        }
        return count
    }

    private var expire: [UInt8] {
        var expire = xfrm_user_expire()
        expire.state = SAMessages.base(OuterPath(source: Self.east, destination: Self.west), spi: 0x1234_5678, reqid: 0x4d00_0007, mode: .tunnel)
        expire.hard = 1
        return bytes(Int(XFRM_MSG_EXPIRE), expire)
    }

    private var mapping: [UInt8] {
        var mapping = xfrm_user_mapping()
        mapping.id.daddr = xfrm_address_t(Self.east)
        mapping.id.spi = UInt32(0x1234_5678).bigEndian
        mapping.id.family = UInt16(AF_INET)
        mapping.id.proto = 50
        mapping.reqid = 0x4d00_0007
        mapping.new_saddr = xfrm_address_t(Self.west)
        mapping.new_sport = UInt16(61234).bigEndian
        return bytes(Int(XFRM_MSG_MAPPING), mapping)
    }

    private var acquire: [UInt8] {
        var acquire = xfrm_user_acquire()
        acquire.id.daddr = xfrm_address_t(Self.west)
        acquire.id.proto = 50
        acquire.saddr = xfrm_address_t(Self.east)
        acquire.sel =
            KernelSelector(
                source: Prefix(family: .v4, value: 0x0a01_0001, length: 32), destination: Prefix(family: .v4, value: 0x0a02_0001, length: 32), ipProtocol: 6,
                sourcePort: PortBlock(port: 5000, mask: 0xffff),
                destinationPort: PortBlock(port: 80, mask: 0xffff)
            ).contract
        acquire.seq = 9
        var template = xfrm_user_tmpl()
        template.family = UInt16(AF_INET)
        template.reqid = 0x4d00_0008
        template.mode = 1
        return bytes(Int(XFRM_MSG_ACQUIRE), acquire) { $0.attribute(XFRMA_TMPL, template) }
    }

    private var answer: [UInt8] {
        var info = SAMessages.base(OuterPath(source: Self.east, destination: Self.west), spi: 0x1234_5678, reqid: 0x4d00_0007, mode: .tunnel)
        info.curlft.bytes = 1000
        info.curlft.packets = 10
        info.lft.soft_byte_limit = 1000
        info.stats.replay = 3
        var esn = xfrm_replay_state_esn()
        (esn.bmp_len, esn.oseq, esn.oseq_hi, esn.seq, esn.replay_window) = (2, 5, 1, 6, 64)
        return bytes(Int(XFRM_MSG_NEWSA), info) { message in
            let key = [UInt8](repeating: 0xaa, count: 72 + 36), bitmap = [UInt8](repeating: 0xff, count: 8)
            key.withUnsafeBytes { message.attribute(XFRMA_ALG_AEAD, $0, UnsafeRawBufferPointer(start: nil, count: 0)) }
            withUnsafeBytes(of: esn) { head in bitmap.withUnsafeBytes { message.attribute(XFRMA_REPLAY_ESN_VAL, head, $0) } }
            message.attribute(XFRMA_ENCAP, SAMessages.encapsulation(.init(source: 4500, destination: 4500)))
            message.attribute(XFRMA_LASTUSED, UInt64(1_700_000_000))
        }
    }

    @Test func eventsAreReadWhole() {
        let sa = SAIdentifier(destination: Self.west, spi: 0x1234_5678)
        #expect(read(expire).first.flatMap { XFRMEvent($0) } == .expired(sa, reqid: 0x4d00_0007, isHard: true))
        #expect(read(mapping).first.flatMap { XFRMEvent($0) } == .mapping(SAIdentifier(destination: Self.east, spi: 0x1234_5678), reqid: 0x4d00_0007, source: Self.west, port: 61234))
        let packet = XFRMEvent.PacketThatAsks(
            sequence: 9, reqid: 0x4d00_0008, mode: 1, path: OuterPath(source: Self.east, destination: Self.west), source: IPAddress(v4: 0x0a01_0001), destination: IPAddress(v4: 0x0a02_0001),
            ipProtocol: 6, sourcePort: 5000, destinationPort: 80)
        #expect(read(acquire).first.flatMap { XFRMEvent($0) } == .acquire(packet))
        #expect(read(expire + mapping + acquire).count == 3)
    }

    @Test func anSAIsReadAndMoved() throws {
        let message = answer
        let report = try #require(read(message).first.flatMap { SAReport($0) })
        #expect(report.packets == 10 && report.bytes == 1000 && report.replayed == 3 && report.lastUsed == 1_700_000_000 && report.isSoftExpired)
        #expect(report.sent == 1 << 32 | 5 && report.seen == 6)
        let new = OuterPath(source: IPAddress(v4: 0xc633_6401), destination: Self.west)
        try message.withUnsafeBytes { raw in
            var moved: [UInt8] = []
            ReceivedMessage.each(in: raw) { received in
                if let again = SAMessages.moved(received, to: new) { moved = again.withBytes { Array($0) } }
            }
            let again = try #require(read(moved).first.flatMap { SAReport($0) })
            #expect(again.id == report.id && again.reqid == report.reqid && again.sent == report.sent && again.seen == report.seen)
            // The key is there, the encapsulation is not, and what was counted goes with it.
            #expect(moved.firstRange(of: [UInt8](repeating: 0xaa, count: 36)) != nil)
            var kinds: [UInt16] = []
            let received = try #require(read(moved).first)
            received.eachAttribute(after: MemoryLayout<xfrm_usersa_info>.size) { type, _ in
                kinds.append(type)
                return true
            }
            #expect(kinds == [UInt16(XFRMA_ALG_AEAD.rawValue), UInt16(XFRMA_REPLAY_ESN_VAL.rawValue), UInt16(XFRMA_LTIME_VAL.rawValue)])
        }
    }

    /// The kernel's announcement that the SA of `answer` is gone.
    private var farewell: [UInt8] {
        var info = SAMessages.base(OuterPath(source: Self.east, destination: Self.west), spi: 0x1234_5678, reqid: 0x4d00_0007, mode: .tunnel)
        info.curlft.bytes = 2000
        info.curlft.packets = 20
        var id = xfrm_usersa_id()
        (id.daddr, id.spi, id.family, id.proto) = (info.id.daddr, info.id.spi, info.family, info.id.proto)
        var esn = xfrm_replay_state_esn()
        (esn.bmp_len, esn.oseq, esn.oseq_hi, esn.seq, esn.replay_window) = (2, 15, 1, 16, 64)
        return bytes(Int(XFRM_MSG_DELSA), id) { message in
            message.attribute(XFRMA_SA, info)
            let bitmap = [UInt8](repeating: 0xee, count: 8)
            withUnsafeBytes(of: esn) { head in bitmap.withUnsafeBytes { message.attribute(XFRMA_REPLAY_ESN_VAL, head, $0) } }
        }
    }

    /// What the SA did between the answer and its end is not forgotten; where nobody says what it did, numbers are skipped.
    @Test func aMovedSAGoesOnWhereItStopped() throws {
        let last = try #require(read(farewell).first.flatMap { LastState($0) })
        #expect(last.id == SAIdentifier(destination: Self.west, spi: 0x1234_5678))
        func moved(_ change: (inout NetlinkMessage) -> Void) -> [UInt8] {
            answer.withUnsafeBytes { raw in
                var bytes: [UInt8] = []
                ReceivedMessage.each(in: raw) { received in
                    guard var again = SAMessages.moved(received, to: OuterPath(source: Self.west, destination: Self.east)) else { return }
                    change(&again)
                    bytes = again.withBytes { Array($0) }
                }
                return bytes
            }
        }
        var isComplete = false
        let again = moved { isComplete = last.complete(&$0) }
        #expect(isComplete)
        let report = try #require(read(again).first.flatMap { SAReport($0) })
        #expect(report.sent == 1 << 32 | 15 && report.seen == 16)
        #expect(read(again).first?.attribute(XFRMA_LTIME_VAL, after: MemoryLayout<xfrm_usersa_info>.size, as: xfrm_lifetime_cur.self)?.packets == 20)
        #expect(again.firstRange(of: [UInt8](repeating: 0xee, count: 8)) != nil)
        let skipped = try #require(read(moved { SAMessages.skip(&$0) }).first.flatMap { SAReport($0) })
        #expect(skipped.sent == 1 << 32 | (5 + UInt64(SAMessages.margin)) && skipped.seen == 6)
        // A window of another size is not this SA's.
        var other = NetlinkMessage(type: UInt16(XFRM_MSG_NEWSA), flags: 0)
        other.body(xfrm_usersa_info())
        withUnsafeBytes(of: xfrm_replay_state_esn()) { other.attribute(XFRMA_REPLAY_ESN_VAL, $0, UnsafeRawBufferPointer(start: nil, count: 0)) }
        let before = other.withBytes { Array($0) }
        let fits = last.complete(&other)
        #expect(!fits && other.withBytes { Array($0) } == before)
    }

    /// A kernel in lockdown shows zeros for keys: an SA with these would be in clear for everybody.
    @Test func keysThatTheKernelHidesAreNotTakenForKeys() throws {
        func hides(_ attribute: (inout NetlinkMessage) -> Void) throws -> Bool {
            SAMessages.hidesKeys(try #require(read(bytes(Int(XFRM_MSG_NEWSA), xfrm_usersa_info(), attribute)).first))
        }
        let zeros = [UInt8](repeating: 0, count: 36), key = (0..<36).map { UInt8($0) }
        func algorithm(_ type: xfrm_attr_type_t, head: Int, _ key: [UInt8]) -> (inout NetlinkMessage) -> Void {
            { message in [UInt8](repeating: 1, count: head).withUnsafeBytes { head in key.withUnsafeBytes { message.attribute(type, head, $0) } } }
        }
        #expect(try hides(algorithm(XFRMA_ALG_AEAD, head: MemoryLayout<xfrm_algo_aead>.size, zeros)))
        #expect(try !hides(algorithm(XFRMA_ALG_AEAD, head: MemoryLayout<xfrm_algo_aead>.size, key)))
        #expect(try hides(algorithm(XFRMA_ALG_CRYPT, head: MemoryLayout<xfrm_algo>.size, zeros)))
        #expect(try hides(algorithm(XFRMA_ALG_AUTH_TRUNC, head: MemoryLayout<xfrm_algo_auth>.size, zeros)))
        // NULL has none.
        #expect(try !hides(algorithm(XFRMA_ALG_CRYPT, head: MemoryLayout<xfrm_algo>.size, [])))
        #expect(try !hides { _ in })
    }

    @Test func anythingCutShortIsLeftOut() {
        for whole in [expire, mapping, acquire, answer, farewell] {
            for length in 0..<whole.count { #expect(use(Array(whole[..<length])) == 0, "\(length) bytes of \(whole.count)") }
            // The same, with a header that says it were all.
            for length in 16..<whole.count {
                var short = Array(whole[..<length])
                for (place, byte) in withUnsafeBytes(of: UInt32(length), Array.init).enumerated() { short[place] = byte }
                _ = use(short)
            }
        }
    }

    @Test func noByteOfAnAnswerHurts() {
        let seed = ProcessInfo.processInfo.environment["MARTLET_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var state = seed
        func next(_ below: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(truncatingIfNeeded: (state >> 33) % UInt64(below))
        }
        let sources = [expire, mapping, acquire, answer, farewell, expire + answer + mapping]
        for _ in 0..<20_000 {
            var bytes = sources[next(sources.count)]
            for _ in 0...next(4) {
                switch next(4) {
                case 0: bytes[next(bytes.count)] = UInt8(truncatingIfNeeded: next(256))
                // Lengths: of the message, and of its first attributes.
                case 1: bytes[[0, 1, 2, 3, 240, 241, 242, 243][next(8)] % bytes.count] = [0, 1, 3, 4, 15, 16, 255][next(7)]
                case 2: bytes = Array(bytes.prefix(1 + next(bytes.count)))
                default: bytes += (0..<next(40)).map { _ in UInt8(truncatingIfNeeded: next(256)) }
                }
            }
            _ = use(bytes)
        }
    }

    /// A number that is not the request's, a second answer, one to somebody else, and what comes after the answer: none of it is taken.
    @Test func answersAreTakenForTheirOwnRequestsAlone() {
        func error(_ code: Int32, sequence: UInt32, port: UInt32 = 7) -> ReceivedMessage? {
            var message = NetlinkMessage(type: UInt16(NLMSG_ERROR), flags: 0)
            message.body(code)
            message.number(sequence, port: 0)
            var bytes = message.withBytes { Array($0) }
            bytes[12] = UInt8(port)
            return read(bytes).first
        }
        var one = PendingAnswer(sequence: 5, port: 7, kind: .acknowledgement)
        for other in [error(0, sequence: 4), error(0, sequence: 5, port: 8)].compactMap({ $0 }) { one.take(other) { _ in } }
        #expect(one.result == nil)
        for own in [error(-17, sequence: 5), error(0, sequence: 5)].compactMap({ $0 }) { one.take(own) { _ in } }
        #expect(one.result == -17)
        var many = PendingAnswers(first: .max, count: 3, port: 7)
        for some in [error(-1, sequence: 1), error(0, sequence: .max), error(-2, sequence: .max), error(0, sequence: 2)].compactMap({ $0 }) { many.take(some) }
        #expect(!many.isComplete && many.all(missing: -9) == [0, -9, -1])
        // Of a transaction the ends are not acknowledged; where the beginning is refused that is all.
        var all = PendingTransaction(first: 10, count: 4, port: 7)
        for some in [error(0, sequence: 11), error(-3, sequence: 12)].compactMap({ $0 }) { all.take(some) }
        #expect(all.isComplete && all.result == -3)
        var none = PendingTransaction(first: 10, count: 4, port: 7)
        if let refusal = error(-95, sequence: 10) { none.take(refusal) }
        #expect(none.isComplete && none.result == -95)
        var open = PendingTransaction(first: 10, count: 4, port: 7)
        for some in [error(0, sequence: 11), error(0, sequence: 11), error(0, sequence: 13)].compactMap({ $0 }) { open.take(some) }
        #expect(!open.isComplete)
    }

    @Test func anErrorThatLiesIsAnError() {
        #expect(read(bytes(Int(NLMSG_ERROR), Int32(-17))).first.map { $0.error == -17 } == true)
        #expect(read(bytes(Int(NLMSG_ERROR), Int32(0))).first.map { $0.error == 0 } == true)
        #expect(read(bytes(Int(NLMSG_ERROR), Int32(17))).first.map { $0.error < 0 } == true)
    }

    @Test func aMessageThatIsTooLargeIsMarked() {
        var message = NetlinkMessage(type: 0x10, flags: 0, capacity: 64)
        message.body(xfrm_usersa_info())
        #expect(message.isTruncated && message.count <= 64)
        var other = NetlinkMessage(type: 0x10, flags: 0, capacity: 64)
        [UInt8](repeating: 1, count: 60).withUnsafeBytes { other.attribute(XFRMA_ALG_AEAD, $0, $0) }
        #expect(other.isTruncated && other.count == 16)
    }

    // MARK: What others take away

    @Test func removalsAreReadWithWhatTheyAreOf() {
        var info = SAMessages.base(OuterPath(source: Self.east, destination: Self.west), spi: 0xc0ff_ee01, reqid: 0x4d00_0001, mode: .tunnel)
        func gone(_ info: xfrm_usersa_info) -> [UInt8] { bytes(Int(XFRM_MSG_DELSA), xfrm_usersa_id()) { $0.attribute(XFRMA_SA, info) } }
        var policy = xfrm_userpolicy_info()
        policy.index = 0x4d00_0009
        let events = read(
            gone(info) + bytes(Int(XFRM_MSG_FLUSHSA), xfrm_usersa_flush(proto: 50)) + bytes(Int(XFRM_MSG_FLUSHSA), xfrm_usersa_flush(proto: 51))
                + bytes(Int(XFRM_MSG_DELPOLICY), xfrm_userpolicy_id()) { $0.attribute(XFRMA_POLICY, policy) } + bytes(Int(XFRM_MSG_DELPOLICY), xfrm_userpolicy_id())
                + bytes(Int(XFRM_MSG_FLUSHPOLICY), UInt32(0))
        ).compactMap(XFRMEvent.init)
        #expect(events == [.removed(SAIdentifier(destination: Self.west, spi: 0xc0ff_ee01), reqid: 0x4d00_0001), .flushedSAs, .removedPolicy(index: 0x4d00_0009), .removedPolicy(index: nil)])
        // Of AH.
        info.id.proto = 51
        #expect(read(gone(info)).compactMap(XFRMEvent.init).isEmpty)
    }

    // MARK: Interfaces

    /// As the kernel tells of a link.
    private func link(_ index: Int32, _ name: String, kind: String = "xfrm", number: UInt32? = nil, alias: String? = nil) -> [UInt8] {
        var body = ifinfomsg()
        body.ifi_index = index
        return bytes(Int(RTM_NEWLINK), body) {
            $0.attribute(UInt32(IFLA_IFNAME), bytes: Array(name.utf8) + [0])
            if let alias { $0.attribute(UInt32(IFLA_IFALIAS), bytes: Array(alias.utf8) + [0]) }
            $0.nest(UInt32(IFLA_LINKINFO)) {
                $0.attribute(UInt32(IFLA_INFO_KIND), bytes: Array(kind.utf8) + [0])
                if let number {
                    $0.nest(UInt32(IFLA_INFO_DATA)) { $0.attribute(xfrm_attr_type_t(rawValue: UInt32(IFLA_XFRM_IF_ID)), number) }
                }
            }
        }
    }

    private func links(_ all: [UInt8]...) -> [XFRMLink] { read(Array(all.joined())).compactMap(XFRMLink.init) }

    @Test func interfacesOfOthersAreNotTakenForOurs() throws {
        let found = links(
            link(3, "eth0", kind: "veth"), link(4, "ipsec1", number: 1, alias: "martlet"), link(5, "mine", number: 2), link(6, "ipsec3", kind: "vti", number: 3, alias: "martlet"),
            link(7, "ipsec4", number: 4, alias: "martlet's"), link(8, "ipsec5", alias: "martlet"))
        #expect(found.map(\.name) == ["ipsec1", "mine", "ipsec4"] && found.map(\.number) == [1, 2, 4] && found.map(\.index) == [4, 5, 7])
        #expect(found.map(\.isOurs) == [true, false, false])
        // No number is read out of a message that is cut off.
        let whole = link(4, "ipsec1", number: 1, alias: "martlet")
        for count in 0..<whole.count {
            var part = Array(whole.prefix(count))
            if count >= 4 { withUnsafeBytes(of: UInt32(count)) { part.replaceSubrange(0..<4, with: $0) } }
            #expect(links(part).allSatisfy { $0 == found[0] })
        }
    }

    /// The kernel says alone that something is in the way: what it is decides.
    @Test func aNameAloneIsNoProof() {
        let administrators = links(link(4, "ipsec42", number: 42))
        #expect(XFRMLink.whyNone("ipsec42", 42, isExclusive: false, among: administrators) == nil)
        #expect(XFRMLink.whyNone("ipsec42", 42, isExclusive: true, among: administrators)?.contains("somebody else's interface ipsec42 has if_id 42") == true)
        #expect(XFRMLink.whyNone("ipsec42", 42, isExclusive: false, among: links(link(4, "ipsec42", number: 7)))?.contains("ipsec42, which is to have if_id 42, is another one") == true)
        #expect(XFRMLink.whyNone("ipsec42", 42, isExclusive: false, among: links(link(4, "ipsec42", kind: "dummy")))?.contains("is another one") == true)
        #expect(XFRMLink.whyNone("ipsec42", 42, isExclusive: false, among: links(link(4, "mine", number: 42)))?.hasSuffix("but mine") == true)
    }
}
