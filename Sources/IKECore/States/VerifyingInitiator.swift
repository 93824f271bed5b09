// Responder: a job checks the initiator's AUTH payload.
// RFC 7296 section 2.15.

import IKECrypto
import IKEWire

struct VerifyingInitiator {
    let job: JobID
    let channel: SecureChannel
    var window: MessageWindow
    /// IKE_AUTH's request, opened.
    let payloads: [Payload]
    /// Our IKE_SA_INIT, which our AUTH covers.
    let response: [UInt8]
    let initiatorNonce: [UInt8]
    let deadline: Instant

    func finished(_ result: JobResult, _ sa: IKESA) -> State {
        var window = window
        guard case .verified = result, let own = sa.localIdentity, let remote = sa.remoteIdentity else {
            return AwaitingAuth.refuse(sa, channel, &window, .job(result, "checking the peer's proof of identity", sa).passingOver(payloads, sa), Notify(.authenticationFailed))
        }
        if VerifyingInitiator.forbidsPath(payloads, sa) {
            //= RFC 4555 §3.9: a NAT that the initiator does not allow.
            return AwaitingAuth.refuse(sa, channel, &window, .natForbidden(sa), Notify(.unexpectedNATDetected))
        }
        do throws(CryptoError) {
            let ask = AuthenticationRequest(
                method: sa.connection.local.method, connection: sa.connection.name, local: own, remote: remote, prf: channel.suite.prf, message: response,
                nonce: initiatorNonce, macedIdentity: try channel.macedIdentity(own, ofInitiator: false), peerHashes: sa.peerHashes)
            return .signingAnswer(
                SigningAnswer(
                    job: sa.context.run(.sign(sa.withCertificates(ask, of: sa.connection)), for: sa.localSPI), channel: channel, window: window, payloads: payloads,
                    deadline: sa.now + sa.context.limits.jobTime))
        } catch {
            return AwaitingAuth.refuse(sa, channel, &window, .crypto(error, "computing our proof of identity", sa), Notify(.authenticationFailed))
        }
    }

    /// The initiator allows no NAT, and there is one.
    static func forbidsPath(_ payloads: [Payload], _ sa: IKESA) -> Bool {
        guard sa.connection.mobike, let forbidden = payloads.firstNotify(.noNATsAllowed) else { return false }
        return forbidden.data != IKESA.noNATsAllowed(from: sa.remote, to: sa.local).data
    }
}
