// Whether an authority has revoked a certificate of a path, by the CRLs at hand.
// RFC 5280 section 6.3.

import COpenSSLX509

extension Anchors {
    /// Every certificate of the path but the trusted one.
    func checkRevocation(_ path: [X509Certificate], _ rules: PathRules) throws(Refusal) {
        for (certificate, issuer) in zip(path, path.dropFirst()) { try checkRevocation(of: certificate, by: issuer, rules) }
    }

    private func checkRevocation(of certificate: X509Certificate, by issuer: X509Certificate, _ rules: PathRules) throws(Refusal) {
        let who = certificate.isAuthority ? "the certificate of the authority \"\(certificate.subjectText)\"" : "its certificate"
        var stale: RevocationList?, isGood = false
        for list in lists where list.isOf(issuer) {
            //= RFC 5280 §6.3.3 (f), (g): signed by the issuer, whose key may sign CRLs.
            guard list.isSigned(by: issuer), !list.hasUnknownCriticalExtension else { continue }
            switch list.verdict(on: certificate) {
            case .revoked(let date, let reason):
                // A CRL that is out of date still says what was revoked.
                throw Refusal("\(who) was revoked on \(dateText(date))\(reason), as the CRL of \"\(list.issuerText)\" says", ["serial \(hexadecimal(certificate.serial.prefix(20)))"])
            case .good: if list.isFresh(at: rules.time) { isGood = true } else { stale = list }
            case .notCovered: continue
            }
        }
        guard !isGood else { return }
        switch rules.revocation {
        case .relaxed: return
        case .ifURI: guard certificate.namesRevocationSource else { return }
        case .strict: break
        }
        if let stale {
            let until = stale.nextUpdate.map { "is out of date since \(dateText($0))" } ?? "does not say until when it counts"
            throw Refusal("whether \(who) is revoked is not known: the CRL of \"\(stale.issuerText)\" \(until), and `revocation = \(rules.revocation == .strict ? "strict" : "ifuri")`")
        }
        throw Refusal("whether \(who) is revoked is not known: there is no CRL of \"\(issuer.subjectText)\", and `revocation = \(rules.revocation == .strict ? "strict" : "ifuri")`")
    }
}

extension X509Certificate {
    /// It has a CRL distribution point or names an OCSP responder.
    var namesRevocationSource: Bool { X509_get_ext_by_NID(pointer, NID_crl_distribution_points, -1) >= 0 || X509_get_ext_by_NID(pointer, NID_info_access, -1) >= 0 }
    /// RFC 5280 section 4.2.1.3.
    var maySignLists: Bool { X509_get_extension_flags(pointer) & UInt32(EXFLAG_KUSAGE) == 0 || X509_get_key_usage(pointer) & UInt32(KU_CRL_SIGN) != 0 }
}

extension RevocationList {
    enum Verdict {
        case good
        /// Seconds of 1970; the reason with a space before it, or nothing.
        case revoked(Int64, String)
        /// It is about other certificates: of users alone, of authorities alone.
        case notCovered
    }

    func isOf(_ issuer: X509Certificate) -> Bool { X509_NAME_cmp(X509_CRL_get_issuer(pointer), X509_get_subject_name(issuer.pointer)) == 0 }

    func isSigned(by issuer: X509Certificate) -> Bool {
        defer { forgetErrors() }
        guard issuer.maySignLists, let key = issuer.key else { return false }
        return X509_CRL_verify(pointer, key.pointer) == 1
    }

    func isFresh(at time: Int64) -> Bool { thisUpdate <= time + 300 && (nextUpdate.map { time <= $0 } ?? false) }

    /// RFC 5280 section 5.2: one that is not understood makes the list useless. Delta CRLs are among them: they say nothing alone.
    var hasUnknownCriticalExtension: Bool {
        for index in 0..<max(0, X509_CRL_get_ext_count(pointer)) {
            guard let found = X509_CRL_get_ext(pointer, index), X509_EXTENSION_get_critical(found) == 1 else { continue }
            if ![NID_authority_key_identifier, NID_crl_number, NID_issuing_distribution_point].contains(OBJ_obj2nid(X509_EXTENSION_get_object(found))) { return true }
        }
        return false
    }

    func verdict(on certificate: X509Certificate) -> Verdict {
        defer { forgetErrors() }
        //= RFC 5280 §6.3.3 (b) (2): what the list is about.
        let scope = martlet_crl_scope(pointer)
        if scope == -1 || scope == 1 && certificate.isAuthority || scope == 2 && !certificate.isAuthority { return .notCovered }
        var entry: OpaquePointer?
        let found = X509_CRL_get0_by_serial(pointer, &entry, X509_get_serialNumber(certificate.pointer))
        // 2: removeFromCRL.
        guard found == 1, let entry else { return scope == 3 ? .notCovered : .good }
        let reason = martlet_crl_reason(entry)
        let word = reason.map { ": " + String(cString: $0) } ?? ""
        return .revoked(seconds(X509_REVOKED_get0_revocationDate(entry)) ?? 0, word)
    }
}
