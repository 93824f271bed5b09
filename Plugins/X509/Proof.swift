// What a request for AUTH comes to: which certificate and key prove an identity, ours and the peer's.
// RFC 7296 sections 2.15, 3.6, 3.7 and 3.8.

import CertificateKit
import Glibc
import PluginABI
import PluginKit
import RevocationKit

enum Proof {
    /// IANA "IKEv2 Certificate Encodings": X.509 Certificate - Signature; hash and URL of one, and of a bundle.
    private static let x509: UInt8 = 4, hashAndURL: UInt8 = 12, hashAndURLOfBundle: UInt8 = 13
    /// Keys that a peer's signature is tried with.
    private static let tries = 8
    /// Configured keys that it is tried with.
    private static let keyTries = 64

    // MARK: The peer's

    static func verify(_ request: AuthRequest) -> martlet_status {
        do throws(Refusal) {
            guard let (questions, rules) = try check(request) else { return MARTLET_OK }
            // The path holds, and the peer has its key: now, and not before, somebody may be asked for it.
            nonisolated(unsafe) let request = request
            let isAsked = try Revocation.settle(questions, rules, deadline: request.table.pointee.deadline_ns) { refusal in
                if let refusal { explain(refusal, request) }
                request.table.pointee.complete(request.table.pointee.token, refusal == nil ? MARTLET_OK : MARTLET_E_REJECTED, martlet_bytes(data: nil, size: 0))
            }
            return isAsked ? MARTLET_PENDING : MARTLET_OK
        } catch {
            explain(error, request)
            return MARTLET_E_REJECTED
        }
    }

    private static func explain(_ refusal: Refusal, _ request: AuthRequest) {
        request.explain(refusal.reason)
        for line in refusal.evidence { request.explain(line) }
    }

