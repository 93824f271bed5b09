// The one thread that calls the data plane, and the way back of what the plane reports.
// The contract is martlet/plane.h.

import Glibc
import IKECore
import IKECrypto
import IKEWire
import PluginABI
import Synchronization

/// Counters of both SAs of a child.
struct ChildTraffic: Sendable {
    var inbound: martlet_sa_counters?
    var outbound: martlet_sa_counters?
    /// Of the tunnel that the pair belongs to, all its pairs together.
    var totals: TunnelTotals?
}

package final class PlaneDriver: @unchecked Sendable {
    package let name: String
    private var hearsAll: Bool { table.pointee.flags & UInt32(MARTLET_PLANE_HEARS_ALL.rawValue) != 0 }
    let loop: EventLoop
    /// Immortal and constant.
    private let table: UnsafePointer<martlet_plane>
    private let log: Log
    private let events: UnsafeMutablePointer<martlet_plane_events>
    /// Where events of a child go. Set before the plane starts.
    private var deliver: (@Sendable (_ shard: Int, Event) -> Void)?
    /// Who is told what an SA of a child had counted when it went, inbound or outbound, and whether nothing is left of the child. On the plane's
    /// thread; set before the first child.
    var removed: (@Sendable (ChildSAID, _ inbound: martlet_sa_counters?, _ outbound: martlet_sa_counters?, _ isLast: Bool) -> Void)?
    /// Who is told of packets that met a trap. Set before the plane starts.
    var acquired: (@Sendable (_ policy: UInt64, TriggeringPacket) -> Void)?
    /// Who is told of ESP that no SA takes. Set before the plane starts.
    var strayed: (@Sendable (StrayESP) -> Void)?

    /// One child that the plane holds SAs of.
    private struct Child {
        /// In `history`.
        var tunnel: UInt64 = 0
        var shard: UInt32
        var inboundSPI: UInt32
        var outboundSPI: UInt32
        var hasInbound = false
        var hasOutbound = false
        /// When its outbound SA went: it was replaced, or deleted.
        var retired: Instant?
        /// What it carries and to whom, and whether it waits for another with the same to stop.
        var localTS: [TrafficSelector] = []
        var remoteTS: [TrafficSelector] = []
        var remote: IPAddress
        var reqid: UInt32
        var isWaiting = false
        /// Whether the plane was ever told to move its traffic to it: one of a rekey has to be announced first.
        var isActivated = false
        /// The pair whose keys it renews.
        var replaces: ChildSAID?

        func carriesSame(as other: Child) -> Bool { remote == other.remote && localTS == other.localTS && remoteTS == other.remoteTS }
        /// The same for children that carry the same.
        var traffic: Int {
            var hasher = Hasher()
            hasher.combine(remote)
            hasher.combine(localTS)
            hasher.combine(remoteTS)
            return hasher.finalize()
        }
    }
    /// How long a new child leaves the traffic to one with the same selectors at least, and one that goes hears what is on its way: longer than an answer takes to
    /// the peer. And how often it does so again where nothing comes from the peer: until a request has been answered that had to be sent three times.
    private let yieldTime: Duration
    private let yieldTurns: Int
    // The plane's thread alone.
    private var children: [ChildSAID: Child] = [:]
    /// How many children with an outbound SA have each `traffic`: all are looked through only where there is one.
    private var carriers: [Int: UInt32] = [:]
    private var waiting: Set<ChildSAID> = []
    private var shared = SharedAddresses()
    private var history = TunnelHistory()
    private var isRunning = false
    /// Inner addresses, with how often each was added.
    private var addresses: [IPAddress: Int] = [:]
    /// The same, for who watches this host's addresses: known here before the host has them.
    private let lent = Mutex<[IPAddress: Int]>([:])

    init(name: String, table: UnsafePointer<martlet_plane>, log: Log, yieldTime: Duration = .seconds(1), yieldTurns: Int = 10) throws(SystemError) {
        self.name = name
        self.table = table
        (self.yieldTime, self.yieldTurns) = (yieldTime, yieldTurns)
        self.log = log
        loop = try EventLoop("plane")
        events = .allocate(capacity: 1)
    }

    /// Starts the plane with the host's sockets; why it did not start, or nil.
    func start(sockets: [martlet_socket], workers: Int, mark: UInt32, deliver: @escaping @Sendable (Int, Event) -> Void) throws(SystemError) -> String? {
        self.deliver = deliver
        // Never released: the plane may report until the process ends.
        events.initialize(
            to: martlet_plane_events(
                struct_size: UInt32(MemoryLayout<martlet_plane_events>.size), reserved: 0, opaque: Unmanaged.passRetained(self).toOpaque(), expired: planeExpired,
                acquire: planeAcquired, moved: planeMoved, stray: planeStrayed))
        try loop.start()
        let shared = Sockets(all: sockets)
        let status = loop.sync { [self] in
            let status = shared.all.withUnsafeBufferPointer { buffer -> martlet_status in
                // An empty array still has to have an address.
                var none = martlet_socket()
                return withUnsafePointer(to: &none) { table.pointee.start(events, buffer.baseAddress ?? $0, buffer.count, UInt32(workers), mark) }
            }
            isRunning = status == MARTLET_OK
            return status
        }
        return status == MARTLET_OK ? nil : words(status ?? MARTLET_E_FAILED)
    }

    /// Removes every SA, route and address, and ends the plane's threads.
    func stop() {
        _ = loop.sync { [self] in
            if isRunning { table.pointee.stop() }
            isRunning = false
            (children, carriers, waiting, shared) = ([:], [:], [], SharedAddresses())
            return true
        }
        loop.end()
        loop.join()
    }

    private struct Sockets: @unchecked Sendable { let all: [martlet_socket] }

    // MARK: Actions, from a shard's thread

    func install(_ parameters: ChildSAParameters, shard: Int) {
        loop.post { [self] in
            let failure = add(parameters, shard: shard)
            if let failure { log.write(.error, "ESP", "the data plane refuses \(parameters.name): \(failure)", ikeSA: parameters.ikeSA.rawValue) }
            deliver?(shard, .childSAInstalled(parameters.id, failure: failure))
        }
    }

    func activate(_ id: ChildSAID) { loop.post { [self] in if children[id] != nil { activateNow(id) } } }

    private func activateNow(_ id: ChildSAID) {
        children[id]?.isWaiting = false
        waiting.remove(id)
        // Nor has the pair whose keys it renews a turn any more: the peer may have deleted that when it would come.
        if let old = children[id]?.replaces { waiting.remove(old) }
        let status = table.pointee.activate(id.rawValue)
        if status == MARTLET_OK { children[id]?.isActivated = true }
        // What has ended meanwhile it does not know.
        if status != MARTLET_OK { log.write(status == MARTLET_E_NOT_FOUND ? .debug : .error, "ESP", "the data plane does not move traffic to child SA \(id.rawValue): \(words(status))") }
    }

    func remove(_ id: ChildSAID, keepInbound: Bool) {
        loop.post { [self] in removeNow(id, keepInbound: keepInbound || isSucceeded(id)) }
    }

    /// Whether another pair carries on what this one carried, as after a re-authentication. The answer to the Delete may leave before both ends' planes have
    /// changed over, so that packets of the old pair are on their way still: it hears them a moment longer.
    private func isSucceeded(_ id: ChildSAID) -> Bool {
        // A rekey may have replaced it just now; one whose own grace is over has nothing on its way.
        guard let child = children[id], child.hasInbound, child.hasOutbound || child.retired.map({ Instant.now().since($0) < yieldTime }) == true,
            carriers[child.traffic, default: 0] > (child.hasOutbound ? 1 : 0),
            children.contains(where: { $0.key != id && $0.value.hasOutbound && $0.value.carriesSame(as: child) })
        else { return false }
        loop.arm(after: yieldTime) { [unowned self] in removeNow(id, keepInbound: false) }
        return true
    }

    /// Whether a pair that was activated carries what `child` does. Where a plane takes packets of those SAs alone that the policy in force names, a pair
    /// of another policy, which is another shard's, is none that one can wait for.
    private func isCarried(like child: Child, besides others: Set<ChildSAID>) -> Bool {
        children.contains { !others.contains($0.key) && $0.value.hasOutbound && $0.value.isActivated && $0.value.carriesSame(as: child) && ($0.value.reqid == child.reqid || hearsAll) }
    }

    /// Until the peer has shown by a packet that it has the pair, the one before carries the traffic: the answer that tells of the pair may have been lost. Not for
    /// ever: the peer may have nothing to send, and have lost the one before. It has that one as long as packets of it come.
    private func askTurn(_ id: ChildSAID, _ turn: Int) {
        loop.arm(after: yieldTime) { [unowned self] in
            guard isRunning, let child = children[id], waiting.contains(id) else { return }
            let isHeard = counters(child.inboundSPI, MARTLET_INBOUND, id).map { $0.packets > 0 } ?? true
            if isHeard || turn >= yieldTurns && !isAnotherHeard(like: child) { takeOver(id) } else { askTurn(id, turn < yieldTurns ? turn + 1 : turn) }
        }
    }

    /// Whether the peer has sent of late through a pair that carries what `child` does.
    private func isAnotherHeard(like child: Child) -> Bool {
        let now = Instant.now(), span = yieldTime * yieldTurns
        return children.contains { id, other in
            guard other.hasOutbound, other.isActivated, other.carriesSame(as: child), other.reqid == child.reqid || hearsAll else { return false }
            let use = counters(other.inboundSPI, MARTLET_INBOUND, id)?.last_use_ns ?? 0
            return use != 0 && now.since(Instant(nanoseconds: use)) < span
        }
    }

    /// The child's turn has come.
    private func takeOver(_ id: ChildSAID) { if isRunning, children[id]?.isWaiting == true { activateNow(id) } }

    private func removeNow(_ id: ChildSAID, keepInbound: Bool) {
        guard var child = children[id] else { return }
        // Whoever waits for this one carries the traffic before it goes, so that no packet finds neither. Not where a third one does, which the peer has.
        if child.hasOutbound, !child.isWaiting {
            for other in waiting { if let next = children[other], next.carriesSame(as: child), !isCarried(like: next, besides: [id, other]) { takeOver(other) } }
        }
        waiting.remove(id)
        if child.hasOutbound {
            let traffic = child.traffic
            carriers[traffic] = carriers[traffic].flatMap { $0 > 1 ? $0 - 1 : nil }
            let counted = counters(child.outboundSPI, MARTLET_OUTBOUND, id)
            history.removed(child.tunnel, counted, isInbound: false)
            removed?(id, nil, counted, false)
            report(table.pointee.remove_sa(child.outboundSPI, UInt8(MARTLET_OUTBOUND.rawValue), id.rawValue), "remove", id)
            history.ended(child.tunnel)
            child.retired = Instant.now()
        }
        child.hasOutbound = false
        shared.remove(id)
        if !keepInbound {
            if child.hasInbound {
                let counted = counters(child.inboundSPI, MARTLET_INBOUND, id)
                history.removed(child.tunnel, counted, isInbound: true)
                removed?(id, counted, nil, true)
                report(table.pointee.remove_sa(child.inboundSPI, UInt8(MARTLET_INBOUND.rawValue), id.rawValue), "remove", id)
            }
            child.hasInbound = false
        }
        if !child.hasInbound { history.forgotten(child.tunnel, id) }
        children[id] = child.hasInbound ? child : nil
    }

    func move(_ id: ChildSAID, local: SocketAddress, remote: SocketAddress, encapsulated: Bool) {
        loop.post { [self] in
            guard children[id] != nil else { return }
            shared.move(id, to: remote)
            var local = martlet_address(local), remote = martlet_address(remote)
            report(table.pointee.update(id.rawValue, &local, &remote, UInt8((encapsulated ? MARTLET_ESP_IN_UDP : MARTLET_ESP_BARE).rawValue)), "move", id)
        }
    }

    func queryUse(_ id: ChildSAID, shard: Int) {
        loop.post { [self] in
            let use = children[id].flatMap { counters($0.inboundSPI, MARTLET_INBOUND, id) }?.last_use_ns ?? 0
            deliver?(shard, .useReported(id, lastInbound: use == 0 ? nil : Instant(nanoseconds: use)))
        }
    }

    // MARK: Inner addresses, from a shard's thread

    /// Whether a gateway has lent this host the address. From any thread.
    func isInner(_ address: IPAddress) -> Bool { lent.withLock { $0[address] != nil } }

    func add(_ address: IPAddress) {
        lent.withLock { $0[address, default: 0] += 1 }
        loop.post { [self] in
            addresses[address, default: 0] += 1
            guard isRunning, addresses[address] == 1 else { return }
            var contract = martlet_address(SocketAddress(address: address, port: 0))
            let status = table.pointee.add_address(&contract)
            if status != MARTLET_OK { log.write(.error, "ESP", "this host does not get the inner address \(address): \(words(status))") }
        }
    }

    func remove(_ address: IPAddress) {
        loop.post { [self] in
            guard let count = addresses[address] else { return }
            // Forgotten when it is gone.
            defer { lent.withLock { lent in lent[address] = lent[address].flatMap { $0 > 1 ? $0 - 1 : nil } } }
            addresses[address] = count > 1 ? count - 1 : nil
            guard isRunning, count == 1 else { return }
            var contract = martlet_address(SocketAddress(address: address, port: 0))
            let status = table.pointee.remove_address(&contract)
            if status != MARTLET_OK, status != MARTLET_E_NOT_FOUND { log.write(.error, "ESP", "the inner address \(address) stays on this host: \(words(status))") }
        }
    }

    /// Runs `work` after the addresses that were added or removed so far. On the plane's thread: it returns at once.
    func afterAddresses(_ work: @escaping @Sendable () -> Void) { loop.post(work) }

    // MARK: Policies without SAs, from the control loop

    /// Why there is no policy, and whether another attempt may end otherwise.
    struct PolicyRefusal: Sendable {
        let reason: String
        let mayPass: Bool
    }

    /// Installs a policy or puts it in place of the one with its number; `completion` is told why not, or nil. A child that is negotiated has a trap.
    func setPolicy(
        _ number: UInt64, _ name: String, _ mode: ChildMode, local: [TrafficSelector], remote: [TrafficSelector], _ carriage: Carriage = Carriage(),
        _ completion: @escaping @Sendable (PolicyRefusal?) -> Void
    ) {
        let action =
            switch mode {
            case .tunnel, .transport: MARTLET_POLICY_TRAP
            case .pass: MARTLET_POLICY_PASS
            case .drop: MARTLET_POLICY_DROP
            }
        loop.post { [self] in
            guard isRunning else { return completion(PolicyRefusal(reason: "it is not running", mayPass: false)) }
            let localTS = local.map(martlet_selector.init), remoteTS = remote.map(martlet_selector.init)
            let status = localTS.withUnsafeBufferPointer { local in
                remoteTS.withUnsafeBufferPointer { remote in
                    name.withCString { name in
                        guard let localBase = local.baseAddress, let remoteBase = remote.baseAddress else { return MARTLET_E_INVALID }
                        var policy = martlet_policy(
                            struct_size: UInt32(MemoryLayout<martlet_policy>.size), action: UInt8(action.rawValue), reserved: (0, 0, 0), number: number, local_ts: localBase,
                            local_ts_count: local.count, remote_ts: remoteBase, remote_ts_count: remote.count, name: name,
                            mark_in: martlet_mark(carriage.inbound.mark, of: 0, isInbound: true), mark_out: martlet_mark(carriage.outbound.mark, of: 0, isInbound: false),
                            interface_id_in: carriage.inbound.interfaceID?.value(of: 0, isInbound: true) ?? 0,
                            interface_id_out: carriage.outbound.interfaceID?.value(of: 0, isInbound: false) ?? 0)
                        return table.pointee.set_policy(&policy)
                    }
                }
            }
            completion(status == MARTLET_OK ? nil : PolicyRefusal(reason: words(status), mayPass: status != MARTLET_E_UNSUPPORTED && status != MARTLET_E_INVALID))
        }
    }

    func removePolicy(_ number: UInt64) {
        loop.post { [self] in
            if isRunning { _ = table.pointee.remove_policy(number) }
        }
    }

    // MARK: Counters, from the control loop

    /// Of the children named alone: to ask the plane for those of a hundred thousand SAs at once would hold up what is to be installed.
    func traffic(of ids: [ChildSAID], _ completion: @escaping @Sendable ([ChildSAID: ChildTraffic]) -> Void) {
        let posted = loop.post { [self] in
            var traffic: [ChildSAID: ChildTraffic] = [:]
            for id in ids {
                guard let child = children[id] else { continue }
                let (inbound, outbound) = counters(id, child)
                var totals = history[child.tunnel]
                for pair in history.pairs(of: child.tunnel) {
                    guard let sibling = children[pair] else { continue }
                    let (inbound, outbound) = pair == id ? (inbound, outbound) : counters(pair, sibling)
                    totals?.add(inbound, isInbound: true)
                    totals?.add(outbound, isInbound: false)
                }
                traffic[id] = ChildTraffic(inbound: inbound, outbound: outbound, totals: totals)
            }
            completion(traffic)
        }
        if !posted { completion([:]) }
    }

    private func counters(_ id: ChildSAID, _ child: Child) -> (inbound: martlet_sa_counters?, outbound: martlet_sa_counters?) {
        (child.hasInbound ? counters(child.inboundSPI, MARTLET_INBOUND, id) : nil, child.hasOutbound ? counters(child.outboundSPI, MARTLET_OUTBOUND, id) : nil)
    }

    func drops(_ completion: @escaping @Sendable ([(reason: String, packets: UInt64)]) -> Void) {
        if !loop.post({ [self] in completion(drops()) }) { completion([]) }
    }

    private func drops() -> [(reason: String, packets: UInt64)] {
        guard isRunning else { return [] }
        // Left uninitialised: only what the plane has filled is read.
        let buffer = UnsafeMutableBufferPointer<martlet_drop_counter>.allocate(capacity: 64)
        defer { buffer.deallocate() }
        let count = table.pointee.drops(buffer.baseAddress, buffer.count)
        return buffer.prefix(min(count, buffer.count)).map { (String(cString: $0.reason), $0.packets) }
    }

    private func counters(_ spi: UInt32, _ direction: martlet_direction, _ id: ChildSAID) -> martlet_sa_counters? {
        var counters = martlet_sa_counters()
        counters.struct_size = UInt32(MemoryLayout<martlet_sa_counters>.size)
        return table.pointee.counters(spi, UInt8(direction.rawValue), id.rawValue, &counters) == MARTLET_OK ? counters : nil
    }

    // MARK: Installing

    /// Inbound, then outbound; takes the keys, which are wiped when it returns. Why the plane refused, or nil.
    private func add(_ parameters: ChildSAParameters, shard: Int) -> String? {
        guard isRunning else { return "it is not running" }
        if let rival = shared.rival(of: parameters) {
            let who = rival == parameters.peer ? "another peer with the name and the key of \(rival)" : "\(rival)"
            return "\(who) has the same packets in transport mode at \(parameters.remote.address), the address of a NAT, and nothing tells the two apart (RFC 3948 section 5.2)"
        }
        var child = Child(
            shard: UInt32(truncatingIfNeeded: shard), inboundSPI: parameters.inboundSPI, outboundSPI: parameters.outboundSPI, localTS: parameters.localTS, remoteTS: parameters.remoteTS,
            remote: parameters.remote.address, reqid: parameters.reqid, replaces: parameters.replaces)
        let inbound = add(parameters, MARTLET_INBOUND, parameters.inboundKey, parameters.inboundIntegrityKey)
        guard inbound == MARTLET_OK else { return words(inbound) }
        child.hasInbound = true
        let outbound = add(parameters, MARTLET_OUTBOUND, parameters.outboundKey, parameters.outboundIntegrityKey)
        guard outbound == MARTLET_OK else {
            report(table.pointee.remove_sa(parameters.inboundSPI, UInt8(MARTLET_INBOUND.rawValue), parameters.id.rawValue), "remove", parameters.id)
            return words(outbound)
        }
        child.hasOutbound = true
        shared.add(parameters)
        let traffic = child.traffic
        let others = carriers[traffic] != nil
        carriers[traffic, default: 0] += 1
        child.tunnel = history.added(parameters.reqid, parameters.id, now: Instant.now())
        guard parameters.activates else {
            children[parameters.id] = child
            return nil
        }
        if parameters.yields, others, isCarried(like: child, besides: [parameters.id]) {
            child.isWaiting = true
            waiting.insert(parameters.id)
            children[parameters.id] = child
            askTurn(parameters.id, 1)
            return nil
        }
        children[parameters.id] = child
        let activated = table.pointee.activate(parameters.id.rawValue)
        guard activated == MARTLET_OK else {
            removeNow(parameters.id, keepInbound: false)
            return words(activated)
        }
        children[parameters.id]?.isActivated = true
        return nil
    }

    private func add(_ parameters: ChildSAParameters, _ direction: martlet_direction, _ keyBox: SecretBox, _ integrityBox: SecretBox) -> martlet_status {
        guard let key = keyBox.take(), let integrityKey = integrityBox.take() else { return MARTLET_E_INVALID }
        let isInbound = direction == MARTLET_INBOUND
        let encapsulation = parameters.encapsulated ? MARTLET_ESP_IN_UDP : MARTLET_ESP_BARE
        let carriage = parameters.carriage, way = carriage.direction(isInbound: isInbound)
        func mark(_ mark: Carriage.Mark?) -> martlet_mark { martlet_mark(mark, of: parameters.reqid, isInbound: isInbound) }
        var flags = parameters.extendedSequenceNumbers ? MARTLET_SA_ESN.rawValue : 0
        if carriage.copiesDF { flags |= MARTLET_SA_COPY_DF.rawValue }
        if !carriage.copiesECN { flags |= MARTLET_SA_NO_ECN.rawValue }
        if carriage.copiesDSCP(isInbound: isInbound) { flags |= MARTLET_SA_COPY_DSCP.rawValue }
        if way.ownsInterface { flags |= MARTLET_SA_OWN_INTERFACE.rawValue }
        let isMarked = !isInbound || carriage.marksInboundSA
        let localTS = parameters.localTS.map(martlet_selector.init), remoteTS = parameters.remoteTS.map(martlet_selector.init)
        // Everything lent here outlives the call; the plane copies.
        return localTS.withUnsafeBufferPointer { local in
            remoteTS.withUnsafeBufferPointer { remote in
                parameters.name.withCString { name in
                    withOptionalCString(parameters.provider) { provider in
                        key.span.withUnsafeBufferPointer { keyBytes in
                            integrityKey.span.withUnsafeBufferPointer { integrityBytes in
                                guard let localBase = local.baseAddress, let remoteBase = remote.baseAddress else { return MARTLET_E_INVALID }
                                var sa = martlet_sa(
                                    struct_size: UInt32(MemoryLayout<martlet_sa>.size), spi: isInbound ? parameters.inboundSPI : parameters.outboundSPI, child: parameters.id.rawValue,
                                    policy: UInt64(parameters.reqid), direction: UInt8(direction.rawValue), encapsulation: UInt8(encapsulation.rawValue), flags: UInt16(flags),
                                    replay_window: isInbound ? UInt32(clamping: parameters.replayWindow) : 0, local: martlet_address(parameters.local), remote: martlet_address(parameters.remote),
                                    encryption_id: parameters.encryption.id, encryption_bits: parameters.encryption.keyLength ?? 0, integrity_id: parameters.integrity?.id ?? 0, reserved: 0,
                                    key: martlet_bytes(data: keyBytes.baseAddress, size: keyBytes.count),
                                    integrity_key: martlet_bytes(data: integrityBytes.baseAddress, size: integrityBytes.count), local_ts: localBase, local_ts_count: local.count,
                                    remote_ts: remoteBase, remote_ts_count: remote.count, soft_bytes: parameters.softBytes, hard_bytes: parameters.hardBytes, soft_packets: parameters.softPackets,
                                    hard_packets: parameters.hardPackets, name: name, provider: provider,
                                    mode: UInt8((parameters.isTransport ? MARTLET_TRANSPORT : MARTLET_TUNNEL).rawValue), reserved2: (0, 0, 0, 0, 0, 0, 0),
                                    original_local: martlet_address(optional: parameters.originalLocal), original_remote: martlet_address(optional: parameters.originalRemote),
                                    mark: mark(isMarked ? way.mark : nil), policy_mark: mark(way.mark),
                                    set_mark: mark(way.setMark), interface_id: way.interfaceID?.value(of: parameters.reqid, isInbound: isInbound) ?? 0,
                                    offload: UInt8(carriage.offload.contract.rawValue), reserved3: (0, 0, 0), hard_seconds: parameters.hardSeconds)
                                return table.pointee.add_sa(&sa)
                            }
                        }
                    }
                }
            }
        }
    }

    private func withOptionalCString<Result>(_ text: String?, _ body: (UnsafePointer<CChar>?) -> Result) -> Result {
        guard let text else { return body(nil) }
        return text.withCString { body($0) }
    }

    private func report(_ status: martlet_status, _ verb: String, _ id: ChildSAID) {
        guard status != MARTLET_OK, status != MARTLET_E_NOT_FOUND else { return }
        log.write(.error, "ESP", "the data plane cannot \(verb) child SA \(id.rawValue): \(words(status))")
    }

    private func words(_ status: martlet_status) -> String {
        switch status {
        case MARTLET_E_UNSUPPORTED: "the data plane \(name) does not do that"
        case MARTLET_E_INVALID: "the data plane \(name) finds a value wrong"
        case MARTLET_E_MEMORY: "the data plane \(name) has no memory left"
        case MARTLET_E_NOT_FOUND: "the data plane \(name) does not know it"
        case MARTLET_E_LIMIT: "a limit of the data plane \(name) is reached"
        case MARTLET_E_SYSTEM: "the operating system refused it to the data plane \(name); its own line in the log says why"
        case MARTLET_E_TIMEOUT: "the data plane \(name) took too long"
        default: "the data plane \(name) failed (\(status))"
        }
    }

    // MARK: Events, from the plane's threads

    fileprivate func expired(_ id: ChildSAID, hard: Bool) {
        loop.post { [self] in
            if let child = children[id] { deliver?(Int(child.shard), .childSAExpired(id, hard: hard)) }
        }
    }

    fileprivate func moved(_ id: ChildSAID, _ remote: SocketAddress) {
        loop.post { [self] in
            if let child = children[id] { deliver?(Int(child.shard), .peerMoved(id, remote: remote)) }
        }
    }
}

