// The plane's bookkeeping, on the host's plane thread: children, their SAs, and which policies and routes follow from them.
// RFC 4301 section 4.4.

import CLinux
import CXFRM
import ESPCore
import Glibc
import IKEWire
import PlaneKit
import PluginABI
import PluginKit
import XFRMMessages

final class Plane {
    struct SA {
        let spi: UInt32
        /// In the direction of its packets.
        var path: OuterPath
        /// What it is found with, and which packets its policies see.
        let mark: KernelMark
        let scope: PolicyScope
        let layout: PacketLayout
        /// The device that carries its packets whole.
        let packetDevice: OffloadDevice?
        /// How many packets it had when it was last asked, and when there were last more: for a kernel that does not keep the time.
        var packets: UInt64 = 0
        var lastUse: UInt64 = 0
        var id: SAIdentifier { SAIdentifier(destination: path.destination, spi: spi) }
    }

    /// What a child SA pair is to the plane.
    struct Child {
        let policy: UInt64
        let mode: XFRMMode
        var local: [TrafficSelector]
        var remote: [TrafficSelector]
        /// Of what leaves here.
        var selectors: [KernelSelector]
        var inbound: SA?
        var outbound: SA?
        /// It has lost its outbound SA, and is still heard for a moment.
        var isClosing = false
    }

    struct Policy {
        let reqid: UInt32
        let name: String
        var children: [UInt64] = []
        /// Children that were activated, the last of which carries the traffic.
        var activated: [UInt64] = []
        var active: UInt64? { activated.last }
        var routes = Routing.Wanted()
        /// Of the last active child, for while there is none.
        var standing: (selectors: [KernelSelector], path: OuterPath, mode: XFRMMode, scope: PolicyScope)?
    }

    let host: Host
    let settings: Settings
    let mark: UInt32
    let anchor: Anchor
    let routing: Routing
    let index = EventIndex()
    let socket: NetlinkSocket
    private let capabilities: KernelCapabilities
    let listener: Listener
    private let lock: Int32
    private let netlink: Int32
    let drops = Drops()
    let interfaces: Interfaces
    /// Nil where it is not wanted, or the kernel cannot do it.
    private(set) var clamp: SegmentClamp?
    /// An SA that goes with the policies that are about to change.
    var farewell: SA?

    var reqids = Reqids()
    let shared = SharedPolicies()
    var children: [UInt64: Child] = [:]
    var policies: [UInt64: Policy] = [:]
    var alone: [UInt64: AlonePolicy] = [:]
    var addresses: Set<IPAddress> = []

    static let maximumSelectors = 255

    init(host: Host, events: UnsafePointer<martlet_plane_events>, mark: UInt32) throws(PlaneError) {
        self.host = host
        self.mark = mark
        do throws(Settings.Defect) { settings = try Settings(host.setting) } catch { throw .invalid(error.description) }
        capabilities = try KernelCapabilities()
        if let missing = capabilities.missing(.v4) { throw .unsupported(missing) }
        if let missing = capabilities.missing(.v6) { host.log(.notice, "\(missing): no tunnels between IPv6 addresses") }

        lock = try Self.lockNamespace()
        var opened = [lock]
        func giveUp(_ error: PlaneError) -> PlaneError {
            for descriptor in opened { close(descriptor) }
            return error
        }
        netlink = martlet_netlink_open()
        guard netlink >= 0 else { throw giveUp(.system("no routing netlink: \(PlaneError.reason(netlink))")) }
        opened.append(netlink)
        do throws(PlaneError) {
            socket = try NetlinkSocket()
            interfaces = try Interfaces(prefix: settings.interfacePrefix, host: host)
            anchor = try Anchor(settings.interface, netlink: netlink)
            opened.append(anchor.descriptor)
            listener = try Listener(host: host, index: index, policies: shared, sink: EventSink(events: events), eventBuffer: settings.eventBuffer, own: socket.port)
            try listener.open()
        } catch { throw giveUp(error) }
        routing = Routing(netlink: netlink, link: anchor.link, settings: settings.routing, mark: mark, host: host)
        let left = Leftovers.remove(socket)
        if left.policies > 0 || left.sas > 0 { host.log(.notice, "removed \(left.policies) policies and \(left.sas) SAs that an earlier daemon has left in the kernel") }
        interfaces.removeLeftovers()
        routing.clean()
        if mark == 0 { host.log(.warning, "no mark on the sockets: a tunnel that covers its own peer's address will not work") }
        if settings.clampsSegmentSize { clamp = SegmentClamp(host: host) }
        if settings.interfacePrefix != nil, !Interfaces.areKnown() { host.log(.warning, "\(Interfaces.missing): a tunnel with an if_id will not come up, because interface_prefix asks for one") }
        if !exemptNeighbours() { host.log(.warning, "neighbour discovery is not exempt: a tunnel for all of IPv6 would take it") }
        host.log(.info, "ESP is the kernel's; \(settings.interface) takes the routes, in table \(settings.routing.table)")
    }

