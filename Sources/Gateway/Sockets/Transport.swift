// Sends IKE datagrams, and reads them: one reader thread for each port hands them to the shards.
// RFC 7296 section 2.23, RFC 3948 section 2.

import CLinux
import Glibc
import IKECore
import IKEWire
import Synchronization

/// A datagram as it goes out, the non-ESP marker included.
struct OutgoingDatagram {
    var local: SocketAddress
    var remote: SocketAddress
    /// Through the port that ESP shares.
    var isShared: Bool
    var bytes: [UInt8]
}

/// Counts of the transport, for people.
package struct TransportCounters: Hashable, Sendable {
    package var received: UInt64 = 0
    package var sent: UInt64 = 0
    package var refused: UInt64 = 0
    package var malformed: UInt64 = 0
    package var keepalives: UInt64 = 0
    package var strayESP: UInt64 = 0
    package var noShard: UInt64 = 0
    package var queueFull: UInt64 = 0
}

package final class Transport: @unchecked Sendable {
    private let sockets: SocketSet
    private let log: Log
    private let state = Mutex(State())
    private var readers: [EventLoop] = []
    /// Who hears that a datagram did not arrive. Set before `start`.
    private var undelivered: @Sendable (SocketAddress, UnreachableReport) -> Void = { _, _ in }
    private struct State {
        var counters = TransportCounters()
        /// Undelivered datagrams told of within the second that began at `since`.
        var told = 0
        var since = Instant(nanoseconds: 0)
        /// When the last refusal was logged.
        var lastRefusal = Instant(nanoseconds: 0)
    }
    /// The longest datagram there is, and how many are read at once.
    private static let bufferBytes: UInt32 = 65_536
    private static let batch: UInt32 = 32

    init(_ sockets: SocketSet, log: Log) {
        self.sockets = sockets
        self.log = log
    }

    package var counters: TransportCounters { state.withLock { $0.counters } }

    // MARK: Sending

    /// Sends each on its own account; a refusal costs that datagram alone. From any thread.
    func send(_ datagrams: [OutgoingDatagram]) {
        var groups: [Int32: (buffer: [UInt8], items: [martlet_outgoing])] = [:]
        for datagram in datagrams {
            guard let socket = socket(for: datagram) else {
                refused(datagram.remote, EAFNOSUPPORT, local: nil)
                continue
            }
            var group = groups[socket.descriptor] ?? ([], [])
            var item = martlet_outgoing()
            item.offset = UInt32(group.buffer.count)
            item.length = UInt32(datagram.bytes.count)
            item.local = martlet_endpoint(datagram.local)
            item.remote = martlet_endpoint(datagram.remote)
            group.buffer += datagram.bytes
            group.items.append(item)
            groups[socket.descriptor] = group
        }
        for (descriptor, group) in groups {
            var items = group.items
            martlet_udp_send(descriptor, group.buffer, &items, UInt32(items.count))
            let failed = items.filter { $0.error != 0 }
            state.withLock { $0.counters.sent += UInt64(items.count - failed.count) }
            for item in failed { if let remote = item.remote.socketAddress { refused(remote, item.error, local: item.local.socketAddress) } }
        }
    }

    private func socket(for datagram: OutgoingDatagram) -> IKESocket? {
        let candidates = sockets.ike.filter { $0.isShared == datagram.isShared && $0.address.family == datagram.remote.address.family }
        return candidates.first { $0.address == datagram.local.address } ?? candidates.first
    }

    private func refused(_ remote: SocketAddress, _ code: Int32, local: SocketAddress?) {
        tell(remote, code, reporter: local?.address)
        let now = Instant.now()
        let shown = state.withLock { state in
            state.counters.refused += 1
            guard now.since(state.lastRefusal) >= .seconds(1) else { return false }
            state.lastRefusal = now
            return true
        }
        if shown { log.write(.error, "NET", "cannot send to \(remote): \(errorText(code))") }
    }

    /// Passes on that a datagram did not arrive. Anybody can make such messages: so many a second are heard.
    private func tell(_ remote: SocketAddress, _ code: Int32, reporter: IPAddress?) {
        guard let reason = Unreachable(code) else { return }
        let now = Instant.now()
        let isHeard = state.withLock { state in
            if now.since(state.since) >= .seconds(1) { (state.told, state.since) = (0, now) }
            state.told += 1
            return state.told <= Self.toldPerSecond
        }
        if isHeard { undelivered(remote, UnreachableReport(reason: reason, reporter: reporter)) }
    }
    private static let toldPerSecond = 50

    // MARK: Receiving

    /// Starts a reader for each port. `deliver` takes what is for shard `index` and says how much of it there was no room for; `undelivered`
    /// hears what the network says of our own datagrams. Both are called on any thread.
    func start(
        router: ShardRouter, undelivered: @escaping @Sendable (SocketAddress, UnreachableReport) -> Void = { _, _ in }, deliver: @escaping @Sendable (_ shard: Int, [Datagram]) -> Int
    ) throws(SystemError) {
        self.undelivered = undelivered
        for port in Set(sockets.ike.map(\.port)).sorted() {
            let loop = try EventLoop("udp \(port)", capacity: 64)
            guard let inbox = martlet_inbox_create(Self.batch, Self.bufferBytes) else { throw SystemError("make room for datagrams", ENOMEM) }
            for socket in sockets.ike where socket.port == port {
                try loop.watch(socket.descriptor, MARTLET_READABLE) { [unowned self] events in
                    if events & MARTLET_BROKEN != 0 { readUndelivered(socket) }
                    read(socket, inbox, router, deliver)
                }
            }
            try loop.start()
            readers.append(loop)
        }
    }

    func stop() {
        for reader in readers { reader.end() }
        for reader in readers { reader.join() }
        readers = []
    }

    private func readUndelivered(_ socket: IKESocket) {
        var message = martlet_undelivered()
        for _ in 0..<Self.batch where martlet_udp_undelivered(socket.descriptor, &message) {
            if let remote = message.remote.socketAddress { tell(remote, message.error, reporter: message.reporter.socketAddress?.address) }
        }
    }

    /// One batch; the loop comes back while there is more.
    private func read(_ socket: IKESocket, _ inbox: OpaquePointer, _ router: ShardRouter, _ deliver: (Int, [Datagram]) -> Int) {
        let count = martlet_inbox_receive(inbox, socket.descriptor)
        guard count > 0 else { return }
        var counters = TransportCounters()
        var batches: [Int: [Datagram]] = [:]
        for index in 0..<UInt32(count) {
            counters.received += 1
            var info = martlet_datagram_info()
            martlet_inbox_info(inbox, index, &info)
            guard info.truncated == 0, let bytes = martlet_inbox_bytes(inbox, index), let remote = info.remote.socketAddress, let local = info.local.socketAddress,
                info.length <= Self.bufferBytes
            else {
                counters.malformed += 1
                continue
            }
            // Valid until the next batch is received.
            let payload = UnsafeBufferPointer(start: bytes, count: Int(info.length))
            var offset = 0
            if socket.isShared {
                switch UDPEncapsulation.classify(payload.span) {
                case .ike(let start): offset = start
                case .esp:
                    // Before the plane has its sockets, or without one.
                    counters.strayESP += 1
                    continue
                case .keepalive:
                    counters.keepalives += 1
                    continue
                case .invalid:
                    counters.malformed += 1
                    continue
                }
            }
            let message = Array(payload[offset...])
            guard let shard = router.shard(of: message, from: remote.address) else {
                if message.count < Header.byteCount { counters.malformed += 1 } else { counters.noShard += 1 }
                continue
            }
            batches[shard, default: []].append(Datagram(local: local, remote: remote, marked: socket.isShared, bytes: message))
        }
        for (shard, datagrams) in batches { counters.queueFull += UInt64(deliver(shard, datagrams)) }
        state.withLock { state in
            state.counters.received += counters.received
            state.counters.malformed += counters.malformed
            state.counters.keepalives += counters.keepalives
            state.counters.strayESP += counters.strayESP
            state.counters.noShard += counters.noShard
            state.counters.queueFull += counters.queueFull
        }
    }
}

extension Unreachable {
    /// Of an errno; nil for one that says nothing about the way to the peer.
    fileprivate init?(_ code: Int32) {
        switch code {
        case ECONNREFUSED: self = .port
        case EHOSTUNREACH, EHOSTDOWN: self = .host
        case ENETUNREACH: self = .network
        case EACCES, EPERM: self = .prohibited
        default: return nil
        }
    }
}
