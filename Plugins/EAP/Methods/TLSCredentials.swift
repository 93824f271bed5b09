// Which certificate of ours a method shows: those that the connection names, or one that has our name.
// RFC 5216 section 5.2.

import CertificateKit
import Glibc
import PluginABI
import PluginKit

extension EAPParameters {
    /// What we call ourselves: as the server our identity of IKE; as the client the user, or else that of IKE.
    private var ownNames: [IKEIdentity] {
        let local = IKEIdentity(type: table.pointee.local.type, data: table.pointee.local.data.array)
        guard !isServer else { return [local] }
        return [IKEIdentity(type: identity.contains(UInt8(ascii: "@")) ? IKEIdentity.mail : IKEIdentity.fqdn, data: identity), local]
    }

    /// With its private key and what is above it. The first that is valid now, or else the first.
    func ownCredentials() throws(TLSSession.Failure) -> TLSSession.Credentials {
        let known = Known.of(table.pointee.credentials, keeping: false), configured = table.pointee.local_side.pointee.certificateList.compactMap(known.certificate)
        let names = ownNames, now = Int64(time(nil))
        // A connection that names certificates means no other.
        let candidates =
            configured.isEmpty
            ? names.flatMap { name in known.ends.filter { isServer ? $0.isOf(name) : $0.isOf(user: name) }.sorted { $0.notAfter > $1.notAfter } } : configured
        let usable = candidates.compactMap { certificate in certificate.key.flatMap { known.keys[$0.der] }.map { (certificate, $0) } }
        guard let (certificate, key) = usable.first(where: { $0.0.isValid(at: now) }) ?? usable.first else {
            let who = names.first?.text ?? "us"
            throw TLSSession.Failure(
                MARTLET_E_FAILED,
                configured.isEmpty
                    ? "cannot be answered: there is no certificate for \(who) here that has its private key" : "cannot be answered: the connection's certificate (`certs`) has no private key here")
        }
        RecentCredentials.hold(known)
        return TLSSession.Credentials(certificate: certificate, key: key, chain: known.path(of: certificate), known: known)
    }
}
