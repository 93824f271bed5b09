// Looks at a simulated world after every step: the audit of the endpoint that has just worked, what it sent, and what must not last.

import IKEWire
import TestSupport

@testable import IKECore

final class Watcher {
    private let world: World
    private var asked: [Int: Set<RequestID>] = [:]
    private(set) var findings: [String] = []
    /// Where what meets is counted.
    var meetings: Meetings?
    var isBroken: Bool { !findings.isEmpty }

    /// How long what is on its way out may stay: a Delete may have to wait for an exchange that nobody answers, and then goes unanswered itself.
    static let farewell = Duration.seconds(300)

    /// How often a request goes out at most: its retransmissions, and again from each new address and over each path (RFC 4555 section 3.5).
    static let sendings = 60

    init(_ world: World) {
        self.world = world
        world.keepsWire = false
        world.afterStep = { [unowned self] node, event in stepped(node, event) }
        world.watch = { [unowned self] node, datagram in sent(node, datagram) }
    }

    /// The node has lost everything, and whoever asked it has seen that.
    func restarted(_ node: Node) {
        asked[node.index] = []
        node.answers = [:]
        leaving = leaving.filter { $0.key.node != node.index }
    }

    /// Requests that nobody has answered yet.
    func unanswered(_ node: Node) -> [UInt64] { (asked[node.index] ?? []).filter { node.answers[$0] == nil }.map { $0.rawValue }.sorted() }

    private func complain(_ text: String) { if findings.count < 12 { findings.append("\(world.milliseconds) ms: \(text)") } }

    // MARK: Steps

    private var lastStep: (at: Instant, count: Int) = (Instant(nanoseconds: 0), 0)

    private func stepped(_ node: Node, _ event: Event) {
        switch event {
        case .initiate(_, _, _, _, _, let request?), .terminate(_, let request?), .rekey(_, let request?), .reauthenticate(_, let request?): asked[node.index, default: []].insert(request)
        default: break
        }
        for finding in Audit.findings(node, asked: asked[node.index] ?? []) { complain("after \(Self.name(event)): \(finding)") }
        if case .deadlineReached = event, let next = node.endpoint.nextDeadline, next <= world.time(of: node) { complain("\(node.name) wants to be woken at once again") }
        lastStep = lastStep.at == world.now ? (world.now, lastStep.count + 1) : (world.now, 1)
        if lastStep.count == 10_000 { complain("time stands still") }
        if case .childSAInstalled = event { compareKeys(node) }
        meetings?.stepped(node, event)
        checkLeaving(node)
    }

    static func name(_ event: Event) -> String { String(String(describing: event).prefix { $0 != "(" }) }

    /// Two ends of one pair have the same keys and selectors, each the other way round.
    private func compareKeys(_ node: Node) {
        for other in world.nodes where other !== node {
            for pair in node.plane.pairs.values {
                guard let mirror = other.plane.pairs.values.first(where: { $0.parameters.inboundSPI == pair.parameters.outboundSPI && $0.parameters.outboundSPI == pair.parameters.inboundSPI })
                else { continue }
                let name = "\(pair.parameters.inboundSPI.hex)/\(pair.parameters.outboundSPI.hex)"
                if !SimulatedPlane.mirror(pair, mirror) { complain("the two ends have other keys for \(name)") }
                // In transport mode each end has its own addresses, where a NAT changes them.
                let isChanged = [pair, mirror].contains { $0.parameters.originalLocal != nil }
                if !isChanged, pair.parameters.localTS != mirror.parameters.remoteTS || pair.parameters.remoteTS != mirror.parameters.localTS {
                    complain("the two ends have other selectors for \(name)")
                }
                if pair.parameters.encryption != mirror.parameters.encryption || pair.parameters.extendedSequenceNumbers != mirror.parameters.extendedSequenceNumbers {
                    complain("the two ends have other algorithms for \(name)")
                }
            }
        }
    }

    // MARK: What must not last

