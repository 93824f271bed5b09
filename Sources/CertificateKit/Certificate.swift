// An X.509 certificate: whose it is, who issued it, when it is valid, and what its key may be used for.
// RFC 5280 section 4.

import COpenSSLX509

package final class X509Certificate: @unchecked Sendable {
    /// An X509; OpenSSL keeps what it finds in it under a lock of its own.
    package let pointer: OpaquePointer
    package let der: [UInt8]
    /// Nil for a key of a kind that is of no use here.
    package let key: PublicKey?

    /// The longest that is taken.
    package static let limit = 65_535

    /// Nil where it is no certificate, whole and alone.
    package init?(der: [UInt8]) {
        guard der.count <= Self.limit else { return nil }
        let certificate = der.withUnsafeBufferPointer { bytes -> OpaquePointer? in
            var next = bytes.baseAddress
            let certificate = d2i_X509(nil, &next, bytes.count)
            guard certificate != nil, next == bytes.baseAddress.map({ $0 + bytes.count }) else {
                X509_free(certificate)
                return nil
            }
            return certificate
        }
        guard let certificate else {
            forgetErrors()
            return nil
        }
        pointer = certificate
        self.der = der
        key = PublicKey(of: certificate)
        forgetErrors()
    }

    deinit { X509_free(pointer) }

    package var subject: [UInt8] { encoded { i2d_X509_NAME(X509_get_subject_name(pointer), $0) } ?? [] }
    package var issuer: [UInt8] { encoded { i2d_X509_NAME(X509_get_issuer_name(pointer), $0) } ?? [] }
    /// As people read it: `C=CH, O=Example, CN=gw.example`.
    package var subjectText: String { nameText(X509_get_subject_name(pointer)) }
    package var issuerText: String { nameText(X509_get_issuer_name(pointer)) }
    package var serial: [UInt8] {
        let number = X509_get0_serialNumber(pointer).map { UnsafePointer($0) }
        guard let data = ASN1_STRING_get0_data(number) else { return [] }
        return Array(UnsafeBufferPointer(start: data, count: Int(ASN1_STRING_length(number))))
    }
    /// Seconds of 1970; the ends of time where the certificate writes none that can be read.
    package var notBefore: Int64 { seconds(X509_get0_notBefore(pointer)) ?? .max }
    package var notAfter: Int64 { seconds(X509_get0_notAfter(pointer)) ?? .min }

    package func isValid(at time: Int64) -> Bool { notBefore <= time && time <= notAfter }

    /// Issuer and subject are the same, and the key signs it.
    package var isSelfSigned: Bool { X509_self_signed(pointer, 0) == 1 }

    /// RFC 5280 section 4.2.1.9: the basic constraints say so. Versions without extensions are none.
    package var isAuthority: Bool {
        let flags = X509_get_extension_flags(pointer)
        return flags & UInt32(EXFLAG_BCONS) != 0 && flags & UInt32(EXFLAG_CA) != 0 && flags & UInt32(EXFLAG_INVALID) == 0
    }
    /// RFC 5280 section 4.2.1.3: where key usage is there, it has to allow signing certificates.
    var maySignCertificates: Bool { allows(KU_KEY_CERT_SIGN) }
    /// RFC 4945 section 5.1.3.2: digitalSignature or nonRepudiation, where there is a key usage at all.
    var maySignMessages: Bool { allows(KU_DIGITAL_SIGNATURE) || allows(KU_NON_REPUDIATION) }
    private func allows(_ usage: Int32) -> Bool {
        X509_get_extension_flags(pointer) & UInt32(EXFLAG_KUSAGE) == 0 || X509_get_key_usage(pointer) & UInt32(usage) != 0
    }
    var isMalformed: Bool { X509_get_extension_flags(pointer) & UInt32(EXFLAG_INVALID) != 0 }

    /// The identifiers of extended key usage, dotted; nil where the extension is absent. RFC 5280 section 4.2.1.12.
    package var purposes: [String]? {
        var critical: Int32 = 0
        guard let memory = X509_get_ext_d2i(pointer, NID_ext_key_usage, &critical, nil) else {
            forgetErrors()
            // There, and not readable or there twice: nothing is allowed.
            return critical == -1 ? nil : []
        }
        let usages = OpaquePointer(memory)
        defer { martlet_purposes_free(usages) }
        return (0..<martlet_purpose_count(usages)).map { index in
            var text = [CChar](repeating: 0, count: 128)
            let size = OBJ_obj2txt(&text, Int32(text.count), martlet_purpose_at(usages, index), 1)
            return String(decoding: text.prefix(max(0, min(Int(size), text.count - 1))).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }

    /// What hash and key its own signature was made with; nil where that cannot be told.
    var signature: (hash: Int32, key: Int32, bits: Int)? {
        var hash: Int32 = 0, key: Int32 = 0, bits: Int32 = 0
        guard X509_get_signature_info(pointer, &hash, &key, &bits, nil) == 1 else {
            forgetErrors()
            return nil
        }
        return (hash, key, Int(bits))
    }

    /// SHA-1 over the subjectPublicKey's octets, and over the whole SubjectPublicKeyInfo.
    package var keyIDs: (key: [UInt8], info: [UInt8]) { key.map(CertificateKit.keyIDs) ?? (keyBits, []) }
    private var keyBits: [UInt8] {
        guard let bits = X509_get0_pubkey_bitstr(pointer), let data = ASN1_STRING_get0_data(bits) else { return [] }
        return sha1(UnsafeRawBufferPointer(start: data, count: Int(ASN1_STRING_length(bits))))
    }

    /// The names by which it may be called beside its subject.
    package var alternativeNames: [AlternativeName] {
        var critical: Int32 = 0
        guard let memory = X509_get_ext_d2i(pointer, NID_subject_alt_name, &critical, nil) else {
            forgetErrors()
            return []
        }
        let names = OpaquePointer(memory)
        defer { martlet_general_names_free(names) }
        return (0..<martlet_general_name_count(names)).compactMap { index in
            guard let name = martlet_general_name_at(names, index) else { return nil }
            if let directory = martlet_general_name_directory(name) { return .directory(encoded { i2d_X509_NAME(directory, $0) } ?? []) }
            var kind: Int32 = 0, bytes: UnsafePointer<UInt8>?, size = 0
            guard martlet_general_name_bytes(name, &kind, &bytes, &size) == 0, let bytes else { return nil }
            let value = Array(UnsafeBufferPointer(start: bytes, count: size))
            return switch kind {
            case GEN_EMAIL: .mail(value)
            case GEN_DNS: .host(value)
            case GEN_IPADD: .address(value)
            default: nil
            }
        }
    }

    /// The subjectKeyIdentifier. RFC 5280 section 4.2.1.2.
    var subjectKeyIdentifier: [UInt8]? {
        guard let id = X509_get0_subject_key_id(pointer), let data = ASN1_STRING_get0_data(id) else { return nil }
        return Array(UnsafeBufferPointer(start: data, count: Int(ASN1_STRING_length(id))))
    }
}

package enum AlternativeName: Hashable, Sendable {
    case host([UInt8])
    case mail([UInt8])
    /// 4 or 16 octets.
    case address([UInt8])
    /// A name, DER.
    case directory([UInt8])
}

/// SHA-1 over the subjectPublicKey's octets, and over the whole SubjectPublicKeyInfo.
package func keyIDs(_ key: PublicKey) -> (key: [UInt8], info: [UInt8]) { (keyIDs(publicDER: key.der)) }

func keyIDs(publicDER der: [UInt8]) -> (key: [UInt8], info: [UInt8]) {
    let info = der.withUnsafeBytes { sha1($0) }
    let key = der.withUnsafeBufferPointer { bytes -> [UInt8] in
        var next = bytes.baseAddress
        guard let wrapped = d2i_X509_PUBKEY(nil, &next, bytes.count) else {
            forgetErrors()
            return []
        }
        defer { X509_PUBKEY_free(wrapped) }
        var data: UnsafePointer<UInt8>?, size: Int32 = 0
        guard X509_PUBKEY_get0_param(nil, &data, &size, nil, wrapped) == 1, let data else { return [] }
        return sha1(UnsafeRawBufferPointer(start: data, count: Int(size)))
    }
    return (key, info)
}

/// A name as people read it, in the order in which it stands in the certificate. What could steer a terminal is escaped.
func nameText(_ name: OpaquePointer?) -> String {
    guard let name, let output = BIO_new(BIO_s_mem()) else { return "" }
    defer { BIO_free(output) }
    let flags = UInt(ASN1_STRFLGS_ESC_CTRL | ASN1_STRFLGS_ESC_2253 | ASN1_STRFLGS_UTF8_CONVERT) | UInt(XN_FLAG_SEP_CPLUS_SPC) | UInt(XN_FLAG_FN_SN)
    guard X509_NAME_print_ex(output, name, 0, flags) >= 0 else {
        forgetErrors()
        return "a name that cannot be read"
    }
    var bytes: UnsafeMutablePointer<UInt8>?
    let size = martlet_memory(output, &bytes)
    guard size > 0, let bytes else { return "an empty name" }
    return String(decoding: UnsafeBufferPointer(start: bytes, count: min(size, 512)), as: UTF8.self)
}

/// A time of a certificate in seconds of 1970.
func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64? {
    var parts = tm()
    guard let time, ASN1_TIME_to_tm(time, &parts) == 1 else {
        forgetErrors()
        return nil
    }
    return Int64(timegm(&parts))
}

/// `2026-11-29 17:18:00 UTC`
package func dateText(_ seconds: Int64) -> String {
    var time = time_t(seconds), parts = tm()
    guard gmtime_r(&time, &parts) != nil else { return "a time that cannot be told" }
    func two(_ number: Int32) -> String { (number < 10 ? "0" : "") + String(number) }
    return "\(Int(parts.tm_year) + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) UTC"
}

extension X509Certificate {
    /// Whether the key of `issuer` made its signature.
    package func isSigned(by issuer: X509Certificate) -> Bool {
        defer { forgetErrors() }
        guard let key = issuer.key else { return false }
        return X509_verify(pointer, key.pointer) == 1
    }

    /// Whether the names, key identifiers and key usages say so. The signature is not checked.
    package func isIssued(by issuer: X509Certificate) -> Bool { X509_check_issued(issuer.pointer, pointer) == X509_V_OK }
}
