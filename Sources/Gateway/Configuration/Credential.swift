// One certificate, key or CRL, as DER in memory that stays where it is; and what its reader said of it.

import CSecret
import Glibc
import IKECore
import IKEWire

/// What a plugin said of a credential that it read.
package struct CredentialFacts: Hashable, Sendable {
    package var isAuthority = false
    /// SHA-1 over the subjectPublicKey, and over the SubjectPublicKeyInfo.
    package var keyID: [UInt8] = []
    package var keyInfoID: [UInt8] = []
    /// Names, DER.
    package var subject: [UInt8] = []
    package var issuer: [UInt8] = []
    package var serial: [UInt8] = []
    /// Seconds of 1970.
    package var notBefore: Int64 = 0
    package var notAfter: Int64 = 0
    package var keyType = ""
    package var keyBits = 0
    package var remarks: [String] = []
    /// What it proves beside its subject.
    package var names: [Identification] = []
    package init() {}
}

extension CredentialFacts {
    /// Whether the certificate proves an identity. RFC 7296 section 3.5.
    func proves(_ identity: Identification) -> Bool {
        if identity.kind == .keyID { return identity.data == keyID || identity.data == keyInfoID }
        return Identification(kind: .derDN, data: subject).matches(identity) || names.contains { $0.matches(identity) }
    }
    var subjectText: String { "\(Identification(kind: .derDN, data: subject))" }
}

/// Has no description of its own: it may be a key.
package final class Credential: @unchecked Sendable {
    package enum Kind: UInt16, Sendable { case certificate = 1, crl, privateKey, publicKey }
    package let kind: Kind
    package let facts: CredentialFacts
    /// Where it comes from: a path, "vici".
    package let origin: String
    /// Whether a path may end in it.
    package let isTrusted: Bool
    private let memory: UnsafeMutableRawPointer
    private let size: Int

    package init(kind: Kind, der: UnsafeBufferPointer<UInt8>, facts: CredentialFacts, origin: String, isTrusted: Bool = false) {
        (self.kind, self.facts, self.origin, self.isTrusted) = (kind, facts, origin, isTrusted)
        size = der.count
        memory = UnsafeMutableRawPointer.allocate(byteCount: max(size, 1), alignment: 1)
        if let base = der.baseAddress { memory.copyMemory(from: base, byteCount: size) }
    }

    deinit {
        if kind == .privateKey { martlet_secret_wipe(memory, size) }
        memory.deallocate()
    }

    /// Lives as long as `self`.
    var bytes: UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(start: memory.assumingMemoryBound(to: UInt8.self), count: size) }

    /// A copy; not of a private key.
    package var der: [UInt8] {
        kind == .privateKey ? [] : Array(bytes)
    }

    /// Whether both are the same thing, wherever they come from.
    package func isSame(as other: Credential) -> Bool {
        guard kind == other.kind else { return false }
        if kind == .privateKey { return facts.keyID == other.facts.keyID }
        return size == other.size && memcmp(memory, other.memory, size) == 0
    }

    package func trusted() -> Credential {
        Credential(kind: kind, der: bytes, facts: facts, origin: origin, isTrusted: true)
    }
}

/// What of a file is trusted as it is.
package enum TrustedPart: Hashable, Sendable { case nothing, authorities, endEntities }

/// Why a file of credentials gave nothing.
package enum CredentialProblem: Error, Hashable, Sendable {
    /// The passphrase is wrong or missing.
    case locked(String)
    case unreadable(String)

    package var reason: String {
        switch self {
        case .locked(let reason), .unreadable(let reason): reason
        }
    }
}

/// Takes files of certificates and keys apart: a plugin does.
package protocol CredentialReading: Sendable {
    /// What a file holds, in its order.
    func read(_ file: Span<UInt8>, passphrase: Span<UInt8>, origin: String, trusted: TrustedPart) throws(CredentialProblem) -> [Credential]
}

/// A section of `authorities`.
package struct Authority: Hashable, Sendable {
    package var name: String
    /// DER.
    package var certificate: [UInt8]
    package var crlURIs: [String] = []
    package var ocspURIs: [String] = []
    package init(name: String, certificate: [UInt8]) {
        self.name = name
        self.certificate = certificate
    }
}

/// Two digits for each byte.
func hexText(_ bytes: [UInt8]) -> String { bytes.map { (byte: UInt8) in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined() }