    /// Whether somebody was in the middle of EAP.
    private(set) var meetsEAP = false

    private struct Leaving: Hashable {
        let node: Int
        let kind: String
        let spi: UInt64
    }
    private var leaving: [Leaving: Instant] = [:]

    private func checkLeaving(_ node: Node) {
        var now: Set<Leaving> = []
        for sa in node.endpoint.tables.sas.values {
            if let established = sa.established {
                if established.phase != .active { now.insert(Leaving(node: node.index, kind: "a replaced or closing IKE SA", spi: sa.localSPI.rawValue)) }
                for child in established.children where !child.isCurrent { now.insert(Leaving(node: node.index, kind: "a child that is \(child.state)", spi: UInt64(child.inboundSPI))) }
            } else {
                if case .answeringEAP = sa.state { meetsEAP = true }
                if case .authenticatingPeer = sa.state { meetsEAP = true }
                // An initiation goes on for as long as its retransmissions, each time that it is sent back.
                now.insert(Leaving(node: node.index, kind: "an IKE SA in \(Audit.name(sa.state))", spi: sa.localSPI.rawValue))
            }
        }
        // A host that sleeps sends nothing again and lets nothing go meanwhile (seed 22547 of Chaos).
        let awake = Instant(nanoseconds: world.now.nanoseconds - node.nanosecondsAsleep)
        for item in now { leaving[item] = leaving[item] ?? awake }
        for (item, since) in leaving where item.node == node.index {
            if !now.contains(item) {
                leaving[item] = nil
            } else if awake.since(since) > Self.farewell {
                complain("\(node.name) has \(item.kind) (\(String(item.spi, radix: 16))) for \(awake.since(since)) in which it was awake")
            }
        }
    }

    // MARK: The wire

    private struct MessageKey: Hashable {
        let node: Int
        /// SPIs, flags and message ID, and the number of a fragment.
        let bytes: [UInt8]
    }
    private var messages: [MessageKey: (hash: Int, count: Int)] = [:]
    private var newest: [MessageKey: UInt32] = [:]

    private func sent(_ node: Node, _ datagram: Datagram) {
        let bytes = datagram.bytes
        guard bytes.count >= 28 else { return complain("\(node.name) sent \(bytes.count) bytes") }
        // The first exchange is sent anew with a cookie or another key.
        guard bytes[18] != 34 else { return }
        let fragment: [UInt8] = bytes[16] == 53 && bytes.count >= 36 ? Array(bytes[32..<36]) : []
        let isResponse = bytes[19] & 0x20 != 0
        // Without an Encrypted payload it is a word to whoever it may be, of an SA that is not there: INVALID_IKE_SPI, and INVALID_SPI of ESP.
        guard bytes[16] == 46 || bytes[16] == 53 else {
            if !isResponse, bytes[18] != 37 || bytes[0..<16].contains(where: { $0 != 0 }) { complain("\(node.name) sent a request without protection") }
            return
        }
        let key = MessageKey(node: node.index, bytes: Array(bytes[0..<16]) + [bytes[19]] + Array(bytes[20..<24]) + fragment)
        let hash = bytes.hashValue
        if let before = messages[key] {
            //= RFC 7296 §2.1: a retransmission is the same to the last bit, a request and a response alike.
            if before.hash != hash { complain("\(node.name) sent two messages with one message ID") }
            messages[key]?.count += 1
        } else {
            messages[key] = (hash, 1)
        }
        guard !isResponse else { return }
        if let count = messages[key]?.count, count > Self.sendings { complain("\(node.name) sent a request \(count) times") }
        let id = UInt32(bytes: Array(bytes[20..<24])) ?? 0
        let direction = MessageKey(node: node.index, bytes: Array(bytes[0..<16]) + [bytes[19]])
        if let last = newest[direction], id != last, id != last + 1 { complain("\(node.name) sent the request \(id) after \(last)") }
        newest[direction] = id
    }
}
