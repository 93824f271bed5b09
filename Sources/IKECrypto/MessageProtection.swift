// The Encrypted payload: seals and opens whole messages with SK_e and SK_a of one direction.
// RFC 7296 section 3.14, RFC 5282.

import IKEWire

/// Seals messages in one direction of an IKE SA.
package final class MessageSealer {
    /// `key` is SK_ei or SK_er (with the salt of an AEAD), `integrityKey` SK_ai or SK_ar.
    package init(suite: IKESuite, key: borrowing SecretBytes, integrityKey: borrowing SecretBytes, random: any RandomSource) throws(CryptoError) { throw .failed }

    /// A whole message: the header, its lengths filled in, and one Encrypted payload that holds `payloads`.
    package func seal(header: Header, payloads: [Payload]) throws(CryptoError) -> [UInt8] { throw .failed }
}

/// Opens messages in one direction of an IKE SA.
package final class MessageOpener {
    package init(suite: IKESuite, key: borrowing SecretBytes, integrityKey: borrowing SecretBytes) throws(CryptoError) { throw .failed }

    /// The plaintext of a message's Encrypted payload: the type of its first payload and the chain, padding removed. The ICV covers
    /// the datagram from its first byte. Throws `.rejected` where the ICV is wrong, `.invalid` where there is no well-formed
    /// Encrypted payload; nothing is believed before.
    package func open(_ datagram: Span<UInt8>) throws(CryptoError) -> (first: PayloadType, chain: [UInt8]) { throw .failed }
}
