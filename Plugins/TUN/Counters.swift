// Counts of packets not carried, by reason. Each worker counts alone; readers add up.

import Synchronization

/// Why a packet went no further. The raw value is the place in the counters; the name is stable.
enum DropReason: Int, CaseIterable {
    case unknownSPI, replay, icv, malformed, dummy, selector, fragment, ecn, expired, noPolicy, noSA, tooBig, sequenceExhausted
    case crypto, sendFailed, tunWrite, truncated, policy

    var name: StaticString {
        switch self {
        case .unknownSPI: "unknown_spi"
        case .replay: "replay"
        case .icv: "icv"
        case .malformed: "malformed"
        case .dummy: "dummy"
        case .selector: "selector"
        case .fragment: "fragment"
        case .ecn: "ecn"
        case .expired: "expired"
        case .noPolicy: "no_policy"
        case .noSA: "no_sa"
        case .tooBig: "too_big"
        case .sequenceExhausted: "sequence_exhausted"
        case .crypto: "crypto"
        case .sendFailed: "send_failed"
        case .tunWrite: "tun_write"
        case .truncated: "truncated"
        case .policy: "policy"
        }
    }

    /// Immortal, for the contract.
    var text: UnsafePointer<CChar> { UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self) }
}

final class DropCounters: Sendable {
    private let counts: InlineArray<18, Atomic<UInt64>> = InlineArray { _ in Atomic(0) }

    @inline(__always)
    func add(_ reason: DropReason, _ packets: UInt64 = 1) { counts[reason.rawValue].wrappingAdd(packets, ordering: .relaxed) }
    func load(_ reason: DropReason) -> UInt64 { counts[reason.rawValue].load(ordering: .relaxed) }
}

/// Traffic of one SA, and its limits.
final class SACounters: Sendable {
    let packets = Atomic<UInt64>(0)
    let bytes = Atomic<UInt64>(0)
    let lastUse = Atomic<UInt64>(0)
    let sequence = Atomic<UInt64>(0)
    let replayed = Atomic<UInt64>(0)
    let rejectedICV = Atomic<UInt64>(0)
    let rejectedSelector = Atomic<UInt64>(0)
    let malformed = Atomic<UInt64>(0)

    struct Limits: Sendable {
        var softBytes: UInt64, hardBytes: UInt64, softPackets: UInt64, hardPackets: UInt64
    }
    private let limits: Limits
    private let softReported = Atomic<Bool>(false)
    private let hardReported = Atomic<Bool>(false)

    init(_ limits: Limits) { self.limits = limits }

    enum Crossing { case none, soft, hard }

    var isExhausted: Bool { hardReported.load(ordering: .relaxed) }

    /// Counts one packet; without `now` it is no sign of life. `.soft` and `.hard` come once each.
    @inline(__always)
    func count(bytes count: Int, now: UInt64?) -> Crossing {
        let totalPackets = packets.wrappingAdd(1, ordering: .relaxed).newValue
        let totalBytes = bytes.wrappingAdd(UInt64(count), ordering: .relaxed).newValue
        if let now { lastUse.store(now, ordering: .relaxed) }
        if Self.reached(totalBytes, limits.hardBytes) || Self.reached(totalPackets, limits.hardPackets) {
            return hardReported.exchange(true, ordering: .relaxed) ? .none : .hard
        }
        if Self.reached(totalBytes, limits.softBytes) || Self.reached(totalPackets, limits.softPackets) {
            return softReported.exchange(true, ordering: .relaxed) ? .none : .soft
        }
        return .none
    }

    @inline(__always)
    private static func reached(_ value: UInt64, _ limit: UInt64) -> Bool { limit != 0 && value >= limit }
}
