// Two or more endpoints, a virtual clock, and a network between them that may lose, duplicate, reorder and delay. The same seed gives the
// same run.

import IKECore
import IKECrypto
import IKEWire

/// How bad the network is. Probabilities in 0...1.
package struct Faults: Sendable {
    package var loss = 0.0
    package var duplication = 0.0
    package var corruption = 0.0
    /// Every datagram takes between these.
    package var delay: ClosedRange<Int64> = 5...10
    package init(loss: Double = 0, duplication: Double = 0, corruption: Double = 0, delay: ClosedRange<Int64> = 5...10) {
        self.loss = loss
        self.duplication = duplication
        self.corruption = corruption
        self.delay = delay
    }
    package static let none = Faults()
}

package final class World {
    package private(set) var now = Instant(nanoseconds: 1_000_000_000)
    package var faults: Faults
    package private(set) var nodes: [Node] = []
    package let random: NullRandom
    /// Datagrams as they were sent, for tests that look at the wire.
    package private(set) var wire: [Datagram] = []
    /// Return false to lose a datagram on purpose.
    package var filter: (Datagram) -> Bool = { _ in true }
    package private(set) var log: [String] = []

    private enum Item {
        case datagram(Datagram)
        case event(Int, Event)
    }
    private var pending: [(at: Instant, order: Int, item: Item)] = []
    private var order = 0

    package init(seed: UInt64, faults: Faults = .none) {
        random = NullRandom(seed: seed)
        self.faults = faults
    }

    package func add(_ node: Node) {
        node.index = nodes.count
        nodes.append(node)
    }

    package func chance(_ probability: Double) -> Bool { probability > 0 && Double(random.next() >> 11) / Double(1 << 53) < probability }
    package func number(_ range: ClosedRange<Int64>) -> Int64 { range.lowerBound + Int64(random.next() % UInt64(range.upperBound - range.lowerBound + 1)) }

    // MARK: Time

    package func schedule(_ event: Event, for node: Node, after milliseconds: Int64) { push(.event(node.index, event), after: milliseconds) }

    private func push(_ item: Item, after milliseconds: Int64) {
        order += 1
        pending.append((now + .milliseconds(milliseconds), order, item))
    }

    /// Runs for `duration` of virtual time, or until `condition` holds after an event. Returns whether it did.
    @discardableResult
    package func run(_ duration: Duration, until condition: () -> Bool = { false }) -> Bool {
        let end = now + duration
        if condition() { return true }
        while true {
            let item = pending.indices.min { (pending[$0].at, pending[$0].order) < (pending[$1].at, pending[$1].order) }
            let timer = nodes.filter { !$0.isDown }.compactMap { node in node.endpoint.nextDeadline.map { (at: $0, node: node) } }.min { $0.at < $1.at }
            let nextItem = item.map { pending[$0].at }
            guard let next = [nextItem, timer?.at].compactMap({ $0 }).min(), next <= end else {
                now = end
                return condition()
            }
            now = max(now, next)
            if let item, nextItem == next {
                deliver(pending.remove(at: item).item)
            } else if let timer {
                perform(timer.node, timer.node.endpoint.handle(.deadlineReached, now: now))
            }
            if condition() { return true }
        }
    }

    package func send(_ event: Event, to node: Node) { perform(node, node.endpoint.handle(event, now: now)) }

    private func deliver(_ item: Item) {
        switch item {
        case .datagram(let datagram):
            guard let node = nodes.first(where: { $0.owns(datagram.local) }), !node.isDown else { return }
            var arriving = datagram
            arriving.local = node.inside(datagram.local)
            perform(node, node.endpoint.handle(.datagramReceived(arriving), now: now))
        case .event(let index, let event):
            let node = nodes[index]
            guard !node.isDown else { return }
            if case .childSAInstalled(let id, nil) = event { node.plane.commit(id) }
            switch event {
            case .rekey, .terminate, .initiate, .childSAInstalled: note(node, "\(event)")
            default: break
            }
            perform(node, node.endpoint.handle(event, now: now))
        }
    }

    private func note(_ node: Node, _ text: String) { log.append("\(now.nanoseconds / 1_000_000) \(node.name): \(text)") }

    // MARK: Actions

    private func perform(_ node: Node, _ actions: [Action]) {
        for action in actions {
            switch action {
            case .transmit(let datagram): transmit(node, datagram)
            case .transmitKeepalive: node.keepalives += 1
            case .run(let id, let job):
                let generation = node.generation
                let result = node.run(job)
                if generation == node.generation { schedule(.jobFinished(id, result), for: node, after: number(node.jobDelay)) }
            case .installChildSA(let parameters):
                node.plane.prepare(parameters)
                let failure = node.plane.refusal
                schedule(.childSAInstalled(parameters.id, failure: failure), for: node, after: number(0...3))
            case .activateChildSA(let id): node.plane.activate(id)
            case .removeChildSA(let id, let keepInbound): node.plane.remove(id, keepInbound: keepInbound)
            case .moveChildSA(let id, _, let remote, _): node.plane.move(id, remote)
            case .queryUse(let id): schedule(.useReported(id, lastInbound: node.plane.lastInbound[id]), for: node, after: 1)
            case .answer(let request, let result): node.answers[request, default: []].append(result)
            case .initiateAgain(let connection, let child, let after, let request):
                guard let peer = nodes.first(where: { $0 !== node }) else { continue }
                let event = Event.initiate(connection: connection, child: child, packet: nil, local: node.local, remote: peer.publicAddress, request: request)
                schedule(event, for: node, after: Int64(after.components.seconds) * 1000 + 1)
            case .report(let report):
                node.reports.append(report)
                switch report {
                case .note(_, let text, _, _): note(node, text)
                case .failed(let failure, _, _): note(node, "failed: \(failure.summary)")
                case .childSAUp(_, let child): note(node, "child up \(child.inboundSPI.hex)/\(child.outboundSPI.hex)")
                case .childSADown(_, let child): note(node, "child down \(child.inboundSPI.hex)/\(child.outboundSPI.hex)")
                case .childSARekeyed(_, let old, let new): note(node, "child rekeyed \(old.inboundSPI.hex)/\(old.outboundSPI.hex) -> \(new.inboundSPI.hex)/\(new.outboundSPI.hex)")
                case .ikeSARekeyed(let old, let new): note(node, "IKE SA rekeyed \(old.initiatorSPI)/\(old.responderSPI) -> \(new.initiatorSPI)/\(new.responderSPI)")
                case .ikeSAClosed(let sa, let reason): note(node, "IKE SA closed \(sa.initiatorSPI)/\(sa.responderSPI): \(reason)")
                case .initiating, .ikeSAEstablished, .ikeSAMoved: break
                }
            case .addAddress(let address): node.addresses[address, default: 0] += 1
            case .removeAddress(let address): node.addresses[address, default: 0] -= 1
            case .exportKeys(let keys): node.exported.append(keys)
            }
        }
    }

    private func transmit(_ node: Node, _ datagram: Datagram) {
        var outside = datagram
        outside.local = node.outside(datagram.local)
        wire.append(outside)
        guard filter(outside), !chance(faults.loss) else { return }
        // From the receiver's side the ends change places.
        var arriving = Datagram(local: outside.remote, remote: outside.local, marked: outside.marked, bytes: outside.bytes)
        if chance(faults.corruption), !arriving.bytes.isEmpty {
            let index = Int(number(0...Int64(arriving.bytes.count - 1)))
            arriving.bytes[index] ^= UInt8(1 << number(0...7))
        }
        push(.datagram(arriving), after: number(faults.delay))
        if chance(faults.duplication) { push(.datagram(arriving), after: number(faults.delay.lowerBound...faults.delay.upperBound * 3)) }
    }

    /// Hands a datagram to whoever owns its `local` address, as an attacker would.
    package func inject(_ datagram: Datagram) { deliver(.datagram(datagram)) }

    // MARK: ESP

    /// Sends one packet through every policy instance that `node` has active, at once; returns how many arrived.
    @discardableResult
    package func sendTraffic(_ node: Node) -> Int {
        guard let peer = nodes.first(where: { $0 !== node }) else { return 0 }
        var arrived = 0
        for (spi, key) in node.plane.outbound() {
            node.plane.sent += 1
            guard !peer.isDown else { continue }
            if peer.plane.receive(spi: spi, key: key, now: now) { arrived += 1 }
        }
        return arrived
    }
}
