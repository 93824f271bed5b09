// The kernel's events: packets that ask for an SA, limits reached, peers that moved. On the host's service thread.
// Events get lost where many come at once; then what is ours is compared with what the kernel has.

import CXFRM
import Glibc
import IKEWire
import PlaneKit
import PluginABI
import PluginKit
import Synchronization
import XFRMMessages

/// The host's table of what it wants to hear. It lives until `stop` has returned; nothing is told after `close`.
struct EventSink: @unchecked Sendable {
    let events: UnsafePointer<martlet_plane_events>

    func expired(_ sa: EventIndex.KnownSA, spi: UInt32, isHard: Bool) { events.pointee.expired(events.pointee.opaque, sa.child, spi, sa.direction, isHard ? 1 : 0) }

    func moved(_ sa: EventIndex.KnownSA, spi: UInt32, to remote: SocketAddress) {
        var address = remote.contract
        events.pointee.moved(events.pointee.opaque, sa.child, spi, &address)
    }

    func acquire(_ policy: UInt64, _ packet: XFRMEvent.PacketThatAsks) {
        var source = martlet_selector(packet.source, packet.ipProtocol, packet.sourcePort), destination = martlet_selector(packet.destination, packet.ipProtocol, packet.destinationPort)
        events.pointee.acquire(events.pointee.opaque, policy, &source, &destination)
    }
}

extension martlet_selector {
    fileprivate init(_ address: IPAddress, _ ipProtocol: UInt8, _ port: UInt16?) {
        self.init()
        family = address.family.rawValue
        `protocol` = ipProtocol
        // The kernel fills these fields for other protocols as well: with types of ICMP, keys of GRE.
        let hasPorts = [6, 17, 33, 132, 136].contains(ipProtocol)
        start_port = hasPorts ? port ?? 0 : 0
        end_port = hasPorts ? port ?? 65535 : 65535
        start = address.addressBytes
        end = address.addressBytes
    }
}

final class Listener: @unchecked Sendable {
    private let host: Host
    private let index: EventIndex
    private let sink: EventSink
    private let policies: SharedPolicies
    private let socket: NetlinkSocket
    /// For requests of the service thread.
    private let requests: NetlinkSocket
    private var watch: martlet_handle = 0
    /// On the service thread.
    private var hasLostPolicies = false
    private var events = 0
    /// Held while events are told, so that none is after `close`.
    private let isOpen = Mutex(true)

    /// The service thread serves others, too: so many datagrams at once.
    private static let batch = 64

    /// `own`: the port of the socket that the plane changes SAs and policies over.
    init(host: Host, index: EventIndex, policies: SharedPolicies, sink: EventSink, eventBuffer: Int32, own: UInt32) throws(PlaneError) {
        self.host = host
        self.index = index
        self.policies = policies
        self.sink = sink
        // The kernel numbers groups from 1, libmnl takes bits.
        let mapping = UInt32(1) << (UInt32(XFRMNLGRP_MAPPING.rawValue) - 1)
        let groups = UInt32(XFRMGRP_ACQUIRE) | UInt32(XFRMGRP_EXPIRE) | UInt32(XFRMGRP_SA) | UInt32(XFRMGRP_POLICY) | mapping
        socket = try NetlinkSocket(groups: groups, eventBuffer: eventBuffer)
        requests = try NetlinkSocket()
        // What others add is theirs, and what we do ourselves is no news.
        let additions = [XFRM_MSG_NEWSA, XFRM_MSG_UPDSA, XFRM_MSG_NEWPOLICY, XFRM_MSG_UPDPOLICY].map { UInt16($0) }
        socket.leaveOut(types: additions, ports: [own, requests.port])
    }

    func open() throws(PlaneError) {
        // Never released: a call may be under way when the watch ends.
        let context = Unmanaged.passRetained(self).toOpaque()
        watch = host.watch(socket.descriptor, events: 1 /* EPOLLIN */, context: context) { context, _ in
            guard let context else { return }
            Unmanaged<Listener>.fromOpaque(context).takeUnretainedValue().read()
        }
        guard watch != 0 else { throw .system("the kernel's events cannot be watched") }
    }

    func close() {
        host.cancel(watch)
        isOpen.withLock {
            $0 = false
            host.log(.debug, "the kernel has told of \(events) events")
        }
    }

    private func read() {
        isOpen.withLock { isOpen in
            guard isOpen else { return }
            defer { putBack() }
            for _ in 0..<Self.batch {
                switch socket.receive({
                    events += 1
                    if let event = XFRMEvent($0) { handle(event) }
                }) {
                case nil, .some(EINTR): continue
                case .some(ENOBUFS):
                    host.log(.warning, "the kernel had more events than there is room for: comparing what is there")
                    resynchronise()
                    hasLostPolicies = true
                default: return
                }
            }
        }
    }

    /// Tells the host of an SA's end, or of its coming end, unless it knows. Any thread.
    func report(_ id: SAIdentifier, reqid: UInt32, isHard: Bool) {
        if let sa = index.expired(id, reqid: reqid, isHard: isHard) { sink.expired(sa, spi: id.spi, isHard: isHard) }
    }

