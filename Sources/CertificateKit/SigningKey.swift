// A private key of ours: what it signs. The key's numbers stay in OpenSSL's memory, which wipes them.
// RFC 5958 (PrivateKeyInfo).

import COpenSSLX509

/// Has no description of its own.
package final class SigningKey: @unchecked Sendable {
    /// An EVP_PKEY; not changed, so that all threads may use it.
    package let pointer: OpaquePointer
    package let type: KeyType
    /// SubjectPublicKeyInfo: by it a key finds its certificate.
    package let publicDER: [UInt8]

    /// Takes over a reference.
    init?(owning pointer: OpaquePointer?) {
        guard let pointer else { return nil }
        guard let type = CertificateKit.keyType(pointer), let der = encoded({ i2d_PUBKEY(pointer, $0) }) else {
            EVP_PKEY_free(pointer)
            return nil
        }
        (self.pointer, self.type, publicDER) = (pointer, type, der)
    }

    /// A PrivateKeyInfo, DER.
    package convenience init?(_ der: UnsafeBufferPointer<UInt8>) {
        var next = der.baseAddress
        let key = d2i_AutoPrivateKey(nil, &next, der.count)
        if key == nil { forgetErrors() }
        self.init(owning: key)
    }

    deinit { EVP_PKEY_free(pointer) }

    /// The signature over `parts`, in order. Nil where the library cannot make it.
    package func sign(_ scheme: SignatureScheme, over parts: [UnsafeRawBufferPointer]) -> [UInt8]? {
        defer { forgetErrors() }
        guard scheme.fits(type), let context = EVP_MD_CTX_new() else { return nil }
        defer { EVP_MD_CTX_free(context) }
        var inner: OpaquePointer?
        guard EVP_DigestSignInit(context, &inner, scheme.hash.implementation, nil, pointer) == 1, scheme.configure(inner) else { return nil }
        var signature = [UInt8](repeating: 0, count: Int(EVP_PKEY_get_size(pointer)))
        var size = signature.count
        if scheme.hash == .identity {
            let whole = parts.flatMap { Array($0) }
            guard EVP_DigestSign(context, &signature, &size, whole, whole.count) == 1 else { return nil }
        } else {
            for part in parts where !part.isEmpty {
                guard EVP_DigestSignUpdate(context, part.baseAddress, part.count) == 1 else { return nil }
            }
            guard EVP_DigestSignFinal(context, &signature, &size) == 1 else { return nil }
        }
        return Array(signature.prefix(size))
    }
}
