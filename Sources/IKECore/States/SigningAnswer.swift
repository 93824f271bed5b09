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
        guard case .signed(let authentication, let certificates) = result, let own = sa.localIdentity else {
            var window = window
            return AwaitingAuth.refuse(sa, channel, &window, .job(result, "computing our proof of identity", sa), Notify(.authenticationFailed))
        }
        sa.peerRequests = []
        let proof: [Payload] = [.identificationResponder(own)] + certificates.map(Payload.certificate) + [.authentication(authentication)]
        return SigningAnswer.establish(sa, channel, window, payloads, head: proof)
    }

    /// The initiator has proven who it is. `payloads`: of its first IKE_AUTH request. `head`: our proof.
    static func establish(_ sa: IKESA, _ channel: SecureChannel, _ window: MessageWindow, _ payloads: [Payload], head: [Payload]) -> State {
        // Another login of the user's has been quicker, and has taken this one's place.
        guard sa.userSession?.establish() ?? true else {
            var window = window
            return AwaitingAuth.refuse(sa, channel, &window, .eapRefused(EAPRefusal.tooManySessions(sa.connection), sa), Notify(.authenticationFailed))
        }
        guard sa.takesPlace() else {
            var window = window
            return AwaitingAuth.refuse(sa, channel, &window, .keptOut(sa), Notify(.authenticationFailed))
        }
        sa.beginMobility(payloads, decides: false)
        let established = Established(sa, channel, window: window)
        established.startAuthenticationClock()
        established.begin()
        established.noteWindowSize(payloads)
        established.checkFirstAddress()
        established.answerFirstChild(payloads, head: head + established.authLifetime + (sa.mobility == nil ? [] : sa.mobilityNotifications))
        return established.settled()
    }
}
