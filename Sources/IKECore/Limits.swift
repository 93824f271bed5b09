// What an endpoint may hold, and how long it waits. Stated once, here.

package struct Limits: Hashable, Sendable {
    /// Half-open SAs as responder from which an IKE_SA_INIT request must bring a cookie. RFC 7296 section 2.6.
    package var cookieThreshold = 30
    /// Half-open SAs as responder from which further requests are dropped.
    package var halfOpen = 5000
    /// How long a responder waits for IKE_AUTH.
    package var halfOpenTime: Duration = .seconds(30)
    /// Established IKE SAs of a shard.
    package var ikeSAs = 200_000
    /// Child SAs of an IKE SA.
    package var childSAs = 256
    /// The wait before a request is sent again the first time, and how it grows: `initial * growth^n`. RFC 7296 section 2.1.
    package var retransmitInitial: Duration = .milliseconds(1500)
    package var retransmitGrowth = 1.6
    /// How often a request is sent again before the peer counts as dead.
    package var retransmitTries = 6
    /// Between NAT keepalives; zero sends none. RFC 3948 section 4.
    package var keepalive: Duration = .seconds(20)
    /// How long a rekeyed or deleted inbound SA still takes packets that are on the way.
    package var inboundGrace: Duration = .seconds(5)
    /// The longest message taken, bytes.
    package var messageBytes = 65_000
    /// The largest IP packet that a message goes in before it is cut into fragments, bytes. RFC 7383 section 2.5.1.
    package var fragmentSize = 1280
    /// Whether a retry of an initiation waits at least this long.
    package var retryDelay: Duration = .seconds(5)
    /// How long a job may take.
    package var jobTime: Duration = .seconds(20)
    /// Keys leave the core for a protocol analyser.
    package var exportKeys = false
    /// How many shards there are; numbers shown to people are unique over all of them.
    package var shards = 1
    /// The local port that IKE shares with ESP. RFC 3948.
    package var natPort: UInt16 = 4500
    /// Whether a peer that moves is asked at its new address before ESP goes there. RFC 4555 section 3.7.
    package var returnRoutability = ReturnRoutability.before
    /// How long a closed SA still answers the peer's retransmissions.
    package var closedTime: Duration = .seconds(30)
    /// How long a rekeyed IKE SA waits for the peer's Delete.
    package var rekeyedTime: Duration = .seconds(60)
    /// How long a peer may answer TEMPORARY_FAILURE before the IKE SA is closed. RFC 7296 section 2.25.
    package var temporaryFailureTime: Duration = .seconds(180)
    /// How long a child is left alone after the peer has said that it could not use a packet of it. RFC 7296 section 3.10.1.
    package var doubtTime: Duration = .seconds(60)
    package init() {}
}
