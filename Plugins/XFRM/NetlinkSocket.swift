// A socket to the kernel's XFRM, or to its nf_tables, on libmnl. One thread at a time.

import CXFRM
import Glibc
import PlaneKit
import XFRMMessages

final class NetlinkSocket {
    private let socket: OpaquePointer
    let port: UInt32
    private var sequence: UInt32 = 0
    private let buffer = ReceiveBuffer(byteCount: bufferBytes)

    /// What the kernel puts into one datagram of a dump.
    private static let bufferBytes = 32 << 10

    let descriptor: Int32

    /// With `groups`, for events: then nothing is waited for.
    init(bus: Int32 = NETLINK_XFRM, groups: UInt32 = 0, eventBuffer: Int32 = 0) throws(PlaneError) {
        guard let opened = mnl_socket_open2(bus, Int32(SOCK_CLOEXEC.rawValue) | (groups == 0 ? 0 : Int32(SOCK_NONBLOCK.rawValue))) else {
            throw .system("no netlink socket of kind \(bus): \(PlaneError.reason(-errno))")
        }
        guard mnl_socket_bind(opened, groups, 0) == 0 else {
            let error = errno
            mnl_socket_close(opened)
            throw .system("cannot bind a netlink socket of kind \(bus): \(PlaneError.reason(-error))")
        }
        socket = opened
        port = mnl_socket_get_portid(opened)
        descriptor = mnl_socket_get_fd(opened)
        if groups == 0 {
            // The kernel answers at once; a machine that does not must not hold the plane for ever.
            var patience = timeval(tv_sec: 5, tv_usec: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        } else {
            var size = eventBuffer
            if setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &size, 4) != 0 { setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, 4) }
        }
    }

    deinit { mnl_socket_close(socket) }

    /// Has the kernel leave out events of these kinds, and those that the sockets with these ports have brought about. One that cannot tells of all.
    func leaveOut(types: [UInt16], ports: [UInt32]) {
        // Classic BPF: a load, then a comparison each, with the drop behind the last of them. It loads the higher byte first.
        let count = types.count + ports.count + 2
        var program = [sock_filter(code: UInt16(BPF_LD | BPF_W | BPF_ABS), jt: 0, jf: 0, k: 12)]
        func compare(_ value: UInt32) { program.append(sock_filter(code: UInt16(BPF_JMP | BPF_JEQ | BPF_K), jt: UInt8(clamping: count - program.count), jf: 0, k: value)) }
        for port in ports { compare(port.bigEndian) }
        program.append(sock_filter(code: UInt16(BPF_LD | BPF_H | BPF_ABS), jt: 0, jf: 0, k: 4))
        for type in types { compare(UInt32(type.bigEndian)) }
        program.append(sock_filter(code: UInt16(BPF_RET | BPF_K), jt: 0, jf: 0, k: .max))
        program.append(sock_filter(code: UInt16(BPF_RET | BPF_K), jt: 0, jf: 0, k: 0))
        program.withUnsafeMutableBufferPointer { program in
            var filter = sock_fprog(len: UInt16(program.count), filter: program.baseAddress)
            setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &filter, socklen_t(MemoryLayout<sock_fprog>.size))
        }
    }

    typealias Answer = PendingAnswer.Kind

    /// Sends a request and waits for its answer: 0 or a negative errno.
    func request(_ message: consuming NetlinkMessage) -> Int32 { exchange(message, .acknowledgement) { _ in } }

    /// The same with an answer of one message, or of many. What `each` sees is wiped when it returns: it may hold keys.
    func exchange(_ message: consuming NetlinkMessage, _ answer: Answer, _ each: (ReceivedMessage) -> Void) -> Int32 {
        var message = message
        return send(&message, answer, each)
    }

    /// What was sent, and how often an answer was waited for.
    private(set) var messages = 0
    private(set) var waits = 0

    /// Sends all of them and waits once: the answer to each, 0 or a negative errno.
    func request(_ batch: consuming NetlinkBatch) -> [Int32] {
        let count = batch.count
        guard count > 0 else { return [] }
        let first = sequence &+ 1
        sequence &+= UInt32(count)
        batch.number(from: first, port: port)
        messages += count
        waits += 1
        let sent = batch.withBytes { mnl_socket_sendto(socket, $0.baseAddress, $0.count) }
        guard sent >= 0 else { return [Int32](repeating: -errno, count: count) }
        var answers = PendingAnswers(first: first, count: count, port: port)
        while !answers.isComplete {
            switch receive({ answers.take($0) }) {
            case .none, .some(EINTR): continue
            case .some(EAGAIN): return answers.all(missing: -ETIMEDOUT)
            case .some(let error): return answers.all(missing: -error)
            }
        }
        return answers.all(missing: -ETIMEDOUT)
    }

    /// Sends a transaction of nf_tables, its two ends included: 0, or the first refusal.
    func transaction(_ batch: consuming NetlinkBatch) -> Int32 {
        let count = batch.count, first = sequence &+ 1
        sequence &+= UInt32(count)
        batch.number(from: first, port: port)
        messages += count
        waits += 1
        let sent = batch.withBytes { mnl_socket_sendto(socket, $0.baseAddress, $0.count) }
        guard sent >= 0 else { return -errno }
        var pending = PendingTransaction(first: first, count: count, port: port)
        while !pending.isComplete {
            switch receive({ pending.take($0) }) {
            case .none, .some(EINTR): continue
            case .some(EAGAIN): return -ETIMEDOUT
            case .some(let error): return -error
            }
        }
        return pending.result
    }

    /// A request that may have to be made again.
    func repeatable(_ message: inout NetlinkMessage) -> Int32 { send(&message, .acknowledgement) { _ in } }

    private func send(_ message: inout NetlinkMessage, _ answer: Answer, _ each: (ReceivedMessage) -> Void) -> Int32 {
        guard !message.isTruncated else { return -EMSGSIZE }
        sequence &+= 1
        messages += 1
        waits += 1
        message.number(sequence, port: port)
        let sent = message.withBytes { mnl_socket_sendto(socket, $0.baseAddress, $0.count) }
        guard sent >= 0 else { return -errno }
        var pending = PendingAnswer(sequence: sequence, port: port, kind: answer)
        while true {
            switch receive({ pending.take($0, each) }) {
            case .none: if let result = pending.result { return result }
            case .some(EINTR): continue
            case .some(EAGAIN): return -ETIMEDOUT
            case .some(let error): return -error
            }
        }
    }

    /// Reads one datagram and wipes it afterwards. The errno, or nil.
    func receive(_ each: (ReceivedMessage) -> Void) -> Int32? {
        buffer.receive(
            {
                let count = mnl_socket_recvfrom(socket, $0.baseAddress, $0.count)
                return count < 0 ? -Int(errno) : count
            }, each)
    }
}
