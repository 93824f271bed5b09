// SAs as the workers hold them.

import CLinux
import ESPCore
import Glibc
import IKEWire
import PlaneKit
import PluginABI
import Synchronization

/// Where the packets of an outbound SA go. Replaced as a whole when the peer moves.
final class OutboundPath: @unchecked Sendable {
    let encapsulation: Encapsulation
    let from: martlet_outer_address
    let to: martlet_outer_address
    /// The place in the worker's sockets.
    let socket: Int
    private let layout: PacketLayout
    private let smallest: Int
    private let fitting: Atomic<Int>

    /// `smallest` is what inner packets are never told to go below.
    init(
        encapsulation: Encapsulation, from: martlet_outer_address, to: martlet_outer_address, socket: Int, layout: PacketLayout, pathMTU: Int,
        smallest: Int
    ) {
        self.encapsulation = encapsulation
        self.from = from
        self.to = to
        self.socket = socket
        self.layout = layout
        self.smallest = smallest
        fitting = Atomic(max(smallest, layout.innerMTU(pathMTU: pathMTU, encapsulation, to.family == UInt16(AF_INET) ? .v4 : .v6)))
    }

    /// The largest inner packet that needs no outer fragment.
    @inline(__always)
    var innerMTU: Int { fitting.load(ordering: .relaxed) }

    /// The path turned out to carry less. It stays so until the SA is rekeyed or the peer moves.
    func learn(pathMTU: Int) {
        let mtu = max(smallest, layout.innerMTU(pathMTU: pathMTU, encapsulation, to.family == UInt16(AF_INET) ? .v4 : .v6))
        if mtu < innerMTU { fitting.store(mtu, ordering: .relaxed) }
    }
}

/// An outbound SA. Its sealer belongs to the worker that sends; the rest is shared.
final class OutboundSA: @unchecked Sendable {
    let spi: UInt32
    let child: UInt64
    let policy: UInt64
    let flags: UInt32
    let counters: SACounters
    /// Used on the sending worker's thread alone.
    let sealer: Sealer
    private let next = Atomic<UInt64>(1)

    init(spi: UInt32, child: UInt64, policy: UInt64, flags: UInt32, counters: SACounters, sealer: Sealer) {
        self.spi = spi
        self.child = child
        self.policy = policy
        self.flags = flags
        self.counters = counters
        self.sealer = sealer
    }

    /// A sequence number that nobody else gets; beyond the last one the sealer refuses it.
    @inline(__always)
    func reserveSequence() -> UInt64 {
        let sequence = next.wrappingAdd(1, ordering: .relaxed).oldValue
        return sequence
    }
}

/// An inbound SA, owned by one worker.
final class InboundSA: @unchecked Sendable {
    let spi: UInt32
    let child: UInt64
    let flags: UInt32
    let counters: SACounters
    let selectors: Selectors
    /// Used on the owning worker's thread alone, as is everything below.
    let opener: Opener
    var remote: martlet_outer_address
    var encapsulation: Encapsulation
    /// When another address was reported last: once a second at most, whatever the addresses.
    var reportedAt: UInt64?
    /// For the segment size of what comes in.
    var innerMTU: Int

    init(
        spi: UInt32, child: UInt64, flags: UInt32, counters: SACounters, selectors: Selectors, opener: Opener,
        remote: martlet_outer_address, encapsulation: Encapsulation, innerMTU: Int
    ) {
        self.spi = spi
        self.child = child
        self.flags = flags
        self.counters = counters
        self.selectors = selectors
        self.opener = opener
        self.remote = remote
        self.encapsulation = encapsulation
        self.innerMTU = innerMTU
    }
}

extension martlet_outer_address {
    static func same(_ a: martlet_outer_address, _ b: martlet_outer_address) -> Bool {
        guard a.family == b.family, a.port == b.port else { return false }
        return withUnsafeBytes(of: a.bytes) { x in withUnsafeBytes(of: b.bytes) { y in x.elementsEqual(y) } }
    }
}

/// A policy without SAs of its own. RFC 4301 section 4.4.1.
struct StandingPolicy {
    enum Action: Sendable {
        /// Held back, and an SA asked for.
        case trap
        /// Not for this interface: routes lead past it.
        case pass
        case drop

        init?(rawValue: UInt32) {
            switch rawValue {
            case MARTLET_POLICY_TRAP.rawValue: self = .trap
            case MARTLET_POLICY_PASS.rawValue: self = .pass
            case MARTLET_POLICY_DROP.rawValue: self = .drop
            default: return nil
            }
        }
    }
    let action: Action
    let selectors: Selectors
    let routes: Routing.Wanted
}

/// Everything that sending needs, unchangeable; swapped whole between two batches.
final class OutboundPolicies: Sendable {
    struct Entry: Sendable {
        let policy: UInt64
        /// What becomes of a packet where there is no SA.
        let action: StandingPolicy.Action
        let sa: OutboundSA?
        let path: OutboundPath?
    }
    let table: SelectorTable
    let entries: [Entry]
    /// Whether some entry drops: then packets that come out of SAs are looked up too.
    let drops: Bool

    init(table: SelectorTable, entries: [Entry], drops: Bool = false) {
        self.table = table
        self.entries = entries
        self.drops = drops
    }

    /// Whether a packet that came out of an SA is one that a policy narrower than the SA drops. RFC 4301 section 5.2.
    func drops(_ inbound: InnerPacket) -> Bool {
        guard drops, case .policy(let place) = table.match(inbound.reversed) else { return false }
        return entries[place].action == .drop
    }

    static let none = OutboundPolicies(table: SelectorTable([]), entries: [])
}
