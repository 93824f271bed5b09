// A message: the header and its chain of payloads, as values.
// RFC 7296 sections 3.1 and 3.2.

/// One payload of a message. Encrypted payloads are opened before they become values (`IKECrypto.MessageProtection`).
package enum Payload: Hashable, Sendable {
    case securityAssociation(SecurityAssociation)
    case keyExchange(KeyExchange)
    case identificationInitiator(Identification)
    case identificationResponder(Identification)
    case certificate(Certificate)
    case certificateRequest(CertificateRequest)
    case authentication(Authentication)
    /// The nonce, 16 to 256 bytes. RFC 7296 section 3.9.
    case nonce([UInt8])
    case notify(Notify)
    case delete(Delete)
    case vendorID([UInt8])
    case trafficSelectorInitiator([TrafficSelector])
    case trafficSelectorResponder([TrafficSelector])
    /// The body of an Encrypted payload as received (IV, ciphertext, ICV) and the type of the first payload inside.
    case encrypted(first: PayloadType, body: [UInt8])
    /// RFC 7383 section 2.5.
    case encryptedFragment(first: PayloadType, number: UInt16, total: UInt16, body: [UInt8])
    case configuration(Configuration)
    case eap([UInt8])
    case unknown(PayloadType, critical: Bool, body: [UInt8])
}

package struct Message: Hashable, Sendable {
    package var header: Header
    package var payloads: [Payload]
    package init(header: Header, payloads: [Payload]) {
        self.header = header
        self.payloads = payloads
    }
}
