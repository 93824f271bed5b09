// The authority of `Tests/Vectors/revocation`, and answers of OCSP that a responder of it, or a liar, would make.

import CertificateKit
import COpenSSLX509
import Foundation

enum Vector {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Vectors/revocation")

    static func bytes(_ name: String) throws -> [UInt8] { Array(try Data(contentsOf: folder.appendingPathComponent(name))) }

    static func certificate(_ name: String) throws -> X509Certificate {
        var found: X509Certificate?
        try bytes(name + ".pem").withUnsafeBufferPointer { file in
            try CredentialFile.read(file, passphrase: UnsafeBufferPointer(start: nil, count: 0)) { if case .certificate(let certificate) = $0 { found = certificate } }
        }
        guard let found else { throw CocoaError(.fileReadCorruptFile) }
        return found
    }

    static func list(_ name: String) throws -> RevocationList {
        guard let list = RevocationList(der: try bytes(name)) else { throw CocoaError(.fileReadCorruptFile) }
        return list
    }
}

/// What a responder says, and how it lies.
struct Responder: Sendable {
    var signer = "root"
    /// Certificates that the answer carries.
    var carries: [String] = []
    var status = V_OCSP_CERTSTATUS_GOOD
    /// About another certificate than the one that was asked for.
    var about: String?
    var thisUpdate = 0
    var nextUpdate: Int? = 3_600
    enum Nonce { case same, none, other }
    var nonce = Nonce.same
    var hash = "SHA256"
    /// Instead of an answer.
    var error: Int32?

    /// The answer to a request, DER.
    func answer(_ request: [UInt8]) -> [UInt8] {
        var next: UnsafePointer<UInt8>?
        return request.withUnsafeBufferPointer { bytes -> [UInt8] in
            next = bytes.baseAddress
            guard let asked = d2i_OCSP_REQUEST(nil, &next, bytes.count), let one = OCSP_request_onereq_get0(asked, 0), let id = OCSP_onereq_get0_id(one) else { return [] }
            defer { OCSP_REQUEST_free(asked) }
            if let error { return encoded(OCSP_response_create(error, nil)) }
            let answer = OCSP_BASICRESP_new()
            defer { OCSP_BASICRESP_free(answer) }
            let from = X509_gmtime_adj(nil, thisUpdate), until = nextUpdate.flatMap { X509_gmtime_adj(nil, $0) }, revoked = X509_gmtime_adj(nil, -86_400)
            defer { for time in [from, until, revoked] { ASN1_TIME_free(time) } }
            var other: OpaquePointer?
            if let about, let subject = certificate(about), let issuer = certificate("root") { other = OCSP_cert_to_id(EVP_sha1(), subject, issuer) }
            // A responder has them as GeneralizedTime.
            let times = [from, until, revoked].map { $0.flatMap { ASN1_TIME_to_generalizedtime($0, nil) } }
            _ = OCSP_basic_add1_status(answer, other ?? id, status, status == V_OCSP_CERTSTATUS_REVOKED ? OCSP_REVOKED_STATUS_KEYCOMPROMISE : -1, times[2], times[0], times[1])
            switch nonce {
            case .same: _ = OCSP_copy_nonce(answer, asked)
            case .none: break
            case .other: _ = OCSP_basic_add1_nonce(answer, nil, 32)
            }
            let stack = martlet_x509_stack_new()
            defer { martlet_x509_stack_free(stack) }
            for name in carries { if let certificate = certificate(name) { _ = martlet_x509_stack_push(stack, certificate) } }
            guard let signing = certificate(signer), let key = key(signer),
                OCSP_basic_sign(answer, signing, key, EVP_get_digestbyname(hash), stack, UInt(OCSP_NOCERTS) * (carries.isEmpty ? 1 : 0)) == 1
            else { return [] }
            return encoded(OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, answer))
        }
    }

    private func encoded(_ response: OpaquePointer?) -> [UInt8] {
        var memory: UnsafeMutablePointer<UInt8>?
        let size = i2d_OCSP_RESPONSE(response, &memory)
        guard size > 0, let memory else { return [] }
        return Array(UnsafeBufferPointer(start: memory, count: Int(size)))
    }

    private func certificate(_ name: String) -> OpaquePointer? {
        guard let der = try? Vector.certificate(name).der else { return nil }
        return der.withUnsafeBufferPointer { bytes in
            var next = bytes.baseAddress
            return d2i_X509(nil, &next, bytes.count)
        }
    }

    private func key(_ name: String) -> OpaquePointer? {
        guard let pem = try? Vector.bytes(name + ".key") else { return nil }
        return pem.withUnsafeBufferPointer { bytes in
            let input = BIO_new_mem_buf(bytes.baseAddress, Int32(bytes.count))
            defer { BIO_free(input) }
            return PEM_read_bio_PrivateKey(input, nil, nil, nil)
        }
    }
}
