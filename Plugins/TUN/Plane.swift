// The plane's bookkeeping, on the host's plane thread: SAs, policies, and what the workers and the kernel are told of them.
// RFC 4301 section 4.4, as far as the core leaves it to a data plane.

import CLinux
import ESPCore
import Glibc
import IKECrypto
import IKEWire
import PlaneKit
import PluginABI
import PluginCrypto
import PluginKit

final class Plane {
    private struct OutboundKey: Hashable { var child: UInt64, spi: UInt32 }

    /// What a child SA pair is to the plane.
    private struct Child {
        let policy: UInt64
        var local: [TrafficSelector]
        var remote: [TrafficSelector]
        var inboundSPI: UInt32?
        var outboundSPI: UInt32?
    }

    private struct Policy {
        var children: Set<UInt64> = []
        /// Children that were activated, the last of which carries the traffic: its selectors are in the table, its routes installed.
        var activated: [UInt64] = []
        var active: UInt64? { activated.last }
        var routes: Routing.Wanted?
        var selectors: Selectors?
    }

    private struct Outbound {
        let sa: OutboundSA
        let layout: PacketLayout
        var path: OutboundPath
    }

    private struct Inbound {
        let sa: InboundSA
        let layout: PacketLayout
    }

    let host: Host
    let settings: Settings
    let sockets: [martlet_socket]
    private let workers: [Worker]
    private let tun: Int32
    let link: Int32
    let netlink: Int32
    private let acknowledge: Int32
    let routing: Routing
    private(set) var interfaceMTU: Int

    private var inbound: [UInt32: Inbound] = [:]
    private var outbound: [OutboundKey: Outbound] = [:]
    private var children: [UInt64: Child] = [:]
    private var policies: [UInt64: Policy] = [:]
    /// Policies without SAs of their own, and their order.
    var standing: [UInt64: StandingPolicy] = [:]
    var standingOrder: [UInt64] = []
    /// Whether workers that only receive were told of policies: they drop by them.
    private var receiversDrop = false
    /// Inner addresses of the interface. They go with it.
    var addresses: Set<IPAddress> = []
    /// In the order of their first activation: of two that match alike, the later one wins.
    private var order: [UInt64] = []
    /// The workers' table is behind: a timer is armed that sees to it.
    private var isStale = false

    static let maximumSelectors = 255
    /// From so many on changes are published together.
    private static let manyPolicies = 256

    init(
        host: Host, events: UnsafePointer<martlet_plane_events>, sockets: [martlet_socket], workers count: UInt32, mark: UInt32
    ) throws(PlaneError) {
        self.host = host
        do throws(Settings.Defect) { settings = try Settings(host.setting) } catch { throw .invalid(error.description) }
        let count = max(1, min(count, 64))
        for socket in sockets where socket.worker >= count { throw .invalid("a socket is meant for worker \(socket.worker) of \(count)") }
        if mark == 0 { host.log(.warning, "no mark on the sockets: a tunnel that covers its own peer's address will not work") }
        self.sockets = sockets

        tun = martlet_tun_open(settings.interface, false)
        guard tun >= 0 else { throw .system("cannot create interface \(settings.interface): \(PlaneError.reason(tun))") }
        var opened = [tun]
        func giveUp(_ message: String) -> PlaneError {
            for descriptor in opened { close(descriptor) }
            return .system(message)
        }
        netlink = martlet_netlink_open()
        guard netlink >= 0 else { throw giveUp("no routing netlink: \(PlaneError.reason(netlink))") }
        opened.append(netlink)
        acknowledge = martlet_eventfd_create(true)
        guard acknowledge >= 0 else { throw giveUp("no eventfd: \(PlaneError.reason(acknowledge))") }
        opened.append(acknowledge)
        link = martlet_link_index(settings.interface)
        guard link > 0 else { throw giveUp("interface \(settings.interface) has gone: \(PlaneError.reason(link))") }
        interfaceMTU = settings.mtu ?? Self.startingMTU(settings)
        let up = martlet_link_up(netlink, link, UInt32(interfaceMTU), 1000)
        guard up == 0 else { throw giveUp("cannot bring \(settings.interface) up: \(PlaneError.reason(up))") }
        routing = Routing(netlink: netlink, link: link, settings: settings.routing, mark: mark, host: host)

        var made: [Worker] = []
        var started = 0
        do throws(Worker.StartError) {
            for index in 0..<count {
                let own = sockets.filter { $0.worker == index }
                made.append(
                    try Worker(
                        index: index, workers: count, tun: tun, sockets: own, bufferSize: Settings.mtuRange.upperBound,
                        events: EventSink(events: events), clamps: settings.clampsSegmentSize, mark: mark, acknowledge: acknowledge))
            }
            workers = made
            for worker in made {
                try worker.start()
                started += 1
            }
        } catch {
            for worker in made.prefix(started) {
                worker.post(.stop)
                worker.join()
            }
            throw giveUp("cannot start the workers: \(error.description)")
        }
        routing.clean()
        host.log(.info, "\(settings.interface) is up: \(count) workers, MTU \(interfaceMTU), routing table \(settings.routing.table)")
    }

