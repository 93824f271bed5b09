// What is known of SAs and policies where the kernel's events arrive, which is another thread than the plane's.

import IKEWire
import PluginABI
import Synchronization
import XFRMMessages

/// Shared by the plane, which fills it, and the listener, which asks it.
final class EventIndex: Sendable {
    struct KnownSA: Sendable {
        var child: UInt64
        var direction: UInt8
        var reqid: UInt32
        var mark = KernelMark.none
        var isSoftReported = false
        var isHardReported = false
        /// Of an inbound SA in UDP: where the peer is known to be.
        var remote: SocketAddress?
        /// When the host was last told of another place, in nanoseconds.
        var movedAt: UInt64?
    }

    private struct State {
        var sas: [SAIdentifier: KnownSA] = [:]
        var policies: [UInt32: UInt64] = [:]
        /// When the host was last told of a packet for a policy, in nanoseconds.
        var acquired: [UInt64: UInt64] = [:]
    }
    private let state = Mutex(State())

    // MARK: Filled by the plane

    func add(_ id: SAIdentifier, _ sa: KnownSA) { state.withLock { $0.sas[id] = sa } }
    func remove(_ id: SAIdentifier) { state.withLock { $0.sas[id] = nil } }

    /// The SA has other addresses now; what was reported of it stays reported.
    func move(_ id: SAIdentifier, to new: SAIdentifier, remote: SocketAddress?) {
        state.withLock {
            guard var sa = $0.sas.removeValue(forKey: id) else { return }
            sa.remote = remote
            $0.sas[new] = sa
        }
    }

    func add(reqid: UInt32, policy: UInt64) { state.withLock { $0.policies[reqid] = policy } }
    func remove(reqid: UInt32) {
        state.withLock {
            if let policy = $0.policies.removeValue(forKey: reqid) { $0.acquired[policy] = nil }
        }
    }

    // MARK: Asked by the listener

    subscript(id: SAIdentifier) -> KnownSA? { state.withLock { $0.sas[id] } }

    var all: [(id: SAIdentifier, sa: KnownSA)] { state.withLock { $0.sas.map { ($0.key, $0.value) } } }

    /// The SA, if this was not yet reported of it.
    func expired(_ id: SAIdentifier, reqid: UInt32, isHard: Bool) -> KnownSA? {
        state.withLock {
            guard let sa = $0.sas[id], sa.reqid == reqid, !(isHard ? sa.isHardReported : sa.isSoftReported) else { return nil }
            if isHard { $0.sas[id]?.isHardReported = true } else { $0.sas[id]?.isSoftReported = true }
            return sa
        }
    }

    /// The SA, if the host was not told of another place of its peer's within the last second, whichever.
    func moved(_ id: SAIdentifier, reqid: UInt32, now: UInt64) -> KnownSA? {
        state.withLock {
            guard let sa = $0.sas[id], sa.reqid == reqid, sa.remote != nil else { return nil }
            if let last = sa.movedAt, now &- last < 1_000_000_000 { return nil }
            $0.sas[id]?.movedAt = now
            return sa
        }
    }

    /// The policy, if the host was not told of a packet for it within the last second.
    func acquired(reqid: UInt32, now: UInt64) -> UInt64? {
        state.withLock {
            guard let policy = $0.policies[reqid] else { return nil }
            if let last = $0.acquired[policy], now &- last < 1_000_000_000 { return nil }
            $0.acquired[policy] = now
            return policy
        }
    }
}

/// The policies, which the plane changes and the listener puts back where somebody has taken them away.
final class SharedPolicies: Sendable {
    let table = Mutex(PolicyTable())
}
