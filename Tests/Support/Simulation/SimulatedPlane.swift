// A data plane of tables: which SPIs are accepted with which keys, and where traffic goes. It keeps account of what it was told, so that
// a test sees what should not have been.

import IKECore
import IKECrypto
import IKEWire

/// One ESP packet.
package struct Packet: Sendable {
    package var number: Int
    package var spi: UInt32
    var key: [UInt8]
    package var source: SocketAddress
    package var destination: SocketAddress
    var encapsulated: Bool
}

package struct SimulatedPlane {
    package struct Pair {
        package let parameters: ChildSAParameters
        let inboundKey: [UInt8]
        let outboundKey: [UInt8]
        package internal(set) var local: SocketAddress
        package internal(set) var remote: SocketAddress
        package internal(set) var encapsulated: Bool
        package internal(set) var accepts = false
        package internal(set) var sends = false
        /// Since when the outbound SA stands, and when it went.
        package internal(set) var since: Instant?
        var retired: Instant?
    }
    package private(set) var pairs: [ChildSAID: Pair] = [:]
    /// The pairs that were told to carry a policy instance's packets; the last one does.
    private var activated: [UInt32: [ChildSAID]] = [:]
    /// New pairs that leave the traffic to another one, when that is asked next, and how often it was.
    private var waiting: [(id: ChildSAID, until: Instant, turn: Int)] = []
    /// The inbound SAs of pairs that have gone, and whose packets others carry on.
    private var leaving: [UInt32: (key: [UInt8], until: Instant)] = [:]
    /// As in the gateway's `PlaneDriver`.
    private static let yieldTime = Duration.seconds(1)
    private static let yieldTurns = 10
    package var refusal: String?
    package var sent = 0
    package private(set) var unknownSPI = 0
    package private(set) var wrongKey = 0
    package private(set) var lastInbound: [ChildSAID: Instant] = [:]
    /// By the world's clock.
    private var heard: [ChildSAID: Instant] = [:]
    package private(set) var moves: [SocketAddress] = []
    /// What the core did that it must not do.
    package private(set) var complaints: [String] = []
    private var keys: Set<[UInt8]> = []

    package init() {}

    package var count: Int { pairs.count }
    /// As they were installed.
    package var parameters: [ChildSAParameters] { pairs.values.map(\.parameters) }
    /// The pair that carries the packets of each policy instance.
    package var carrying: [Pair] { activated.values.compactMap { $0.last.flatMap { pairs[$0] } } }

    mutating func prepare(_ parameters: ChildSAParameters) {
        func bytes(_ box: SecretBox, _ integrity: SecretBox) -> [UInt8] { (box.take()?.array ?? []) + (integrity.take()?.array ?? []) }
        let pair = Pair(
            parameters: parameters, inboundKey: bytes(parameters.inboundKey, parameters.inboundIntegrityKey), outboundKey: bytes(parameters.outboundKey, parameters.outboundIntegrityKey),
            local: parameters.local, remote: parameters.remote, encapsulated: parameters.encapsulated)
        if pairs[parameters.id] != nil { complaints.append("child \(parameters.id.rawValue) was installed twice") }
        if pairs.values.contains(where: { $0.parameters.inboundSPI == parameters.inboundSPI }) { complaints.append("the inbound SPI \(parameters.inboundSPI.hex) was installed twice") }
        for key in [pair.inboundKey, pair.outboundKey] where key.isEmpty || !keys.insert(key).inserted { complaints.append("child \(parameters.id.rawValue) has a key that served before, or none") }
        pairs[parameters.id] = pair
    }
    mutating func commit(_ id: ChildSAID, now: Instant) {
        settle(now)
        guard let pair = pairs[id], !pair.accepts else { return }
        pairs[id]?.accepts = true
        pairs[id]?.sends = true
        pairs[id]?.since = now
        guard pair.parameters.activates else { return }
        if pair.parameters.yields, isCarried(like: pair, besides: id) { waiting.append((id, now + Self.yieldTime, 1)) } else { activate(id) }
    }

    /// Another pair to the same peer carries the packets of `pair`.
    private func isCarried(like pair: Pair, besides id: ChildSAID) -> Bool {
        activated[pair.parameters.reqid, default: []].contains { $0 != id && pairs[$0]?.sends == true && pairs[$0]?.remote.address == pair.remote.address }
    }

    /// Those whose time has come carry the traffic, once the peer has shown that it has them.
    mutating func settle(_ now: Instant) {
        for (id, until, turn) in waiting where until <= now {
            if lastInbound[id] != nil || turn >= Self.yieldTurns && !isAnotherHeard(like: id, now) {
                activate(id)
            } else if let place = waiting.firstIndex(where: { $0.id == id }) {
                waiting[place] = (id, until + Self.yieldTime, turn + 1)
            }
        }
        if !leaving.isEmpty { leaving = leaving.filter { now < $0.value.until } }
    }

    /// Whether the peer has sent of late through a pair that carries what `id` is to carry.
    private func isAnotherHeard(like id: ChildSAID, _ now: Instant) -> Bool {
        guard let pair = pairs[id] else { return false }
        return activated[pair.parameters.reqid, default: []].contains { other in
            pairs[other]?.sends == true && pairs[other]?.remote.address == pair.remote.address && heard[other].map { now.since($0) < Self.yieldTime * Self.yieldTurns } == true
        }
    }

    mutating func activate(_ id: ChildSAID) {
        guard let pair = pairs[id] else { return complaints.append("child \(id.rawValue) is to carry traffic and is not installed") }
        waiting.removeAll { $0.id == id || $0.id == pair.parameters.replaces }
        guard pair.sends else { return }
        activated[pair.parameters.reqid, default: []].removeAll { $0 == id }
        activated[pair.parameters.reqid, default: []].append(id)
    }
    mutating func move(_ id: ChildSAID, _ local: SocketAddress, _ remote: SocketAddress, encapsulated: Bool) {
        moves.append(remote)
        guard pairs[id] != nil else { return complaints.append("child \(id.rawValue) is to move and is not installed") }
        pairs[id]?.local = local
        pairs[id]?.remote = remote
        pairs[id]?.encapsulated = encapsulated
    }
    mutating func remove(_ id: ChildSAID, keepInbound: Bool, now: Instant) {
        settle(now)
        guard let pair = pairs[id] else { return complaints.append("child \(id.rawValue) is to be removed and is not installed") }
        // An older one that is still there takes the traffic over, as in the TUN plane.
        let wasWaiting = waiting.contains { $0.id == id }
        waiting.removeAll { $0.id == id }
        activated[pair.parameters.reqid]?.removeAll { $0 == id }
        if activated[pair.parameters.reqid]?.isEmpty == true { activated[pair.parameters.reqid] = nil }
        // One that the peer may not have yet does so where there is no other.
        if !wasWaiting { for other in waiting.map(\.id) { if let next = pairs[other], next.parameters.reqid == pair.parameters.reqid, !isCarried(like: next, besides: other) { activate(other) } } }
        if keepInbound {
            pairs[id]?.sends = false
            pairs[id]?.retired = pair.retired ?? now
        } else {
            let isSucceeded = pairs.contains { $0.key != id && $0.value.sends && $0.value.parameters.reqid == pair.parameters.reqid && $0.value.remote.address == pair.remote.address }
            if pair.sends || pair.retired.map({ now.since($0) < Self.yieldTime }) == true, isSucceeded { leaving[pair.parameters.inboundSPI] = (pair.inboundKey, now + Self.yieldTime) }
            pairs[id] = nil
            lastInbound[id] = nil
            heard[id] = nil
        }
    }

    /// Loses a pair, as no core would ask for.
    package mutating func forget(_ id: ChildSAID) {
        remove(id, keepInbound: false, now: Instant(nanoseconds: 0))
        leaving = [:]
    }

    /// One packet for each policy instance that carries traffic.
    package func outbound() -> [Packet] {
        carrying.sorted { $0.parameters.outboundSPI < $1.parameters.outboundSPI }.map { pair in
            Packet(number: 0, spi: pair.parameters.outboundSPI, key: pair.outboundKey, source: pair.local, destination: pair.remote, encapsulated: pair.encapsulated)
        }
    }

    /// Of an SA whose pair has gone.
    mutating func receivesLate(_ packet: Packet, now: Instant) -> Bool {
        settle(now)
        return leaving[packet.spi]?.key == packet.key
    }

    /// The child that the packet belongs to, where it is accepted.
    mutating func receive(_ packet: Packet, now: Instant, at moment: Instant) -> ChildSAID? {
        guard let (id, pair) = pairs.first(where: { $0.value.parameters.inboundSPI == packet.spi && $0.value.accepts }) else {
            unknownSPI += 1
            return nil
        }
        guard pair.inboundKey == packet.key else {
            wrongKey += 1
            return nil
        }
        lastInbound[id] = now
        heard[id] = moment
        return id
    }

    /// Whether the keys of the two pairs mirror one another.
    package static func mirror(_ a: Pair, _ b: Pair) -> Bool { a.inboundKey == b.outboundKey && a.outboundKey == b.inboundKey }
}
