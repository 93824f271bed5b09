// A thread that carries packets: waits on its descriptors, takes changes between batches, moves batches.

import CLinux
import ESPCore
import Glibc
import PluginABI
import Synchronization

/// A socket of the host as a worker uses it.
struct DataSocket {
    let fd: Int32
    let kind: martlet_socket_kind
    let family: UInt16
    let port: UInt16
    /// Two batches, without and with the outer Don't Fragment bit.
    let sends: (OpaquePointer, OpaquePointer)
    var dontFragment = false
}

/// A packet ready to be sent.
struct SealedPacket {
    let range: Range<Int>
    let path: OutboundPath
    let tos: UInt8
}

/// A change that the plane thread asks for. The worker applies it between two batches.
enum WorkerChange {
    case addInbound(InboundSA)
    case removeInbound(spi: UInt32)
    case moveInbound(spi: UInt32, remote: martlet_outer_address, encapsulation: Encapsulation, innerMTU: Int)
    case setOutbound(OutboundPolicies)
    case stop
}

/// What a worker tells the core.
struct EventSink: @unchecked Sendable {
    /// Lives until `stop` returned, which joins the workers first. Its functions may be called from any thread.
    let events: UnsafePointer<martlet_plane_events>

    func expired(child: UInt64, spi: UInt32, inbound: Bool, hard: Bool) {
        let direction = UInt8((inbound ? MARTLET_INBOUND : MARTLET_OUTBOUND).rawValue)
        events.pointee.expired(events.pointee.opaque, child, spi, direction, hard ? 1 : 0)
    }
    func acquire(policy: UInt64, for packet: InnerPacket) {
        var source = martlet_selector(packet, packet.source, packet.sourcePort), destination = martlet_selector(packet, packet.destination, packet.destinationPort)
        events.pointee.acquire(events.pointee.opaque, policy, &source, &destination)
    }
    func moved(child: UInt64, spi: UInt32, to remote: martlet_address) {
        var remote = remote
        events.pointee.moved(events.pointee.opaque, child, spi, &remote)
    }
    func stray(spi: UInt32, length: Int, encapsulated: Bool, local: martlet_address, remote: martlet_address) {
        var local = local, remote = remote
        let encapsulation = UInt8((encapsulated ? MARTLET_ESP_IN_UDP : MARTLET_ESP_BARE).rawValue)
        events.pointee.stray(events.pointee.opaque, spi, UInt32(clamping: length), encapsulation, &local, &remote)
    }
}

final class Worker: @unchecked Sendable {
    static let batch = 64
    /// In front of an inner packet in a buffer: the largest ESP header and IV, rounded to a cache line.
    static let headroom = 64
    static let tailroom = 128
    static let receiveSize = 65_536

    let index: UInt32
    let workers: UInt32
    let tun: Int32
    /// Whether this worker reads the TUN device: one does, so that the packets of an SA leave in the order of their numbers.
    let sends: Bool
    let drops = DropCounters()
    let events: EventSink
    let clamps: Bool
    let mark: UInt32

    // The worker's thread alone, once it runs.
    var sockets: [DataSocket]
    var inbound: [UInt32: InboundSA] = [:]
    var outbound = OutboundPolicies.none
    var now: UInt64 = 0
    let received: OpaquePointer
    /// `batch` buffers of `stride` bytes for packets from the TUN device.
    let buffers: UnsafeMutablePointer<UInt8>
    let stride: Int
    let errorBuffer: UnsafeMutablePointer<UInt8>
    /// What lies in each buffer while it waits to be sent.
    var sealed: [SealedPacket?]
    var errorTokens = RateLimit(perSecond: 100, burst: 50)
    var lastAcquire: [UInt64: UInt64] = [:]
    var strayTokens = RateLimit(perSecond: 1, burst: 1)

    private let wake: Int32
    private let acknowledge: Int32
    private let changes = Mutex<[WorkerChange]>([])
    private var thread: UInt64 = 0

    struct StartError: Error { let description: String }

