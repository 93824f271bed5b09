// Keys from a key exchange: prf+, SKEYSEED, the seven SK_ keys, and the keys of child SAs.
// RFC 7296 sections 2.13, 2.14, 2.17 and 2.18.

import IKEWire

/// The transforms of one IKE SA, resolved to a backend.
package final class IKESuite: Sendable {
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

    package init(
        d: consuming SecretBytes, ai: consuming SecretBytes, ar: consuming SecretBytes, ei: consuming SecretBytes, er: consuming SecretBytes, pi: consuming SecretBytes, pr: consuming SecretBytes
    ) {
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
    /// prf(key, data), `outputLength` bytes. RFC 7296 section 2.13.
    package static func prf(_ prf: any PRFAlgorithm, key: Span<UInt8>, data: Span<UInt8>) throws(CryptoError) -> SecretBytes {
        var output = SecretBytes(count: prf.outputLength)
        var span = output.mutableSpan
        try prf.compute(key: key, data: data, into: &span)
        return output
    }

    /// prf+(key, seed), `count` bytes; `.invalid` above 255 rounds. RFC 7296 section 2.13.
    package static func prfPlus(_ prf: any PRFAlgorithm, key: Span<UInt8>, seed: Span<UInt8>, count: Int) throws(CryptoError) -> SecretBytes {
        let step = prf.outputLength
        guard step > 0, count >= 0, count <= 255 * step else { throw .invalid }
        var result = SecretBytes(count: count)
        var block = SecretBytes(count: step)
        // T1 = prf(K, S | 0x01), Tn = prf(K, Tn-1 | S | n).
        var input = SecretBytes(count: step + seed.count + 1)
        var done = 0
        var round: UInt8 = 1
        while done < count {
            let previous = round == 1 ? 0 : step
            let size = previous + seed.count + 1
            var bytes = input.mutableSpan
            for index in 0..<previous { bytes[index] = block.span[index] }
            for index in seed.indices { bytes[previous + index] = seed[index] }
            bytes[size - 1] = round
            var target = block.mutableSpan
            try prf.compute(key: key, data: input.span.extracting(0..<size), into: &target)
            let part = min(step, count - done)
            var output = result.mutableSpan
            for index in 0..<part { output[done + index] = block.span[index] }
            done += part
            // The last round is the 255th, after which `done` has reached `count`.
            round &+= 1
        }
        return result
    }

    /// The keys of a first IKE SA: SKEYSEED = prf(Ni | Nr, g^ir). RFC 7296 section 2.14.
    package static func initial(suite: IKESuite, sharedSecret: borrowing SecretBytes, initiatorNonce: [UInt8], responderNonce: [UInt8], initiatorSPI: IKESPI, responderSPI: IKESPI) throws(CryptoError)
        -> IKEKeys
    {
        let nonces = initiatorNonce + responderNonce
        //= RFC 7296 §2.14: with PRF_AES128_XCBC and PRF_AES128_CMAC SKEYSEED is made of the first 64 bits of each nonce.
        let isFixed = [4, 8].contains(suite.prf.transform.id)
        let key = isFixed ? [UInt8](initiatorNonce.prefix(8) + responderNonce.prefix(8)) : nonces
        let seed = try prf(suite.prf, key: key.span, data: sharedSecret.span)
        return try keys(suite: suite, seed: seed, nonces: nonces, initiatorSPI: initiatorSPI, responderSPI: responderSPI)
    }

    /// The keys of a rekeyed IKE SA: SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr), computed with the old SA's PRF; the rest
    /// with the new one's. RFC 7296 section 2.18.
    package static func rekeyed(
        suite: IKESuite, oldPRF: any PRFAlgorithm, oldD: borrowing SecretBytes, sharedSecret: borrowing SecretBytes, initiatorNonce: [UInt8], responderNonce: [UInt8], initiatorSPI: IKESPI,
        responderSPI: IKESPI
    ) throws(CryptoError) -> IKEKeys {
        let nonces = initiatorNonce + responderNonce
        let data = joined(sharedSecret.span, nonces.span)
        let seed = try prf(oldPRF, key: oldD.span, data: data.span)
        return try keys(suite: suite, seed: seed, nonces: nonces, initiatorSPI: initiatorSPI, responderSPI: responderSPI)
    }

    /// KEYMAT = prf+(SK_d, [g^ir (new) |] Ni | Nr), `count` bytes. RFC 7296 section 2.17. The secret in the box stays there.
    package static func childKeyMaterial(prf: any PRFAlgorithm, d: borrowing SecretBytes, sharedSecret: SecretBox?, initiatorNonce: [UInt8], responderNonce: [UInt8], count: Int) throws(CryptoError)
        -> SecretBytes
    {
        let nonces = initiatorNonce + responderNonce
        guard let sharedSecret else { return try prfPlus(prf, key: d.span, seed: nonces.span, count: count) }
        let seed: SecretBytes? = sharedSecret.withSecret { secret in joined(secret.span, nonces.span) }
        // A secret that somebody took already must never turn into keys without one.
        guard let seed else { throw .invalid }
        return try prfPlus(prf, key: d.span, seed: seed.span, count: count)
    }

    /// {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr). RFC 7296 section 2.14.
    private static func keys(suite: IKESuite, seed: borrowing SecretBytes, nonces: [UInt8], initiatorSPI: IKESPI, responderSPI: IKESPI) throws(CryptoError) -> IKEKeys {
        let prfLength = suite.prf.keyLength
        let integrityLength = suite.integrity?.keyLength ?? 0
        let encryptionLength = suite.encryption.keyLength
        let material = try prfPlus(
            suite.prf, key: seed.span, seed: (nonces + bytes(of: initiatorSPI) + bytes(of: responderSPI)).span,
            count: 3 * prfLength + 2 * integrityLength + 2 * encryptionLength)
        var offset = 0
        func next(_ count: Int, _ material: borrowing SecretBytes) -> SecretBytes {
            offset += count
            return material.slice(offset - count, count)
        }
        let d = next(prfLength, material)
        let ai = next(integrityLength, material)
        let ar = next(integrityLength, material)
        let ei = next(encryptionLength, material)
        let er = next(encryptionLength, material)
        let pi = next(prfLength, material)
        let pr = next(prfLength, material)
        return IKEKeys(d: d, ai: ai, ar: ar, ei: ei, er: er, pi: pi, pr: pr)
    }

    private static func joined(_ a: Span<UInt8>, _ b: Span<UInt8>) -> SecretBytes {
        var result = SecretBytes(count: a.count + b.count)
        var span = result.mutableSpan
        for index in a.indices { span[index] = a[index] }
        for index in b.indices { span[a.count + index] = b[index] }
        return result
    }
}

/// An SPI as on the wire: eight bytes, the most significant first.
func bytes(of spi: IKESPI) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: spi.rawValue >> (56 - 8 * UInt64($0))) } }

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
    package func withSecret<R: ~Copyable, E: Error>(_ body: (borrowing SecretBytes) throws(E) -> R) throws(E) -> R? {
        switch secret {
        case .some(let value): return try body(value)
        case .none: return nil
        }
    }
}