    func stop() {
        routing.removeAll()
        change(workers, .stop)
        for worker in workers { worker.join() }
        close(tun)
        close(netlink)
        close(acknowledge)
    }

    // MARK: SAs

    /// What the arrays hold; they live until the call that is under way returns.
    func selectors(
        _ local: UnsafePointer<martlet_selector>, _ localCount: Int, _ remote: UnsafePointer<martlet_selector>, _ remoteCount: Int, of owner: () -> String
    ) throws(PlaneError) -> (local: [TrafficSelector], remote: [TrafficSelector]) {
        guard localCount <= Self.maximumSelectors, remoteCount <= Self.maximumSelectors else {
            throw .invalid("\(owner()): more than \(Self.maximumSelectors) selectors")
        }
        let localTS = (0..<localCount).compactMap { TrafficSelector(local[$0]) }, remoteTS = (0..<remoteCount).compactMap { TrafficSelector(remote[$0]) }
        guard localTS.count == localCount, remoteTS.count == remoteCount, !localTS.isEmpty, !remoteTS.isEmpty else {
            throw .invalid("\(owner()): no selectors, or of an unknown family")
        }
        return (localTS, remoteTS)
    }

    func add(_ sa: UnsafePointer<martlet_sa>) throws(PlaneError) {
        let description = sa.pointee
        guard description.struct_size >= UInt32(MemoryLayout<martlet_sa>.size) else { throw .invalid("an SA of \(description.struct_size) bytes") }
        guard UInt32(description.mode) == MARTLET_TUNNEL.rawValue else {
            throw PlaneError(status: MARTLET_E_UNSUPPORTED, message: "SA \(hex(description.spi)): only tunnels are carried")
        }
        guard let local = SocketAddress(description.local), let remote = SocketAddress(description.remote), local.address.family == remote.address.family,
            description.encapsulation <= 1, description.direction <= 1, description.spi > 255
        else { throw .invalid("SA \(hex(description.spi)): addresses, encapsulation, direction or SPI cannot be") }
        let (localTS, remoteTS) = try selectors(description.local_ts, description.local_ts_count, description.remote_ts, description.remote_ts_count) {
            "SA \(hex(description.spi))"
        }
        if let child = children[description.child], child.policy != description.policy {
            throw .invalid("SA \(hex(description.spi)): its child belongs to another policy")
        }
        let encapsulation: Encapsulation = description.encapsulation == MARTLET_ESP_IN_UDP.rawValue ? .udp : .bare
        let flags = UInt32(description.flags)
        let counters = SACounters(Self.limits(description))
        let suite = try suite(description)

        if UInt32(description.direction) == MARTLET_INBOUND.rawValue {
            guard inbound[description.spi] == nil, children[description.child]?.inboundSPI == nil else {
                throw .invalid("inbound SA \(hex(description.spi)) exists")
            }
            let opener = try makeOpener(description, suite)
            let made = InboundSA(
                spi: description.spi, child: description.child, flags: flags, counters: counters,
                selectors: Selectors(local: localTS, remote: remoteTS), opener: opener, remote: remote.outer(withPort: true),
                encapsulation: encapsulation, innerMTU: innerMTU(opener.layout, encapsulation, remote))
            inbound[description.spi] = Inbound(sa: made, layout: opener.layout)
            change([owner(of: description.spi)], .addInbound(made))
            edit(description, localTS, remoteTS) { $0.inboundSPI = description.spi }
        } else {
            let key = OutboundKey(child: description.child, spi: description.spi)
            guard outbound[key] == nil, children[description.child]?.outboundSPI == nil else {
                throw .invalid("outbound SA \(hex(description.spi)) exists")
            }
            let sealer = try makeSealer(description, suite)
            let path = try makePath(sealer.layout, encapsulation, local, remote)
            let made = OutboundSA(
                spi: description.spi, child: description.child, policy: description.policy, flags: flags, counters: counters, sealer: sealer)
            outbound[key] = Outbound(sa: made, layout: sealer.layout, path: path)
            edit(description, localTS, remoteTS) { $0.outboundSPI = description.spi }
        }
    }

    func activate(_ number: UInt64) throws(PlaneError) {
        guard let child = children[number], let spi = child.outboundSPI, outbound[OutboundKey(child: number, spi: spi)] != nil else { throw .notFound }
        let isFirst = policies[child.policy]?.active == nil
        policies[child.policy, default: Policy()].activated.removeAll { $0 == number }
        policies[child.policy, default: Policy()].activated.append(number)
        if !order.contains(child.policy) { order.append(child.policy) }
        carry(child.policy, isFirst: isFirst)
    }

