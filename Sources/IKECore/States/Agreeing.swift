// Initiator: a job computes the shared secret of IKE_SA_INIT.
// RFC 7296 section 2.14.

import IKECrypto
import IKEWire

struct Agreeing {
    let job: JobID
    var work: Initiation
    let suite: IKESuite
    /// The bytes of IKE_SA_INIT, which AUTH covers.
    let request: [UInt8]
    let response: [UInt8]
    let responderNonce: [UInt8]

    func finished(_ result: JobResult, _ sa: IKESA) -> State {
        guard case .agreed(let box) = result, let secret = box.take() else {
            work.fail(.job(result, "agreeing on a key", sa), sa, retry: false)
            return .dead
        }
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
            var work = work
            work.deadline = sa.now + sa.context.limits.jobTime
            return .signing(Signing(job: sa.context.run(.sign(sa.withCertificates(ask, of: sa.connection)), for: sa.localSPI), work: work, channel: channel, response: response))
        } catch {
            work.fail(.crypto(error, "deriving the keys of the IKE SA", sa), sa, retry: false)
            return .dead
        }
    }
}
