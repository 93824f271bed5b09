// A socket to the kernel's XFRM, on libmnl. One thread at a time.

import CSecret
import CXFRM
import Glibc
import PlaneKit
import XFRMMessages

final class NetlinkSocket {
    private let socket: OpaquePointer
    private let port: UInt32
    private var sequence: UInt32 = 0
    private let buffer: UnsafeMutableRawBufferPointer

    /// What the kernel puts into one datagram of a dump.
    private static let bufferBytes = 32 << 10

    let descriptor: Int32

    /// With `groups`, for events: then nothing is waited for.
    init(groups: UInt32 = 0, eventBuffer: Int32 = 0) throws(PlaneError) {
        guard let opened = mnl_socket_open2(NETLINK_XFRM, Int32(SOCK_CLOEXEC.rawValue) | (groups == 0 ? 0 : Int32(SOCK_NONBLOCK.rawValue))) else {
            throw .system("no netlink socket for XFRM: \(PlaneError.reason(-errno))")
        }
        guard mnl_socket_bind(opened, groups, 0) == 0 else {
            let error = errno
            mnl_socket_close(opened)
            throw .system("cannot bind a netlink socket for XFRM: \(PlaneError.reason(-error))")
        }
        socket = opened
        port = mnl_socket_get_portid(opened)
        descriptor = mnl_socket_get_fd(opened)
        buffer = .allocate(byteCount: Self.bufferBytes, alignment: 8)
        if groups == 0 {
            // The kernel answers at once; a machine that does not must not hold the plane for ever.
            var patience = timeval(tv_sec: 5, tv_usec: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        } else {
            var size = eventBuffer
            if setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &size, 4) != 0 { setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, 4) }
        }
    }

    deinit {
        mnl_socket_close(socket)
        wipe(buffer.count)
        buffer.deallocate()
    }

    private func wipe(_ count: Int) {
        if let base = buffer.baseAddress { martlet_secret_wipe(base, min(count, buffer.count)) }
    }

    enum Answer { case acknowledgement, single, dump }

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
        batch.number(from: first)
        messages += count
        waits += 1
        let sent = batch.withBytes { mnl_socket_sendto(socket, $0.baseAddress, $0.count) }
        guard sent >= 0 else { return [Int32](repeating: -errno, count: count) }
        var results = [Int32?](repeating: nil, count: count), left = count
        while left > 0 {
            let failure = receive { received in
                let place = Int(received.header.nlmsg_seq &- first)
                guard place < count, received.header.nlmsg_pid == self.port, received.isError, results[place] == nil else { return }
                results[place] = received.error
                left -= 1
            }
            switch failure {
            case .none, .some(EINTR): continue
            case .some(EAGAIN): return results.map { $0 ?? -ETIMEDOUT }
            case .some(let error): return results.map { $0 ?? -error }
            }
        }
        return results.map { $0 ?? -ETIMEDOUT }
    }

    /// A request that may have to be made again.
    func repeatable(_ message: inout NetlinkMessage) -> Int32 { send(&message, .acknowledgement) { _ in } }

    private func send(_ message: inout NetlinkMessage, _ answer: Answer, _ each: (ReceivedMessage) -> Void) -> Int32 {
        guard !message.isTruncated else { return -EMSGSIZE }
        sequence &+= 1
        messages += 1
        waits += 1
        message.setSequence(sequence)
        let sent = message.withBytes { mnl_socket_sendto(socket, $0.baseAddress, $0.count) }
        guard sent >= 0 else { return -errno }
        while true {
            var result: Int32?
            switch receive({ received in
                guard result == nil, received.header.nlmsg_seq == self.sequence, received.header.nlmsg_pid == self.port else { return }
                if received.isError {
                    result = received.error
                } else if received.isEnd {
                    result = 0
                } else {
                    each(received)
                    if answer == .single { result = 0 }
                }
            }) {
            case .none: break
            case .some(EINTR): continue
            case .some(EAGAIN): return -ETIMEDOUT
            case .some(let error): return -error
            }
            if let result { return result }
        }
    }

    /// Reads one datagram and wipes it afterwards. The errno, or nil.
    func receive(_ each: (ReceivedMessage) -> Void) -> Int32? {
        let count = mnl_socket_recvfrom(socket, buffer.baseAddress, buffer.count)
        guard count >= 0 else {
            let error = errno
            wipe(buffer.count)
            return error
        }
        ReceivedMessage.each(in: UnsafeRawBufferPointer(rebasing: buffer[..<min(count, buffer.count)]), each)
        wipe(count)
        return nil
    }
}