    /// Two daemons in one network namespace would each take the other's policies for leftovers. Who cannot write to the folder cannot take the lock.
    private static func lockNamespace() throws(PlaneError) -> Int32 {
        let folder = "/run/martlet"
        let lock = martlet_folder_lock(folder, "xfrm")
        switch lock {
        case 0...: return lock
        case -EWOULDBLOCK: throw .system("another daemon of Martlet's has the kernel's ESP in this network namespace")
        case -EPERM: throw .system("\(folder) is not safe to lock the kernel's ESP in: root or this daemon's user must own it, and nobody else may write to it")
        default: throw .system("cannot lock the kernel's ESP in \(folder): \(PlaneError.reason(lock))")
        }
    }

    func stop() {
        listener.close()
        _ = perform(shared.table.withLock(\.installed).map { .remove($0) }, isLast: false)
        var batch = NetlinkBatch()
        for sa in children.values.flatMap({ [$0.inbound, $0.outbound].compactMap { $0 } }) {
            if !batch.hasRoom {
                _ = socket.request(batch)
                batch = NetlinkBatch()
            }
            _ = batch.append(SAMessages.delete(spi: sa.spi, destination: sa.path.destination, mark: sa.mark))
        }
        _ = socket.request(batch)
        host.log(.debug, "\(socket.messages) messages went to the kernel, and its answer was waited for \(socket.waits) times")
        routing.removeAll()
        clamp?.stop()
        interfaces.removeAll()
        anchor.close()
        close(netlink)
        close(lock)
    }

    // MARK: SAs

