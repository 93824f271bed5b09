// Whether a certificate leads to an authority that is trusted: the path by OpenSSL, and on top of it what this use asks for.
// RFC 5280 section 6; RFC 4945 section 5.1.3 (key usage, extended key usage); RFC 8247 section 4 (sizes, hashes).

import COpenSSLX509

/// Why a certificate was not believed: one sentence about "its certificate" first, evidence behind it. Never goes to the peer.
package struct Refusal: Error, Sendable {
    package var reason: String
    package var evidence: [String]
    package init(_ reason: String, _ evidence: [String] = []) { (self.reason, self.evidence) = (reason, evidence) }
}

package struct PathRules: Sendable {
    /// Extended key usages of which a certificate that has any must have one; dotted.
    package var purposes: Set<String> = PathRules.gatewayPurposes
    /// Bits of RSA keys.
    package var leastRSA = 2048
    /// One of these must be in the path; empty for any.
    package var authorities: [X509Certificate] = []
    /// The identity of an authority in the path.
    package var authorityIdentity: IKEIdentity?
    /// Dotted; the path is valid for each of them.
    package var policies: [String] = []
    package var revocation = RevocationRule.relaxed
    /// Seconds of 1970.
    package var time: Int64

    package init(time: Int64) { self.time = time }

    package static let serverAuth = "1.3.6.1.5.5.7.3.1", clientAuth = "1.3.6.1.5.5.7.3.2", ipsecIKE = "1.3.6.1.5.5.7.3.17", anyPurpose = "2.5.29.37.0",
        ocspSigning = "1.3.6.1.5.5.7.3.9"
    /// Of a gateway that a client connects to, and of whoever connects to a gateway.
    package static let gatewayPurposes: Set<String> = [serverAuth, ipsecIKE, anyPurpose]
    package static let clientPurposes: Set<String> = [clientAuth, serverAuth, ipsecIKE, anyPurpose]
    /// Of the ends of TLS. RFC 5280 section 4.2.1.12.
    package static let tlsServerPurposes: Set<String> = [serverAuth, anyPurpose]
    package static let tlsClientPurposes: Set<String> = [clientAuth, anyPurpose]
}

package enum RevocationRule: UInt8, Sendable { case relaxed = 0, ifURI, strict }

extension Anchors {
    /// The path from `leaf` to an authority, both included; throws the reason where there is none that holds, or the CRLs at hand are not enough.
    package func validate(_ leaf: X509Certificate, sent: [X509Certificate], _ rules: PathRules) throws(Refusal) -> [X509Certificate] {
        let path = try self.path(of: leaf, sent: sent, rules)
        try checkRevocation(path, rules)
        return path
    }

    /// The same without a word about revocation: `questions` has that.
    package func path(of leaf: X509Certificate, sent: [X509Certificate], _ rules: PathRules) throws(Refusal) -> [X509Certificate] {
        try checkKey(of: leaf, rules, "its certificate")
        guard !leaf.isMalformed else { throw Refusal("its certificate has extensions that are malformed") }
        let path = try buildPath(leaf, sent: sent, rules)
        for (depth, certificate) in path.enumerated().dropFirst() {
            let who = "the certificate of the authority \"\(certificate.subjectText)\""
            //= RFC 5280 §6.1.4 (k), (n): a version 3 certificate of an authority, whose key may sign certificates.
            guard certificate.isAuthority else {
                throw Refusal("its certificate was issued by \"\(certificate.subjectText)\", which is no authority: its certificate has no basic constraints that make it one (CA)", evidence(path))
            }
            guard certificate.maySignCertificates else { throw Refusal("\(who) may not issue certificates: its key usage has no keyCertSign", evidence(path)) }
            try checkKey(of: certificate, rules, who)
            // What the administrator trusts is not trusted for its own signature.
            if depth < path.count - 1 { try checkSignature(of: certificate, who) }
        }
        if path.count > 1 { try checkSignature(of: leaf, "its certificate") }
        try checkUse(of: leaf, rules)
        try checkAuthorities(path, rules)
        return path
    }

    /// One that is trusted as it is: it has to be valid and strong enough, and not revoked by the list of an authority that is known.
    package func checkPinned(_ leaf: X509Certificate, sent: [X509Certificate] = [], _ rules: PathRules) throws(Refusal) {
        for question in try pinnedQuestions(leaf, sent: sent, rules) {
            if let refusal = question.unknown(rules.revocation) { throw refusal }
        }
    }

