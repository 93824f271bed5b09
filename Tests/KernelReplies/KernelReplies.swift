// What the plane does with whatever the kernel says: the bytes of a fuzzer become datagrams, and every reader of netlink takes them. What must hold
// whatever comes: nothing outside a message is read, no answer is a success that was none, and every wait ends.

import CLinux
import CXFRM
import Glibc
import IKEWire
import XFRMMessages

package enum KernelReplies {
    /// Of the requests that the datagrams answer. A message whose number and port are 0 gets the right ones, so that the fuzzer need not guess them.
    package static let sequence: UInt32 = 0x1000, port: UInt32 = 0x2000

    /// How the plane listens; then datagrams, each behind its length in two octets. A length of 0xffff stands for an overrun.
    package static func take(_ bytes: [UInt8]) {
        guard let kind = bytes.first else { return }
        var rest = bytes.dropFirst(), datagrams: [[UInt8]?] = []
        while rest.count >= 2, datagrams.count < 64 {
            let length = Int(rest.removeFirst()) | Int(rest.removeFirst()) << 8
            guard length != 0xffff else {
                datagrams.append(nil)
                continue
            }
            datagrams.append(Array(rest.prefix(length)))
            rest = rest.dropFirst(length)
        }
        switch kind % 10 {
        case 0: events(datagrams)
        case 1: answer(datagrams, .acknowledgement)
        case 2: answer(datagrams, .single)
        case 3: answer(datagrams, .dump)
        case 4 where kind / 10 < 16: answers(datagrams, count: Int(kind / 10))
        case 4: transaction(datagrams, count: Int(kind / 10) - 16)
        case let reader: routing(datagrams, Reader(rawValue: reader) ?? .news, seen: kind / 10)
        }
    }

    // MARK: XFRM

    private static func read(_ datagram: [UInt8], number: Bool = true, _ each: (ReceivedMessage) -> Void) {
        // Exactly as long as the datagram, so that the address sanitizer sees what is read behind it.
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(datagram.count, 1), alignment: 8)
        defer { memory.deallocate() }
        memory.copyBytes(from: number ? numbered(datagram, sequence, port) : datagram)
        ReceivedMessage.each(in: UnsafeRawBufferPointer(rebasing: memory[..<datagram.count]), each)
    }

    private static func events(_ datagrams: [[UInt8]?]) {
        for datagram in datagrams { if let datagram { read(datagram, number: false, use) } }
    }

    /// Everything that the plugin makes of a message.
    private static func use(_ message: ReceivedMessage) {
        if message.isError { precondition(message.error <= 0) }
        _ = XFRMEvent(message)
        _ = PolicyReport(message)
        if let link = XFRMLink(message) { precondition(link.index > 0 && !link.name.isEmpty) }
        _ = SAMessages.hidesKeys(message)
        if let last = LastState(message) {
            var other = NetlinkMessage(type: UInt16(XFRM_MSG_NEWSA), flags: 0)
            other.body(xfrm_usersa_info())
            for bytes in [20, 24, 28, 32] { other.attribute(XFRMA_REPLAY_ESN_VAL.rawValue, bytes: [UInt8](repeating: 1, count: bytes)) }
            other.attribute(XFRMA_LTIME_VAL, xfrm_lifetime_cur())
            _ = last.complete(&other)
        }
        let report = SAReport(message)
        if let report { _ = report.isSoftExpired }
        let path = OuterPath(source: IPAddress(v4: 1), destination: IPAddress(v4: 2), ports: .init(source: 1, destination: 2))
        guard var moved = SAMessages.moved(message, to: path) else { return }
        precondition(moved.count <= NetlinkMessage.capacity)
        SAMessages.skip(&moved)
        guard !moved.isTruncated else { return }
        // What is sent again is whole, and the SA is the same one.
        let bytes = moved.withBytes { Array($0) }
        var count = 0
        read(bytes, number: false) { again in
            count += 1
            if let report { precondition(SAReport(again)?.id.spi == report.id.spi) }
        }
        precondition(count == 1)
    }

    private static func answer(_ datagrams: [[UInt8]?], _ kind: PendingAnswer.Kind) {
        var pending = PendingAnswer(sequence: sequence, port: port, kind: kind), seen = 0
        for datagram in datagrams {
            guard let datagram else { break }
            read(datagram) { message in
                pending.take(message) {
                    seen += 1
                    use($0)
                }
            }
            if pending.result != nil { break }
        }
        if let result = pending.result { precondition(result <= 0) }
        precondition(kind != .single || seen <= 1)
    }

    private static func answers(_ datagrams: [[UInt8]?], count: Int) {
        var pending = PendingAnswers(first: sequence, count: count, port: port), taken = 0
        for datagram in datagrams where !pending.isComplete {
            guard let datagram else { break }
            read(datagram) { message in
                if message.isError { taken += 1 }
                pending.take(message)
            }
        }
        let results = pending.all(missing: -ENOBUFS)
        precondition(results.count == count && results.allSatisfy { $0 <= 0 })
        precondition(results.count { $0 == 0 } <= taken)
    }

    private static func transaction(_ datagrams: [[UInt8]?], count: Int) {
        var pending = PendingTransaction(first: sequence, count: count, port: port), refusals = 0
        for datagram in datagrams where !pending.isComplete {
            guard let datagram else { break }
            read(datagram) { message in
                if message.isError, message.error != 0 { refusals += 1 }
                pending.take(message)
            }
        }
        precondition(pending.result <= 0 && (pending.result == 0 || refusals > 0))
    }

    // MARK: Routes, rules, links and addresses

    private enum Reader: UInt8 { case flush = 5, rules, addresses, outer, news }

    /// The readers take them from a socket, as they take the kernel's: each datagram is there before it is asked for, and then nothing comes any more.
    private static func routing(_ datagrams: [[UInt8]?], _ reader: Reader, seen: UInt8) {
        var ends: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &ends) == 0 else { return }
        defer { close(ends[0]) }
        // Where a reader asks more than once, so many datagrams answer the first.
        let first = martlet_netlink_sequence() &+ 1
        for (place, datagram) in datagrams.enumerated() {
            guard let datagram, !datagram.isEmpty else { continue }
            let bytes = numbered(datagram, first &+ (place < Int(seen) ? 0 : 1), 0)
            guard send(ends[1], bytes, bytes.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL)) == bytes.count else { break }
        }
        // Requests are still taken, and no more answers come.
        shutdown(ends[1], Int32(SHUT_WR))
        defer { close(ends[1]) }
        switch reader {
        case .flush: _ = martlet_route_flush(ends[0], 52100)
        case .rules: _ = martlet_rule_remove(ends[0], 4, 5210, 52100)
        case .addresses: _ = martlet_addresses(ends[0], 6, { _, prefix in precondition((prefix?.pointee.family ?? 0) == 6) }, nil)
        case .outer: _ = martlet_outer_addresses_over(ends[0], { _, _ in }, nil)
        case .news: _ = martlet_address_news(ends[0])
        }
    }

    /// With the numbers of a request where there are none.
    private static func numbered(_ datagram: [UInt8], _ sequence: UInt32, _ port: UInt32) -> [UInt8] {
        var bytes = datagram, offset = 0
        while bytes.count - offset >= 16 {
            func word(_ at: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(bytes[offset + at + $1]) << (8 * UInt32($1)) } }
            for (at, value) in [(8, sequence), (12, port)] where word(at) == 0 { for place in 0..<4 { bytes[offset + at + place] = UInt8(truncatingIfNeeded: value >> (8 * UInt32(place))) } }
            let length = Int(word(0))
            guard length >= 16, length <= bytes.count - offset else { break }
            offset += (length + 3) & ~3
        }
        return bytes
    }
}
