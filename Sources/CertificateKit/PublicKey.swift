// A public key: of which kind and size it is, and what a peer signed with it.
// RFC 8247 section 4 (sizes), RFC 8032, FIPS 186-4.

import COpenSSLX509

/// What a key can be used for here; the sizes beyond that are refused, so that no peer makes us compute with absurd ones.
package enum KeyType: Hashable, Sendable, CustomStringConvertible {
    case rsa(bits: Int)
    /// For PSS alone (id-RSASSA-PSS).
    case rsaPSS(bits: Int)
    case ecdsa(bits: Int)
    case ed25519, ed448

    package var name: String {
        switch self {
        case .rsa, .rsaPSS: "RSA"
        case .ecdsa: "ECDSA"
        case .ed25519: "ED25519"
        case .ed448: "ED448"
        }
    }
    package var bits: Int {
        switch self {
        case .rsa(let bits), .rsaPSS(let bits), .ecdsa(let bits): bits
        case .ed25519: 256
        case .ed448: 456
        }
    }
    package var description: String {
        switch self {
        case .rsa(let bits), .rsaPSS(let bits): "RSA with \(bits) bits"
        case .ecdsa(let bits): "ECDSA with \(bits) bits"
        case .ed25519: "Ed25519"
        case .ed448: "Ed448"
        }
    }

    /// Why such a key proves nothing to us; nil where it does.
    package func weakness(leastRSA: Int) -> String? {
        switch self {
        case .rsa(let bits), .rsaPSS(let bits):
            if bits < leastRSA { return "its RSA key has \(bits) bits, and fewer than \(leastRSA) are not taken" }
            return bits > KeyType.mostRSA ? "its RSA key has \(bits) bits, and more than \(KeyType.mostRSA) are not taken" : nil
        case .ecdsa(let bits): return [256, 384, 521].contains(bits) ? nil : "its ECDSA key is of a curve with \(bits) bits; P-256, P-384 and P-521 are taken"
        case .ed25519, .ed448: return nil
        }
    }
    static let mostRSA = 8192
}

/// Nil for kinds that are not of use: DSA, DH, curves other than NIST's three, curves that are spelt out instead of named.
func keyType(_ key: OpaquePointer) -> KeyType? {
    let bits = Int(EVP_PKEY_get_bits(key))
    if martlet_rsa_exponent_bits(key) > 64 { return nil }
    switch EVP_PKEY_get_base_id(key) {
    case EVP_PKEY_RSA: return .rsa(bits: bits)
    case EVP_PKEY_RSA_PSS: return .rsaPSS(bits: bits)
    case EVP_PKEY_ED25519: return .ed25519
    case EVP_PKEY_ED448: return .ed448
    case EVP_PKEY_EC:
        var name = [CChar](repeating: 0, count: 64), size = 0, explicit: Int32 = 0
        // RFC 5480 section 2.1.1: the curve is named.
        if EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &explicit) == 1, explicit != 0 { return nil }
        guard EVP_PKEY_get_group_name(key, &name, name.count, &size) == 1 else {
            forgetErrors()
            return nil
        }
        return switch String(decoding: name.prefix(size).map { UInt8(bitPattern: $0) }, as: UTF8.self) {
        case "prime256v1": .ecdsa(bits: 256)
        case "secp384r1": .ecdsa(bits: 384)
        case "secp521r1": .ecdsa(bits: 521)
        default: nil
        }
    default: return nil
    }
}

package final class PublicKey: @unchecked Sendable {
    /// An EVP_PKEY; not changed, so that all threads may use it.
    let pointer: OpaquePointer
    package let type: KeyType
    /// SubjectPublicKeyInfo.
    package let der: [UInt8]

    /// Takes over a reference. `written`: a SubjectPublicKeyInfo of the same key.
    init?(owning pointer: OpaquePointer?, written: [UInt8]? = nil) {
        guard let pointer else { return nil }
        let type = CertificateKit.keyType(pointer)
        guard let type, let der = written.flatMap({ Self.isOnlyForm($0, type) ? $0 : nil }) ?? encoded({ i2d_PUBKEY(pointer, $0) }) else {
            EVP_PKEY_free(pointer)
            return nil
        }
        (self.pointer, self.type, self.der) = (pointer, type, der)
    }

    /// That of a certificate.
    convenience init?(of certificate: OpaquePointer) {
        self.init(owning: X509_get_pubkey(certificate), written: encoded { i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), $0) })
    }

    /// Keys are compared by what OpenSSL writes of them, which costs about as much as checking a signature. For the two common curves an uncompressed point can be written in
    /// one way alone: then what stands in the certificate will do. RFC 5480 section 2.
    private static func isOnlyForm(_ der: [UInt8], _ type: KeyType) -> Bool {
        switch type {
        case .ecdsa(256): der.count == 91 && der.starts(with: p256)
        case .ecdsa(384): der.count == 120 && der.starts(with: p384)
        default: false
        }
    }
    private static let ecPublicKey: [UInt8] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]
    private static let p256: [UInt8] = [0x30, 0x59, 0x30, 0x13] + ecPublicKey + [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04]
    private static let p384: [UInt8] = [0x30, 0x76, 0x30, 0x10] + ecPublicKey + [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04]

    package convenience init?(der: [UInt8]) {
        let key: OpaquePointer? = der.withUnsafeBufferPointer { bytes in
            var next = bytes.baseAddress
            let key = d2i_PUBKEY(nil, &next, bytes.count)
            guard key != nil, next == bytes.baseAddress.map({ $0 + bytes.count }) else {
                EVP_PKEY_free(key)
                forgetErrors()
                return nil
            }
            return key
        }
        self.init(owning: key)
    }

    deinit { EVP_PKEY_free(pointer) }

    /// Whether `signature` is one over `parts`, in order.
    func verifies(_ signature: [UInt8], _ scheme: SignatureScheme, over parts: [UnsafeRawBufferPointer]) -> Bool {
        defer { forgetErrors() }
        guard scheme.fits(type), let context = EVP_MD_CTX_new() else { return false }
        defer { EVP_MD_CTX_free(context) }
        var inner: OpaquePointer?
        guard EVP_DigestVerifyInit(context, &inner, scheme.hash.implementation, nil, pointer) == 1, scheme.configure(inner) else { return false }
        if scheme.hash == .identity {
            let whole = parts.flatMap { Array($0) }
            return EVP_DigestVerify(context, signature, signature.count, whole, whole.count) == 1
        }
        for part in parts where !part.isEmpty {
            guard EVP_DigestVerifyUpdate(context, part.baseAddress, part.count) == 1 else { return false }
        }
        return EVP_DigestVerifyFinal(context, signature, signature.count) == 1
    }
}
