// list-certs and list-authorities: certificates as vici messages.
// Source of keys and formats: strongSwan's src/libcharon/plugins/vici/README.md.

import IKECore
import IKECrypto
import ViciWire

/// The arguments of `list-certs`.
struct CertificateFilter: Hashable, Sendable {
    var type: String?
    var flag: String?
    var subject: String?

    init(_ message: ViciMessage) {
        func given(_ name: String) -> String? { message.text(name).flatMap { $0.isEmpty || $0.uppercased() == "ANY" ? nil : $0 } }
        (type, flag, subject) = (given("type")?.uppercased(), given("flag")?.uppercased(), given("subject"))
    }

    func matches(_ credential: Credential) -> Bool {
        switch credential.kind {
        case .privateKey, .publicKey: return false
        case .crl: return type == nil || type == "X509_CRL"
        case .certificate:
            guard type == nil || type == "X509", flag.map({ ($0 == "CA") == credential.facts.isAuthority && ($0 == "CA" || $0 == "NONE") }) ?? true else { return false }
            guard let subject, let pattern = try? IdentityPattern(configured: subject) else { return subject == nil }
            return pattern.matches(.init(kind: .derDN, data: credential.facts.subject)) || credential.facts.names.contains { pattern.matches($0) }
        }
    }
}

enum CertificateMessages {
    static func certificate(_ credential: Credential, hasKey: Bool) -> ViciMessage {
        var m = ViciMessage()
        m.add("type", credential.kind == .crl ? "X509_CRL" : "X509")
        if credential.kind == .certificate { m.add("flag", credential.facts.isAuthority ? "CA" : "NONE") }
        if hasKey { m.add("has_privkey", "yes") }
        m.add("data", bytes: credential.der)
        m.add("martlet-origin", credential.origin)
        return m
    }

    static func authority(_ authority: Authority, subject: String) -> ViciMessage {
        var body = ViciMessage()
        body.add("cacert", subject)
        body.add("crl_uris", list: authority.crlURIs)
        body.add("ocsp_uris", list: authority.ocspURIs)
        var m = ViciMessage()
        m.add(authority.name, section: body)
        return m
    }
}
