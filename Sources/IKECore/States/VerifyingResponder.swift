// Initiator: a job checks the responder's AUTH payload; then the IKE SA is established.
// RFC 7296 sections 1.2 and 2.15.

import IKECrypto
import IKEWire

struct VerifyingResponder {
    let job: JobID
    var work: Initiation
    let channel: SecureChannel
    let offer: ChildOffer?
    /// IKE_AUTH's answer, opened.
    let payloads: [Payload]

    func finished(_ result: JobResult, _ sa: IKESA) -> State {
        guard case .verified = result else {
            work.fail(.job(result, "checking the peer's proof of identity", sa), sa, retry: false)
            return Closed.refusing(sa, channel)
        }
        return VerifyingResponder.establish(sa, channel, work, offer, payloads)
    }

    /// The responder has proven who it is. `payloads`: of its last IKE_AUTH answer.
    static func establish(_ sa: IKESA, _ channel: SecureChannel, _ work: Initiation, _ offer: ChildOffer?, _ payloads: [Payload]) -> State {
        sa.context.forgetAttempts(sa.connection.name)
        sa.offeredSPI = nil
        // What we begin ourselves is refused by nobody here.
        _ = sa.takesPlace()
        sa.beginMobility(payloads, decides: true)
        let established = Established(sa, channel, window: MessageWindow(nextRequest: sa.authMessageID &+ 1, expected: 0))
        established.begin()
        established.noteWindowSize(payloads)
        established.startAuthenticationClock()
        established.takeAuthLifetime(payloads)
        established.reauthRequests = sa.replaces == nil ? [] : work.requests
        guard let offer else {
            established.completeWithoutChild(payloads, work)
            return established.settled()
        }
        let first = work.wanted.first
        established.completeFirstChild(offer, payloads, requests: first?.requests ?? [])
        for want in work.wanted.dropFirst() { established.createChild(want.policy, requests: want.requests) }
        return established.settled()
    }
}
