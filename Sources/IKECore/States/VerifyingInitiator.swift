// Responder: a job checks the initiator's AUTH payload.
// RFC 7296 section 2.15.

import IKECrypto
import IKEWire

struct VerifyingInitiator {
    var job: JobID
    let channel: SecureChannel
    var window: MessageWindow
    /// IKE_AUTH's request, opened.
    let payloads: [Payload]
    /// Our IKE_SA_INIT, which our AUTH covers.
    let response: [UInt8]
    let initiatorNonce: [UInt8]
    let claim: ConnectionSelection.Claim
    var deadline: Instant
    /// The proof has held; the job asks the directory.
    var isProven = false

    func finished(_ result: JobResult, _ sa: IKESA) -> State {
        var window = window
        guard let own = sa.localIdentity, let remote = sa.remoteIdentity, isHeld(result) else {
            return AwaitingAuth.refuse(sa, channel, &window, .job(result, "checking the peer's proof of identity", sa).passingOver(payloads, sa), Notify(.authenticationFailed))
        }
        if !isProven, isUser(sa), Admission.needsLookUp(claim, sa) {
            var next = self
            next.isProven = true
            next.job = sa.context.run(.lookUp(user: remote.accountName, directory: sa.connection.remote.directory), for: sa.localSPI)
            next.deadline = sa.now + sa.context.limits.jobTime
            return .verifyingInitiator(next)
        }
        if isUser(sa) {
            var groups: [String]?
            if case .account(let account) = result { (sa.account, groups) = (Identification(eap: account.name), account.groups) }
            if let refusal = Admission.refusal(groups, claim, payloads, sa) { return AwaitingAuth.refuse(sa, channel, &window, .eapRefused(refusal, sa), Notify(.authenticationFailed)) }
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

    /// Whether the proof has held, or the directory has nothing against the user.
    private func isHeld(_ result: JobResult) -> Bool {
        switch result {
        case .verified: !isProven
        case .account: isProven
        default: false
        }
    }

    /// Whoever shares a key is no person.
    private func isUser(_ sa: IKESA) -> Bool { sa.connection.remote.method.hasPrefix("pubkey") }

    /// The initiator allows no NAT, and there is one.
    static func forbidsPath(_ payloads: [Payload], _ sa: IKESA) -> Bool {
        guard sa.connection.mobike, let forbidden = payloads.firstNotify(.noNATsAllowed) else { return false }
        return forbidden.data != IKESA.noNATsAllowed(from: sa.remote, to: sa.local).data
    }
}
