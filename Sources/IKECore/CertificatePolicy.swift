// What a connection says of certificates and public keys, ours or the peer's. The core carries it; the authentication method judges by it.
// RFC 5280, RFC 7296 sections 3.6 and 3.7.

import IKEWire

/// swanctl.conf `revocation`: what becomes of a certificate of which nobody says that it is good.
package enum Revocation: String, Hashable, Sendable { case relaxed, ifuri, strict }

/// Of `local { }`: what we prove ourselves with. Of `remote { }`: what the peer's proof has to be.
package struct CertificatePolicy: Hashable, Sendable {
    /// The value of `auth` where it asks for more than the method: "pubkey-ecdsa-256-sha384".
    package var auth: String?
    /// DER.
    package var certificates: [[UInt8]] = []
    /// DER of the authorities of which one has to be in the path; empty for any that is trusted.
    package var authorities: [[UInt8]] = []
    /// What a CERTREQ calls those authorities: 20 octets each, one after the other. RFC 7296 section 3.7.
    package var authorityHashes: [UInt8] = []
    /// SubjectPublicKeyInfo, DER.
    package var publicKeys: [[UInt8]] = []
    /// Certificate policies as dotted numbers. RFC 5280 section 4.2.1.4.
    package var policies: [String] = []
    package var revocation = Revocation.relaxed
    /// The identity of an authority that has to be in the path.
    package var authorityIdentity: Identification?

    package init() {}
}
