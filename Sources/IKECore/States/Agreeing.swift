// Initiator: a job computes the shared secret of IKE_SA_INIT.
// RFC 7296 section 2.14.

import IKECrypto
import IKEWire

struct Agreeing {
    let job: JobID
    var work: Initiation
    /// Our request, as it was before the answer: that counts when its public value is known to be good.
    let sent: InitSent
    /// The one that is answered, octet for octet: AUTH covers it.
    let request: [UInt8]
    let answer: InitAnswer

    func finished(_ result: JobResult, _ sa: IKESA) -> State {
        if case .failed(.crypto(.invalid)) = result, let waiting = sent.passingOverBadValue(work) { return waiting }
        guard case .agreed(let box) = result, let secret = box.take() else {
            work.fail(.job(result, "agreeing on a key", sa), sa, retry: false)
            return .dead
        }
        let suite = answer.suite, response = answer.bytes, responderNonce = answer.nonce
        answer.adopt(sa)
        var work = work
        work.peerTakesChildless = answer.takesChildless
        do throws(CryptoError) {
            let keys = try KeySchedule.initial(
                suite: suite, sharedSecret: secret, initiatorNonce: work.nonce, responderNonce: responderNonce, initiatorSPI: sa.initiatorSPI, responderSPI: sa.responderSPI)
            let channel = try SecureChannel(suite: suite, keys: keys, isInitiator: true, nonces: (work.nonce, responderNonce), random: sa.registry.random)
            channel.fragmentLimit = sa.fragmentLimit
            channel.fragmentRoom = sa.context.provenFragments
            sa.exportKeys(channel)
            let own = sa.connection.ownIdentity(sa.local.address)
            sa.localIdentity = own
            let expected: Identification =
                if case .exactly(let identity) = sa.connection.remote.identity { identity } else {
                    Identification(kind: sa.remote.address.family == .v4 ? .ipv4 : .ipv6, data: sa.remote.address.bytes)
                }
            if sa.connection.local.isEAP {
                return Signing.send(
                    sa, work, channel, response: response, proof: nil,
                    eap: InitExchange(request: request, response: response, initiatorNonce: work.nonce, responderNonce: responderNonce))
            }
            let ask = AuthenticationRequest(
                method: sa.connection.local.method, connection: sa.connection.name, local: own, remote: expected, prf: suite.prf,
                message: request, nonce: responderNonce, macedIdentity: try channel.macedIdentity(own, ofInitiator: true), peerHashes: sa.peerHashes)
            work.deadline = sa.now + sa.context.limits.jobTime
            return .signing(Signing(job: sa.context.run(.sign(sa.withCertificates(ask, of: sa.connection)), for: sa.localSPI), work: work, channel: channel, response: response))
        } catch {
            work.fail(.crypto(error, "deriving the keys of the IKE SA", sa), sa, retry: false)
            return .dead
        }
    }
}

/// What an answer to IKE_SA_INIT says.
struct InitAnswer {
    /// As they came: AUTH covers them.
    let bytes: [UInt8]
    let responderSPI: IKESPI
    let transforms: [Transform]
    let suite: IKESuite
    let nonce: [UInt8]
    let takesFragments: Bool
    let takesChildless: Bool
    let hashes: [UInt16]
    let requests: [CertificateRequest]
    let vendorIDs: [String]
    /// nil where the responder does no NAT traversal.
    let nat: NATDetection.Verdict?

    func adopt(_ sa: IKESA) {
        sa.remoteSPI = responderSPI
        sa.transforms = sa.context.shared(transforms)
        sa.takesFragments = takesFragments
        sa.peerHashes = hashes
        sa.peerRequests = requests
        sa.vendorIDs = vendorIDs
        sa.nat = nat ?? NATDetection.Verdict()
        sa.peerDetectsNAT = nat != nil
        //= RFC 4555 §3.3: two ends that do NAT traversal go to port 4500 for MOBIKE, NAT or not.
        if nat.map({ $0.localBehindNAT || $0.remoteBehindNAT || sa.connection.mobike }) == true || sa.connection.encap { sa.floatPorts() }
    }
}
