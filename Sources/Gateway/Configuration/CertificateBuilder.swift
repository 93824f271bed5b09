// What a connection says of certificates: from the keys of `local` and `remote` to a `CertificatePolicy`.
// Source of the keys: swanctl.conf(5).

import Glibc
import IKECore
import IKECrypto
import IKEWire

struct CertificateBuilder {
    let loader: CredentialLoader
    /// The private keys that clients have loaded, for a connection that one of them loads.
    let loadedKeys: Set<[UInt8]>
    /// Whether it is a client's: what is missing may still come.
    let isJoining: Bool

    /// What means nothing without certificates.
    static let keys = ["certs", "cacerts", "ca_id", "cert_policy", "pubkeys", "revocation"]

    /// `auth = pubkey...`: the method is `pubkey`, and the rest what it asks for.
    static func isPublicKey(_ auth: String) -> Bool {
        let word = auth.hasPrefix("ike:") ? auth.dropFirst(4) : auth[...]
        return ["pubkey", "rsa", "ecdsa", "ed25519", "ed448"].contains { word == $0 || word.hasPrefix($0 + "-") || word.hasPrefix($0 + "/") }
    }

    func build(_ policy: inout AuthenticationPolicy, _ round: ConfigurationSection, isLocal: Bool, auth: String, _ diagnostics: inout Diagnostics) {
        if auth != "pubkey" {
            policy.certificates.auth = auth
            Self.checkWords(auth.hasPrefix("ike:") ? String(auth.dropFirst(4)) : auth, at: SectionReader(section: round).position("auth"), &diagnostics)
        }
        build(&policy, round, isLocal: isLocal, &diagnostics)
        let certificates = policy.certificates
        if isLocal, certificates.certificates.isEmpty, certificates.publicKeys.isEmpty, round.value("certs") == nil, round.sections.isEmpty {
            // One of those that are there, if it is of our identity.
            var found: [Credential] = []
            if case .exactly(let identity) = policy.identity { found = ownCertificates(of: identity) }
            for certificate in found { check(certificate, at: round.position, isGateway: true, &diagnostics) }
            if found.isEmpty { diagnostics.missing(isJoining ? .warning : .error, at: round.position, "\(quoted(round.name)) has no certificate: write certs = FILE") }
        }
        if !isLocal, certificates.certificates.isEmpty, certificates.authorities.isEmpty, certificates.publicKeys.isEmpty, !isJoining, !loader.credentials.contains(where: \.isTrusted) {
            diagnostics.missing(.warning, at: round.position, "no authority (CA) is trusted, so that no certificate of a peer will be: write cacerts = FILE, or put it into the folder 'x509ca'")
        }
    }

    /// The certificates that prove the identity and have their private key: one of them is shown. Each once.
    func ownCertificates(of identity: Identification) -> [Credential] {
        let keys = Set(loader.credentials.filter { $0.kind == .privateKey }.map(\.facts.keyID)).union(loadedKeys)
        var found: [Credential] = []
        for item in loader.credentials where item.kind == .certificate && keys.contains(item.facts.keyID) && item.facts.proves(identity) {
            if !found.contains(where: { $0.isSame(as: item) }) { found.append(item) }
        }
        return found
    }

    /// What `auth` asks of keys and signatures.
    static func checkWords(_ text: String, at position: SourcePosition, _ diagnostics: inout Diagnostics) {
        guard let wrong = text.split(separator: "-").first(where: { !Self.words.contains(String($0)) && !($0.allSatisfy(\.isNumber) && $0.count < 6) }) else { return }
        diagnostics.error(at: position, "'auth' has a word that is not known, \(quoted(String(wrong)))" + suggestion(nearest(to: String(wrong), among: Self.words)))
    }

    private static let words = ["pubkey", "rsa", "rsa/pss", "ecdsa", "ed25519", "ed448", "sha256", "sha384", "sha512", "sha2_256", "sha2_384", "sha2_512", "identity"]

