// A plugin that reads files of certificates and keys for the host (credentials.h), as the host calls it.

import IKEWire
import PluginABI
import PluginCrypto

package struct CredentialReader: CredentialReading, @unchecked Sendable {
    package let name: String
    /// Immortal and constant.
    private let table: UnsafePointer<martlet_credential_reader>

    init(_ raw: UnsafeRawPointer) throws(TableDefect) {
        let size = raw.load(as: UInt32.self)
        guard size >= UInt32(MemoryLayout<martlet_credential_reader>.size) else {
            throw TableDefect("the reader's table has \(size) bytes, the daemon needs \(MemoryLayout<martlet_credential_reader>.size)")
        }
        table = raw.assumingMemoryBound(to: martlet_credential_reader.self)
        try requireFunctions(table, (\.name, "name"), (\.read, "read"))
        name = String(cString: table.pointee.name)
    }

    /// Tells the plugin of a new snapshot, so that it lets go of what it made of earlier ones.
    func changed(_ snapshot: CredentialSnapshot) { withExtendedLifetime(snapshot) { table.pointee.changed?(snapshot.table) } }

    /// Has the plugin forget what it has fetched.
    func forget(_ fetched: FetchedCredentials) { table.pointee.forget?(fetched.rawValue) }

    /// The most that is taken of one file.
    private static let limit = 4096

    private struct Collection {
        let origin: String
        let trusted: TrustedPart
        var items: [Credential] = []
        var reason: String?
    }

    /// What a file holds, in its order.
    package func read(_ file: Span<UInt8>, passphrase: Span<UInt8>, origin: String, trusted: TrustedPart = .nothing) throws(CredentialProblem) -> [Credential] {
        var collection = Collection(origin: origin, trusted: trusted)
        let status = file.withUnsafeBufferPointer { file in
            passphrase.withUnsafeBufferPointer { passphrase in
                withUnsafeMutablePointer(to: &collection) { collection in
                    table.pointee.read(
                        martlet_bytes(data: file.baseAddress, size: file.count), martlet_bytes(data: passphrase.baseAddress, size: passphrase.count),
                        { context, found in
                            guard let collection = context?.assumingMemoryBound(to: Collection.self), collection.pointee.items.count < CredentialReader.limit else { return }
                            if let item = CredentialReader.credential(found.pointee, collection.pointee) { collection.pointee.items.append(item) }
                        },
                        { context, text in context?.assumingMemoryBound(to: Collection.self).pointee.reason = PluginText.line(text) }, collection)
                }
            }
        }
        switch status {
        case MARTLET_OK: return collection.items
        case MARTLET_E_REJECTED: throw .locked(collection.reason ?? "the passphrase does not open it")
        default: throw .unreadable(collection.reason ?? "it holds no certificate and no key")
        }
    }

    private static func credential(_ found: martlet_found_credential, _ collection: Collection) -> Credential? {
        guard let kind = Credential.Kind(rawValue: found.kind) else { return nil }
        func bytes(_ lent: martlet_bytes) -> [UInt8] { lent.data.map { Array(UnsafeBufferPointer(start: $0, count: lent.size)) } ?? [] }
        var facts = CredentialFacts()
        facts.isAuthority = found.flags & UInt16(MARTLET_CREDENTIAL_CA.rawValue) != 0
        facts.keyID = withUnsafeBytes(of: found.key_id) { Array($0) }
        facts.keyInfoID = withUnsafeBytes(of: found.key_info_id) { Array($0) }
        facts.subject = bytes(found.subject)
        facts.issuer = bytes(found.issuer)
        facts.serial = bytes(found.serial)
        (facts.notBefore, facts.notAfter) = (found.not_before, found.not_after)
        facts.keyType = PluginText.line(found.key_type)
        facts.keyBits = Int(found.key_bits)
        facts.remarks = (0..<min(found.remark_count, 32)).compactMap { found.remarks?[$0].map(PluginText.line) }
        facts.names = (0..<min(found.name_count, 4096)).compactMap { index in
            found.names.map { Identification(kind: Identification.Kind(rawValue: $0[index].type), data: bytes($0[index].data)) }
        }
        return Credential(
            kind: kind, der: UnsafeBufferPointer(start: found.der.data, count: found.der.size), facts: facts, origin: collection.origin,
            isTrusted: kind == .certificate && collection.trusted == (facts.isAuthority ? .authorities : .endEntities))
    }
}
