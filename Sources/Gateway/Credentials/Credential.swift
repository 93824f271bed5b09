// One certificate, key or CRL, as DER in memory that stays where it is; and what its reader said of it.

import CLinux
import Glibc
import IKEWire
import PluginABI

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
    package init() {}
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
    private let memory: UnsafeMutableRawPointer?
    private let size: Int

    package init(kind: Kind, der: UnsafeBufferPointer<UInt8>, facts: CredentialFacts, origin: String, isTrusted: Bool = false) {
        (self.kind, self.facts, self.origin, self.isTrusted) = (kind, facts, origin, isTrusted)
        size = der.count
        memory = kind == .privateKey ? SecretMemory.allocate(size) : UnsafeMutableRawPointer.allocate(byteCount: max(size, 1), alignment: 1)
        if let base = der.baseAddress { memory?.copyMemory(from: base, byteCount: size) }
    }

    deinit { if kind == .privateKey { SecretMemory.free(memory, size) } else { memory?.deallocate() } }

    /// Lives as long as `self`.
    var bytes: martlet_bytes { martlet_bytes(data: memory.map { UnsafePointer($0.assumingMemoryBound(to: UInt8.self)) }, size: memory == nil ? 0 : size) }

    /// A copy; not of a private key.
    package var der: [UInt8] {
        guard kind != .privateKey, let memory else { return [] }
        return Array(UnsafeRawBufferPointer(start: memory, count: size))
    }

    /// Whether both are the same thing, wherever they come from.
    package func isSame(as other: Credential) -> Bool {
        guard kind == other.kind else { return false }
        if kind == .privateKey { return facts.keyID == other.facts.keyID }
        guard size == other.size, let memory, let theirs = other.memory else { return size == other.size }
        return memcmp(memory, theirs, size) == 0
    }

    package func trusted() -> Credential {
        Credential(kind: kind, der: UnsafeBufferPointer(start: bytes.data, count: size), facts: facts, origin: origin, isTrusted: true)
    }
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
