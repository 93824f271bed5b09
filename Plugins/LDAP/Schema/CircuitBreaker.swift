// Keeps log-ins from waiting for a server that has just failed: after a failure it is left alone for a while, then one attempt may try it.

package struct CircuitBreaker: Sendable {
    private enum State: Sendable {
        case closed(failures: Int)
        /// Until a time; then one attempt goes, and while it does no other.
        case open(until: UInt64)
    }
    private var state = State.closed(failures: 0)
    private var openings: UInt64 = 0

    /// Nanoseconds: the first rest, and the longest.
    package static let first: UInt64 = 2_000_000_000
    package static let longest: UInt64 = 30_000_000_000
    /// Answers that may come too late in a row.
    package static let patience = 3

    package init() {}

    package func rest(now: UInt64) -> UInt64? {
        if case .open(let until) = state, until > now { until - now } else { nil }
    }

    /// Whether an attempt may be made now; it then has to end with `succeeded` or `failed`.
    package mutating func mayTry(now: UInt64) -> Bool {
        switch state {
        case .closed: return true
        case .open(let until):
            guard now >= until else { return false }
            // An attempt that never ends keeps others away no longer than this.
            state = .open(until: now.addingReportingOverflow(Self.longest).partialValue)
            return true
        }
    }

    package mutating func succeeded() {
        state = .closed(failures: 0)
        openings = 0
    }

    /// A server that cannot be reached rests at once (`isDown`), one that answers late after some times.
    package mutating func failed(isDown: Bool, now: UInt64) {
        if case .closed(let failures) = state, !isDown, failures + 1 < Self.patience {
            state = .closed(failures: failures + 1)
            return
        }
        state = .open(until: now.addingReportingOverflow(min(Self.first << min(openings, 4), Self.longest)).partialValue)
        openings += 1
    }
}