    /// The same, with what the CRLs at hand leave open.
    package func pinnedQuestions(_ leaf: X509Certificate, sent: [X509Certificate] = [], _ rules: PathRules) throws(Refusal) -> [RevocationQuestion] {
        guard !leaf.isMalformed else { throw Refusal("its certificate has extensions that are malformed") }
        try checkUse(of: leaf, rules)
        try checkKey(of: leaf, rules, "its certificate")
        if leaf.notAfter < rules.time { throw Refusal("its certificate has expired: it was valid until \(dateText(leaf.notAfter))", evidence([leaf])) }
        if leaf.notBefore > rules.time { throw Refusal("its certificate is not yet valid: it will be from \(dateText(leaf.notBefore)) on", evidence([leaf])) }
        let issuers = (trusted + intermediates + sent).filter { $0.der != leaf.der && leaf.isIssued(by: $0) && leaf.isSigned(by: $0) }
        // Without its authority nobody can say that it is good.
        if issuers.isEmpty, rules.revocation == .strict || rules.revocation == .ifURI && leaf.namesRevocationSource {
            throw Refusal("whether its certificate is revoked is not known: its authority is not known here, and `revocation = \(rules.revocation == .strict ? "strict" : "ifuri")`", evidence([leaf]))
        }
        var questions: [RevocationQuestion] = [], keys: Set<[UInt8]> = []
        // Certificates of one authority are one authority.
        for issuer in issuers where keys.insert(issuer.key?.der ?? []).inserted { questions += try self.questions([leaf, issuer], rules) }
        return questions
    }

    private func evidence(_ path: [X509Certificate]) -> [String] {
        guard let leaf = path.first else { return [] }
        return ["its certificate: \(leaf.identitiesText), serial \(hexadecimal(leaf.serial.prefix(20))), issued by \"\(leaf.issuerText)\""]
            + (path.count > 1 ? ["its path: " + path.dropFirst().map { "\"\($0.subjectText)\"" }.joined(separator: " <- ")] : [])
    }

    private func checkKey(of certificate: X509Certificate, _ rules: PathRules, _ who: String) throws(Refusal) {
        guard let key = certificate.key else { throw Refusal("\(who) has a key of a kind that is not taken; RSA, ECDSA with P-256, P-384 or P-521, Ed25519 and Ed448 are") }
        if let weakness = key.type.weakness(leastRSA: rules.leastRSA) { throw Refusal("\(who) is too weak: \(weakness)") }
    }

    private func checkSignature(of certificate: X509Certificate, _ who: String) throws(Refusal) {
        guard let signature = certificate.signature else { throw Refusal("\(who) is signed in a way that is not known here") }
        if isBroken(hash: signature.hash) {
            throw Refusal("\(who) is signed with a hash that is broken (\(OBJ_nid2sn(signature.hash).map { String(cString: $0) } ?? "?")): it could be a forgery")
        }
    }

    /// RFC 4945 sections 5.1.3.2 and 5.1.3.12.
    private func checkUse(of leaf: X509Certificate, _ rules: PathRules) throws(Refusal) {
        guard leaf.maySignMessages else { throw Refusal("its certificate has a key usage without digitalSignature: its key may prove nothing", evidence([leaf])) }
        guard let purposes = leaf.purposes, rules.purposes.isDisjoint(with: purposes) else { return }
        let wanted = rules.purposes.subtracting([PathRules.anyPurpose]).map(purposeName).sorted().joined(separator: ", ")
        throw Refusal(
            "its certificate is for another use: its extended key usage (EKU) is \(purposes.isEmpty ? "empty" : purposes.prefix(16).map(purposeName).joined(separator: ", ")), and one of \(wanted) is needed",
            evidence([leaf]))
    }

