// Whether an authority has revoked a certificate of a path: what the CRLs at hand say, and what is left to ask.
// RFC 5280 section 6.3.

import COpenSSLX509

/// A certificate of a path of which nobody has said yet that it is good.
package struct RevocationQuestion: Sendable {
    package let certificate: X509Certificate
    package let issuer: X509Certificate
    /// A CRL at hand says that it is good: enough where a responder does not answer.
    package let isGood: Bool
    /// Why what is at hand does not settle it.
    fileprivate let reason: String
    /// Certificates at hand of those who sign OCSP answers: not every answer has the one that it needs.
    package var responders: [X509Certificate] = []
    /// The CRLs at hand that are the issuer's.
    fileprivate var lists: [RevocationList] = []

    /// Whether they say that another certificate of that issuer is revoked: that of whoever signs its answers.
    package func hasRevoked(_ other: X509Certificate, time: Int64) -> Bool {
        lists.contains { if case .revoked = $0.judge(other, issuedBy: issuer, time: time) { true } else { false } }
    }

    fileprivate var who: String { certificate.isAuthority ? "the certificate of the authority \"\(certificate.subjectText)\"" : "its certificate" }

    /// The refusal of one that is revoked, as `source` says.
    package func revoked(_ date: Int64, _ reason: String, by source: String) -> Refusal {
        Refusal("\(who) was revoked on \(dateText(date))\(reason), as \(source) says", ["serial \(hexadecimal(certificate.serial.prefix(20)))"])
    }

    /// The refusal where nobody says that it is good; nil where the rule lets it pass. `asked`: what came of asking.
    package func unknown(_ rule: RevocationRule, asked: [String] = [], isNamed: Bool = false) -> Refusal? {
        guard !isGood else { return nil }
        switch rule {
        case .relaxed: return nil
        case .ifURI: guard isNamed || certificate.namesRevocationSource else { return nil }
        case .strict: break
        }
        return Refusal(
            "whether \(who) is revoked is not known: \(asked.first ?? reason), and `revocation = \(rule == .strict ? "strict" : "ifuri")`",
            asked.isEmpty ? [] : Array(asked.dropFirst()) + [reason])
    }
}

extension Anchors {
    /// Every certificate of the path but the trusted one.
    func checkRevocation(_ path: [X509Certificate], _ rules: PathRules) throws(Refusal) {
        for question in try questions(path, rules) {
            if let refusal = question.unknown(rules.revocation) { throw refusal }
        }
    }

    /// What the CRLs at hand leave open of a path; throws where they say that a certificate is revoked.
    package func questions(_ path: [X509Certificate], _ rules: PathRules) throws(Refusal) -> [RevocationQuestion] {
        var questions: [RevocationQuestion] = []
        for (certificate, issuer) in zip(path, path.dropFirst()) { questions.append(try question(certificate, issuer, rules)) }
        return questions
    }

    private func question(_ certificate: X509Certificate, _ issuer: X509Certificate, _ rules: PathRules) throws(Refusal) -> RevocationQuestion {
        let own = lists.filter { $0.isOf(issuer) }.sorted { $0.thisUpdate > $1.thisUpdate }
        var current: Int64?, reason: String?
        for list in own {
            switch list.judge(certificate, issuedBy: issuer, time: rules.time) {
            case .revoked(let date, let why):
                //= RFC 5280 §6.3.3: of several lists the current one counts: a certificate that was on hold may have been released since.
                if let current, list.thisUpdate < current { continue }
                throw RevocationQuestion(certificate: certificate, issuer: issuer, isGood: false, reason: "").revoked(date, why, by: "the CRL of \"\(list.issuerText)\"")
            case .good: current = current ?? list.thisUpdate
            case .stale: reason = "the CRL of \"\(list.issuerText)\" \(list.age(at: rules.time))"
            case .silent: reason = reason ?? list.objection(about: certificate, issuedBy: issuer).map { "the CRL of \"\(list.issuerText)\" \($0)" }
            }
        }
        return RevocationQuestion(certificate: certificate, issuer: issuer, isGood: current != nil, reason: reason ?? "there is no CRL of \"\(issuer.subjectText)\"", lists: own)
    }
}

extension X509Certificate {
    /// RFC 5280 section 4.2.1.3.
    var maySignLists: Bool { X509_get_extension_flags(pointer) & UInt32(EXFLAG_KUSAGE) == 0 || X509_get_key_usage(pointer) & UInt32(KU_CRL_SIGN) != 0 }
}

extension RevocationList {
    package enum Judgement: Hashable, Sendable {
        case good
        /// It says "good", and is out of date.
        case stale
        /// Seconds of 1970; the reason with a colon before it, or nothing.
        case revoked(Int64, String)
        /// It is not the issuer's, or about other certificates.
        case silent
    }

