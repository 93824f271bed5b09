// A NAT between a private network and the simulated one: it translates addresses and ports, keeps a mapping for as long as something
// passes, and lets in what answers. Several hosts may stand behind one.

import IKECore
import IKEWire

package final class NAT {
    /// What the outside sees.
    package var address: IPAddress
    /// Without a packet for this long a mapping goes; nil for never.
    package var mappingTime: Duration?
    /// Whether each remote end gets a mapping of its own, with another port.
    package var isSymmetric: Bool
    /// Whether only those are let in whom the inside has sent something.
    package var isStrict: Bool

    private struct Key: Hashable {
        let inside: SocketAddress
        let remote: SocketAddress?
    }
    private struct Mapping {
        let port: UInt16
        let inside: SocketAddress
        var remotes: Set<SocketAddress>
        var used: Instant
    }
    private var mappings: [Key: Mapping] = [:]
    private var nextPort: UInt16 = 20_000

    package init(_ address: IPAddress, mappingTime: Duration? = nil, isSymmetric: Bool = false, isStrict: Bool = false) {
        self.address = address
        self.mappingTime = mappingTime
        self.isSymmetric = isSymmetric
        self.isStrict = isStrict
    }

    /// Every mapping goes: whoever sends next gets another port.
    package func forget() { mappings = [:] }

    /// How a packet from `inside` to `remote` looks outside.
    func outward(_ inside: SocketAddress, to remote: SocketAddress, now: Instant) -> SocketAddress {
        expire(now)
        let key = Key(inside: inside, remote: isSymmetric ? remote : nil)
        if mappings[key] == nil {
            nextPort = nextPort == 59_999 ? 20_000 : nextPort + 1
            mappings[key] = Mapping(port: nextPort, inside: inside, remotes: [], used: now)
        }
        mappings[key]?.used = now
        mappings[key]?.remotes.insert(remote)
        return SocketAddress(address: address, port: mappings[key]?.port ?? 0)
    }

    /// Whom a packet from `remote` to one of our ports is for; nil where it is dropped.
    func inward(_ port: UInt16, from remote: SocketAddress, now: Instant) -> SocketAddress? {
        expire(now)
        guard let mapping = mappings.values.first(where: { $0.port == port }) else { return nil }
        return !isStrict || mapping.remotes.contains(remote) ? mapping.inside : nil
    }

    private func expire(_ now: Instant) {
        guard let mappingTime else { return }
        mappings = mappings.filter { now.since($0.value.used) <= mappingTime }
    }
}