    /// What is left to ask of a peer that has proven itself; nil where nothing is. Throws where it has not.
    private static func check(_ request: AuthRequest) throws(Refusal) -> (questions: [SourcedQuestion], rules: PathRules)? {
        let table = request.table.pointee, side = table.remote_side.pointee
        guard let constraints = SchemeConstraints(String(cString: side.auth)) else { throw Refusal("the connection's `auth = \(String(cString: side.auth))` is not understood") }
        let signature: ReceivedSignature
        do throws(ReceivedSignature.Problem) { signature = try ReceivedSignature(method: table.method, data: table.auth_data.array) } catch { throw Refusal(error.reason) }
        let parts = request.signedOctets.map { UnsafeRawBufferPointer($0.buffer) }
        func judge(_ key: PublicKey, _ scheme: SignatureScheme) throws(Refusal) {
            // A peer that knows RFC 7427 has no need of SHA-1.
            if let weakness = scheme.weakness, scheme.hash != .sha1 || table.method != AuthenticationMethod.rsa || !request.peerHashes.isEmpty {
                throw Refusal("its signature is too weak: \(weakness)")
            }
            if let objection = constraints.objection(key.type, scheme) { throw Refusal(objection) }
        }

        // What a path has to be like, a bare key has no way to show.
        let asksForPath = side.authority_count > 0 || side.policy_count > 0 || side.authority_identity.type != 0
        for key in side.publicKeyList.prefix(keyTries).compactMap(PublicKey.init(der:)) {
            guard let scheme = signature.scheme(of: key, over: parts) else { continue }
            if asksForPath { throw Refusal("`pubkeys` takes no certificate, and the connection asks for an authority or a policy (`cacerts`, `ca_id`, `cert_policy`)") }
            if let weakness = key.type.weakness(leastRSA: Settings.current.leastRSA) { throw Refusal("its public key is too weak: \(weakness)") }
            try judge(key, scheme)
            return nil
        }
        let known = Known.of(table.credentials, keeping: true), identity = IKEIdentity(type: table.remote.type, data: table.remote.data.array)
        let pinned = side.certificateList.compactMap(known.certificate)
        guard side.publicKeyList.isEmpty || !pinned.isEmpty || side.authority_count > 0 else { throw Refusal("its signature is not one of the public keys that the connection takes (`pubkeys`)") }

        var sent: [X509Certificate] = [], remarks: [String] = []
        for payload in request.peerCertificates {
            switch payload.encoding {
            case x509:
                // An authority in between that is known here as well is read once, and not for each peer.
                if let certificate = known.certificate(payload.data.array) { sent.append(certificate) } else { remarks.append("it sent a certificate that is malformed") }
            case hashAndURL, hashAndURLOfBundle: remarks.append("it sent a hash and a URL in place of a certificate, which nobody asked for")
            default: remarks.append("it sent a certificate of encoding \(payload.encoding), which is not known here")
            }
        }
        //= RFC 7296 §3.6: the first certificate is the signer's; some peers have them in another order.
        var candidates = Array(sent.prefix(1)) + sent.dropFirst().filter { !$0.isAuthority }
        if candidates.isEmpty {
            candidates = (pinned.isEmpty ? known.pinned : pinned).filter { $0.isOf(identity) }
            if candidates.isEmpty, let found = known.certificates.values.first(where: { $0.isOf(identity) }) {
                throw Refusal(
                    "it sent no certificate that can be read, and the one of it that is configured here, \"\(found.subjectText)\", is not trusted as it is: name it in the connection's `remote.certs`, or put that of its authority into x509ca",
                    remarks)
            }
            guard !candidates.isEmpty else { throw Refusal("it sent no certificate that can be read, and none of it is configured here", remarks) }
        }
        guard let (leaf, key, scheme) = signer(candidates, signature, parts) else {
            if candidates.contains(where: { if case .rsaPSS? = $0.key?.type { true } else { false } }), signature.schemes.contains(where: { $0.kind == .rsa }) {
                throw Refusal("its signature is one by PKCS#1 v1.5, and the key of its certificate is for RSA-PSS alone (RFC 4055): it has to sign with PSS (strongSwan: `auth = rsa/pss`)")
            }
            throw Refusal("its proof is no signature by the key of its certificate: \(candidates.prefix(2).map(\.identitiesText).joined(separator: "; "))", remarks)
        }
        try judge(key, scheme)
        guard leaf.isOf(identity) else {
            throw Refusal("its certificate is of another name: it is for \(leaf.identitiesText), and not for \(identity.text)", remarks)
        }
        if !pinned.isEmpty, !pinned.contains(where: { $0.der == leaf.der }) {
            throw Refusal("its certificate is none of those that the connection takes (`certs`)", ["its certificate: \(leaf.identitiesText)"])
        }
        let rules = rules(request, side, known)
        // What the administrator trusts as it is needs no path, only to be valid.
        if !asksForPath, pinned.contains(where: { $0.der == leaf.der }) { return (try known.anchors.pinnedQuestions(leaf, sent: sent, rules).map(known.sourced), rules) }
        do throws(Refusal) {
            let path = try known.anchors.path(of: leaf, sent: sent, rules)
            if let objection = constraints.objection(path) { throw Refusal(objection) }
            return (try known.anchors.questions(path, rules).map(known.sourced), rules)
        } catch {
            throw Refusal(error.reason, error.evidence + remarks)
        }
    }

    private static func signer(_ candidates: [X509Certificate], _ signature: ReceivedSignature, _ parts: [UnsafeRawBufferPointer]) -> (X509Certificate, PublicKey, SignatureScheme)? {
        var seen: Set<[UInt8]> = []
        for certificate in candidates where seen.insert(certificate.der).inserted && (seen.count - 1) * signature.schemes.count < tries {
            // A key of an absurd size is not even tried.
            guard let key = certificate.key, key.type.weakness(leastRSA: 512) == nil, let scheme = signature.scheme(of: key, over: parts) else { continue }
            return (certificate, key, scheme)
        }
        return nil
    }

    private static func rules(_ request: AuthRequest, _ side: martlet_auth_side, _ known: Known) -> PathRules {
        let settings = Settings.current
        return rules(side, purposes: request.weBegan ? settings.gatewayPurposes : settings.clientPurposes, known)
    }

    /// What a connection asks of a peer's certificates.
    static func rules(_ side: martlet_auth_side, purposes: Set<String>, _ known: Known) -> PathRules {
        let settings = Settings.current
        var rules = PathRules(time: Int64(time(nil)))
        rules.purposes = purposes
        rules.leastRSA = settings.leastRSA
        rules.authorities = side.authorityList.compactMap(known.certificate)
        if side.authority_identity.type != 0 { rules.authorityIdentity = IKEIdentity(type: side.authority_identity.type, data: side.authority_identity.data.array) }
        rules.policies = side.policyList
        rules.revocation = RevocationRule(rawValue: side.revocation) ?? .strict
        return rules
    }

    // MARK: Ours