    /// Also for the side that proves itself in another way: with EAP-TLS, or to a gateway with a certificate.
    /// `bindsIdentity`: ours of IKE has to be one that the certificate proves.
    func build(_ policy: inout AuthenticationPolicy, _ round: ConfigurationSection, isLocal: Bool, bindsIdentity: Bool = true, _ diagnostics: inout Diagnostics) {
        var first: Credential?
        func own(_ items: [Credential]?, at position: SourcePosition) {
            guard let items else { return }
            guard let certificate = items.first(where: { $0.kind == .certificate }) else { return diagnostics.error(at: position, "there is no certificate in it") }
            policy.certificates.certificates.append(certificate.der)
            if first == nil { first = certificate }
            if isLocal { check(certificate, at: position, isGateway: bindsIdentity, &diagnostics) }
        }
        func authority(_ items: [Credential]?, at position: SourcePosition) {
            for item in items ?? [] where item.kind == .certificate {
                guard item.facts.isAuthority else {
                    diagnostics.error(at: position, "\(quoted(item.facts.subjectText)) is no certificate of an authority: it has no basic constraints that make it one (CA)")
                    continue
                }
                policy.certificates.authorities.append(item.der)
                policy.certificates.authorityHashes += item.facts.keyInfoID
            }
        }
        if let value = round.value("certs") {
            for items in loader.elements(value, folder: "x509", &diagnostics) { own(items, at: value.position) }
        }
        if let value = round.value("cacerts") {
            for items in loader.elements(value, folder: "x509ca", &diagnostics) { authority(items, at: value.position) }
        }
        for section in round.sections {
            guard let value = section.value("file") else {
                diagnostics.error(at: section.position, "\(quoted(section.name)) names no 'file'")
                continue
            }
            let isAuthority = section.name.hasPrefix("cacert")
            let items = loader.file(value.text, folder: isAuthority ? "x509ca" : "x509", at: value.position, isNamed: true, &diagnostics)
            if isAuthority { authority(items, at: value.position) } else { own(items, at: value.position) }
        }
        if let value = round.value("pubkeys") {
            for items in loader.elements(value, folder: "pubkey", &diagnostics) { policy.certificates.publicKeys += items.filter { $0.kind == .publicKey }.map(\.der) }
        }
        policy.certificates.policies = round.value("cert_policy")?.elements.map(\.text) ?? []
        for element in round.value("cert_policy")?.elements ?? [] where !Self.isObjectIdentifier(element.text) {
            diagnostics.error(at: element.position, "\(quoted(element.text)) is no object identifier: write dotted numbers")
        }
        policy.certificates.revocation = SectionReader(section: round).text("revocation").flatMap { Revocation(rawValue: $0.lowercased()) } ?? .relaxed
        if let value = round.value("ca_id") {
            do throws(IdentityProblem) {
                if case .exactly(let identity) = try IdentityPattern(configured: value.text) {
                    policy.certificates.authorityIdentity = identity
                } else {
                    diagnostics.error(at: value.position, "'ca_id' is one identity, not a pattern")
                }
            } catch { diagnostics.error(at: value.position, error.message) }
        }
        if isLocal, let first, bindsIdentity || policy.identity == .any { confirm(&policy, first, round, &diagnostics) }
    }

    private static func isObjectIdentifier(_ text: String) -> Bool {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count >= 2 && parts.count <= 64 && parts.allSatisfy { !$0.isEmpty && $0.utf8.count < 20 && $0.utf8.allSatisfy { (0x30...0x39).contains($0) } }
    }

    /// Our certificate is of use, now and to others.
    func check(_ certificate: Credential, at position: SourcePosition, isGateway: Bool, _ diagnostics: inout Diagnostics) {
        let name = quoted(certificate.facts.subjectText)
        let hasKey = loader.credentials.contains { $0.kind == .privateKey && $0.facts.keyID == certificate.facts.keyID } || loadedKeys.contains(certificate.facts.keyID)
        if !hasKey {
            diagnostics.missing(
                isJoining ? .warning : .error, at: position,
                "there is no private key for our certificate \(name): put it into the folder 'private', or name its file in secrets { private { file = ... } }")
        }
        let now = Int64(time(nil))
        if certificate.facts.notAfter < now {
            diagnostics.warning(at: position, "our certificate \(name) has expired")
        } else if certificate.facts.notBefore > now {
            diagnostics.warning(at: position, "our certificate \(name) is not yet valid")
        } else if certificate.facts.notAfter < now + 30 * 86_400 {
            diagnostics.warning(at: position, "our certificate \(name) expires in \((certificate.facts.notAfter - now) / 86_400) days")
        }
        for remark in isGateway ? certificate.facts.remarks : [] { diagnostics.warning(at: position, "our certificate \(name): \(remark)") }
    }

    /// Our identity is one that the certificate proves: the subject, where another is configured, or none. As strongSwan does.
    private func confirm(_ policy: inout AuthenticationPolicy, _ certificate: Credential, _ round: ConfigurationSection, _ diagnostics: inout Diagnostics) {
        let subject = Identification(kind: .derDN, data: certificate.facts.subject)
        switch policy.identity {
        case .any: policy.identity = .exactly(subject)
        case .exactly(let identity):
            if identity.kind == .derDN, subject.matches(identity) {
                // Octet for octet what stands in the certificate: there are peers that compare those.
                policy.identity = .exactly(subject)
            } else if !certificate.facts.proves(identity) {
                diagnostics.warning(
                    at: SectionReader(section: round).position("id"), "our certificate does not prove the identity \(quoted("\(identity)")): we say that we are \(quoted("\(subject)")), its subject")
                policy.identity = .exactly(subject)
            }
        case .suffix, .name: break
        }
    }
}