    /// Brings table, MTU and routes in line with the active child of a policy. `isFirst`: no SA is replaced or ended by it.
    private func carry(_ number: UInt64, isFirst: Bool) {
        guard var policy = policies[number] else { return }
        let before = policy.routes
        if let child = policy.active.flatMap({ children[$0] }) {
            policy.selectors = Selectors(local: child.local, remote: child.remote)
            policy.routes = routing.wanted(local: child.local, remote: child.remote)
        }
        policies[number] = policy
        if isFirst { publishSoon() } else { refresh() }
        // The new routes are there before the old ones go, so that a rekey leaves no gap.
        if before != policy.routes {
            if let routes = policy.routes { routing.add(routes) }
            if let before { routing.remove(before) }
        }
    }

    func remove(spi: UInt32, direction: UInt8, child number: UInt64) throws(PlaneError) {
        guard var child = children[number] else { throw .notFound }
        if UInt32(direction) == MARTLET_INBOUND.rawValue {
            guard child.inboundSPI == spi, inbound.removeValue(forKey: spi) != nil else { throw .notFound }
            change([owner(of: spi)], .removeInbound(spi: spi))
            child.inboundSPI = nil
        } else {
            guard child.outboundSPI == spi, outbound.removeValue(forKey: OutboundKey(child: number, spi: spi)) != nil else { throw .notFound }
            child.outboundSPI = nil
        }
        children[number] = child
        guard var policy = policies[child.policy] else { return }
        let wasActive = policy.active == number
        // An older child that is still there takes the traffic over: its peer has not deleted it.
        if child.outboundSPI == nil { policy.activated.removeAll { $0 == number } }
        if child.inboundSPI == nil && child.outboundSPI == nil {
            children[number] = nil
            policy.children.remove(number)
        }
        guard policy.children.isEmpty else {
            policies[child.policy] = policy
            if wasActive && policy.active != number { carry(child.policy, isFirst: false) }
            return
        }
        policies[child.policy] = nil
        order.removeAll { $0 == child.policy }
        // An inbound SA that goes last is in no table: the outbound one has left it.
        if UInt32(direction) != MARTLET_INBOUND.rawValue { refresh() }
        if let routes = policy.routes { routing.remove(routes) }
    }

    func update(_ number: UInt64, local: martlet_address, remote: martlet_address, encapsulation raw: UInt8) throws(PlaneError) {
        guard let child = children[number] else { throw .notFound }
        guard let local = SocketAddress(local), let remote = SocketAddress(remote), local.address.family == remote.address.family, raw <= 1 else {
            throw .invalid("child \(number): addresses or encapsulation cannot be")
        }
        let encapsulation: Encapsulation = raw == MARTLET_ESP_IN_UDP.rawValue ? .udp : .bare
        if let spi = child.outboundSPI, var entry = outbound[OutboundKey(child: number, spi: spi)] {
            entry.path = try makePath(entry.layout, encapsulation, local, remote)
            outbound[OutboundKey(child: number, spi: spi)] = entry
            if policies[child.policy]?.active == number { publishSoon() }
        }
        if let spi = child.inboundSPI, let entry = inbound[spi] {
            change(
                [owner(of: spi)],
                .moveInbound(
                    spi: spi, remote: remote.outer(withPort: true), encapsulation: encapsulation,
                    innerMTU: innerMTU(entry.layout, encapsulation, remote)))
        }
    }

    func counters(spi: UInt32, direction: UInt8, child: UInt64) throws(PlaneError) -> martlet_sa_counters {
        let counters: SACounters
        if UInt32(direction) == MARTLET_INBOUND.rawValue {
            guard let entry = inbound[spi], entry.sa.child == child else { throw .notFound }
            counters = entry.sa.counters
        } else {
            guard let entry = outbound[OutboundKey(child: child, spi: spi)] else { throw .notFound }
            counters = entry.sa.counters
        }
        var result = martlet_sa_counters()
        result.struct_size = UInt32(MemoryLayout<martlet_sa_counters>.size)
        result.packets = counters.packets.load(ordering: .relaxed)
        result.bytes = counters.bytes.load(ordering: .relaxed)
        result.last_use_ns = counters.lastUse.load(ordering: .relaxed)
        result.replayed = counters.replayed.load(ordering: .relaxed)
        result.rejected_icv = counters.rejectedICV.load(ordering: .relaxed)
        result.rejected_selector = counters.rejectedSelector.load(ordering: .relaxed)
        result.malformed = counters.malformed.load(ordering: .relaxed)
        result.sequence = counters.sequence.load(ordering: .relaxed)
        return result
    }

