// Two or more endpoints, a virtual clock, and a network between them (Network.swift). The same seed gives the same run, to the last octet.

import IKECore
import IKECrypto
import IKEWire

package final class World {
    /// The world's time: a node's own may be ahead.
    package private(set) var now = Instant(nanoseconds: 1_000_000_000)
    package var faults: Faults
    package private(set) var nodes: [Node] = []
    package let random: NullRandom
    /// Datagrams as they were sent, for tests that look at the wire.
    package private(set) var wire: [Datagram] = []
    package var keepsWire = true
    /// Return false to lose a datagram on purpose.
    package var filter: (Datagram) -> Bool = { _ in true }
    /// Called with each datagram as its sender handed it over.
    package var watch: (Node, Datagram) -> Void = { _, _ in }
    /// Called after a node has taken an event and all its actions are done.
    package var afterStep: (Node, Event) -> Void = { _, _ in }
    /// Called with what a node reports, for what the shell makes of it.
    package var onReport: (Node, Report) -> Void = { _, _ in }
    package private(set) var log: [String] = []
    package var keepsLog = true
    /// A digest of all that was sent, by whom and when: two runs of one seed have the same, in whatever process.
    package private(set) var trace: UInt64 = 0xcbf2_9ce4_8422_2325
    package var keepsTrace = false
    package var packets = PacketCount()
    /// Events handled so far.
    package private(set) var steps = 0
    var cuts: Set<Set<Int>> = []

    enum Item {
        case datagram(Datagram, sender: Int?)
        case packet(Packet, sender: Int)
        /// What a host owes itself is gone with a restart: its generation differs.
        case event(Int, Event, generation: Int?)
        case action(() -> Void)
    }
    private var queue = EventQueue<Item>()

    package init(seed: UInt64, faults: Faults = .none) {
        random = NullRandom(seed: seed)
        self.faults = faults
    }

    /// Nodes know one another: tens of thousands of worlds, one after the other, must not heap up.
    deinit { for node in nodes { node.peers = [:] } }

    package func add(_ node: Node) {
        node.index = nodes.count
        nodes.append(node)
    }

    package func chance(_ probability: Double) -> Bool { probability > 0 && Double(random.next() >> 11) / Double(1 << 53) < probability }
    package func number(_ range: ClosedRange<Int64>) -> Int64 { range.lowerBound + Int64(random.next() % UInt64(range.upperBound - range.lowerBound + 1)) }

    // MARK: Time

    package var milliseconds: UInt64 { now.nanoseconds / 1_000_000 }
    package func time(of node: Node) -> Instant { Instant(nanoseconds: UInt64(clamping: Int64(clamping: now.nanoseconds) + node.clockAhead)) }

    package func schedule(_ event: Event, for node: Node, after milliseconds: Int64) { push(.event(node.index, event, generation: nil), after: milliseconds) }
    /// Something from outside that happens in the world.
    package func schedule(after milliseconds: Int64, _ action: @escaping () -> Void) { push(.action(action), after: milliseconds) }

    func push(_ item: Item, after milliseconds: Int64) { queue.push(item, at: now + .milliseconds(milliseconds)) }

    /// When the node wants to be woken, by the world's clock.
    private func deadline(_ node: Node) -> Instant? {
        guard !node.isDown, let at = node.endpoint.nextDeadline else { return nil }
        return max(now, Instant(nanoseconds: UInt64(clamping: Int64(clamping: at.nanoseconds).subtractingReportingOverflow(node.clockAhead).partialValue)))
    }

    /// Runs for `duration` of virtual time, or until `condition` holds after an event. Returns whether it did.
    @discardableResult
    package func run(_ duration: Duration, until condition: () -> Bool = { false }) -> Bool {
        let end = now + duration
        if condition() { return true }
        while true {
            var timer: (at: Instant, node: Node)?
            for node in nodes { if let at = deadline(node), timer.map({ at < $0.at }) ?? true { timer = (at, node) } }
            let first = queue.next
            guard let next = [first, timer?.at].compactMap({ $0 }).min(), next <= end else {
                now = end
                return condition()
            }
            now = max(now, next)
            if first == next, let item = queue.pop() {
                deliver(item)
            } else if let timer {
                send(.deadlineReached, to: timer.node)
            }
            if condition() { return true }
        }
    }

    package func send(_ event: Event, to node: Node) {
        steps += 1
        perform(node, node.endpoint.handle(event, now: time(of: node)))
        afterStep(node, event)
    }

    func deliver(_ item: Item) {
        switch item {
        case .datagram(let datagram, let sender):
            let sender = sender.map { nodes[$0] }
            guard let (node, local) = receiver(datagram.local, from: datagram.remote, sender: sender), !node.isDown, sender.map({ !isCut($0, node) }) ?? true else { return }
            var arriving = datagram
            arriving.local = local
            send(.datagramReceived(arriving), to: node)
        case .packet(let packet, let sender): _ = arrive(packet, nodes[sender])
        case .action(let action): action()
        case .event(let index, let event, let generation):
            let node = nodes[index]
            if node.isAsleep, generation.map({ $0 == node.generation }) ?? true { return node.dreams.append(event) }
            guard !node.isDown, generation.map({ $0 == node.generation }) ?? true else { return }
            switch event {
            case .childSAInstalled(let id, nil): node.plane.commit(id, now: now)
            case .initiate(_, _, _, _, _, let request?): if let place = node.waitingInitiations.firstIndex(of: request) { node.waitingInitiations.remove(at: place) }
            default: break
            }
            switch event {
            case .rekey, .terminate, .initiate, .childSAInstalled: note(node, "\(event)")
            default: break
            }
            send(event, to: node)
        }
    }

    package func note(_ node: Node, _ text: @autoclosure () -> String) { if keepsLog { log.append("\(milliseconds) \(node.name): \(text())") } }

    func record(_ datagram: Datagram, from node: Node) {
        if keepsWire { wire.append(datagram) }
        if keepsTrace {
            mix(milliseconds)
            mix(UInt64(node.index))
            for byte in datagram.bytes { mix(UInt64(byte)) }
        }
        watch(node, datagram)
    }

    private func mix(_ value: UInt64) { trace = (trace ^ value) &* 0x0000_0100_0000_01b3 }

    // MARK: Sleep

    /// The host stops: what comes from outside is lost, what it owes itself waits.
    package func sleep(_ node: Node) {
        node.isDown = true
        node.isAsleep = true
        node.asleepSince = now
        note(node, "sleeps")
    }

    /// The host goes on. Its clock may have stood still, if it is one that does not count sleep.
    package func wake(_ node: Node, clockStoodStill: Duration = .zero) {
        node.isDown = false
        node.isAsleep = false
        if let since = node.asleepSince { node.nanosecondsAsleep += now.nanoseconds - since.nanoseconds }
        node.asleepSince = nil
        node.stop(for: clockStoodStill)
        note(node, "wakes")
        let events = node.dreams
        node.dreams = []
        for event in events { deliver(.event(node.index, event, generation: nil)) }
    }

    // MARK: Actions

    private func perform(_ node: Node, _ actions: [Action]) {
        for action in actions {
            switch action {
            case .transmit(let datagram): transmit(node, datagram)
            case .transmitKeepalive(let local, let remote):
                node.keepalives += 1
                _ = outside(node, local, remote)
            case .run(let id, let job): run(id, job, node)
            case .installChildSA(let parameters): install(parameters, node)
            case .activateChildSA(let id): node.plane.activate(id)
            case .removeChildSA(let id, let keepInbound): node.plane.remove(id, keepInbound: keepInbound, now: now)
            case .moveChildSA(let id, let local, let remote, let encapsulated): node.plane.move(id, local, remote, encapsulated: encapsulated)
            case .queryUse(let id): own(.useReported(id, lastInbound: node.plane.lastInbound[id]), node, after: 1)
            case .answer(let request, let result): node.answers[request, default: []].append(result)
            case .initiateAgain(let connection, let child, let packet, let after, let request):
                guard let peer = node.peers[connection] ?? nodes.first(where: { $0 !== node }) else { continue }
                if let request { node.waitingInitiations.append(request) }
                let generation = node.generation
                // Addresses are looked up when the time has come.
                schedule(after: Int64(after.components.seconds) * 1000 + 1) { [unowned self] in
                    guard node.generation == generation else { return }
                    let event = Event.initiate(connection: connection, child: child, packet: packet, local: node.local, remote: peer.publicAddress, request: request)
                    deliver(.event(node.index, event, generation: generation))
                }
            case .handOn(let hint, _): note(node, "has no shard but one, and hands on \(hint)")
            case .report(let report): reported(report, node)
            case .addAddress(let address): node.addresses[address, default: 0] += 1
            case .removeAddress(let address): node.addresses[address, default: 0] -= 1
            case .useNameServers(let servers): node.nameServers[servers, default: 0] += 1
            case .forgetNameServers(let servers): node.nameServers[servers, default: 0] -= 1
            case .lookUpNames(let names): node.lookedUp += names
            case .exportKeys(let keys): node.exported.append(keys)
            }
        }
    }

    /// An event that the host sends itself, and that a restart forgets.
    private func own(_ event: Event, _ node: Node, after milliseconds: Int64) { push(.event(node.index, event, generation: node.generation), after: milliseconds) }

    private func run(_ id: JobID, _ job: Job, _ node: Node) {
        var result = node.run(job)
        if chance(node.mishaps.lostJobs) { return }
        if chance(node.mishaps.failedJobs) { result = .failed(.crypto(.failed)) }
        own(.jobFinished(id, result), node, after: chance(node.mishaps.lateJobs) ? number(1_000...40_000) : number(node.jobDelay))
    }

    private func install(_ parameters: ChildSAParameters, _ node: Node) {
        node.plane.prepare(parameters)
        if chance(node.mishaps.lostInstalls) { return }
        let failure = node.plane.refusal ?? (chance(node.mishaps.failedInstalls) ? "no memory" : nil)
        own(.childSAInstalled(parameters.id, failure: failure), node, after: chance(node.mishaps.lateInstalls) ? number(1_000...40_000) : number(node.installDelay))
    }

    private func reported(_ report: Report, _ node: Node) {
        defer { onReport(node, report) }
        if node.keepsReports { node.reports.append(report) }
        switch report {
        case .note(_, let text, _, _): note(node, text)
        case .failed(let failure, _, _): note(node, "failed: \(failure.summary)")
        case .childSAUp(_, let child): note(node, "child up \(child.inboundSPI.hex)/\(child.outboundSPI.hex)")
        case .childSADown(_, let child): note(node, "child down \(child.inboundSPI.hex)/\(child.outboundSPI.hex)")
        case .childSARekeyed(_, let old, let new): note(node, "child rekeyed \(old.inboundSPI.hex)/\(old.outboundSPI.hex) -> \(new.inboundSPI.hex)/\(new.outboundSPI.hex)")
        case .ikeSARekeyed(let old, let new): note(node, "IKE SA rekeyed \(old.initiatorSPI)/\(old.responderSPI) -> \(new.initiatorSPI)/\(new.responderSPI)")
        case .ikeSAClosed(let sa, let reason): note(node, "IKE SA closed \(sa.initiatorSPI)/\(sa.responderSPI): \(reason)")
        case .ikeSAEstablished(let sa): note(node, "IKE SA established \(sa.initiatorSPI)/\(sa.responderSPI)")
        case .ikeSAMoved(let sa, let local, let remote): note(node, "IKE SA moved \(sa.initiatorSPI)/\(sa.responderSPI): \(local) to \(remote)")
        case .initiating: break
        }
    }
}
