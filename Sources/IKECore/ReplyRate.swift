// How many answers an endpoint gives to messages that anybody could have sent, for which it keeps nothing.
// RFC 7296 section 2.4.

/// So many in a second, with as many in reserve.
struct ReplyRate {
    private let perSecond: UInt64
    private var tokens: UInt64
    private var last = Instant(nanoseconds: 0)

    /// 1 to 1,000,000,000.
    init(perSecond: UInt64 = 5000) {
        self.perSecond = min(max(perSecond, 1), 1_000_000_000)
        tokens = self.perSecond
    }

    /// There is nothing left at this moment.
    mutating func isSpent(now: Instant) -> Bool {
        earn(now)
        return tokens == 0
    }

    mutating func take(now: Instant) -> Bool {
        guard !isSpent(now: now) else { return false }
        tokens -= 1
        return true
    }

    private mutating func earn(_ now: Instant) {
        let earned = now.since(last).wholeNanoseconds / (1_000_000_000 / perSecond)
        if earned > 0 {
            tokens = min(tokens + min(earned, perSecond), perSecond)
            last = now
        }
    }
}
