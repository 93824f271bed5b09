// Certificates that a test needs, made when it runs: an authority, a server, a user, and those that must not be believed.

import CTLS
import PluginABI

final class TestPKI {
    struct Pair {
        var certificate: [UInt8]
        var key: [UInt8]
    }
    private let authority: OpaquePointer
    private let authorityKey: OpaquePointer
    let root: [UInt8]

    init?(name: String = "Test CA") {
        guard let key = Self.generate(),
            let made = Self.certificate(name, key: key, issuer: nil, issuerKey: key, extensions: [(NID_basic_constraints, "critical,CA:TRUE"), (NID_key_usage, "critical,keyCertSign,cRLSign")])
        else { return nil }
        (authority, authorityKey) = (made, key)
        root = Self.der(made)
    }

    deinit {
        X509_free(authority)
        EVP_PKEY_free(authorityKey)
    }

    /// `san`: as OpenSSL writes it, "DNS:vpn.example". `padding` makes it long.
    func issue(_ name: String, san: String, usage: String, days: Int = 10, padding: Int = 0) -> Pair? {
        var extensions = [(NID_basic_constraints, "critical,CA:FALSE"), (NID_subject_alt_name, san), (NID_ext_key_usage, usage)]
        if padding > 0 { extensions.append((NID_netscape_comment, String(repeating: "x", count: padding))) }
        guard let key = Self.generate(), let made = Self.certificate(name, key: key, issuer: authority, issuerKey: authorityKey, extensions: extensions, days: days) else { return nil }
        defer {
            X509_free(made)
            EVP_PKEY_free(key)
        }
        var bytes: UnsafeMutablePointer<UInt8>?
        guard let info = EVP_PKEY2PKCS8(key) else { return nil }
        defer { PKCS8_PRIV_KEY_INFO_free(info) }
        let count = i2d_PKCS8_PRIV_KEY_INFO(info, &bytes)
        defer { CRYPTO_free(bytes, nil, 0) }
        guard count > 0, let bytes else { return nil }
        return Pair(certificate: Self.der(made), key: Array(UnsafeBufferPointer(start: bytes, count: Int(count))))
    }

    private static func generate() -> OpaquePointer? {
        guard let context = EVP_PKEY_CTX_new_from_name(nil, "EC", nil) else { return nil }
        defer { EVP_PKEY_CTX_free(context) }
        var key: OpaquePointer?
        guard EVP_PKEY_keygen_init(context) == 1, EVP_PKEY_CTX_set_group_name(context, "P-256") == 1, EVP_PKEY_generate(context, &key) == 1 else { return nil }
        return key
    }

    private static func der(_ certificate: OpaquePointer) -> [UInt8] {
        var bytes: UnsafeMutablePointer<UInt8>?
        let count = i2d_X509(certificate, &bytes)
        defer { CRYPTO_free(bytes, nil, 0) }
        guard count > 0, let bytes else { return [] }
        return Array(UnsafeBufferPointer(start: bytes, count: Int(count)))
    }

    private static func certificate(_ name: String, key: OpaquePointer, issuer: OpaquePointer?, issuerKey: OpaquePointer, extensions: [(Int32, String)], days: Int = 10) -> OpaquePointer? {
        guard let made = X509_new() else { return nil }
        var random = [UInt8](repeating: 0, count: 8)
        RAND_bytes(&random, 8)
        X509_set_version(made, 2)
        ASN1_INTEGER_set_uint64(X509_get_serialNumber(made), random.reduce(UInt64(1)) { $0 << 7 | UInt64($1 & 0x7f) })
        X509_gmtime_adj(X509_getm_notBefore(made), -864_000)
        X509_gmtime_adj(X509_getm_notAfter(made), 86_400 * days)
        X509_set_pubkey(made, key)
        let subject = X509_get_subject_name(made)
        X509_NAME_add_entry_by_txt(subject, "CN", 0x1000 | 1, name, -1, -1, 0)
        X509_set_issuer_name(made, issuer.map { X509_get_subject_name($0) } ?? subject)
        var context = X509V3_CTX()
        X509V3_set_ctx(&context, issuer ?? made, made, nil, nil, 0)
        for (id, value) in extensions {
            guard let piece = X509V3_EXT_conf_nid(nil, &context, id, value) else { return nil }
            X509_add_ext(made, piece, -1)
            X509_EXTENSION_free(piece)
        }
        guard X509_sign(made, issuerKey, EVP_sha256()) > 0 else { return nil }
        return made
    }
}
