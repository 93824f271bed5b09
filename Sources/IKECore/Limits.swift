// What an endpoint may hold, and how long it waits. Stated once, here.
//
// Limits of the gateway and of a shard. What is marked "in all" is the gateway's: each shard has an equal part of it, rounded up (`share`). A
// request meets a shard by a keyed hash of its address and SPI (`ShardRouter`), so that the requests of one address, and of all, spread evenly
// and nobody can aim at one shard; a part is used up a little early, never late, and what it costs then is a cookie. Nothing else is
// added up over shards: an IKE SA lives in one, and its own limits go with it.
//
// What a peer can make us compute follows from what it can make us hold. A key agreement costs a half-open SA, which counts for `halfOpenTime`
// unless the peer proves who it is, also where the exchange failed long before: in that time strangers without cookies get
// `cookieThreshold` agreements out of the gateway, an address with cookies `halfOpenExcess * halfOpenPerAddress`, all together `halfOpen`; with more, each gets `leastHalfOpenTime` alone.

package struct Limits: Hashable, Sendable {
    /// Half-open SAs as responder, in all, from which an IKE_SA_INIT request must bring a cookie; zero: always. RFC 7296 section 2.6.
    package var cookieThreshold = 100
    /// Half-open SAs as responder, in all; from then on a newcomer takes the place of another, or is dropped.
    package var halfOpen = 5000
    /// Half-open SAs of one address, in all, from which its requests must bring a cookie, whatever others do. Clients behind one NAT seldom
    /// begin more than some dozens of connections within a round trip; when they do, the cookie costs them one more.
    package var halfOpenPerAddress = 32
    /// The same of a network: an IPv4 /24, an IPv6 /56.
    package var halfOpenPerPrefix = 128
    /// At this multiple of its share an address or network is refused, cookie or not: one NAT can hold a twentieth of `halfOpen`, a network a
    /// fifth. A site (an IPv4 /16, an IPv6 /48) can hold half.
    package static let halfOpenExcess = 8
    /// Key agreements of peers that have proven nothing, under way in a shard, from which further requests are dropped: well within
    /// `jobTime`.
    package var agreementsAtOnce = 512
    /// Those that are slow, in all: half a second's work.
    package var slowAgreementsAtOnce = 64
    /// The longest IKE_SA_INIT request that is kept, bytes: the AUTH payload covers it, so it has to be kept whole.
    package var initBytes = 8192
    /// Pairs of a configured proposal and one of an IKE_SA_INIT request that are compared before its address has to bring a cookie; with one
    /// it may cost `provenComparisons` times as many.
    package var comparisons = 1024
    package static let provenComparisons = 16
    /// The most bytes sent for each that came, until an address has shown that it answers.
    package var amplification = 3
    /// IKE_AUTH requests of a half-open SA that may fail to open before only ten are tried each second. One costs about what a cookie costs.
    package var forgeries = 1024
    /// Bytes of fragments held, in all: of peers that have proven nothing, and of the others. Beyond it fragments are dropped. RFC 7383 section 5.
    package var unprovenFragmentBytes = 8 << 20
    /// What each half-open SA may hold of them all the same: an IKE_AUTH request with a chain of certificates. With `halfOpen` of them 40 MB.
    package var assuredFragmentBytes = 8192
    package var fragmentBytes = 64 << 20
    /// How long a responder waits for IKE_AUTH.
    package var halfOpenTime: Duration = .seconds(30)
    /// How long one has its place when all are taken, and one in the middle of EAP.
    package static let leastHalfOpenTime = Duration.seconds(3)
    package static let leastLogInTime = Duration.seconds(10)
    /// How long EAP may take from the first IKE_AUTH request on, whatever each message takes; and how many messages and octets of IKE_AUTH a peer may send meanwhile.
    /// In the middle of a method with TLS one holds 46 KB of OpenSSL's and 8 KB of messages: with `halfOpen` of them 270 MB, and 16 MB that all share (`Plugins/EAP`, `TLSBudget`).
    package var eapTime: Duration = .seconds(120)
    package var eapRounds = 64
    package var eapBytes = 131_072
    /// Failed log-ins of a shard after which the next must wait: as a user from an address, and from an address as anybody. Beside them, those under way at once.
    package var triesOfUser = 8
    package var triesOfAddress = 64
    package var guessesOfUser = 5
    package var guessesOfAddress = 20
    /// Established IKE SAs of a shard.
    package var ikeSAs = 200_000
    /// IKE SAs that one IKE SA has replaced and that are not gone yet: from then on the peer's rekeys of it are put off.
    package var replacedIKESAs = 16
    /// Child SAs of an IKE SA.
    package var childSAs = 256
    /// The wait before a request is sent again the first time, and how it grows: `initial * growth^n`. RFC 7296 section 2.1.
    package var retransmitInitial: Duration = .milliseconds(1500)
    package var retransmitGrowth = 1.6
    /// How often a request is sent again before the peer counts as dead.
    package var retransmitTries = 6
    /// The least time between two liveness checks of an SA that unprotected messages cause. RFC 7296 section 2.21.4.
    package var hintInterval: Duration = .seconds(30)
    /// Between NAT keepalives; zero sends none. RFC 3948 section 4.
    package var keepalive: Duration = .seconds(20)
    /// How long a rekeyed or deleted inbound SA still takes packets that are on the way.
    package var inboundGrace: Duration = .seconds(5)
    /// How much later than we a data plane ends a child of its own accord: it does where we are gone or hang. In whole seconds.
    package var planeMargin: Duration = .seconds(10)
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

    /// A shard's part of a limit of the gateway.
    package func share(of limit: Int) -> Int {
        let parts = max(shards, 1)
        return limit / parts + (limit % parts == 0 ? 0 : 1)
    }
}
