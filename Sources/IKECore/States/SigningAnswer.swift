// Responder: a job computes our AUTH payload; then the IKE SA is established, and IKE_AUTH is answered once the child is installed.
// RFC 7296 sections 1.2 and 2.15.

import IKECrypto
import IKEWire

struct SigningAnswer {
    let job: JobID
    let channel: SecureChannel
    var window: MessageWindow
    let payloads: [Payload]
    let deadline: Instant

    func finished(_ result: JobResult, _ sa: IKESA) -> State {
        var window = window
        guard case .signed(let authentication, let certificates) = result, let own = sa.localIdentity else {
            return AwaitingAuth.refuse(sa, channel, &window, .job(result, "computing our proof of identity", sa), Notify(.authenticationFailed))
        }
        sa.peerRequests = []
        sa.beginMobility(payloads, decides: false)
        let established = Established(sa, channel, window: window)
        established.begin()
        established.takeWindowSize(payloads)
        established.startAuthenticationClock()
        let proof: [Payload] = [.identificationResponder(own)] + certificates.map(Payload.certificate) + [.authentication(authentication)]
        let head: [Payload] = proof + established.authLifetime
        established.answerFirstChild(payloads, head: head + (sa.mobility == nil ? [] : sa.mobilityNotifications))
        return established.settled()
    }
}
