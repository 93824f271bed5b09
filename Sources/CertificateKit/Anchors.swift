// The certificates that are known before a peer has sent any: those that paths may end in, and others that they may lead through.
// RFC 5280 section 6.1.1 (d).

import COpenSSLX509

package final class Anchors: @unchecked Sendable {
    /// Paths end in one of these.
    let anchors: [X509Certificate]
    /// Neither trusted by themselves nor sent by a peer.
    let intermediates: [X509Certificate]
    /// All that the administrator trusts.
    package let trusted: [X509Certificate]
    let lists: [RevocationList]

    /// A trusted authority whose issuer is trusted too is no end of a path: the issuer may have revoked it.
    package init(trusted: [X509Certificate], others: [X509Certificate], lists: [RevocationList]) {
        self.trusted = trusted
        self.lists = lists
        let names = Dictionary(grouping: trusted, by: \.subject)
        var anchors: [X509Certificate] = [], intermediates = others
        for certificate in trusted {
            let hasIssuer =
                !certificate.isSelfSigned
                && (names[certificate.issuer] ?? []).contains { issuer in issuer.der != certificate.der && X509_check_issued(issuer.pointer, certificate.pointer) == X509_V_OK }
            if hasIssuer { intermediates.append(certificate) } else { anchors.append(certificate) }
        }
        self.anchors = anchors
        self.intermediates = intermediates
    }
}

/// A stack of OpenSSL's that borrows what is in it.
struct CertificateStack: ~Copyable {
    let pointer: OpaquePointer?
    init(_ certificates: some Sequence<X509Certificate>) {
        pointer = martlet_x509_stack_new()
        for certificate in certificates { _ = martlet_x509_stack_push(pointer, certificate.pointer) }
    }
    deinit { martlet_x509_stack_free(pointer) }
}
