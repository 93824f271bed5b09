// How many answers an endpoint gives to messages that anybody could have sent, for which it keeps nothing.
// RFC 7296 section 2.4.

/// So many in a second, with as many in reserve.
struct ReplyRate {
    private static let perSecond: UInt64 = 5000
    private var tokens = perSecond
    private var last = Instant(nanoseconds: 0)

    mutating func take(now: Instant) -> Bool {
        let earned = now.since(last).wholeNanoseconds / (1_000_000_000 / Self.perSecond)
        if earned > 0 {
            tokens = min(tokens + min(earned, Self.perSecond), Self.perSecond)
            last = now
        }
        guard tokens > 0 else { return false }
        tokens -= 1
        return true
    }
}
