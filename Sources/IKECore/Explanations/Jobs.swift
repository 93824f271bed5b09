// What went wrong in a calculation: a key exchange, a proof of identity.

import IKECrypto
import IKEWire

extension Failure {
    static func job(_ result: JobResult, _ doing: String, _ sa: IKESA) -> Failure {
        guard case .failed(let failure) = result else { return Failure(.internalError, "A job ended with the wrong kind of result while \(doing)") }
        switch failure {
        case .crypto(let error): return crypto(error, doing, sa)
        case .noSecret:
            let own = sa.localIdentity?.description ?? Wording.identity(sa.connection.local.identity), peer = sa.remoteIdentity?.description ?? Wording.identity(sa.connection.remote.identity)
            return Failure(
                .noSecret, "No secret is configured for \(own) and \(peer)", evidence: [Wording.ends(sa)],
                advice: ["Add " + SettingText.secret(of: sa.connection.name, own: own == "%any" ? nil : own, peer: peer == "%any" ? nil : peer) + "."])
        case .rejected:
            let peer = sa.remoteIdentity?.description ?? "who it says"
            return Failure(
                .authenticationFailed, "\(sa.remote.address) says that it is \(peer), and its proof does not fit our secret: the secrets differ",
                evidence: ["connection \(sa.connection.name) asks for `auth = \(sa.connection.remote.method)`; checked with \(sa.connection.secretPlace)", Wording.ends(sa)],
                advice: [
                    "Set the same secret at both ends, to the last character: here it is \(sa.connection.secretPlace), for \(sa.localIdentity?.description ?? "us") and \(peer).",
                    "A space at the end counts, and so does a beginning of 0x (hexadecimal) or 0s (base64).",
                ])
        case .refused(let reasons):
            let peer = sa.remoteIdentity?.description ?? "who it says"
            return Failure(
                .authenticationFailed, "\(sa.remote.address) says that it is \(peer), and that is not believed: \(reasons.first ?? "no reason was given")",
                evidence: reasons.dropFirst() + ["connection \(sa.connection.name) asks for `auth = \(sa.connection.remote.certificates.auth ?? sa.connection.remote.method)`", Wording.ends(sa)])
        case .unprovable(let reasons):
            let own = sa.localIdentity?.description ?? Wording.identity(sa.connection.local.identity)
            return Failure(
                .noSecret, "We cannot prove that we are \(own): \(reasons.first ?? "no reason was given")", evidence: reasons.dropFirst() + [Wording.ends(sa)],
                advice: ["Look at \(sa.connection.setting("local"))."])
        case .noMethod(let name): return Failure(.internalError, "No loaded plugin provides the authentication method \(name)", advice: ["Load the plugin `\(name)`."])
        case .account(let refusal): return eapRefused(refusal, sa)
        case .deadline: return Failure(.internalError, "The time for \(doing) is over", evidence: [Wording.ends(sa)], advice: ["The machine is overloaded, or a plugin hangs."])
        }
    }

    static func crypto(_ error: CryptoError, _ doing: String, _ sa: IKESA) -> Failure {
        switch error {
        case .invalid:
            Failure(
                .keyExchangeInvalid, "\(sa.remote.address) sent a public value that fails the checks of RFC 6989, while \(doing)", evidence: [Wording.ends(sa)],
                advice: ["This is a fault of the peer's software, or an attack."])
        case .unavailable(let transform): Failure(.internalError, "No loaded plugin provides \(transform)", advice: ["Load a crypto plugin that does."])
        case .rejected, .failed: Failure(.internalError, "The crypto backend failed while \(doing)", evidence: [Wording.ends(sa)], advice: ["See the log of the plugin."])
        }
    }
}
