// Initiator: a job computes our AUTH payload; then IKE_AUTH is sent.
// RFC 7296 sections 1.2 and 2.15.

import IKECrypto
import IKEWire

struct Signing {
    let job: JobID
    var work: Initiation
    let channel: SecureChannel
    /// The responder's IKE_SA_INIT, which its AUTH covers.
    let response: [UInt8]

    func finished(_ result: JobResult, _ sa: IKESA) -> State {
        guard case .signed(let authentication, let certificates) = result else {
            work.fail(.job(result, "computing our proof of identity", sa), sa, retry: false)
            return .dead
        }
        return Signing.send(sa, work, channel, response: response, proof: authentication, certificates: certificates)
    }

    /// Sends the first IKE_AUTH request: with our proof, or without one where EAP is to prove who we are.
    static func send(_ sa: IKESA, _ work: Initiation, _ channel: SecureChannel, response: [UInt8], proof: Authentication?, certificates: [Certificate] = [], eap: InitExchange? = nil) -> State {
        guard let own = sa.localIdentity else { return .dead }
        //= RFC 6023 §3: without a child only where the responder has said that it takes that.
        let isChildless = sa.connection.childless == .force || (sa.connection.childless == .prefer && work.peerTakesChildless) || work.wanted.isEmpty
        guard !isChildless || work.peerTakesChildless else {
            work.fail(.childlessNotServed(sa), sa, retry: false)
            return .dead
        }
        let offer = isChildless ? nil : work.wanted.first.map { ChildOffer($0.policy, sa: sa, withoutKeyExchange: true) }
        sa.offeredSPI = offer?.inboundSPI
        if let failure = offer?.defect(sa) {
            work.fail(failure, sa, retry: false)
            return .dead
        }
        //= RFC 7296 §1.2: IDi, [CERT,] [CERTREQ,] [IDr,] AUTH.
        var payloads: [Payload] = [.identificationInitiator(own)] + certificates.map(Payload.certificate)
        payloads += CertificatePayloads.requests(CollectionOfOne(sa.connection), trusted: sa.context.trustedAuthorities)
        sa.peerRequests = []
        if case .exactly(let expected) = sa.connection.remote.identity { payloads.append(.identificationResponder(expected)) }
        //= RFC 7296 §2.16: an initiator that wants EAP leaves AUTH out of its first request.
        if let proof { payloads.append(.authentication(proof)) }
        //= RFC 5998 §3: we can do without the responder's AUTH.
        if eap != nil, sa.connection.remote.isEAP { payloads.append(.notify(Notify(.eapOnlyAuthentication))) }
        //= RFC 7296 §2.4: INITIAL_CONTACT says that this is the only SA with the peer.
        let isOnly = !sa.context.hasOtherSA(sa) && !sa.context.connections.contains { sa.context.establishedElsewhere.contains($0.name) && $0.mayReachPeer(of: sa.connection) }
        if sa.connection.unique != .never, isOnly, sa.replaces == nil { payloads.append(.notify(Notify(.initialContact))) }
        payloads += sa.addressRequest + (offer?.payloads ?? [])
        payloads += sa.mobilityNotifications
        if sa.connection.mobike, !sa.peerDetectsNAT { payloads += sa.natNotifications(AddressPair(local: sa.local, remote: sa.remote)) }
        do throws(CryptoError) {
            let datagrams = try channel.seal(sa.header(.ikeAuth, messageID: sa.authMessageID, response: false), payloads)
            sa.transmit(datagrams)
            return .authSent(AuthSent(work: work, channel: channel, offer: offer, response: response, eap: eap, retransmission: Retransmission(datagrams, limits: sa.context.limits, now: sa.now)))
        } catch {
            work.fail(.crypto(error, "sealing IKE_AUTH", sa), sa, retry: false)
            return .dead
        }
    }
}