    func add(_ sa: UnsafePointer<martlet_sa>) throws(PlaneError) {
        let description = sa.pointee
        guard description.struct_size >= UInt32(MemoryLayout<martlet_sa>.size) else { throw .invalid("an SA of \(description.struct_size) bytes") }
        let name = "SA \(hex(description.spi))"
        guard let local = SocketAddress(description.local), let remote = SocketAddress(description.remote), local.address.family == remote.address.family, description.encapsulation <= 1,
            description.direction <= 1, description.spi > 255
        else { throw .invalid("\(name): addresses, encapsulation, direction or SPI cannot be") }
        let (localTS, remoteTS) = try selectors(description.local_ts, description.local_ts_count, description.remote_ts, description.remote_ts_count, of: name)
        let kernelSelectors = try outbound(localTS, remoteTS, of: name)
        if let child = children[description.child], child.policy != description.policy { throw .invalid("\(name): its child belongs to another policy") }
        guard let mode = XFRMMode(contract: description.mode) else { throw .unsupported("\(name): there is no mode \(description.mode)") }
        let isInbound = UInt32(description.direction) == MARTLET_INBOUND.rawValue
        let existing = children[description.child]
        guard (isInbound ? existing?.inbound : existing?.outbound) == nil else { throw .invalid("\(name): its child has one in this direction") }

        let isNew = policies[description.policy] == nil
        guard let reqid = policies[description.policy]?.reqid ?? reqids.take() else { throw PlaneError(status: MARTLET_E_LIMIT, message: "\(name): there are too many policies") }
        let path = Self.path(local, remote, isEncapsulated: description.encapsulation == MARTLET_ESP_IN_UDP.rawValue, isInbound: isInbound)
        var made = SADescription(spi: description.spi, reqid: reqid, path: path, isInbound: isInbound)
        let flags = UInt32(description.flags)
        made.hasExtendedSequence = flags & MARTLET_SA_ESN.rawValue != 0
        made.replayWindow = description.replay_window
        if isInbound && made.hasExtendedSequence && made.replayWindow == 0 {
            // The kernel has no extended sequence numbers without a window.
            made.replayWindow = SAMessages.largestReplayWindow
        }
        made.copiesDF = flags & MARTLET_SA_COPY_DF.rawValue != 0
        made.carriesECN = flags & MARTLET_SA_NO_ECN.rawValue == 0
        made.copiesDSCP = flags & MARTLET_SA_COPY_DSCP.rawValue != 0
        made.mode = mode
        made.mark = KernelMark(description.mark)
        made.setMark = KernelMark(description.set_mark)
        // Outer packets stay out of tunnels. One in transport mode has no route of its own to find.
        if made.setMark == .none, !isInbound, mode == .tunnel, mark != 0 { made.setMark = KernelMark(value: mark, mask: .max) }
        made.interfaceID = description.interface_id
        made.limits = Self.limits(description)
        let keyed = try algorithm(description, name)
        do throws(PlaneError) {
            if made.interfaceID != 0 { try interfaces.claim(made.interfaceID, isExclusive: flags & MARTLET_SA_OWN_INTERFACE.rawValue != 0) }
            try install(&made, keyed, OffloadWish(description.offload), local.address, name, description)
        } catch {
            if made.interfaceID != 0 { interfaces.release(made.interfaceID) }
            if isNew { reqids.give(back: reqid) }
            throw error
        }

        var child = existing ?? Child(policy: description.policy, mode: mode, local: localTS, remote: remoteTS, selectors: kernelSelectors)
        (child.local, child.remote, child.selectors) = (localTS, remoteTS, kernelSelectors)
        let own = SA(
            spi: description.spi, path: path, mark: made.mark, scope: PolicyScope(mark: KernelMark(description.policy_mark), interfaceID: made.interfaceID), layout: keyed.layout,
            packetDevice: made.offload.flatMap { $0.takesPackets ? $0 : nil })
        if isInbound { child.inbound = own } else { child.outbound = own }
        children[description.child] = child
        var policy = policies[description.policy] ?? Policy(reqid: reqid, name: String(cString: description.name))
        if !policy.children.contains(description.child) { policy.children.append(description.child) }
        policies[description.policy] = policy
        if isNew { index.add(reqid: reqid, policy: description.policy) }
        index.add(own.id, EventIndex.KnownSA(child: description.child, direction: description.direction, reqid: reqid, mark: own.mark, remote: isInbound && path.ports != nil ? remote : nil))
        guard isInbound, !claim(description.policy) else { return }
        try? remove(spi: description.spi, direction: description.direction, child: description.child)
        throw .system("\(name): not all of its policies could be installed")
    }

