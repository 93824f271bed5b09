// Initiator: IKE_AUTH is on its way.
// RFC 7296 sections 1.2 and 2.21.2.

import IKECrypto
import IKEWire

struct AuthSent {
    var work: Initiation
    let channel: SecureChannel
    /// Nil without a child. RFC 6023.
    let offer: ChildOffer?
    let response: [UInt8]
    /// Where we have sent no AUTH, for EAP.
    var eap: InitExchange?
    var retransmission: Retransmission

    func received(_ header: Header, _ datagram: Datagram, _ sa: IKESA) -> State {
        guard header.exchangeType == .ikeAuth, header.isResponse, !header.isFromInitiator, header.messageID == sa.authMessageID else { return .authSent(self) }
        let payloads: [Payload]
        switch channel.open(header, datagram.bytes, now: sa.now) {
        case .forged, .incomplete: return .authSent(self)
        case .malformed(let error):
            return refuse(.badAnswer("its answer to IKE_AUTH is malformed: \(error.words)", sa), sa)
        case .payloads(let opened): payloads = opened
        }
        sa.countReceived(header)
        var identity: Identification?, authentication: Authentication?, error: Notify?
        for payload in payloads {
            switch payload {
            case .identificationResponder(let value): identity = value
            case .authentication(let value): authentication = value
            case .notify(let notify) where notify.type.isError: error = error ?? notify
            //= RFC 7296 §2.4: a responder may say it as well, in its first answer.
            case .notify(let notify) where notify.type == .initialContact: sa.initialContact = true
            case .unknown(let type, critical: true, _):
                return refuse(.badAnswer("its answer to IKE_AUTH has a critical payload of the unknown type \(type.rawValue)", sa), sa)
            default: break
            }
        }
        //= RFC 7296 §3.10.1: an error that we do not know means that the whole request has failed, whatever stands beside it.
        let fatal = payloads.fatalError
        if let fatal, identity != nil, eap != nil || authentication != nil { return refuse(.refusedAuth(fatal, sa), sa) }
        if let eap, let identity { return AnsweringEAP.begin(sa, self, eap, payloads, identity: identity) }
        guard let identity, let authentication else {
            guard let error = fatal ?? error else { return refuse(.badAnswer("its answer to IKE_AUTH has no identity or no AUTH payload", sa), sa) }
            //= RFC 4555 §3.9: who could change one packet must not keep us from connecting: several tries, each from IKE_SA_INIT.
            if error.type == .unexpectedNATDetected {
                work.fail(.natNotAllowed(sa), sa, retry: true, atLeast: Mobility.natTries)
                return .dead
            }
            if error.type == .authenticationFailed, let anew = work.begunAnew(sa) { return anew }
            work.fail(.refusedAuth(error, sa), sa, retry: false)
            return .dead
        }
        sa.remoteIdentity = identity
        guard sa.connection.remote.identity.matches(identity) else { return refuse(.wrongPeerIdentity(identity, sa), sa) }
        do throws(CryptoError) {
            let ask = AuthenticationRequest(
                method: sa.connection.remote.method, connection: sa.connection.name, local: sa.localIdentity ?? identity, remote: identity, prf: channel.suite.prf,
                message: response, nonce: work.nonce, macedIdentity: try channel.macedIdentity(identity, ofInitiator: false))
            var work = work
            work.deadline = sa.now + sa.context.limits.jobTime
            return .verifyingResponder(
                VerifyingResponder(
                    job: sa.context.run(.verify(sa.withCertificates(ask, of: sa.connection, from: payloads), authentication), for: sa.localSPI), work: work, channel: channel, offer: offer,
                    payloads: payloads))
        } catch {
            work.fail(.crypto(error, "checking the peer's proof of identity", sa), sa, retry: false)
            return .dead
        }
    }

    /// The responder holds an SA that we do not accept: fail, and tell it. RFC 7296 section 2.21.2.
    func refuse(_ failure: Failure, _ sa: IKESA) -> State {
        work.fail(failure, sa, retry: false)
        return Closed.refusing(sa, channel)
    }

    func deadlineReached(_ sa: IKESA) -> State {
        guard retransmission.deadline <= sa.now else { return .authSent(self) }
        var next = self
        switch next.retransmission.fire(now: sa.now) {
        case .sendAgain:
            sa.context.note(.info, "no answer from \(sa.remote), sending IKE_AUTH again (\(next.retransmission.sent))", sa)
            sa.transmit(retransmission.datagrams)
            return .authSent(next)
        case .giveUp:
            work.fail(.noAnswer(exchange: "IKE_AUTH", sent: retransmission.sent, sa), sa, retry: true)
            return .dead
        }
    }
}
