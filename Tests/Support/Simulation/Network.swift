// The network between the nodes of a simulated world: it may lose, duplicate, reorder, delay and corrupt, be cut in parts, and it
// finds its way through NATs.

import IKECore
import IKEWire

/// How bad the network is. Probabilities in 0...1.
package struct Faults: Sendable {
    package var loss = 0.0
    package var duplication = 0.0
    /// A bit, the end, or more at the end.
    package var corruption = 0.0
    /// Every datagram takes between these, milliseconds.
    package var delay: ClosedRange<Int64> = 5...10
    /// How many take so much longer that what was sent later overtakes them.
    package var stragglers = 0.0
    package init(loss: Double = 0, duplication: Double = 0, corruption: Double = 0, delay: ClosedRange<Int64> = 5...10, stragglers: Double = 0) {
        self.loss = loss
        self.duplication = duplication
        self.corruption = corruption
        self.delay = delay
        self.stragglers = stragglers
    }
    package static let none = Faults()
}

extension World {
    /// Nothing passes between the two, either way.
    package func cut(_ a: Node, _ b: Node) { cuts.insert([a.index, b.index]) }
    package func mend(_ a: Node, _ b: Node) { cuts.remove([a.index, b.index]) }
    package func mendAll() { cuts = [] }

    /// The datagram as it leaves the sender's NAT; nil where the sender has no such address any more.
    func outside(_ node: Node, _ source: SocketAddress, _ destination: SocketAddress) -> SocketAddress? {
        guard source.address == node.local.address else { return nil }
        guard let nat = node.nat, !nodes.contains(where: { $0.nat === nat && $0.local.address == destination.address }) else { return source }
        return nat.outward(source, to: destination, now: now)
    }

    /// Who receives what comes from `source` to `destination`, and as what address of its own.
    func receiver(_ destination: SocketAddress, from source: SocketAddress, sender: Node?) -> (node: Node, local: SocketAddress)? {
        if let node = nodes.first(where: { node in node.local.address == destination.address && (node.nat == nil || node.nat === sender?.nat) }) { return (node, destination) }
        for node in nodes {
            guard let nat = node.nat, nat.address == destination.address else { continue }
            guard let inside = nat.inward(destination.port, from: source, now: now) else { return nil }
            return nodes.first { $0.nat === nat && $0.local.address == inside.address }.map { ($0, inside) }
        }
        return nil
    }

    func isCut(_ a: Node, _ b: Node) -> Bool { !cuts.isEmpty && cuts.contains([a.index, b.index]) }

    func transmit(_ node: Node, _ datagram: Datagram) {
        guard let source = outside(node, datagram.local, datagram.remote) else { return }
        let outside = Datagram(local: source, remote: datagram.remote, marked: datagram.marked, bytes: datagram.bytes)
        record(outside, from: node)
        guard filter(outside), !chance(faults.loss) else { return }
        // From the receiver's side the ends change places.
        let arriving = Datagram(local: outside.remote, remote: outside.local, marked: outside.marked, bytes: outside.bytes)
        let delay = chance(faults.stragglers) ? number(faults.delay.upperBound...faults.delay.upperBound * 20) : number(faults.delay)
        push(.datagram(chance(faults.corruption) ? corrupted(arriving) : arriving, sender: node.index), after: delay)
        if chance(faults.duplication) { push(.datagram(arriving, sender: node.index), after: number(faults.delay.lowerBound...faults.delay.upperBound * 3)) }
    }

    private func corrupted(_ datagram: Datagram) -> Datagram {
        var datagram = datagram
        guard !datagram.bytes.isEmpty else { return datagram }
        let last = Int64(datagram.bytes.count - 1)
        switch number(0...5) {
        case 0: datagram.bytes.removeLast(Int(number(1...last + 1)))
        case 1: datagram.bytes += (0..<number(1...40)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        default: datagram.bytes[Int(number(0...last))] ^= UInt8(1 << number(0...7))
        }
        return datagram
    }

    /// Hands a datagram to whoever owns its `local` address, as an attacker would.
    package func inject(_ datagram: Datagram) { deliver(.datagram(datagram, sender: nil)) }

    // MARK: ESP

    /// Sends one packet through every policy instance that `node` has active, at once; returns how many arrived.
    @discardableResult
    package func sendTraffic(_ node: Node) -> Int {
        node.plane.settle(now)
        return node.plane.outbound().filter { packet in
            node.plane.sent += 1
            guard let source = outside(node, packet.source, packet.destination) else { return false }
            var arriving = packet
            arriving.source = source
            return arrive(arriving, node)
        }.count
    }

    /// Sends one packet through every policy instance, to arrive in its time; what becomes of it is counted in `packets`.
    package func streamTraffic(_ node: Node) {
        node.plane.settle(now)
        for var packet in node.plane.outbound() {
            packets.sent += 1
            packet.number = packets.sent
            node.plane.sent += 1
            guard let source = outside(node, packet.source, packet.destination) else { continue }
            packet.source = source
            push(.packet(packet, sender: node.index), after: number(faults.delay))
        }
    }

    func arrive(_ packet: Packet, _ sender: Node) -> Bool {
        guard let (node, local) = receiver(packet.destination, from: packet.source, sender: sender), !node.isDown, !isCut(node, sender) else { return false }
        if node.plane.receivesLate(packet, now: now) {
            packets.arrived += 1
            return true
        }
        let strangers = node.plane.unknownSPI
        guard let id = node.plane.receive(packet, now: time(of: node), at: now) else {
            if node.plane.unknownSPI > strangers { tell(node, local, of: packet) }
            packets.refused.append("\(node.name) does not know the SPI \(packet.spi.hex) of a packet of \(sender.name)'s at \(milliseconds) ms")
            return false
        }
        packets.arrived += 1
        //= RFC 7296 §2.23: the data plane tells of an authentic packet from elsewhere.
        if packet.encapsulated, node.plane.pairs[id]?.remote != packet.source { schedule(.peerMoved(id, remote: packet.source), for: node, after: 1) }
        return true
    }
}

extension World {
    /// The data plane tells of ESP that no SA takes, once a second. RFC 7296 section 1.5.
    private func tell(_ node: Node, _ local: SocketAddress, of packet: Packet) {
        guard node.toldOfStray.map({ now.since($0) >= .seconds(1) }) ?? true else { return }
        node.toldOfStray = now
        let stray = StrayESP(spi: packet.spi, remote: packet.source, local: local, encapsulated: packet.encapsulated, length: 120)
        push(.event(node.index, .hint(.strayESP(stray), shardsLeft: 0), generation: node.generation), after: 1)
    }
}

/// What became of the packets of `World.streamTraffic`.
package struct PacketCount {
    package var sent = 0
    package var arrived = 0
    /// What a host did not take that was there and could be reached.
    package var refused: [String] = []
}