    func activate(_ number: UInt64) throws(PlaneError) {
        guard let child = children[number], child.outbound != nil, var policy = policies[child.policy] else { throw .notFound }
        let before = policy.active.flatMap { children[$0]?.outbound?.path.destination }
        policy.activated.removeAll { $0 == number }
        // Two peers may share a policy: new keys of one take the place of its old ones, and no more.
        func peer(_ number: UInt64) -> OuterPath? { children[number]?.outbound.map { OuterPath(source: $0.path.destination, destination: $0.path.destination, ports: $0.path.ports) } }
        let place = policy.activated.lastIndex { peer($0) == peer(number) }
        policy.activated.insert(number, at: place.map { $0 + 1 } ?? policy.activated.count)
        policies[child.policy] = policy
        guard claim(child.policy) else { throw .system("child \(number): not all of its policies could be installed") }
        if let active = policy.active.flatMap({ children[$0] }) { route(child.policy, to: active) }
        guard let own = child.outbound?.path.destination, policy.active == number, before != own else { return }
        let rivals = shared.table.withLock { $0.rivals(of: child.policy) }.compactMap { other in policies[other].flatMap { rival in rival.active.flatMap { children[$0]?.outbound?.path.destination } }
        }
        for rival in rivals + (before.map { [$0] } ?? []) where rival != own {
            host.log(
                .warning,
                "\(policy.name) with \(own) takes packets over that another peer's tunnel, with \(rival), carried: both have these selectors, and the one that came last carries them until it goes")
        }
    }

    func remove(spi: UInt32, direction: UInt8, child number: UInt64) throws(PlaneError) {
        guard var child = children[number] else { throw .notFound }
        let isInbound = UInt32(direction) == MARTLET_INBOUND.rawValue
        guard let sa = isInbound ? child.inbound : child.outbound, sa.spi == spi else { throw .notFound }
        if isInbound { child.inbound = nil } else { (child.outbound, child.isClosing) = (nil, true) }
        children[number] = child
        index.remove(sa.id)
        guard var policy = policies[child.policy] else { return }
        let wasActive = policy.active == number
        // An older child that is still there takes the traffic over: its peer has not deleted it.
        if child.outbound == nil { policy.activated.removeAll { $0 == number } }
        if child.inbound == nil && child.outbound == nil {
            children[number] = nil
            policy.children.removeAll { $0 == number }
        }
        policies[child.policy] = policy.children.isEmpty ? nil : policy
        // The policies first: a policy without its SA would ask for another one.
        farewell = sa
        _ = claim(child.policy)
        if let sa = farewell.take() { noteRemoval(sa, socket.request(SAMessages.delete(spi: spi, destination: sa.path.destination, mark: sa.mark))) }
        if sa.scope.interfaceID != 0 { interfaces.release(sa.scope.interfaceID) }
        if policy.children.isEmpty {
            index.remove(reqid: policy.reqid)
            reqids.give(back: policy.reqid)
            routing.remove(policy.routes)
            clamp?.set(policy.reqid, [:])
        } else if wasActive, let next = policy.active.flatMap({ children[$0] }) {
            route(child.policy, to: next)
        }
    }

    func counters(spi: UInt32, direction: UInt8, child number: UInt64) throws(PlaneError) -> martlet_sa_counters {
        let isInbound = UInt32(direction) == MARTLET_INBOUND.rawValue
        guard var child = children[number], var sa = isInbound ? child.inbound : child.outbound, sa.spi == spi else { throw .notFound }
        var report: SAReport?
        let result = socket.exchange(SAMessages.query(spi: spi, destination: sa.path.destination, mark: sa.mark), .single) { report = SAReport($0) }
        guard result == 0, let report else { throw .notFound }
        let now = host.now
        if let seconds = report.lastUsed {
            // The kernel's clock is the wall's.
            let age = UInt64(max(0, time(nil) - Int(clamping: seconds)))
            sa.lastUse = now &- min(now, age &* 1_000_000_000)
        } else if report.packets != sa.packets {
            sa.lastUse = now
        }
        sa.packets = report.packets
        if isInbound { child.inbound = sa } else { child.outbound = sa }
        children[number] = child
        var counters = martlet_sa_counters()
        counters.struct_size = UInt32(MemoryLayout<martlet_sa_counters>.size)
        counters.packets = report.packets
        counters.bytes = report.bytes
        counters.last_use_ns = sa.lastUse
        counters.replayed = UInt64(report.replayed)
        counters.rejected_icv = UInt64(report.rejectedICV)
        counters.sequence = isInbound ? report.seen : report.sent
        return counters
    }
}
