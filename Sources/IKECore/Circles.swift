// Peers that come again and again, each time in the place of themselves: two configurations that are right alone, and circle together.
// swanctl.conf `unique`, `close_action` and `reauth_time`; RFC 4478.

import IKEWire

/// What is noticed of such a peer.
package struct Circle: Hashable {
    package var times: Int
    /// Where the older one came from, if that is another address.
    package var other: IPAddress?
    /// So many within so long are no accident; it is told of once in so long.
    package static let times = 8
    package static let span = Duration.seconds(120), silence = Duration.seconds(1800)
}

struct Circles {
    struct Key: Hashable {
        let local: Identification
        let remote: Identification
        let family: IPAddress.Family
        let connection: String
    }
    /// When a peer came last, and from where; and when it took its own place, the last times.
    private struct Past {
        var at: Instant
        var remote: SocketAddress
        var times: [Instant] = []
        var toldAt: Instant?
    }
    private var pasts: [Key: Past] = [:]
    /// Peers that are remembered. Beyond it those that have not come for a while are forgotten, and where that leaves many, all.
    static let limit = 4096

    /// `older`: where an IKE SA of the peer's is that this one takes the place of. One that has gone before is noticed by how soon the next comes from the same place.
    mutating func comes(_ key: Key, from remote: SocketAddress, inPlaceOf older: SocketAddress?, at now: Instant) -> Circle? {
        let known = pasts[key]
        if known == nil, pasts.count >= Self.limit {
            pasts = pasts.filter { now.since($0.value.at) < Circle.span }
            if pasts.count > Self.limit / 2 { pasts = [:] }
        }
        var past = known ?? Past(at: now, remote: remote)
        let isSoon = known != nil && past.remote == remote && now.since(past.at) < Circle.span / Circle.times
        past.at = now
        past.remote = remote
        defer { pasts[key] = past }
        guard older != nil || isSoon else { return nil }
        past.times = past.times.suffix(Circle.times - 1).filter { now.since($0) < Circle.span } + [now]
        guard past.times.count == Circle.times, past.toldAt.map({ now.since($0) >= Circle.silence }) ?? true else { return nil }
        past.toldAt = now
        return Circle(times: past.times.count, other: older.flatMap { $0.address == remote.address ? nil : $0.address })
    }

    /// For tests that look for growth.
    var held: Int { pasts.count }
}