// `opaque` is the driver, retained for ever by `start`.

private func planeExpired(_ opaque: UnsafeMutableRawPointer, _ child: UInt64, _ spi: UInt32, _ direction: UInt8, _ hard: Int32) {
    Unmanaged<PlaneDriver>.fromOpaque(opaque).takeUnretainedValue().expired(ChildSAID(rawValue: child), hard: hard != 0)
}

private func planeAcquired(_ opaque: UnsafeMutableRawPointer, _ policy: UInt64, _ source: UnsafePointer<martlet_selector>, _ destination: UnsafePointer<martlet_selector>) {
    guard let source = TrafficSelector(source.pointee), let destination = TrafficSelector(destination.pointee) else { return }
    Unmanaged<PlaneDriver>.fromOpaque(opaque).takeUnretainedValue().acquired?(policy, TriggeringPacket(source: source, destination: destination))
}

private func planeMoved(_ opaque: UnsafeMutableRawPointer, _ child: UInt64, _ spi: UInt32, _ remote: UnsafePointer<martlet_address>) {
    guard let address = remote.pointee.socketAddress else { return }
    Unmanaged<PlaneDriver>.fromOpaque(opaque).takeUnretainedValue().moved(ChildSAID(rawValue: child), address)
}

private func planeStrayed(
    _ opaque: UnsafeMutableRawPointer, _ spi: UInt32, _ length: UInt32, _ encapsulation: UInt8, _ local: UnsafePointer<martlet_address>, _ remote: UnsafePointer<martlet_address>
) {
    guard let from = remote.pointee.socketAddress, let to = local.pointee.socketAddress else { return }
    Unmanaged<PlaneDriver>.fromOpaque(opaque).takeUnretainedValue().strayed?(
        StrayESP(spi: spi, remote: from, local: to, encapsulated: encapsulation == UInt8(MARTLET_ESP_IN_UDP.rawValue), length: Int(length)))
}
