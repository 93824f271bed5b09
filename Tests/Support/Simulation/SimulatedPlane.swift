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
        /// Since when the outbound SA stands.
        package internal(set) var since: Instant?
    }
    package private(set) var pairs: [ChildSAID: Pair] = [:]
    /// The pairs that were told to carry a policy instance's packets; the last one does.
    private var activated: [UInt32: [ChildSAID]] = [:]
    package var refusal: String?
    package var sent = 0
    package private(set) var unknownSPI = 0
    package private(set) var wrongKey = 0
    package private(set) var lastInbound: [ChildSAID: Instant] = [:]
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
        guard let pair = pairs[id], !pair.accepts else { return }
        pairs[id]?.accepts = true
        pairs[id]?.sends = true
        pairs[id]?.since = now
        guard pair.parameters.activates else { return }
        if pair.parameters.yields, let current = activated[pair.parameters.reqid]?.last, pairs[current]?.sends == true, pairs[current]?.remote.address == pair.remote.address {
            // It leaves the traffic to that one for now.
            activated[pair.parameters.reqid, default: []].insert(id, at: max(0, activated[pair.parameters.reqid, default: []].count - 1))
        } else {
            activate(id)
        }
    }
    mutating func activate(_ id: ChildSAID) {
        guard let pair = pairs[id] else { return complaints.append("child \(id.rawValue) is to carry traffic and is not installed") }
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
    mutating func remove(_ id: ChildSAID, keepInbound: Bool) {
        guard let pair = pairs[id] else { return complaints.append("child \(id.rawValue) is to be removed and is not installed") }
        // An older one that is still there takes the traffic over, as in the TUN plane.
        activated[pair.parameters.reqid]?.removeAll { $0 == id }
        if activated[pair.parameters.reqid]?.isEmpty == true { activated[pair.parameters.reqid] = nil }
        if keepInbound {
            pairs[id]?.sends = false
        } else {
            pairs[id] = nil
            lastInbound[id] = nil
        }
    }

    /// Loses a pair, as no core would ask for.
    package mutating func forget(_ id: ChildSAID) { remove(id, keepInbound: false) }

    /// One packet for each policy instance that carries traffic.
    package func outbound() -> [Packet] {
        carrying.sorted { $0.parameters.outboundSPI < $1.parameters.outboundSPI }.map { pair in
            Packet(number: 0, spi: pair.parameters.outboundSPI, key: pair.outboundKey, source: pair.local, destination: pair.remote, encapsulated: pair.encapsulated)
        }
    }

    /// The child that the packet belongs to, where it is accepted.
    mutating func receive(_ packet: Packet, now: Instant) -> ChildSAID? {
        guard let (id, pair) = pairs.first(where: { $0.value.parameters.inboundSPI == packet.spi && $0.value.accepts }) else {
            unknownSPI += 1
            return nil
        }
        guard pair.inboundKey == packet.key else {
            wrongKey += 1
            return nil
        }
        lastInbound[id] = now
        return id
    }

    /// Whether the keys of the two pairs mirror one another.
    package static func mirror(_ a: Pair, _ b: Pair) -> Bool { a.inboundKey == b.outboundKey && a.outboundKey == b.inboundKey }
}
