// Responder: a job computes our half of the key exchange and the shared secret; then IKE_SA_INIT is answered.
// RFC 7296 section 1.2.

import IKECrypto
import IKEWire

struct Answering {
    let job: JobID
    let suite: IKESuite
    let chosen: Proposal
    let initiatorNonce: [UInt8]
    /// The bytes of the request, which the initiator's AUTH covers.
    let request: [UInt8]
    /// Whether the peer sent NAT_DETECTION notifications.
    let detectsNAT: Bool
    /// CERTREQ payloads, for all connections that the peer may mean.
    let requests: [Payload]
    let deadline: Instant

    func finished(_ result: JobResult, _ sa: IKESA) -> State {
        guard case .generatedAndAgreed(let publicValue, let box) = result, let secret = box.take(), let method = chosen.transform(.keyExchange) else {
            let failure = Failure.job(result, "agreeing on a key", sa)
            sa.context.reportUnproven(sa.connection.name, sa) { failure }
            guard case .failed(.crypto(.invalid)) = result else { return .dead }
            sa.wasCostly = true
            sa.transmit(Message(header: sa.header(.ikeSAInit, messageID: 0, response: true), payloads: [.notify(Notify(.invalidSyntax))]).serialized())
            return .dead
        }
        let nonce = sa.context.randomBytes(32)
        let response = Message(
            header: sa.header(.ikeSAInit, messageID: 0, response: true),
            payloads: Answering.payloads(sa, chosen, method, publicValue: publicValue, nonce: nonce, detectsNAT: detectsNAT, requests: requests)
        ).serialized()
        do throws(CryptoError) {
            let keys = try KeySchedule.initial(
                suite: suite, sharedSecret: secret, initiatorNonce: initiatorNonce, responderNonce: nonce, initiatorSPI: sa.initiatorSPI, responderSPI: sa.responderSPI)
            let channel = try SecureChannel(suite: suite, keys: keys, isInitiator: false, nonces: (initiatorNonce, nonce), random: sa.registry.random)
            channel.fragmentLimit = sa.fragmentLimit
            channel.fragmentRoom = sa.context.unprovenFragments
            sa.exportKeys(channel)
            sa.transmit(response)
            return .awaitingAuth(AwaitingAuth(channel: channel, request: request, response: response, initiatorNonce: initiatorNonce, nonce: nonce, deadline: sa.now + sa.context.limits.halfOpenTime))
        } catch {
            sa.context.reportUnproven(sa.connection.name, sa) { .crypto(error, "deriving the keys of the IKE SA", sa) }
            return .dead
        }
    }

    /// What IKE_SA_INIT is answered with: its length is known before anything is computed.
    static func payloads(_ sa: IKESA, _ chosen: Proposal, _ method: Transform, publicValue: [UInt8], nonce: [UInt8], detectsNAT: Bool, requests: [Payload]) -> [Payload] {
        var payloads: [Payload] = [
            .securityAssociation(SecurityAssociation(proposals: [chosen])),
            .keyExchange(KeyExchange(method: method.id, data: publicValue)),
            .nonce(nonce),
        ]
        // A peer that sent none has no use for them, and the answer should not be longer than the request.
        if detectsNAT { payloads += NATDetection.notifications(initiatorSPI: sa.remoteSPI, responderSPI: sa.localSPI, local: sa.local, remote: sa.remote, hidden: sa.connection.encap) }
        if sa.takesFragments, sa.connection.fragmentation != .no { payloads.append(.notify(Notify(.fragmentationSupported))) }
        //= RFC 7296 §1.2: CERTREQ, where the peer may have to prove itself with a certificate. Which connection it means is not known yet.
        payloads += requests
        if !sa.peerHashes.isEmpty { payloads += SignatureHashes.payloads(sa.context.crypto) }
        //= RFC 6023 §3: a responder that serves IKE SAs without a child says so. Section 4: Protocol ID 1, no SPI.
        if sa.announcesChildless { payloads.append(.notify(Notify(.childlessSupported, protocolID: .ike))) }
        return payloads
    }
}
