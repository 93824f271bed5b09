// Why a peer comes again and again, each time in the place of itself: two configurations that are right alone, and circle together.
// swanctl.conf `unique`, `close_action` and `reauth_time`; RFC 4478.

import IKEWire

extension Circle {
    /// One line for whoever can end it. `sa`: the newest.
    package func words(_ sa: IKESAStatus) -> String {
        let who = sa.user.map { "\($0)" } ?? "\(sa.remote.address)"
        let what = "\(who) comes again and again: \(times) times within \(Self.span.components.seconds) s it began an IKE SA in the place of its own"
        if let other {
            return what + ". They come from \(sa.remote.address) and \(other): where these are two hosts, give each an identity of its own, or write unique = never"
        }
        let time = sa.established.flatMap { since in sa.reauthAt?.since(since) }
        if !sa.isInitiator, let time, time < ConnectionSettings.shortestReauthTime {
            return what + ": within the reauth_time of \(time.components.seconds) s it begins anew at once or soon (strongSwan takes its own over_time off): write 30m or more"
        }
        if sa.unique == .replace || sa.unique == .keep {
            return what + " (unique = \(sa.unique.rawValue)), and the peer begins another when one ends: write close_action = none there, or unique = no here"
        }
        return what + ": its configuration makes it begin anew at once, or it is started again and again"
    }
}

extension ConnectionSettings {
    /// strongSwan takes its `over_time`, 24 minutes by default, off the time that AUTH_LIFETIME names, and begins anew when the rest is over: without a pause where
    /// nothing is left. Below this the rest is short.
    package static let shortestReauthTime = Duration.seconds(1800)
}
