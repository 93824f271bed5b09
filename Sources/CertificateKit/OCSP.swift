// Asking whether one certificate is revoked, and judging the answer.
// RFC 6960 (OCSP), RFC 8954 (the nonce).

import COpenSSLX509

/// What an authority says of a certificate, proven to be its word.
package struct RevocationAnswer: Hashable, Sendable {
    package enum Status: Hashable, Sendable {
        case good
        /// Seconds of 1970; the reason with a colon before it, or nothing.
        case revoked(Int64, String)
    }
    package var status: Status
    package var thisUpdate: Int64
    /// Nil where newer word is to be had at any time.
    package var nextUpdate: Int64?
    package init(status: Status, thisUpdate: Int64, nextUpdate: Int64?) { (self.status, self.thisUpdate, self.nextUpdate) = (status, thisUpdate, nextUpdate) }
}

/// Why an answer counts for nothing: a sentence about it.
package struct OCSPProblem: Error, Hashable, Sendable {
    package let reason: String
    init(_ reason: String) { self.reason = reason }
}

package struct OCSPRequest: Sendable {
    package let der: [UInt8]
    let certificate: X509Certificate
    let issuer: X509Certificate

    /// RFC 8954 section 2.1.
    private static let nonceSize = 32
    /// Clocks differ.
    private static let skew: Int64 = 300
    package static let answerLimit = 64 << 10
    /// Certificates in an answer that are looked at.
    private static let signerLimit = 8

    /// Nil where the system gives no random octets.
    package init?(about certificate: X509Certificate, issuedBy issuer: X509Certificate) {
        var nonce = [UInt8](repeating: 0, count: Self.nonceSize)
        guard martlet_random(&nonce, Int32(nonce.count)) == 1, let der = encoded({ martlet_ocsp_request(certificate.pointer, issuer.pointer, &nonce, Int32(nonce.count), $0) }) else {
            forgetErrors()
            return nil
        }
        (self.der, self.certificate, self.issuer) = (der, certificate, issuer)
    }

    /// `responders`: certificates of signers that are known already. `isRevoked`: whether a responder's own certificate is known to be revoked.
    package func judge(_ response: [UInt8], time: Int64, leastRSA: Int, responders: [X509Certificate] = [], isRevoked: (X509Certificate) -> Bool = { _ in false }) throws(OCSPProblem)
        -> RevocationAnswer
    {
        defer { forgetErrors() }
        guard response.count <= Self.answerLimit else { throw OCSPProblem("its answer is longer than \(Self.answerLimit) octets") }
        let parsed = response.withUnsafeBufferPointer { bytes -> OpaquePointer? in
            var next = bytes.baseAddress
            guard let parsed = d2i_OCSP_RESPONSE(nil, &next, bytes.count) else { return nil }
            guard next == bytes.baseAddress.map({ $0 + bytes.count }) else {
                OCSP_RESPONSE_free(parsed)
                return nil
            }
            return parsed
        }
        guard let parsed else { throw OCSPProblem("what it answered is no OCSP response") }
        defer { OCSP_RESPONSE_free(parsed) }
        //= RFC 6960 §4.2.1: an error carries nothing more, and is not signed.
        let status = OCSP_response_status(parsed)
        guard status == OCSP_RESPONSE_STATUS_SUCCESSFUL else {
            throw OCSPProblem("it answered with the error \(OCSP_response_status_str(Int(status)).map { String(cString: $0) } ?? "\(status)")")
        }
        guard let answer = OCSP_response_get1_basic(parsed) else { throw OCSPProblem("its answer is of a kind that is not known here") }
        defer { OCSP_BASICRESP_free(answer) }
        let isWeak = try checkSigner(answer, responders, time, leastRSA, isRevoked)
        guard martlet_ocsp_has_unknown_critical(answer) == 0 else { throw OCSPProblem("its answer has a critical extension that is not known here") }
        //= RFC 6960 §4.4.1: the nonce ties the answer to the request.
        let nonce = der.withUnsafeBufferPointer { martlet_ocsp_nonce($0.baseAddress, $0.count, answer) }
        guard nonce != 0 else { throw OCSPProblem("its answer is to another request: the nonce is another one") }

        var reason: Int32 = -1, revoked: UnsafePointer<ASN1_TIME>?, from: UnsafePointer<ASN1_TIME>?, until: UnsafePointer<ASN1_TIME>?
        let said = martlet_ocsp_status(answer, certificate.pointer, issuer.pointer, time_t(time), time_t(Self.skew), &reason, &revoked, &from, &until)
        guard said >= 0 else { throw OCSPProblem("its answer is about another certificate") }
        guard let thisUpdate = seconds(from) else { throw OCSPProblem("its answer does not say of when it is") }
        let nextUpdate = until == nil ? nil : seconds(until) ?? 0
        if said == V_OCSP_CERTSTATUS_REVOKED {
            // That does not pass with time.
            return RevocationAnswer(status: .revoked(seconds(revoked) ?? 0, martlet_reason_name(Int(reason)).map { ": " + String(cString: $0) } ?? ""), thisUpdate: thisUpdate, nextUpdate: nextUpdate)
        }
        //= RFC 6960 §4.2.2.1: an answer of the future, or one whose nextUpdate has passed, is not to be relied on.
        guard thisUpdate <= time + Self.skew else { throw OCSPProblem("its answer is of the future: of \(dateText(thisUpdate))") }
        if let nextUpdate {
            guard nextUpdate >= time else { throw OCSPProblem("its answer is out of date since \(dateText(nextUpdate))") }
        } else {
            guard thisUpdate >= time - Self.skew else { throw OCSPProblem("its answer is old: of \(dateText(thisUpdate)), and does not say until when it counts") }
        }
        guard said == V_OCSP_CERTSTATUS_GOOD else { throw OCSPProblem("it does not know the certificate") }
        guard !isWeak else { throw OCSPProblem("its answer is signed with a hash that is broken: it could be a forgery") }
        return RevocationAnswer(status: .good, thisUpdate: thisUpdate, nextUpdate: nextUpdate)
    }

    /// Whether the signature's hash is broken; throws where nobody signed who may.
    private func checkSigner(_ answer: OpaquePointer, _ responders: [X509Certificate], _ time: Int64, _ leastRSA: Int, _ isRevoked: (X509Certificate) -> Bool) throws(OCSPProblem) -> Bool {
        let isWeak = isBroken(signature: martlet_ocsp_signature(answer))
        //= RFC 6960 §4.2.2.2: the authority itself, or whom it has named for that.
        if martlet_ocsp_is_signed(answer, issuer.pointer) == 1 { return isWeak }
        var objection: String?
        // -1 where there are none.
        let sent = (0..<max(0, min(Self.signerLimit, Int(martlet_ocsp_certificate_count(answer))))).lazy.compactMap { index in
            martlet_ocsp_certificate_at(answer, Int32(index)).flatMap { pointer in encoded { i2d_X509(pointer, $0) } }.flatMap(X509Certificate.init(der:))
        }
        for signer in Array(sent) + responders.filter({ $0.isIssued(by: issuer) }).prefix(Self.signerLimit) {
            guard martlet_ocsp_is_signed(answer, signer.pointer) == 1 else { continue }
            if let reason = self.objection(to: signer, time, leastRSA, isRevoked) {
                objection = reason
                continue
            }
            return isWeak
        }
        throw OCSPProblem(objection ?? "its answer is not signed by \"\(issuer.subjectText)\", nor by whom that authority has named for it")
    }

    private func objection(to signer: X509Certificate, _ time: Int64, _ leastRSA: Int, _ isRevoked: (X509Certificate) -> Bool) -> String? {
        let who = "its answer is signed by \"\(signer.subjectText)\""
        //= RFC 6960 §4.2.2.2: issued directly by the authority that issued the certificate in question, with id-kp-OCSPSigning.
        guard signer.isIssued(by: issuer), signer.isSigned(by: issuer) else { return "\(who), which the authority \"\(issuer.subjectText)\" has not issued" }
        guard let purposes = signer.purposes, purposes.contains(PathRules.ocspSigning) else { return "\(who), whose extended key usage (EKU) has no OCSPSigning" }
        guard !signer.isMalformed else { return "\(who), which has extensions that are malformed" }
        guard signer.maySignMessages else { return "\(who), whose key usage has no digitalSignature" }
        if let signature = signer.signature, isBroken(hash: signature.hash) { return "\(who), which is signed with a hash that is broken" }
        if let weakness = signer.key?.type.weakness(leastRSA: leastRSA) { return "\(who), which is too weak: \(weakness)" }
        if signer.notAfter < time { return "\(who), which has expired on \(dateText(signer.notAfter))" }
        if signer.notBefore > time { return "\(who), which is not yet valid" }
        return isRevoked(signer) ? "\(who), which is revoked" : nil
    }
}

/// Whether who signs with it could be made to sign something else.
func isBroken(hash: Int32) -> Bool { [NID_md2, NID_md4, NID_md5, NID_sha1, NID_md5_sha1, NID_ripemd160].contains(hash) }

/// The same of a signature's X509_ALGOR. One of which the hash cannot be told is no better.
func isBroken(signature algorithm: UnsafePointer<X509_ALGOR>?) -> Bool {
    defer { forgetErrors() }
    let hash = martlet_signature_hash(algorithm)
    return hash < 0 || isBroken(hash: hash)
}
