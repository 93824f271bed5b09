// Keys from a key exchange: prf+, SKEYSEED, the seven SK_ keys, and the keys of child SAs.
// RFC 7296 sections 2.13, 2.14, 2.17 and 2.18.

import IKEWire

/// The transforms of one IKE SA, resolved to a backend.
package struct IKESuite: Sendable {
    package let encryption: Encryption
    /// Nil with an AEAD.
    package let integrity: (any MACAlgorithm)?
    package let prf: any PRFAlgorithm
    package let keyExchange: any KeyExchangeAlgorithm

    package enum Encryption: Sendable {
        case aead(any AEADAlgorithm)
        case cipher(any CipherAlgorithm)

        /// Bytes of SK_e or of an ESP encryption key: the key, and the salt of an AEAD.
        package var keyLength: Int {
            switch self {
            case .aead(let aead): aead.keyLength + aead.saltLength
            case .cipher(let cipher): cipher.keyLength
            }
        }
    }

    package init(encryption: Encryption, integrity: (any MACAlgorithm)?, prf: any PRFAlgorithm, keyExchange: any KeyExchangeAlgorithm) {
        self.encryption = encryption
        self.integrity = integrity
        self.prf = prf
        self.keyExchange = keyExchange
    }
}

/// The keys of an IKE SA. RFC 7296 section 2.14.
package struct IKEKeys: ~Copyable, Sendable {
    package let d: SecretBytes
    package let ai: SecretBytes
    package let ar: SecretBytes
    package let ei: SecretBytes
    package let er: SecretBytes
    package let pi: SecretBytes
    package let pr: SecretBytes

    package init(d: consuming SecretBytes, ai: consuming SecretBytes, ar: consuming SecretBytes, ei: consuming SecretBytes, er: consuming SecretBytes, pi: consuming SecretBytes, pr: consuming SecretBytes) {
        self.d = d
        self.ai = ai
        self.ar = ar
        self.ei = ei
        self.er = er
        self.pi = pi
        self.pr = pr
    }
}

package enum KeySchedule {
    /// prf(key, data). RFC 7296 section 2.13.
    package static func prf(_ prf: any PRFAlgorithm, key: Span<UInt8>, data: Span<UInt8>) throws(CryptoError) -> SecretBytes { throw .failed }

    /// prf+(key, seed), `count` bytes; at most 255 rounds. RFC 7296 section 2.13.
    package static func prfPlus(_ prf: any PRFAlgorithm, key: Span<UInt8>, seed: Span<UInt8>, count: Int) throws(CryptoError) -> SecretBytes { throw .failed }

    /// The keys of a first IKE SA: SKEYSEED = prf(Ni | Nr, g^ir). RFC 7296 section 2.14.
    package static func initial(suite: IKESuite, sharedSecret: borrowing SecretBytes, initiatorNonce: [UInt8], responderNonce: [UInt8], initiatorSPI: IKESPI, responderSPI: IKESPI) throws(CryptoError) -> IKEKeys { throw .failed }

    /// The keys of a rekeyed IKE SA: SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr), computed with the old SA's PRF; the rest
    /// with the new one's. RFC 7296 section 2.18.
    package static func rekeyed(suite: IKESuite, oldPRF: any PRFAlgorithm, oldD: borrowing SecretBytes, sharedSecret: borrowing SecretBytes, initiatorNonce: [UInt8], responderNonce: [UInt8], initiatorSPI: IKESPI, responderSPI: IKESPI) throws(CryptoError) -> IKEKeys { throw .failed }

    /// KEYMAT = prf+(SK_d, [g^ir (new) |] Ni | Nr), `count` bytes. RFC 7296 section 2.17.
    package static func childKeyMaterial(prf: any PRFAlgorithm, d: borrowing SecretBytes, sharedSecret: SecretBox?, initiatorNonce: [UInt8], responderNonce: [UInt8], count: Int) throws(CryptoError) -> SecretBytes { throw .failed }
}

/// A secret on its way between owners or threads: taken once, wiped when it was not.
package final class SecretBox: @unchecked Sendable {
    private var secret: SecretBytes?
    package init(_ secret: consuming SecretBytes) { self.secret = consume secret }
    /// The secret, once; nil afterwards. Callers are ordered by whoever hands the box on.
    package func take() -> SecretBytes? {
        let taken = secret.take()
        return taken
    }
    /// Lends the secret, if it was not taken.
    package func withSecret<R, E: Error>(_ body: (borrowing SecretBytes) throws(E) -> R) throws(E) -> R? {
        switch secret {
        case .some(let value): return try body(value)
        case .none: return nil
        }
    }
}