    private func checkAuthorities(_ path: [X509Certificate], _ rules: PathRules) throws(Refusal) {
        if !rules.authorities.isEmpty,
            !path.dropFirst().contains(where: { member in rules.authorities.contains { $0.der == member.der || ($0.subject == member.subject && $0.key?.der == member.key?.der) } })
                && !rules.authorities.contains(where: { $0.der == path.first?.der })
        {
            throw Refusal(
                "its certificate is of another authority (CA) than this connection takes: \(path.last.map { "its path ends in \"\($0.subjectText)\"" } ?? "")",
                evidence(path) + ["this connection takes: " + rules.authorities.map { "\"\($0.subjectText)\"" }.joined(separator: ", ")])
        }
        if let identity = rules.authorityIdentity, !path.dropFirst().contains(where: { $0.isOf(identity) }) {
            throw Refusal("none of the authorities in the path of its certificate is \(identity.text), which `ca_id` asks for", evidence(path))
        }
    }

    // MARK: OpenSSL

    private func buildPath(_ leaf: X509Certificate, sent: [X509Certificate], _ rules: PathRules) throws(Refusal) -> [X509Certificate] {
        defer { forgetErrors() }
        let extra = rules.authorities.filter { authority in !trusted.contains { $0.der == authority.der } }
        // One whose issuer is trusted is no end of a path: the issuer may have revoked it.
        let ending = extra.filter { authority in !(trusted + extra).contains { $0.der != authority.der && authority.isIssued(by: $0) && authority.isSigned(by: $0) } }
        let leading = extra.filter { authority in !ending.contains { $0.der == authority.der } }
        let ends = CertificateStack(anchors + ending), others = CertificateStack(sent + intermediates + leading)
        guard let store = X509_STORE_new() else { throw Refusal("memory ran out") }
        defer { X509_STORE_free(store) }
        guard let context = X509_STORE_CTX_new() else { throw Refusal("memory ran out") }
        defer { X509_STORE_CTX_free(context) }
        guard X509_STORE_CTX_init(context, store, leaf.pointer, others.pointer) == 1, let parameters = X509_STORE_CTX_get0_param(context) else { throw Refusal("memory ran out") }
        X509_STORE_CTX_set0_trusted_stack(context, ends.pointer)
        // An authority that is trusted ends a path even where it is not self-signed.
        var flags = UInt(X509_V_FLAG_PARTIAL_CHAIN) | UInt(X509_V_FLAG_TRUSTED_FIRST) | UInt(X509_V_FLAG_POLICY_CHECK)
        if !rules.policies.isEmpty { flags |= UInt(X509_V_FLAG_EXPLICIT_POLICY) }
        X509_VERIFY_PARAM_set_flags(parameters, flags)
        X509_VERIFY_PARAM_set_depth(parameters, Self.depth)
        X509_VERIFY_PARAM_set_time(parameters, time_t(rules.time))
        // Hashes and sizes are judged here, with words of our own.
        X509_VERIFY_PARAM_set_auth_level(parameters, 0)
        for policy in rules.policies {
            guard let object = OBJ_txt2obj(policy, 1) else { throw Refusal("the policy \(policy) that the connection asks for is no object identifier") }
            guard X509_VERIFY_PARAM_add0_policy(parameters, object) == 1 else { throw Refusal("memory ran out") }
        }
        guard X509_verify_cert(context) == 1 else { throw explain(context, leaf, sent, rules) }
        let chain = X509_STORE_CTX_get0_chain(context)
        var path: [X509Certificate] = []
        let known = [leaf] + sent + intermediates + anchors + extra
        for index in 0..<max(0, martlet_x509_stack_count(chain)) {
            let pointer = martlet_x509_stack_at(chain, index)
            guard let member = known.first(where: { $0.pointer == pointer }) else { throw Refusal("the path of its certificate cannot be followed") }
            path.append(member)
        }
        if !rules.policies.isEmpty { try checkPolicies(context, rules, path) }
        return path
    }

    /// Certificates between the first and the trusted one.
    private static let depth: Int32 = 8

    /// OpenSSL asks for one of the policies; the connection for all.
    private func checkPolicies(_ context: OpaquePointer, _ rules: PathRules, _ path: [X509Certificate]) throws(Refusal) {
        let valid = Set(validPolicies(X509_STORE_CTX_get0_policy_tree(context)))
        guard let missing = rules.policies.first(where: { !valid.contains($0) }) else { return }
        throw Refusal("the path of its certificate is not valid for the certificate policy \(missing), which the connection asks for", evidence(path))
    }

    private func explain(_ context: OpaquePointer, _ leaf: X509Certificate, _ sent: [X509Certificate], _ rules: PathRules) -> Refusal {
        let error = X509_STORE_CTX_get_error(context), depth = Int(X509_STORE_CTX_get_error_depth(context))
        let pointer = X509_STORE_CTX_get_current_cert(context)
        let known = [leaf] + sent + intermediates + anchors + rules.authorities
        let at = known.first { $0.pointer == pointer } ?? leaf
        let who = depth == 0 || at.der == leaf.der ? "its certificate" : "the certificate of the authority \"\(at.subjectText)\""
        let evidence =
            evidence([leaf]) + [
                "authorities that are trusted: "
                    + (trusted.isEmpty ? "none" : trusted.prefix(8).map { "\"\($0.subjectText)\"" }.joined(separator: ", ") + (trusted.count > 8 ? " and \(trusted.count - 8) more" : ""))
            ]
        switch error {
        case X509_V_ERR_CERT_HAS_EXPIRED: return Refusal("\(who) has expired: it was valid until \(dateText(at.notAfter))", evidence)
        case X509_V_ERR_CERT_NOT_YET_VALID:
            return Refusal("\(who) is not yet valid: it will be from \(dateText(at.notBefore)) on; now it is \(dateText(rules.time))", evidence)
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
            let named = trusted.filter { sameName($0.subject, at.issuer) }
            if named.contains(where: { at.isSigned(by: $0) }) {
                //= RFC 5280 §4.2.1.1: the identifiers lead from a certificate to that of its issuer.
                return Refusal(
                    "\(who) was issued wrongly: the authority (CA) \"\(at.issuerText)\" that is trusted here has signed it, and its authorityKeyIdentifier names another certificate than that one",
                    evidence)
            }
            if !named.isEmpty {
                return Refusal(
                    "\(who) is of the wrong authority (CA): it names \"\(at.issuerText)\" as its issuer, and the authority of that name that is trusted here has not signed it: its key is another one",
                    evidence)
            }
            return Refusal(
                "\(who) leads to no authority that is trusted: the certificate of its issuer, \"\(at.issuerText)\", is missing. Either this authority (CA) is not trusted here, or it is an intermediate one and the peer did not send its certificate",
                evidence)
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT: return Refusal("its certificate is self-signed, and is not trusted here", evidence)
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN: return Refusal("its certificate is of the wrong authority (CA): its path ends in \"\(at.subjectText)\", which is not trusted here", evidence)
        case X509_V_ERR_CERT_SIGNATURE_FAILURE, X509_V_ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE, X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY:
            return Refusal("\(who) is of the wrong authority (CA), or forged: its signature is not one of \"\(at.issuerText)\"", evidence)
        case X509_V_ERR_AKID_SKID_MISMATCH, X509_V_ERR_AKID_ISSUER_SERIAL_MISMATCH, X509_V_ERR_SUBJECT_ISSUER_MISMATCH:
            return Refusal("\(who) is of the wrong authority (CA): it names another key than that of \"\(at.issuerText)\"", evidence)
        case X509_V_ERR_INVALID_CA, X509_V_ERR_INVALID_NON_CA, X509_V_ERR_KEYUSAGE_NO_CERTSIGN, X509_V_ERR_INVALID_PURPOSE:
            return Refusal("its certificate was issued by \"\(at.subjectText)\", which is no authority (CA)", evidence)
        case X509_V_ERR_PATH_LENGTH_EXCEEDED: return Refusal("the path of its certificate is longer than the authority \"\(at.subjectText)\" allows (path length)", evidence)
        case X509_V_ERR_CERT_CHAIN_TOO_LONG: return Refusal("the path of its certificate is longer than \(Self.depth) authorities", evidence)
        case X509_V_ERR_PERMITTED_VIOLATION: return Refusal("\(who) violates a name constraint of its authority: it has a name outside of those that are permitted", evidence)
        case X509_V_ERR_EXCLUDED_VIOLATION: return Refusal("\(who) violates a name constraint of its authority: it has a name that is excluded", evidence)
        case X509_V_ERR_SUBTREE_MINMAX, X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE, X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX, X509_V_ERR_UNSUPPORTED_NAME_SYNTAX:
            return Refusal("\(who) is under a name constraint that cannot be judged", evidence)
        case X509_V_ERR_INVALID_POLICY_EXTENSION, X509_V_ERR_NO_EXPLICIT_POLICY:
            return Refusal(
                "the path of its certificate is valid for none of the certificate policies that are asked for" + (rules.policies.isEmpty ? "" : " (\(rules.policies.joined(separator: ", ")))"),
                evidence)
        case X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION: return Refusal("\(who) has a critical extension that is not known here", evidence)
        case X509_V_ERR_INVALID_EXTENSION: return Refusal("\(who) has an extension that is malformed", evidence)
        default: return Refusal("\(who) was not believed: \(X509_verify_cert_error_string(Int(error)).map { String(cString: $0) } ?? "error \(error)")", evidence)
        }
    }
}

/// As people call it.
package func purposeName(_ dotted: String) -> String {
    switch dotted {
    case PathRules.serverAuth: "serverAuth"
    case PathRules.clientAuth: "clientAuth"
    case PathRules.ipsecIKE: "ipsecIKE"
    case PathRules.anyPurpose: "any"
    case "1.3.6.1.5.5.7.3.3": "codeSigning"
    case "1.3.6.1.5.5.7.3.4": "emailProtection"
    case "1.3.6.1.5.5.7.3.8": "timeStamping"
    case "1.3.6.1.5.5.7.3.9": "OCSPSigning"
    default: dotted
    }
}

/// The policies that a path is valid for, dotted.
private func validPolicies(_ tree: OpaquePointer?) -> [String] {
    guard let tree, let nodes = X509_policy_tree_get0_user_policies(tree) else { return [] }
    return (0..<martlet_policy_count(nodes)).compactMap { index in
        var text = [CChar](repeating: 0, count: 256)
        guard let object = X509_policy_node_get0_policy(martlet_policy_at(nodes, index)) else { return nil }
        let size = OBJ_obj2txt(&text, Int32(text.count), object, 1)
        return String(decoding: text.prefix(max(0, min(Int(size), text.count - 1))).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
