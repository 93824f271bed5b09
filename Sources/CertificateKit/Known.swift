// A snapshot of the host's as OpenSSL's objects: made once for each generation, shared by all threads.

import PluginABI
import PluginKit
import Synchronization

package final class Known: Sendable {
    package let anchors: Anchors
    /// By their DER. Those of ours and of peers, and intermediate ones.
    package let certificates: [[UInt8]: X509Certificate]
    /// End entities that the administrator trusts as they are.
    package let pinned: [X509Certificate]
    /// By their SubjectPublicKeyInfo.
    package let keys: [[UInt8]: SigningKey]
    /// Where the configuration says that an authority tells who is revoked.
    package let places: [Places]

    package struct Places: Sendable {
        package var subject: [UInt8]
        /// SubjectPublicKeyInfo.
        package var key: [UInt8]?
        package var crlURIs: [String]
        package var ocspURIs: [String]
    }

    private let attachments = Mutex<[[UInt8]: any AnyObject & Sendable]>([:])

    /// What somebody has made of it, by a name: made once, and gone with it.
    package func attached<T: AnyObject & Sendable>(_ name: [UInt8], _ make: () -> T?) -> T? {
        attachments.withLock { all in
            if let known = all[name] as? T { return known }
            guard let made = make() else { return nil }
            all[name] = made
            return made
        }
    }

    private init(_ snapshot: martlet_credentials) {
        var trusted: [X509Certificate] = [], others: [X509Certificate] = [], pinned: [X509Certificate] = [], lists: [RevocationList] = []
        var certificates: [[UInt8]: X509Certificate] = [:], keys: [[UInt8]: SigningKey] = [:]
        for index in 0..<snapshot.count {
            guard let item = snapshot.items?[index] else { continue }
            switch UInt32(item.kind) {
            case MARTLET_CREDENTIAL_CERTIFICATE.rawValue:
                guard let certificate = X509Certificate(der: item.der.array) else { continue }
                certificates[certificate.der] = certificate
                let isTrusted = item.flags & UInt16(MARTLET_CREDENTIAL_TRUSTED.rawValue) != 0
                if certificate.isAuthority {
                    if isTrusted { trusted.append(certificate) } else { others.append(certificate) }
                } else if isTrusted {
                    pinned.append(certificate)
                }
            case MARTLET_CREDENTIAL_CRL.rawValue: if let list = RevocationList(der: item.der.array) { lists.append(list) }
            case MARTLET_CREDENTIAL_PRIVATE_KEY.rawValue: if let key = SigningKey(item.der.buffer) { keys[key.publicDER] = key }
            default: continue
            }
        }
        anchors = Anchors(trusted: trusted, others: others, lists: lists)
        (self.certificates, self.pinned, self.keys) = (certificates, pinned, keys)
        places = (0..<snapshot.authority_count).compactMap { index in
            guard let section = snapshot.authorities?[index], let certificate = X509Certificate(der: section.certificate.array) else { return nil }
            func texts(_ texts: UnsafePointer<UnsafePointer<CChar>?>?, _ count: Int) -> [String] {
                (0..<count).compactMap { texts?[$0].map { String(cString: $0) } }.compactMap(RevocationURI.checked)
            }
            let places = Places(
                subject: certificate.subject, key: certificate.key?.der, crlURIs: texts(section.crl_uris, section.crl_uri_count), ocspURIs: texts(section.ocsp_uris, section.ocsp_uri_count))
            return places.crlURIs.isEmpty && places.ocspURIs.isEmpty ? nil : places
        }
    }

    /// Of the latest snapshot alone: what was unloaded must not linger here.
    private struct Made {
        var generation: UInt64 = 0
        /// By a plugin that hears of changes.
        var kept: Known?
        /// By whoever uses it at the moment.
        weak var used: Known?
    }
    private static let made = Mutex(Made())

    /// `keeping`: until `changed`, which is the credential reader's to hear. Others hold it only as long as they use it, or keys that were unloaded would stay.
    package static func of(_ snapshot: UnsafePointer<martlet_credentials>, keeping: Bool) -> Known {
        let generation = snapshot.pointee.generation
        return made.withLock { made in
            if made.generation == generation, let known = made.kept ?? made.used { return known }
            let known = Known(snapshot.pointee)
            // A request that began before a change brings an older one, for itself.
            if generation >= made.generation { made = Made(generation: generation, kept: keeping ? known : nil, used: known) }
            return known
        }
    }

    /// There is a new one. It is made when it is first needed.
    package static func changed(_ snapshot: UnsafePointer<martlet_credentials>) {
        let generation = snapshot.pointee.generation
        made.withLock { made in if generation > made.generation { made = Made(generation: generation) } }
    }

    package func certificate(_ der: [UInt8]) -> X509Certificate? { certificates[der] ?? X509Certificate(der: der) }

    /// The authorities above a certificate of ours, as far as they are known; without the root, which the peer has to have.
    package func path(of certificate: X509Certificate, withRoot: Bool = false) -> [X509Certificate] {
        var path: [X509Certificate] = [], last = certificate
        while path.count < 8, !last.isSelfSigned, let issuer = certificates.values.first(where: { $0.isAuthority && $0.der != last.der && last.isIssued(by: $0) }) {
            if issuer.isSelfSigned && !withRoot { break }
            if path.contains(where: { $0.der == issuer.der }) { break }
            path.append(issuer)
            last = issuer
        }
        return path
    }
}
