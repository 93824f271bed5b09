// What happens to an endpoint. The shell stamps each with the time and feeds it to the one shard it concerns.

import IKECrypto
import IKEWire

/// A UDP datagram of IKE, without the non-ESP marker.
package struct Datagram: Hashable, Sendable {
    package var local: SocketAddress
    package var remote: SocketAddress
    /// Whether it travels on the port that ESP shares (4500), behind a non-ESP marker. RFC 3948 section 2.2.
    package var marked: Bool
    package var bytes: [UInt8]

    package init(local: SocketAddress, remote: SocketAddress, marked: Bool, bytes: [UInt8]) {
        self.local = local
        self.remote = remote
        self.marked = marked
        self.bytes = bytes
    }
}

/// An operator's request, answered by exactly one `Action.answer`.
package struct RequestID: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// An IKE SA, in logs and for the control socket. Never reused.
package struct IKESAID: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// A pair of child SAs, in logs and for the data plane. Never reused.
package struct ChildSAID: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// Which SAs an operator means.
package enum SASelection: Hashable, Sendable {
    /// Every IKE SA of the connection.
    case connection(String)
    /// Every child SA of that name, in the named connection or in any.
    case child(String, connection: String?)
    case ikeSA(IKESAID)
    case childSA(ChildSAID)
}

/// What is said of ESP by somebody who has proven nothing. RFC 7296 section 1.5.
package enum Hint: Hashable, Sendable {
    /// The data plane has got a packet with an SPI that no SA has.
    case strayESP(StrayESP)
    /// A message without protection says that its sender has: INVALID_SPI.
    case invalidSPI(UInt32, remote: SocketAddress)
}

/// An ESP packet that is of no SA here.
package struct StrayESP: Hashable, Sendable {
    package var spi: UInt32
    /// Where it came from; the port is that of ESP in UDP, or 0.
    package var remote: SocketAddress
    /// Where it arrived, as far as the data plane can tell: else of no address, and of no port without UDP.
    package var local: SocketAddress
    package var encapsulated: Bool
    /// Of the ESP packet, bytes.
    package var length: Int
    package init(spi: UInt32, remote: SocketAddress, local: SocketAddress, encapsulated: Bool, length: Int) {
        self.spi = spi
        self.remote = remote
        self.local = local
        self.encapsulated = encapsulated
        self.length = length
    }
}

package enum Event: Sendable {
    case datagramReceived(Datagram)
    /// `Endpoint.nextDeadline` has come.
    case deadlineReached
    case jobFinished(JobID, JobResult)
    /// The data plane holds both SAs of the child, or refused them for the reason given.
    case childSAInstalled(ChildSAID, failure: String?)
    /// Bring up `connection`, with `child` if one is named; the addresses are resolved.
    /// With a packet that asks for it: unless a child that is up carries it.
    case initiate(connection: String, child: String?, packet: TriggeringPacket?, local: SocketAddress, remote: SocketAddress, request: RequestID?)
    case terminate(SASelection, request: RequestID?)
    /// The same where no operator asks for it.
    case end(SASelection, because: ClosingReason)
    /// The same without waiting for peers, which are told once where that can be.
    case terminateAtOnce(SASelection, request: RequestID?)
    case rekey(SASelection, request: RequestID?)
    /// New IKE SAs beside those selected, which then go. RFC 7296 section 2.8.3.
    case reauthenticate(SASelection, request: RequestID?)
    /// The daemon is ending: tell every peer, once.
    case shutDown
    /// A limit of the inbound or outbound SA of a child was reached; `hard` when it no longer carries packets.
    case childSAExpired(ChildSAID, hard: Bool)
    /// Answer to `Action.queryUse`: when the child last received an authenticated packet, nil for never.
    case useReported(ChildSAID, lastInbound: Instant?)
    /// An authenticated ESP packet of the child came from a new address.
    case peerMoved(ChildSAID, remote: SocketAddress)
    /// Somebody's word about ESP, for the shard that has an IKE SA with that peer. `shardsLeft`: how many have not been asked yet.
    case hint(Hint, shardsLeft: Int)
    /// An ICMP message said that a datagram of ours did not arrive. It is believed in words alone.
    case unreachable(remote: SocketAddress, UnreachableReport)
    /// Counting begins anew.
    case resetCounters(ConnectionCounters.Scope)
    /// Where a host name of the configuration leads; nil where that could not be found out.
    case nameFound(String, [IPAddress]?)
    /// The addresses that this host may use now, or other routes to the same ones. RFC 4555 section 3.5.
    case localAddressesChanged([IPAddress])
    /// The peer has begun anew: drop this SA without a word to it. RFC 7296 section 2.4.
    case forget(IKESAID)
    /// Another IKE SA with the same peer takes the place of this one, as `unique` says: it is deleted, and what is to be up begins on the other.
    case replaced(IKESAID)
    /// Whether some other shard now has an established SA of the connection. RFC 7296 section 2.4.
    case establishedElsewhere(connection: String, Bool)
    /// The authorities that are trusted, as a CERTREQ names them: 20 octets each. RFC 7296 section 3.7.
    case authoritiesChanged([UInt8])
    /// A new set of connections. SAs of connections that are unchanged stay as they are; of the others goes what is no longer allowed.
    case configurationReplaced([Connection])
    /// One connection has come, has changed, or, where nil, has gone.
    case connectionChanged(name: String, Connection?)
}

