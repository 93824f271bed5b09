// A snapshot of the host's as OpenSSL's objects: made once for each generation, shared by all threads.

import Glibc
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

    private struct Placed: Sendable {
        let certificate: X509Certificate
        let origin: String
    }
    /// In the order in which they were read, with their files.
    private let authorities: [Placed]
    private let origins: [[UInt8]: String]
    /// Of end entities: in that order too.
    package let ends: [X509Certificate]
    /// Those that may sign OCSP answers for the authority that has issued them.
    package let responders: [X509Certificate]
    private let paths = Mutex<[[UInt8]: (made: Int64, path: [X509Certificate])]>([:])
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
        var authorities: [Placed] = [], origins: [[UInt8]: String] = [:], ends: [X509Certificate] = []
        for index in 0..<snapshot.count {
            guard let item = snapshot.items?[index] else { continue }
            switch UInt32(item.kind) {
            case MARTLET_CREDENTIAL_CERTIFICATE.rawValue:
                guard let certificate = X509Certificate(der: item.der.array) else { continue }
                certificates[certificate.der] = certificate
                let origin = String(cString: item.origin)
                origins[certificate.der] = origin
                if certificate.isAuthority { authorities.append(Placed(certificate: certificate, origin: origin)) } else { ends.append(certificate) }
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
        (self.authorities, self.origins, self.ends) = (authorities, origins, ends)
        responders = ends.filter { $0.purposes?.contains(PathRules.ocspSigning) == true }
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
        let now = Int64(time(nil)), key = [withRoot ? 1 : 0] + certificate.der
        if let known = paths.withLock({ $0[key] }), known.made <= now, now < known.made + 60 { return known.path }
        let origin = origins[certificate.der]
        var path: [X509Certificate] = [], last = certificate
        while path.count < 8, !last.isSelfSigned, let issuer = issuer(of: last, besides: path, origin, now) {
            if issuer.isSelfSigned && !withRoot { break }
            path.append(issuer)
            last = issuer
        }
        paths.withLock { paths in
            if paths.count >= 256 { paths = [:] }
            paths[key] = (now, path)
        }
        return path
    }

    /// Of several certificates of one authority a valid one, and of those the one that stands in the file of the certificate which the path is for: whoever made the file knows
    /// what clients need above it.
    private func issuer(of last: X509Certificate, besides path: [X509Certificate], _ origin: String?, _ now: Int64) -> X509Certificate? {
        let all = authorities.filter { item in item.certificate.der != last.der && !path.contains { $0.der == item.certificate.der } && last.isIssued(by: item.certificate) }
        func rank(_ item: Placed) -> Int { (item.certificate.isValid(at: now) ? 0 : 2) + (item.origin == origin ? 0 : 1) }
        // The sort keeps the order of those that are alike, which is that of files and of what is in them.
        return all.enumerated().sorted { (rank($0.element), $0.offset) < (rank($1.element), $1.offset) }.map(\.element.certificate).first { last.isSigned(by: $0) }
    }
}
