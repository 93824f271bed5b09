// `auth = eap-...` of a connection, with `eap_id` and `aaa_id`. RFC 7296 section 2.16, RFC 5998; keys and meanings are swanctl.conf(5)'s.

import IKECore
import IKEWire

struct EAPBuilder {
    let methods: [EAPMethod]
    let certificates: CertificateBuilder

    /// The round's `auth` begins with `eap`. `isAlone`: so does that of our side, so that the method proves both ends.
    func build(_ policy: inout AuthenticationPolicy, isLocal: Bool, isAlone: Bool, _ round: ConfigurationSection, _ diagnostics: inout Diagnostics) {
        let reader = SectionReader(section: round)
        // Constraints on certificates, as strongSwan writes them: eap-tls:ecdsa-256.
        if let colon = policy.method.firstIndex(of: ":") {
            let whole = policy.method
            policy.method = String(whole[..<colon])
            policy.certificates.auth = whole
            if isLocal || methods.first(where: { $0.name == policy.method })?.proof.client != true {
                diagnostics.error(at: reader.position("auth"), "constraints on the certificates of EAP are for peers that show one: write \(quoted(policy.method))")
            }
            CertificateBuilder.checkWords(String(whole[whole.index(after: colon)...]), at: reader.position("auth"), &diagnostics)
        }
        if policy.method == "eap-radius" {
            diagnostics.error(at: reader.position("auth"), "RADIUS is not there yet: users are in `secrets`, or in a directory (plugins { ldap { ... } })")
        } else if !policy.takesAnyEAP, !methods.contains(where: { $0.name == policy.method }) {
            let known = methods.map(\.name) + ["eap", "eap-dynamic"]
            diagnostics.error(at: reader.position("auth"), "no loaded plugin provides the authentication \(quoted(policy.method))" + suggestion(nearest(to: policy.method, among: known)))
        } else if policy.takesAnyEAP, methods.isEmpty {
            diagnostics.error(at: reader.position("auth"), "no loaded plugin provides a method of EAP")
        }
        let fitting = methods.filter { policy.takesAnyEAP || $0.name == policy.method }
        // Ours may be the server's or the client's; the peer's a client's, or of a server that proves itself by EAP alone.
        let showsCertificate =
            isLocal ? fitting.contains { $0.proof.server || $0.proof.client } : !fitting.isEmpty && fitting.allSatisfy { $0.proof.client || isAlone && $0.proof.server }
        if showsCertificate {
            certificates.build(&policy, round, isLocal: isLocal, bindsIdentity: false, &diagnostics)
        } else {
            // What restricts certificates would restrict nobody who comes without one.
            let without = policy.takesAnyEAP ? "takes users without one" : "takes none"
            for key in CertificateBuilder.keys {
                guard let value = round.value(key), key != "revocation" || value.text.lowercased() != "relaxed" else { continue }
                let text = "\(quoted(key)) is about certificates, and \(quoted(policy.method)) \(without): take it out"
                if isLocal { diagnostics.warning(at: value.position, text) } else { diagnostics.error(at: value.position, text) }
            }
            for section in round.sections { diagnostics.error(at: section.position, "\(quoted(section.name)) is about certificates, and \(quoted(policy.method)) \(without): take it out") }
        }
        if let value = round.value("eap_id") {
            if let pattern = identity(value, &diagnostics) { policy.eapIdentity = pattern }
            if isLocal, case .exactly? = policy.eapIdentity {
            } else if isLocal, policy.eapIdentity != nil {
                diagnostics.error(at: value.position, "our own identity cannot be a pattern: write it out")
            }
        }
        guard isLocal, let value = round.value("aaa_id"), let pattern = identity(value, &diagnostics) else { return }
        if case .exactly(let name) = pattern { policy.serverName = name } else { diagnostics.error(at: value.position, "'aaa_id' is one identity, not a pattern") }
    }

    private func identity(_ value: ConfigurationValue, _ diagnostics: inout Diagnostics) -> IdentityPattern? {
        do throws(IdentityProblem) { return try IdentityPattern(configured: value.text, isUser: true) } catch {
            diagnostics.error(at: value.position, error.message)
            return nil
        }
    }

    /// What both rounds say together.
    func check(_ connection: Connection, _ section: ConfigurationSection, _ diagnostics: inout Diagnostics) {
        let sides = [("local", connection.local), ("remote", connection.remote)]
        for (side, policy) in sides where !policy.isEAP {
            guard let round = section.sections.first(where: { $0.name.hasPrefix(side) }) else { continue }
            for key in ["eap_id", "aaa_id"] {
                if let value = round.value(key) { diagnostics.warning(at: value.position, "'\(key)' has no effect without auth = eap-...") }
            }
        }
        checkServerCertificate(connection, section, &diagnostics)
        guard connection.local.isEAP else { return }
        //= RFC 5998 §4: EAP alone needs a method that proves both ends.
        guard connection.remote.isEAP else { return }
        let fitting = methods.filter { method in method.isMutual && method.givesKey && sides.allSatisfy { $0.1.takesAnyEAP || $0.1.method == method.name } }
        guard fitting.isEmpty, let round = section.sections.first(where: { $0.name.hasPrefix("local") }) else { return }
        diagnostics.error(
            at: SectionReader(section: round).position("auth"),
            "EAP on both sides (RFC 5998) needs a method that proves both ends, and \(connection.local.method) is none: write another 'auth' to the gateway's side, psk or pubkey")
    }
}

extension EAPBuilder {
    /// A gateway whose method shows a certificate needs one, also where it proves itself to IKE with a preshared key.
    private func checkServerCertificate(_ connection: Connection, _ section: ConfigurationSection, _ diagnostics: inout Diagnostics) {
        guard connection.remote.isEAP, !connection.local.isEAP, connection.local.method != "pubkey", connection.local.certificates.certificates.isEmpty,
            let method = methods.first(where: { $0.name == connection.remote.method }), method.proof.server, case .exactly(let identity) = connection.local.identity
        else { return }
        let found = certificates.ownCertificates(of: identity)
        // Clients look at it in TLS as they do in IKE.
        for certificate in found { certificates.check(certificate, at: section.position, isGateway: true, &diagnostics) }
        guard found.isEmpty else { return }
        diagnostics.missing(
            certificates.isJoining ? .warning : .error, at: section.position,
            "the connection \(quoted(section.name)) has no certificate for \(quoted("\(identity)")), which \(method.name) shows to users: put it into the folder 'x509' and its key into 'private'")
    }
}

extension AuthenticationPolicy {
    /// Whether users give a password, whatever else the method does.
    var asksForPasswords: Bool { ["eap-md5", "eap-gtc", "eap-mschapv2", "eap-ttls", "eap-peap"].contains(method) }
}