package struct JobID: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// One calculation of an AUTH payload's data. RFC 7296 section 2.15.
package struct AuthenticationRequest: Sendable {
    /// The configured method's name: "psk".
    package var method: String
    package var connection: String
    package var local: Identification
    package var remote: Identification
    package var prf: any PRFAlgorithm
    /// The signed octets are `message | nonce | macedIdentity`. What IKE_INTERMEDIATE adds to them (IntAuth, RFC 9242) will stand at the end of the last.
    package var message: [UInt8]
    package var nonce: [UInt8]
    package var macedIdentity: [UInt8]
    /// The hashes that the peer takes in signatures; empty where it has named none. RFC 7427 section 4.
    package var peerHashes: [UInt16] = []
    /// What the connection says of certificates.
    package var localCertificates = CertificatePolicy()
    package var remoteCertificates = CertificatePolicy()
    package var sendCertificate = SendCertificate.ifasked
    /// The peer's CERT payloads where its proof is checked, its CERTREQ payloads where ours is made. RFC 7296 sections 3.6 and 3.7.
    package var peerCertificates: [Certificate] = []
    package var peerRequests: [CertificateRequest] = []
    /// Whether we began the IKE SA.
    package var isInitiator = false
}

/// Slow work that leaves the shard. Every job ends in one `Event.jobFinished`, or is forgotten with its SA.
package enum Job: Sendable {
    case generateKey(any KeyExchangeAlgorithm)
    case agree(any KeyExchangeKey, peerValue: [UInt8])
    /// A fresh key and the agreement, for the responder; `ofStranger`: the peer has proven nothing.
    case generateAndAgree(any KeyExchangeAlgorithm, peerValue: [UInt8], ofStranger: Bool)
    case sign(AuthenticationRequest)
    case verify(AuthenticationRequest, Authentication)
    /// One message for a method of EAP.
    case eap(EAPStep)
    /// Which address of this host the routes choose towards each.
    case findPaths([IPAddress])
    /// What a directory, nil for the first, says of a user who has proven who it is without it.
    case lookUp(user: [UInt8], directory: String?)
}

/// An address of the peer that there is a route to, and ours that it chooses.
package struct FoundPath: Hashable, Sendable {
    package var remote: IPAddress
    package var local: IPAddress
    package init(remote: IPAddress, local: IPAddress) {
        self.remote = remote
        self.local = local
    }
}

/// A user as a directory knows it.
package struct UserAccount: Hashable, Sendable {
    /// As the directory writes it.
    package var name: [UInt8]
    /// By name and by distinguished name.
    package var groups: [String]
    package init(name: [UInt8], groups: [String]) { (self.name, self.groups) = (name, groups) }
}

package enum JobResult: Sendable {
    case keyGenerated(any KeyExchangeKey)
    case agreed(SecretBox)
    case generatedAndAgreed(publicValue: [UInt8], SecretBox)
    /// With the CERT payloads that go before it.
    case signed(Authentication, certificates: [Certificate] = [])
    case verified
    case eap(any EAPConversation, EAPOutcome)
    case pathsFound([FoundPath])
    case account(UserAccount)
    case failed(JobFailure)
}

package enum JobFailure: Error, Hashable, Sendable {
    case crypto(CryptoError)
    /// No secret is configured for the two identities.
    case noSecret
    /// The AUTH data does not prove the identity.
    case rejected
    /// The AUTH data does not prove the identity, or we cannot prove ours, for reasons that the method gave: the first is the summary.
    case refused([String])
    case unprovable([String])
    /// No loaded plugin provides the method.
    case noMethod(String)
    case deadline
    /// The directory does not let the user in, or cannot be asked.
    case account(EAPRefusal)
}
