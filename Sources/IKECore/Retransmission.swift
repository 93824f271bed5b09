// One outstanding request and the times at which it is sent again.
// RFC 7296 section 2.1.

import IKEWire

struct Retransmission {
    /// The request: one datagram, or its fragments.
    let datagrams: [[UInt8]]
    private(set) var triesLeft: Int
    private(set) var deadline: Instant
    private var wait: Duration
    private let growth: Double
    private static let longestWait = Duration.seconds(3600)
    /// How often the request was sent so far.
    private(set) var sent = 1
    /// It was not sent when it was due: the peer's address has shown too little for so much.
    var isHeldBack = false

    init(_ datagrams: [[UInt8]], limits: Limits, now: Instant) {
        self.datagrams = datagrams
        triesLeft = limits.retransmitTries
        wait = min(limits.retransmitInitial, Self.longestWait)
        // Whatever was configured, a wait stays a time and never shrinks.
        growth = limits.retransmitGrowth.isFinite ? min(max(limits.retransmitGrowth, 1), 10) : 1
        deadline = now + wait
    }

    /// Counts from the beginning again: the path is another.
    mutating func restart(limits: Limits, now: Instant) {
        triesLeft = limits.retransmitTries
        wait = min(limits.retransmitInitial, Self.longestWait)
        sent = 1
        deadline = now + wait
    }

    /// What was held back may go now; how often it is tried stays.
    mutating func resume(limits: Limits, now: Instant) {
        isHeldBack = false
        wait = min(limits.retransmitInitial, Self.longestWait)
        deadline = now + wait
    }

    /// Waits no longer than so for the next try.
    mutating func wait(atMost duration: Duration, now: Instant) { deadline = min(deadline, now + duration) }

    enum Outcome { case sendAgain, giveUp }

    /// The deadline has come. `endless`: after the last try there are more, each as long after the other as that waited.
    mutating func fire(now: Instant, endless: Bool = false) -> Outcome {
        guard triesLeft > 0 || endless else { return .giveUp }
        sent += 1
        if triesLeft > 0 {
            triesLeft -= 1
            wait = min(wait * growth, Self.longestWait)
        } else {
            wait = max(wait, .seconds(1))
        }
        deadline = now + wait
        return .sendAgain
    }
}