    /// What it says of a certificate. A list that is out of date still says what was revoked.
    package func judge(_ certificate: X509Certificate, issuedBy issuer: X509Certificate, time: Int64) -> Judgement {
        //= RFC 5280 §6.3.3 (f), (g): signed by the issuer, whose key may sign CRLs.
        guard isOf(issuer), isSigned(by: issuer), !hasUnknownCriticalExtension else { return .silent }
        //= RFC 5280 §5.2.4: a delta CRL is what has changed since a complete one. What it revokes is revoked; more it does not say here.
        if isDelta {
            if case .revoked(let date, let reason) = verdict(on: certificate) { return .revoked(date, reason) }
            return .silent
        }
        switch verdict(on: certificate) {
        case .revoked(let date, let reason): return .revoked(date, reason)
        // One with a broken hash could be a forgery.
        case .good: return hasBrokenHash ? .silent : isFresh(at: time) ? .good : .stale
        case .notCovered: return .silent
        }
    }

    enum Verdict {
        case good
        case revoked(Int64, String)
        /// It is about other certificates: of users alone, of authorities alone.
        case notCovered
    }

    package func isOf(_ issuer: X509Certificate) -> Bool { X509_NAME_cmp(X509_CRL_get_issuer(pointer), X509_get_subject_name(issuer.pointer)) == 0 }

    /// Checked once for each key: a long list takes its time.
    package func isSigned(by issuer: X509Certificate) -> Bool {
        guard issuer.maySignLists, let key = issuer.key else { return false }
        if let known = signers.withLock({ $0[key.der] }) { return known }
        defer { forgetErrors() }
        let isSigned = X509_CRL_verify(pointer, key.pointer) == 1
        signers.withLock { signers in
            if signers.count >= Self.signerLimit { signers = [:] }
            signers[key.der] = isSigned
        }
        return isSigned
    }

    package func isFresh(at time: Int64) -> Bool { thisUpdate <= time + 300 && (nextUpdate.map { time <= $0 } ?? false) }

    /// Why it is not fresh.
    package func age(at time: Int64) -> String {
        if thisUpdate > time + 300 { return "is of the future: of \(dateText(thisUpdate)), and now it is \(dateText(time))" }
        return nextUpdate.map { "is out of date since \(dateText($0))" } ?? "does not say until when it counts"
    }

    /// Why a list says nothing, whatever it is asked about; nil where it may. A clause about "it".
    package var objection: String? {
        if isDelta { return "is a delta CRL: what it revokes counts, and a complete one has to be there as well" }
        if hasUnknownCriticalEntry { return "cannot be used: an entry has a critical extension that is not known here" }
        if hasUnknownCriticalExtension { return "cannot be used: it has a critical extension that is not known here" }
        if martlet_crl_scope(pointer) == -1 { return "cannot be used: it is an indirect one, or about attribute certificates" }
        return hasBrokenHash ? "is signed with a hash that is broken: only what it revokes counts" : nil
    }

    /// Why it says nothing of a certificate.
    func objection(about certificate: X509Certificate, issuedBy issuer: X509Certificate) -> String? {
        if !issuer.maySignLists { return "cannot be used: the key usage of its authority has no cRLSign" }
        if !isSigned(by: issuer) { return "cannot be used: it is not signed by the key of its authority" }
        return objection ?? "is about other certificates"
    }

    var hasBrokenHash: Bool {
        var algorithm: UnsafePointer<X509_ALGOR>?
        X509_CRL_get0_signature(pointer, nil, &algorithm)
        return isBroken(signature: algorithm)
    }

    //= RFC 5280 §5.2.4: the extension says that it is one.
    package var isDelta: Bool { X509_CRL_get_ext_by_NID(pointer, NID_delta_crl, -1) >= 0 }

    //= RFC 5280 §5.2: a critical extension that is not understood makes the list useless; so does one of an entry (section 5.3).
    package var hasUnknownCriticalExtension: Bool {
        if hasUnknownCriticalEntry { return true }
        for index in 0..<max(0, X509_CRL_get_ext_count(pointer)) {
            guard let found = X509_CRL_get_ext(pointer, index), X509_EXTENSION_get_critical(found) == 1 else { continue }
            if ![NID_authority_key_identifier, NID_crl_number, NID_issuing_distribution_point, NID_delta_crl].contains(OBJ_obj2nid(X509_EXTENSION_get_object(found))) { return true }
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
        // 2: removeFromCRL, of delta CRLs.
        guard found == 1, let entry else {
            // One about a part of the certificates: is this of that part?
            return scope == 3 && martlet_crl_is_of_point(pointer, certificate.pointer, certificate.isAuthority ? 1 : 0) == 0 ? .notCovered : .good
        }
        let reason = martlet_crl_reason(entry)
        let word = reason.map { ": " + String(cString: $0) } ?? ""
        return .revoked(seconds(X509_REVOKED_get0_revocationDate(entry)) ?? 0, word)
    }
}
