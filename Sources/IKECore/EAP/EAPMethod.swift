// What the core knows of EAP methods, which plugins do: a name, a type, what it is good for; and one message of a conversation as a job.
// RFC 3748 sections 2 and 7.10, RFC 5998.

import IKECrypto
import IKEWire

/// A method of EAP that a loaded plugin has.
package struct EAPMethod: Hashable, Sendable {
    /// As `auth` names it: "eap-mschapv2".
    package var name: String
    /// IANA "Method Types" of EAP.
    package var type: UInt8
    package var isServer: Bool
    package var isClient: Bool
    /// Whether a conversation that succeeds leaves both ends with a key, the MSK.
    package var givesKey: Bool
    /// Whether it alone proves both ends to each other, so that the gateway needs no proof of its own. RFC 5998 section 4.
    package var isMutual: Bool
    package var proof: Proof

    /// What its ends prove themselves with.
    package struct Proof: Hashable, Sendable {
        /// Certificates.
        package var server: Bool
        package var client: Bool
        /// The client has a password.
        package var password: Bool
        package init(server: Bool = false, client: Bool = false, password: Bool = true) { (self.server, self.client, self.password) = (server, client, password) }
    }

    package init(name: String, type: UInt8, isServer: Bool = true, isClient: Bool = true, givesKey: Bool, isMutual: Bool = false, proof: Proof = Proof()) {
        self.proof = proof
        self.name = name
        self.type = type
        self.isServer = isServer
        self.isClient = isClient
        self.givesKey = givesKey
        self.isMutual = isMutual
    }
}

/// A conversation of a method, under way in a plugin. Whoever holds it last ends it.
package protocol EAPConversation: AnyObject, Sendable {
    /// The groups that the user of a conversation that has succeeded is in, by name and by distinguished name; nil where nobody knows of any.
    var groups: [String]? { get }
    /// The user's name as the directory writes it, whatever came of the conversation: the same however the peer has written it. Nil where no directory has said so.
    var account: [UInt8]? { get }
}

extension EAPConversation {
    package var groups: [String]? { nil }
    package var account: [UInt8]? { nil }
}

/// One message for a method, or the beginning of a conversation.
package struct EAPStep: Sendable {
    package var method: EAPMethod
    /// Whether we are the one that asks.
    package var isServer: Bool
    package var connection: String
    /// The directory that is asked about users; nil for the first.
    package var directory: String?
    /// Whether it is asked about whoever has proven who it is without a password.
    package var looksUp = true
    /// Who the client says that it is: its EAP identity, or its IKE identity where nobody asked for one.
    package var identity: [UInt8]
    package var local: Identification
    package var remote: Identification
    /// As the client: the name that the server has to show, where the method lets it.
    package var serverName: Identification?
    /// What the connection says of certificates.
    package var localCertificates = CertificatePolicy()
    package var remoteCertificates = CertificatePolicy()
    /// Nil where it begins.
    package var conversation: (any EAPConversation)?
    /// Of the packet that came; of the request to come where a server begins.
    package var identifier: UInt8
    /// The type's data that came; nil where a server begins.
    package var message: [UInt8]?

    package init(
        method: EAPMethod, isServer: Bool, connection: String, directory: String? = nil, identity: [UInt8], local: Identification, remote: Identification, serverName: Identification? = nil,
        localCertificates: CertificatePolicy = CertificatePolicy(), remoteCertificates: CertificatePolicy = CertificatePolicy(), conversation: (any EAPConversation)? = nil, identifier: UInt8,
        message: [UInt8]? = nil
    ) {
        (self.method, self.isServer, self.connection, self.directory, self.identity, self.local, self.remote) = (method, isServer, connection, directory, identity, local, remote)
        (self.serverName, self.localCertificates, self.remoteCertificates) = (serverName, localCertificates, remoteCertificates)
        (self.conversation, self.identifier, self.message) = (conversation, identifier, message)
    }
}

/// What a method made of a message.
package enum EAPOutcome: Sendable {
    /// It goes out, and the method waits for what comes back.
    case message([UInt8])
    /// As the server: the peer has failed, and the method tells it so in words of its own before the end. As the client: the server has said so, and hears that we
    /// have understood.
    case refused([UInt8], EAPRefusal)
    /// The method is content. As the client with the message that says so; the server may still go on. The key has 64 bytes.
    case succeeded([UInt8]?, SecretBox?)
    case failed(EAPRefusal)
}

/// Why a conversation failed. For the log here alone.
package struct EAPRefusal: Error, Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        /// The proof does not fit: a wrong password, a certificate that does not hold.
        case wrong
        /// Nobody knows such a user, or there is no secret for it.
        case unknownUser
        /// What came is not of the method, or not in its turn.
        case misbehaved
        /// Whoever knows the user cannot be asked, or something here does not work.
        case unavailable
        /// Too many wrong tries: this one was not looked at.
        case tooMany
        /// The proof is right, and the directory has something against the user.
        case accountRefused
        /// The proof is right, and no connection takes the user's groups.
        case notInGroup
        /// The proof is right, and the user has as many sessions as are allowed.
        case tooManySessions
        /// The two ends have no method in common.
        case noMethod
        /// The other end has said no.
        case byPeer
    }
    package var kind: Kind
    /// The rest of a sentence that begins with the user or the peer. Holds no secret.
    package var reason: String
    package init(_ kind: Kind, _ reason: String) {
        self.kind = kind
        self.reason = reason
    }
}

extension EAPRefusal {
    static func misbehaved(_ reason: String) -> EAPRefusal { EAPRefusal(.misbehaved, reason) }
}

extension AuthenticationPolicy {
    /// Whether the proof comes by EAP. RFC 7296 section 2.16.
    package var isEAP: Bool { method.hasPrefix("eap") }

    /// Whether the method is not fixed: `eap`, `eap-dynamic`.
    package var takesAnyEAP: Bool { method == "eap" || method == "eap-dynamic" }

    /// The methods that are spoken, the preferred one first.
    package func eapMethods(_ loaded: [EAPMethod], asServer: Bool) -> [EAPMethod] {
        let spoken = loaded.filter { (asServer ? $0.isServer : $0.isClient) && (takesAnyEAP || $0.name == method) }
        guard asServer, takesAnyEAP else { return spoken }
        return spoken.filter { !unverifiable.contains($0.name) } + spoken.filter { offersUnverifiable && unverifiable.contains($0.name) }
    }
}

extension Identification {
    /// An identity of EAP, which is text without a type. RFC 3748 section 5.1.
    package init(eap bytes: [UInt8]) {
        // Also with a space, or letters beyond ASCII: RFC 4282 section 2.1 has them, and directories do.
        let isText = String(validating: bytes, as: UTF8.self) != nil && bytes.allSatisfy { $0 >= 0x20 && $0 != 0x7f }
        self.init(kind: !isText ? .keyID : bytes.contains(UInt8(ascii: "@")) ? .rfc822 : .fqdn, data: bytes)
    }

    /// What a directory is asked for where the peer has proven this identity: of a distinguished name its common name.
    package var accountName: [UInt8] { kind == .derDN ? DistinguishedName(der: data)?.commonName ?? eapIdentity : eapIdentity }

    /// As a client names itself in EAP where nothing else is configured: its text, without a type.
    package var eapIdentity: [UInt8] {
        switch kind {
        case .fqdn, .rfc822, .keyID: data
        default: Array(description.utf8)
        }
    }
}