    static func sign(_ request: AuthRequest, _ output: UnsafeMutablePointer<UInt8>, _ size: UnsafeMutablePointer<Int>) -> martlet_status {
        do throws(Refusal) {
            let data = try make(request)
            guard data.count <= Int(MARTLET_AUTH_MAX) else { return MARTLET_E_FAILED }
            for (index, byte) in data.enumerated() { output[index] = byte }
            size.pointee = data.count
            return MARTLET_OK
        } catch {
            request.explain(error.reason)
            for line in error.evidence { request.explain(line) }
            return MARTLET_E_NOT_FOUND
        }
    }

    private static func make(_ request: AuthRequest) throws(Refusal) -> [UInt8] {
        let table = request.table.pointee, side = table.local_side.pointee, known = Known.of(table.credentials, keeping: true)
        guard let constraints = SchemeConstraints(String(cString: side.auth)) else { throw Refusal("`auth = \(String(cString: side.auth))` is not understood") }
        let identity = IKEIdentity(type: table.local.type, data: table.local.data.array)
        let configured = side.certificateList.compactMap(known.certificate)
        let candidates = configured.isEmpty && side.public_key_count == 0 ? known.ends.filter { $0.isOf(identity) }.sorted { $0.notAfter > $1.notAfter } : configured
        var reasons: [String] = []
        func prove(_ key: SigningKey, _ what: String) -> [UInt8]? {
            guard let (method, scheme) = key.choose(peerHashes: request.peerHashes, constraints) else {
                let taken = request.peerHashes.map { Hash(rawValue: $0)?.name ?? "number \($0)" }.joined(separator: ", ")
                reasons.append("the peer takes no signature that \(what) can make" + (taken.isEmpty ? ": it does not know RFC 7427" : ": of hashes it takes \(taken)"))
                return nil
            }
            guard let data = key.authenticationData(method, scheme, over: request.signedOctets.map({ UnsafeRawBufferPointer($0.buffer) })) else {
                reasons.append("OpenSSL cannot sign with \(what)")
                return nil
            }
            request.made(method)
            return data
        }

        for certificate in sorted(candidates, by: request, known) {
            guard let publicKey = certificate.key, let key = known.keys[publicKey.der] else {
                reasons.append("there is no private key for our certificate \"\(certificate.subjectText)\"")
                continue
            }
            guard let data = prove(key, "the key of our certificate \"\(certificate.subjectText)\"") else { continue }
            if !certificate.isValid(at: Int64(time(nil))) {
                Plugin.log(.warning, "our certificate \"\(certificate.subjectText)\" \(certificate.notAfter < Int64(time(nil)) ? "has expired" : "is not yet valid"): peers will refuse it")
            }
            // Some clients never ask, and take no gateway without its certificate.
            let isSent = table.send_certificate == MARTLET_SEND_ALWAYS.rawValue || table.send_certificate == MARTLET_SEND_IF_ASKED.rawValue && (!request.weBegan || table.peer_request_count > 0)
            if isSent { for member in [certificate] + known.path(of: certificate) { request.add(certificate: member.der, encoding: x509) } }
            return data
        }
        for publicKey in side.publicKeyList {
            guard let key = known.keys[publicKey] else {
                reasons.append("there is no private key for our public key")
                continue
            }
            if let data = prove(key, "our \(key.type.name) key") { return data }
        }
        if reasons.isEmpty { reasons = ["no certificate for \(identity.text) is configured: name one in `certs`"] }
        throw Refusal(reasons[0], Array(reasons.dropFirst()))
    }

    /// Those of an authority that the peer has named come first. RFC 7296 section 3.7.
    private static func sorted(_ candidates: [X509Certificate], by request: AuthRequest, _ known: Known) -> [X509Certificate] {
        guard candidates.count > 1 else { return candidates }
        let now = Int64(time(nil)), candidates = candidates.filter { $0.isValid(at: now) } + candidates.filter { !$0.isValid(at: now) }
        guard !request.peerRequests.isEmpty else { return candidates }
        var named: Set<[UInt8]> = []
        for payload in request.peerRequests where payload.encoding == x509 {
            let hashes = payload.data.array
            for start in stride(from: 0, to: hashes.count - hashes.count % 20, by: 20) { named.insert(Array(hashes[start..<start + 20])) }
        }
        func isNamed(_ certificate: X509Certificate) -> Bool {
            known.path(of: certificate, withRoot: true).contains { named.contains($0.keyIDs.info) }
        }
        return candidates.filter(isNamed) + candidates.filter { !isNamed($0) }
    }
}