    private func handle(_ event: XFRMEvent) {
        switch event {
        case .expired(let id, let reqid, let isHard): report(id, reqid: reqid, isHard: isHard)
        case .mapping(let id, let reqid, let source, let port):
            let remote = SocketAddress(address: source, port: port)
            if let sa = index.moved(id, reqid: reqid, now: host.now) { sink.moved(sa, spi: id.spi, to: remote) }
        case .removed(let id, let reqid):
            guard Reqids.isOurs(reqid), isMissing(id) else { return }
            host.log(.warning, "somebody has taken SA \(hex(id.spi)) out of the kernel: its tunnel ends, and begins anew where the configuration says so")
            report(id, reqid: reqid, isHard: true)
        case .flushedSAs:
            host.log(.warning, "somebody has taken all SAs out of the kernel: tunnels end, and begin anew where the configuration says so")
            resynchronise()
        case .removedPolicy(let number):
            if number.map(PolicyTable.isOurs) ?? true { hasLostPolicies = true }
        case .acquire(let packet):
            guard Reqids.isOurs(packet.reqid) else { return }
            if let policy = index.acquired(reqid: packet.reqid, now: host.now) { sink.acquire(policy, packet) }
            forgetLater(packet)
        }
    }

    // MARK: What others take away

    /// Whether it is an SA that the plane has, and that the kernel has no more.
    private func isMissing(_ id: SAIdentifier) -> Bool {
        guard let sa = index[id] else { return false }
        return requests.exchange(SAMessages.query(spi: id.spi, destination: id.destination, mark: sa.mark), .single) { _ in } == -ESRCH
    }

    /// Without its policies a tunnel's packets would go in clear, or nowhere: the kernel gets them again. Those that it has it refuses.
    private func putBack() {
        guard hasLostPolicies else { return }
        hasLostPolicies = false
        let count = policies.table.withLock { table in
            var results: [Int32] = [], batch = NetlinkBatch()
            for policy in table.installed {
                if !batch.hasRoom {
                    results += requests.request(batch)
                    batch = NetlinkBatch()
                }
                _ = batch.append(PolicyMessages.set(policy, isNew: true))
            }
            results += requests.request(batch)
            return results.count { $0 == 0 }
        }
        if count > 0 { host.log(.warning, "somebody has taken \(count) policies of this daemon's out of the kernel: they are there again") }
    }

    // MARK: What an acquire leaves

    private final class Larval {
        let listener: Listener
        let packet: XFRMEvent.PacketThatAsks
        init(_ listener: Listener, _ packet: XFRMEvent.PacketThatAsks) {
            self.listener = listener
            self.packet = packet
        }
    }

    /// The kernel asks once and then waits for net.core.xfrm_acq_expires seconds. Whether it is worth another attempt is the host's to say, so
    /// that it hears of the next packet in a second.
    private func forgetLater(_ packet: XFRMEvent.PacketThatAsks) {
        let context = Unmanaged.passRetained(Larval(self, packet)).toOpaque()
        let timer = host.armTimer(after: 1_000_000_000, context: context) { context in
            guard let context else { return }
            let larval = Unmanaged<Larval>.fromOpaque(context).takeRetainedValue()
            larval.listener.isOpen.withLock { if $0 { larval.listener.forget(larval.packet) } }
        }
        if timer == 0 { Unmanaged<Larval>.fromOpaque(context).release() }
    }

    private func forget(_ packet: XFRMEvent.PacketThatAsks) {
        guard let mode = XFRMMode(rawValue: packet.mode) else { return }
        var named: SAIdentifier?
        _ = requests.exchange(SAMessages.allocate(acquire: packet.sequence, path: packet.path, reqid: packet.reqid, mode: mode, scope: packet.scope), .single) { named = SAReport($0)?.id }
        if let named { _ = requests.request(SAMessages.delete(spi: named.spi, destination: named.destination, mark: packet.scope.mark)) }
    }

    // MARK: Lost events

    /// A lost change of a peer's address needs nothing: the kernel reports it again with the next packet.
    private func resynchronise() {
        var present: [SAIdentifier: SAReport] = [:], awaited: [XFRMEvent.PacketThatAsks] = []
        let result = requests.exchange(SAMessages.dump(), .dump) { message in
            guard let report = SAReport(message), Reqids.isOurs(report.reqid) else { return }
            if let packet = report.awaiting { awaited.append(packet) } else { present[report.id] = report }
        }
        guard result == 0 else { return host.log(.error, "the kernel's SAs cannot be read: \(PlaneError.reason(result))") }
        for packet in awaited { handle(.acquire(packet)) }
        for (id, sa) in index.all {
            var report = present[id]
            if report == nil {
                // A dump may miss what changed meanwhile.
                _ = requests.exchange(SAMessages.query(spi: id.spi, destination: id.destination, mark: sa.mark), .single) { report = SAReport($0) }
            }
            if let report {
                if report.isSoftExpired { handle(.expired(id, reqid: sa.reqid, isHard: false)) }
            } else {
                handle(.expired(id, reqid: sa.reqid, isHard: true))
            }
        }
    }
}
