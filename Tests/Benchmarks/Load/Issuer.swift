// The authority of the peers: a certificate with an ECDSA P-256 key of its own for each, made when it begins, so that no gateway has seen it before.

import COpenSSLX509
import CertificateKit
import Glibc
import IKECore
import IKEWire

/// Who proves itself with a certificate, and checks the gateway's signature with the key of the certificate that it shows. It judges no path: of interest is what the gateway does.
final class CertifiedPeer {
    private let certificate: [UInt8]
    private let key: SigningKey
    /// IANA "IKEv2 Certificate Encodings": X.509 Certificate - Signature.
    private static let x509: UInt8 = 4

    fileprivate init(_ certificate: [UInt8], _ key: SigningKey) { (self.certificate, self.key) = (certificate, key) }

    func run(_ job: Job) -> JobResult? {
        switch job {
        case .sign(let request):
            let data = request.withParts { key.authenticationData(AuthenticationMethod.digitalSignature, SignatureScheme(.ecdsa, .sha256), over: $0) }
            guard let data else { return .failed(.crypto(.failed)) }
            return .signed(
                Authentication(method: Authentication.Method(rawValue: UInt8(AuthenticationMethod.digitalSignature)), data: data),
                certificates: [Certificate(encoding: Self.x509, data: certificate)])
        case .verify(let request, let authentication):
            guard let shown = request.peerCertificates.first.flatMap({ X509Certificate(der: $0.data) })?.key,
                let signature = try? ReceivedSignature(method: UInt16(authentication.method.rawValue), data: authentication.data),
                request.withParts({ signature.scheme(of: shown, over: $0) }) != nil
            else { return .failed(.rejected) }
            return .verified
        default: return nil
        }
    }
}

extension AuthenticationRequest {
    fileprivate func withParts<T>(_ use: ([UnsafeRawBufferPointer]) -> T) -> T {
        message.withUnsafeBytes { message in nonce.withUnsafeBytes { nonce in macedIdentity.withUnsafeBytes { use([message, nonce, $0]) } } }
    }
}

final class Issuer {
    private let authority: OpaquePointer
    private let key: OpaquePointer
    private var serial: UInt64 = 0x4d00_0000_0000

    /// A folder with `ca.pem` and `ca.key`.
    init?(folder: String) {
        func read<T>(_ name: String, _ use: (OpaquePointer?) -> T?) -> T? {
            guard let file = BIO_new_file(folder + "/" + name, "r") else { return nil }
            defer { BIO_free(file) }
            return use(file)
        }
        guard let authority = read("ca.pem", { PEM_read_bio_X509($0, nil, nil, nil) }), let key = read("ca.key", { PEM_read_bio_PrivateKey($0, nil, nil, nil) }) else { return nil }
        (self.authority, self.key) = (authority, key)
    }

    /// For a host name.
    func issue(_ name: String) -> CertifiedPeer? {
        guard let context = EVP_PKEY_CTX_new_from_name(nil, "EC", nil), let made = X509_new() else { return nil }
        var own: OpaquePointer?
        defer {
            EVP_PKEY_CTX_free(context)
            EVP_PKEY_free(own)
            X509_free(made)
        }
        guard EVP_PKEY_keygen_init(context) == 1, EVP_PKEY_CTX_set_group_name(context, "P-256") == 1, EVP_PKEY_generate(context, &own) == 1 else { return nil }
        serial += 1
        X509_set_version(made, 2)
        ASN1_INTEGER_set_uint64(X509_get_serialNumber(made), serial)
        X509_gmtime_adj(X509_getm_notBefore(made), -86_400)
        X509_gmtime_adj(X509_getm_notAfter(made), 86_400 * 300)
        X509_set_pubkey(made, own)
        let subject = X509_get_subject_name(made)
        for (field, value) in [("C", "CH"), ("O", "Martlet Benchmark"), ("CN", name)] { X509_NAME_add_entry_by_txt(subject, field, 0x1001, value, -1, -1, 0) }
        X509_set_issuer_name(made, X509_get_subject_name(authority))
        var v3 = X509V3_CTX()
        X509V3_set_ctx(&v3, authority, made, nil, nil, 0)
        for (number, value) in [
            (NID_basic_constraints, "critical,CA:FALSE"), (NID_key_usage, "critical,digitalSignature"), (NID_ext_key_usage, "clientAuth"), (NID_subject_key_identifier, "hash"),
            (NID_authority_key_identifier, "keyid"), (NID_subject_alt_name, "DNS:\(name)"),
        ] {
            guard let piece = X509V3_EXT_conf_nid(nil, &v3, number, value) else { return nil }
            X509_add_ext(made, piece, -1)
            X509_EXTENSION_free(piece)
        }
        guard X509_sign(made, key, EVP_sha256()) > 0 else { return nil }
        var der: UnsafeMutablePointer<UInt8>?, secret: UnsafeMutablePointer<UInt8>?
        let size = i2d_X509(made, &der), secretSize = i2d_PrivateKey(own, &secret)
        defer {
            martlet_free(der)
            martlet_clear_free(secret, Int(max(secretSize, 0)))
        }
        guard size > 0, secretSize > 0, let der, let signing = SigningKey(UnsafeBufferPointer(start: secret, count: Int(secretSize))) else { return nil }
        return CertifiedPeer(Array(UnsafeBufferPointer(start: der, count: Int(size))), signing)
    }
}