    /// `acknowledge` is signalled once for each `post`.
    init(
        index: UInt32, workers: UInt32, tun: Int32, sockets: [martlet_socket], bufferSize: Int, events: EventSink, clamps: Bool, mark: UInt32,
        acknowledge: Int32
    ) throws(StartError) {
        self.index = index
        self.workers = workers
        self.tun = tun
        sends = index == 0
        self.events = events
        self.clamps = clamps
        self.mark = mark
        self.acknowledge = acknowledge
        wake = martlet_eventfd_create(false)
        guard wake >= 0 else { throw StartError(description: "no eventfd: error \(-wake)") }
        guard let received = martlet_receive_batch_create(UInt32(Self.batch), Self.receiveSize) else { throw StartError(description: "no memory") }
        self.received = received
        // An odd number of cache lines apart: see tun.c.
        stride = ((Self.headroom + bufferSize + Self.tailroom + 63) / 64 | 1) * 64
        buffers = .allocate(capacity: stride * Self.batch)
        errorBuffer = .allocate(capacity: PacketTooBig.maximumLength)
        sealed = Array(repeating: nil, count: Self.batch)
        self.sockets = []
        for socket in sockets {
            martlet_data_socket_prepare(socket.fd, socket.family)
            guard let plain = martlet_send_batch_create(UInt32(Self.batch)), let marked = martlet_send_batch_create(UInt32(Self.batch)) else {
                throw StartError(description: "no memory")
            }
            self.sockets.append(
                DataSocket(fd: socket.fd, kind: martlet_socket_kind(rawValue: socket.kind), family: socket.family, port: socket.port, sends: (plain, marked)))
        }
    }

    deinit {
        if wake >= 0 { close(wake) }
        martlet_receive_batch_destroy(received)
        for socket in sockets {
            martlet_send_batch_destroy(socket.sends.0)
            martlet_send_batch_destroy(socket.sends.1)
        }
        buffers.deallocate()
        errorBuffer.deallocate()
    }

    func start() throws(StartError) {
        // The thread holds the worker until it ends.
        let context = Unmanaged.passRetained(self)
        let error = martlet_thread_start(&thread, { Worker.run($0) }, context.toOpaque(), "martlet-esp\(index)")
        guard error == 0 else {
            context.release()
            throw StartError(description: "no thread: error \(error)")
        }
    }

    func join() { martlet_thread_join(thread) }

    /// From the plane thread; `acknowledge` says when it is done.
    func post(_ change: WorkerChange) {
        changes.withLock { $0.append(change) }
        martlet_eventfd_signal(wake)
    }

    private static func run(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
        guard let context else { return nil }
        Unmanaged<Worker>.fromOpaque(context).takeRetainedValue().loop()
        return nil
    }

    private func loop() {
        var descriptors = [pollfd(fd: wake, events: Int16(POLLIN), revents: 0), pollfd(fd: sends ? tun : -1, events: Int16(POLLIN), revents: 0)]
        for socket in sockets { descriptors.append(pollfd(fd: socket.fd, events: Int16(POLLIN), revents: 0)) }
        while true {
            if poll(&descriptors, nfds_t(descriptors.count), -1) < 0 { continue }
            now = martlet_monotonic_ns()
            if descriptors[0].revents != 0 && !applyChanges() { return }
            // A descriptor that fails is left alone from then on: it would be ready for ever.
            if descriptors[1].revents != 0 && !(descriptors[1].revents & Int16(POLLIN) != 0 && forwardOutbound()) { descriptors[1].fd = -1 }
            for place in sockets.indices where descriptors[2 + place].revents != 0 {
                if descriptors[2 + place].revents & Int16(POLLNVAL) != 0 {
                    descriptors[2 + place].fd = -1
                } else {
                    forwardInbound(place)
                }
            }
        }
    }

    /// False when the worker ends.
    private func applyChanges() -> Bool {
        martlet_eventfd_clear(wake)
        let pending = changes.withLock { waiting in
            let all = waiting
            waiting.removeAll(keepingCapacity: true)
            return all
        }
        var goesOn = true
        for change in pending {
            switch change {
            case .addInbound(let sa): inbound[sa.spi] = sa
            case .removeInbound(let spi): inbound[spi] = nil
            case .moveInbound(let spi, let remote, let encapsulation, let innerMTU):
                guard let sa = inbound[spi] else { break }
                sa.remote = remote
                sa.encapsulation = encapsulation
                sa.innerMTU = innerMTU
            case .setOutbound(let policies):
                outbound = policies
                if lastAcquire.count > 2 * policies.entries.count { lastAcquire.removeAll() }
            case .stop: goesOn = false
            }
            martlet_eventfd_signal(acknowledge)
        }
        return goesOn
    }
}

/// At most so many in a second, with a reserve.
struct RateLimit {
    private let interval: UInt64
    private let burst: UInt64
    private var tokens: UInt64
    private var last: UInt64 = 0

    init(perSecond: UInt64, burst: UInt64) {
        interval = 1_000_000_000 / perSecond
        self.burst = burst
        tokens = burst
    }

    mutating func take(now: UInt64) -> Bool {
        let earned = now > last ? (now - last) / interval : 0
        if earned > 0 {
            tokens = min(burst, tokens + min(earned, burst))
            last = now
        }
        guard tokens > 0 else { return false }
        tokens -= 1
        return true
    }
}
