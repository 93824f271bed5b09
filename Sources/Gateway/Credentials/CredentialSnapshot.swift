// Everything that is configured or loaded of certificates and keys, as plugins are handed it (credentials.h). Never changes; a change makes a new one.

import IKECore
import IKEWire
import PluginABI
import Synchronization

package final class CredentialSnapshot: @unchecked Sendable {
    package let items: [Credential]
    package let authorities: [Authority]
    package let generation: UInt64
    /// Everything that it points to lives as long as `self`.
    let table: UnsafeMutablePointer<martlet_credentials>
    private var memory: [UnsafeMutableRawPointer] = []
    private static let generations = Atomic<UInt64>(0)

    package static let empty = CredentialSnapshot(items: [], authorities: [])

    /// Of several that are the same, the first; where one of them is trusted, that one.
    package init(items given: [Credential], authorities: [Authority]) {
        var items: [Credential] = [], places: [[UInt8]: [Int]] = [:]
        for item in given {
            let key = item.kind == .crl ? item.facts.issuer : item.facts.keyID
            if let place = places[key]?.first(where: { items[$0].isSame(as: item) }) {
                if item.isTrusted, !items[place].isTrusted { items[place] = item }
            } else {
                places[key, default: []].append(items.count)
                items.append(item)
            }
        }
        self.items = items
        self.authorities = authorities
        generation = Self.generations.add(1, ordering: .relaxed).newValue
        table = .allocate(capacity: 1)
        var lender = Lender()
        let credentials = lender.array(
            items.map { item in
                martlet_credential(
                    struct_size: UInt32(MemoryLayout<martlet_credential>.size), kind: item.kind.rawValue,
                    flags: UInt16((item.isTrusted ? MARTLET_CREDENTIAL_TRUSTED.rawValue : 0) | (item.facts.isAuthority ? MARTLET_CREDENTIAL_CA.rawValue : 0)),
                    der: martlet_bytes(data: item.bytes.baseAddress, size: item.bytes.count),
                    origin: lender.text(item.origin))
            })
        let sections = lender.array(
            authorities.map { authority in
                martlet_authority(
                    struct_size: UInt32(MemoryLayout<martlet_authority>.size), reserved: 0, name: lender.text(authority.name), certificate: lender.bytes(authority.certificate),
                    crl_uris: lender.texts(authority.crlURIs), crl_uri_count: authority.crlURIs.count, ocsp_uris: lender.texts(authority.ocspURIs), ocsp_uri_count: authority.ocspURIs.count)
            })
        table.initialize(
            to: martlet_credentials(
                struct_size: UInt32(MemoryLayout<martlet_credentials>.size), reserved: 0, generation: generation, items: credentials, count: items.count, authorities: sections,
                authority_count: authorities.count))
        memory = lender.memory
    }

    deinit {
        for piece in memory { piece.deallocate() }
        table.deallocate()
    }

    /// The authorities that are trusted as a CERTREQ names them, 20 octets each. RFC 7296 section 3.7.
    package var authorityHashes: [UInt8] { items.filter { $0.kind == .certificate && $0.isTrusted && $0.facts.isAuthority }.flatMap(\.facts.keyInfoID) }
}

/// Copies values to memory that C can read, and remembers what it allocated.
struct Lender {
    private(set) var memory: [UnsafeMutableRawPointer] = []

    mutating func bytes(_ bytes: [UInt8]) -> martlet_bytes {
        let copy = UnsafeMutableRawPointer.allocate(byteCount: max(bytes.count, 1), alignment: 8)
        copy.copyMemory(from: bytes, byteCount: bytes.count)
        memory.append(copy)
        return martlet_bytes(data: UnsafePointer(copy.assumingMemoryBound(to: UInt8.self)), size: bytes.count)
    }

    mutating func text(_ text: String) -> UnsafePointer<CChar> {
        let bytes = text.utf8CString
        let copy = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
        for (index, byte) in bytes.enumerated() { copy.advanced(by: index).initialize(to: byte) }
        memory.append(UnsafeMutableRawPointer(copy))
        return UnsafePointer(copy)
    }

    /// Nil for none.
    mutating func array<T>(_ values: [T]) -> UnsafePointer<T>? {
        guard !values.isEmpty else { return nil }
        let copy = UnsafeMutablePointer<T>.allocate(capacity: values.count)
        for (index, value) in values.enumerated() { copy.advanced(by: index).initialize(to: value) }
        memory.append(UnsafeMutableRawPointer(copy))
        return UnsafePointer(copy)
    }

    mutating func one<T>(_ value: T) -> UnsafePointer<T> {
        let copy = UnsafeMutablePointer<T>.allocate(capacity: 1)
        copy.initialize(to: value)
        memory.append(UnsafeMutableRawPointer(copy))
        return UnsafePointer(copy)
    }

    mutating func texts(_ texts: [String]) -> UnsafePointer<UnsafePointer<CChar>?>? {
        let pointers: [UnsafePointer<CChar>?] = texts.map { text($0) }
        return array(pointers)
    }
}

extension Lender {
    mutating func identity(_ identification: Identification?) -> martlet_identity {
        martlet_identity(type: identification?.kind.rawValue ?? 0, reserved: (0, 0, 0, 0, 0, 0, 0), data: bytes(identification?.data ?? []))
    }

    /// What a connection says of certificates. `method`: the value of `auth`, where it asks for nothing more.
    mutating func side(_ policy: CertificatePolicy, auth method: String) -> UnsafePointer<martlet_auth_side> {
        let revocation: martlet_revocation =
            switch policy.revocation {
            case .relaxed: MARTLET_REVOCATION_RELAXED
            case .ifuri: MARTLET_REVOCATION_IFURI
            case .strict: MARTLET_REVOCATION_STRICT
            }
        let certificates = policy.certificates.map { bytes($0) }, authorities = policy.authorities.map { bytes($0) }, keys = policy.publicKeys.map { bytes($0) }
        return one(
            martlet_auth_side(
                struct_size: UInt32(MemoryLayout<martlet_auth_side>.size), revocation: UInt8(revocation.rawValue), reserved: (0, 0, 0), auth: text(policy.auth ?? method),
                certificates: array(certificates), certificate_count: certificates.count, authorities: array(authorities), authority_count: authorities.count, public_keys: array(keys),
                public_key_count: keys.count, policies: texts(policy.policies), policy_count: policy.policies.count, authority_identity: identity(policy.authorityIdentity)))
    }
}