    func drops(_ reason: DropReason) -> UInt64 { workers.reduce(0) { $0 &+ $1.drops.load(reason) } }

    // MARK: Workers

    private func owner(of spi: UInt32) -> Worker { workers[Int(spi % UInt32(workers.count))] }

    /// Returns when every worker named has taken the change.
    private func change(_ workers: [Worker], _ change: WorkerChange) {
        for worker in workers { worker.post(change) }
        martlet_eventfd_wait(acknowledge, UInt64(workers.count))
    }

    /// A table takes the longer to make the more policies there are: 12 ms for 10,000. Of many, those that get their first SA, or whose peers move, close together
    /// are published together, so that a gateway whose clients all come back at once has time for more than tables. Until then the packets of a new one are dropped,
    /// and those of an old one go the old way. An SA that ends, or is replaced, is never used any longer for that: this counts at once.
    private func publishSoon() {
        guard order.count >= Self.manyPolicies else { return refresh() }
        guard !isStale else { return }
        isStale = true
        // Longer than it takes, so that the thread is free most of the time.
        if host.armTimer(after: UInt64(order.count) * 5_000, context: nil, { _ in refreshPlane() }) == 0 { refresh() }
    }

    func refreshIfStale() { if isStale { refresh() } }

    private func refresh() {
        isStale = false
        adjustMTU()
        publish()
    }

    /// Hands the policies as they are now to the worker that sends.
    func publish() {
        var entries: [OutboundPolicies.Entry] = []
        var selectors: [Selectors] = []
        func add(_ policy: UInt64, _ own: Selectors, _ active: Outbound?, _ action: StandingPolicy.Action = .trap) {
            entries.append(.init(policy: policy, action: action, sa: active?.sa, path: active?.path))
            selectors.append(own)
        }
        func add(_ action: StandingPolicy.Action) {
            for number in standingOrder { if let policy = standing[number], policy.action == action { add(number, policy.selectors, nil, action) } }
        }
        // Of what matches alike the last wins: what passes, an SA, a trap, a policy whose SA is gone, what is dropped.
        add(.drop)
        let negotiated = order.compactMap { number in
            policies[number].flatMap { policy in
                policy.selectors.map { own in
                    (number, own, policy.active.flatMap { child in children[child]?.outboundSPI.flatMap { outbound[OutboundKey(child: child, spi: $0)] } })
                }
            }
        }
        // One whose children were closed, and not replaced, leaves its packets to whoever else takes them: to a wider one, or to nobody.
        for (number, own, active) in negotiated where active == nil && policies[number]?.children.contains(where: { children[$0]?.outboundSPI != nil }) == true { add(number, own, nil) }
        add(.trap)
        for (number, own, active) in negotiated where active != nil { add(number, own, active) }
        add(.pass)
        let drops = standing.values.contains { $0.action == .drop }
        change(drops || receiversDrop ? workers : workers.filter(\.sends), .setOutbound(OutboundPolicies(table: SelectorTable(selectors), entries: entries, drops: drops)))
        receiversDrop = drops
    }

    // MARK: Parts of an SA

    private func edit(_ sa: martlet_sa, _ local: [TrafficSelector], _ remote: [TrafficSelector], _ body: (inout Child) -> Void) {
        var child = children[sa.child] ?? Child(policy: sa.policy, local: local, remote: remote)
        child.local = local
        child.remote = remote
        body(&child)
        children[sa.child] = child
        policies[sa.policy, default: Policy()].children.insert(sa.child)
    }

    // MARK: MTU

    /// Before any SA is known: the most expensive tunnel.
    private static func startingMTU(_ settings: Settings) -> Int {
        let layout = PacketLayout(ivLength: 16, icvLength: 32, blockLength: 16)
        let mtu = layout.innerMTU(pathMTU: settings.pathMTU, .udp, .v6)
        return min(max(mtu, Settings.mtuRange.lowerBound), Settings.mtuRange.upperBound)
    }

    /// The interface carries what the tightest active SA does, unless the configuration says otherwise.
    private func adjustMTU() {
        guard settings.mtu == nil else { return }
        var tightest: Int?
        for policy in policies.values {
            guard let number = policy.active, let spi = children[number]?.outboundSPI, let entry = outbound[OutboundKey(child: number, spi: spi)] else {
                continue
            }
            tightest = min(tightest ?? .max, entry.path.innerMTU)
        }
        guard let tightest else { return }
        let mtu = min(max(tightest, Settings.mtuRange.lowerBound), Settings.mtuRange.upperBound)
        guard mtu != interfaceMTU else { return }
        let result = martlet_link_set_mtu(netlink, link, UInt32(mtu))
        if result == 0 {
            interfaceMTU = mtu
        } else {
            host.log(.warning, "cannot set the MTU of \(settings.interface) to \(mtu): \(PlaneError.reason(result))")
        }
    }
}
