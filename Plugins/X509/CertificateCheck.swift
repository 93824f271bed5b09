// Whether a certificate that was shown in TLS is believed: the same paths, authorities, revocation and pins as for one of IKE, with the key usage and the names of TLS.
// RFC 5280 section 6, RFC 5216 section 5.2 and 5.3.

import CertificateKit
import PluginABI
import PluginKit
import RevocationKit

enum CertificateCheck {
    static func check(_ table: UnsafePointer<martlet_certificate_check>) -> martlet_status {
        // Lent until it is complete.
        nonisolated(unsafe) let table = table
        @Sendable func explain(_ refusal: Refusal) { for text in [refusal.reason] + refusal.evidence { text.withCString { table.pointee.explain(table, $0) } } }
        do throws(Refusal) {
            let (questions, rules) = try judge(table.pointee)
            let isAsked = try Revocation.settle(questions, rules, deadline: table.pointee.deadline_ns) { refusal in
                if let refusal { explain(refusal) }
                table.pointee.complete(table.pointee.token, refusal == nil ? MARTLET_OK : MARTLET_E_REJECTED)
            }
            return isAsked ? MARTLET_PENDING : MARTLET_OK
        } catch {
            explain(error)
            return MARTLET_E_REJECTED
        }
    }

    private static func judge(_ check: martlet_certificate_check) throws(Refusal) -> (questions: [SourcedQuestion], rules: PathRules) {
        let side = check.side.pointee, known = Known.of(check.credentials, keeping: true), isClient = check.use == MARTLET_CERTIFICATE_TLS_CLIENT.rawValue
        // `eap-tls:ecdsa-256`: what stands behind the colon is about the certificates of the method.
        let auth = String(cString: side.auth), wish = auth.hasPrefix("eap") ? auth.split(separator: ":", maxSplits: 1).dropFirst().first.map(String.init) ?? "" : auth
        guard let constraints = SchemeConstraints(wish) else { throw Refusal("the connection's `auth` asks for \(auth), which is not understood") }
        guard side.public_key_count == 0 else { throw Refusal("the connection takes public keys (`pubkeys`), and TLS here shows certificates alone") }
        let given = UnsafeBufferPointer(start: check.certificates, count: check.certificate_count)
        guard let first = given.first, let leaf = X509Certificate(der: first.array) else { throw Refusal("it sent no certificate that can be read") }
        let sent = given.dropFirst().compactMap { known.certificate($0.array) }
        let identities = UnsafeBufferPointer(start: check.identities, count: check.identity_count).map { IKEIdentity(type: $0.type, data: $0.data.array) }
        guard identities.contains(where: { isClient ? leaf.isOf(user: $0) : leaf.isOf($0) }) else {
            throw Refusal("its certificate is of another name: it is for \(leaf.identitiesText), and not for \(identities.first?.text ?? "anybody")")
        }
        let pinned = side.certificateList.compactMap(known.certificate)
        if !pinned.isEmpty, !pinned.contains(where: { $0.der == leaf.der }) {
            throw Refusal("its certificate is none of those that the connection takes (`certs`)", ["its certificate: \(leaf.identitiesText)"])
        }
        let rules = Proof.rules(side, purposes: isClient ? PathRules.tlsClientPurposes : PathRules.tlsServerPurposes, known)
        let asksForPath = side.authority_count > 0 || side.policy_count > 0 || side.authority_identity.type != 0
        if !asksForPath, !pinned.isEmpty {
            if let objection = constraints.objection([leaf]) { throw Refusal(objection) }
            return (try known.anchors.pinnedQuestions(leaf, sent: sent, rules).map(known.sourced), rules)
        }
        let path = try known.anchors.path(of: leaf, sent: sent, rules)
        if let objection = constraints.objection(path) { throw Refusal(objection) }
        return (try known.anchors.questions(path, rules).map(known.sourced), rules)
    }
}
