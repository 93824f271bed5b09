// Certificates, CRLs and keys of a configuration: the folders beside it, and the files that it names. The folders are swanctl's.
// Source of the names: swanctl.conf(5) and swanctl(8).

import Glibc
import IKECore
import IKECrypto
import IKEWire

/// What the files of the configuration in use held.
package struct EarlierCredentials: Sendable {
    /// By the path of their file.
    fileprivate var items: [String: [Credential]] = [:]
    /// Also for files that the configuration names: nobody has asked for them to be read again.
    fileprivate var isForNamedFiles = false
    package init() {}

    package init(_ configuration: GatewayConfiguration, isForNamedFiles: Bool) {
        items = Dictionary(grouping: configuration.credentials, by: \.origin)
        self.isForNamedFiles = isForNamedFiles
    }
}

/// What one reading of a configuration collects.
final class CredentialLoader {
    private let reader: (any CredentialReading)?
    private let files: any FileReader
    /// The folder of the main file, with its slash; nil for a client's message, which names no files.
    private let base: String?
    private(set) var credentials: [Credential] = []
    private(set) var authorities: [Authority] = []
    /// Files that were read, by their path; nil for those that gave nothing.
    private var known: [String: [Credential]] = [:]
    /// Passphrases by the path of their file.
    private var passphrases: [String: SecretBox] = [:]
    /// Every file that was looked for, and the folders that are read as a whole.
    private(set) var paths: Set<String> = []
    private(set) var folders: Set<String> = []
    /// What files held when they were last read, for those that cannot be used now.
    private let before: EarlierCredentials

    static let fileLimit = 16 << 20
    /// The folders of keys, in which a section of that prefix has its files.
    private static let keyFolders = ["private", "rsa", "ecdsa", "pkcs8", "pkcs12"]

    init(reader: (any CredentialReading)?, files: any FileReader, base: String?, before: EarlierCredentials = EarlierCredentials()) {
        (self.reader, self.files, self.base, self.before) = (reader, files, base, before)
    }

    /// Everything that needs no connection: the sections of keys and authorities, and the folders.
    func load(_ tree: ConfigurationSection, _ diagnostics: inout Diagnostics) {
        for section in tree.section("secrets")?.sections ?? [] {
            guard let folder = Self.keyFolders.filter({ section.name.hasPrefix($0) }).max(by: { $0.count < $1.count }) else { continue }
            guard let value = section.value("file") else {
                diagnostics.error(at: section.position, "the secret \(quoted(section.name)) names no 'file'")
                continue
            }
            let path = path(value.text, in: folder)
            if let secret = section.value("secret")?.secret { passphrases[path] = secret }
            if read(path, at: value.position, .error, &diagnostics) != nil { continue }
        }
        for section in tree.section("authorities")?.sections ?? [] { add(section, &diagnostics) }
        guard let base, reader != nil else { return }
        for folder in ["x509", "x509ca", "x509ocsp", "x509crl", "pubkey"] + Self.keyFolders {
            folders.insert(base + folder)
            for path in files.files(matching: Self.escaped(base + folder) + "/*") where known[path] == nil {
                // Editors and package managers leave such files.
                if path.hasSuffix("~") || path.hasSuffix(".swp") || path.hasSuffix(".bak") { continue }
                _ = read(
                    path, at: SourcePosition(file: path, line: 1, column: 1), .warning, trusted: folder == "x509ca" ? .authorities : folder == "x509" ? .endEntities : .nothing,
                    authority: folder == "x509ca", &diagnostics)
            }
        }
    }

    private func add(_ section: ConfigurationSection, _ diagnostics: inout Diagnostics) {
        guard let value = section.value("cacert") ?? section.value("file") else {
            return diagnostics.error(at: section.position, "the authority \(quoted(section.name)) has no certificate: write cacert = FILE")
        }
        let isFile = base == nil && section.value("cacert") == nil
        let items =
            isFile
            ? [file(value.text, folder: "x509ca", at: value.position, trusted: .authorities, isNamed: true, &diagnostics) ?? []]
            : elements(value, folder: "x509ca", trusted: .authorities, &diagnostics)
        guard let certificate = items.first?.first(where: { $0.kind == .certificate }) else { return }
        guard certificate.facts.isAuthority else {
            return diagnostics.error(at: value.position, "\(quoted(certificate.facts.subjectText)) is no certificate of an authority: it has no basic constraints that make it one (CA)")
        }
        var authority = Authority(name: section.name, certificate: certificate.der)
        authority.crlURIs = uris(section, "crl_uris", &diagnostics)
        authority.ocspURIs = uris(section, "ocsp_uris", &diagnostics)
        authorities.append(authority)
    }

    /// Where certificates of the authority are asked after: what cannot be asked would be missed when somebody has been revoked.
    private func uris(_ section: ConfigurationSection, _ key: String, _ diagnostics: inout Diagnostics) -> [String] {
        (section.value(key)?.elements ?? []).compactMap { element in
            let lower = element.text.lowercased(), scheme = ["http://", "https://"].first { lower.hasPrefix($0) }
            let host = element.text.dropFirst(scheme?.utf8.count ?? 0).prefix { !"/?#".contains($0) }
            guard scheme != nil, !host.isEmpty, !host.contains("@"), element.text.utf8.count <= 1024, element.text.utf8.allSatisfy({ (0x21...0x7e).contains($0) && $0 != 0x22 && $0 != 0x5c }) else {
                diagnostics.error(at: element.position, "'\(key)': \(quoted(withoutUser(element.text))) cannot be asked: write http://HOST/PATH or https://HOST/PATH")
                return nil
            }
            return element.text
        }
    }

    // MARK: What connections name

    /// For each element of a value the pieces of its file, in their order. A wrong one is an error.
    func elements(_ value: ConfigurationValue, folder: String, trusted: TrustedPart = .nothing, _ diagnostics: inout Diagnostics) -> [[Credential]] {
        if value.isBinary { return value.blobs.compactMap { parse($0, value.position, trusted, &diagnostics) } }
        return value.elements.compactMap { element in
            // Programs write words of their own before it.
            if element.text.contains("-----BEGIN ") { return parse(Array(element.text.utf8), element.position, trusted, &diagnostics) }
            return file(element.text, folder: folder, at: element.position, trusted: trusted, &diagnostics)
        }
    }

    /// `isNamed`: by a key that is for files, which a client sends as it is: then a whole path is one of this host.
    func file(_ name: String, folder: String, at position: SourcePosition, trusted: TrustedPart = .nothing, isNamed: Bool = false, _ diagnostics: inout Diagnostics) -> [Credential]? {
        guard base != nil || isNamed && name.hasPrefix("/") else {
            // A client of another host means a file of its own.
            diagnostics.error(at: position, "\(quoted(name)) is no certificate: over the control socket the certificate itself is sent, not its file's name")
            return nil
        }
        return read(path(name, in: folder), at: position, .error, trusted: trusted, &diagnostics)
    }

    /// A relative path is meant in the folder of its kind, or, where there is none, beside the configuration.
    private func path(_ name: String, in folder: String) -> String {
        guard !name.hasPrefix("/"), let base else { return name }
        let usual = base + folder + "/" + name, beside = base + name
        if files.exists(usual) { return usual }
        return files.exists(beside) || before.items[usual] == nil && before.items[beside] != nil ? beside : usual
    }

    private func parse(_ bytes: [UInt8], _ position: SourcePosition, _ trusted: TrustedPart, _ diagnostics: inout Diagnostics) -> [Credential]? {
        guard let reader else {
            diagnostics.error(at: position, Self.noReader)
            return nil
        }
        do throws(CredentialProblem) {
            let items = try reader.read(bytes.span, passphrase: [UInt8]().span, origin: "vici", trusted: trusted)
            credentials += items
            return items
        } catch {
            diagnostics.error(at: position, "the certificate cannot be read: \(error.reason)")
            return nil
        }
    }

    private static let noReader = "no loaded plugin reads certificates and keys: load the plugin 'x509'"

    /// Nil where the file gave nothing. What it gave is among `credentials`.
    private func read(
        _ path: String, at position: SourcePosition, _ severity: ConfigurationError.Severity, trusted: TrustedPart = .nothing, authority: Bool = false, _ diagnostics: inout Diagnostics
    ) -> [Credential]? {
        func complain(_ text: String) { diagnostics.add(ConfigurationError(severity, at: position, text)) }
        paths.insert(path)
        /// What the file held before it was damaged, if anything.
        func earlier(_ text: String) -> [Credential]? {
            guard severity == .warning || before.isForNamedFiles, let items = before.items[path], !items.isEmpty else {
                complain(text)
                return nil
            }
            diagnostics.add(ConfigurationError(.warning, at: position, "\(text); what it held before stays in use"))
            known[path] = items
            credentials += items
            return items
        }
        guard let reader else {
            complain(Self.noReader)
            return nil
        }
        if let before = known[path] {
            if trusted == .authorities { credentials += before.filter { $0.kind == .certificate && $0.facts.isAuthority && !$0.isTrusted }.map { $0.trusted() } }
            return before
        }
        do throws(FileFailure) {
            let content = try files.read(path, limit: Self.fileLimit)
            var items: [Credential] = []
            do throws(CredentialProblem) {
                var problem: CredentialProblem?
                func open(_ file: Span<UInt8>, _ passphrase: Span<UInt8>) {
                    do throws(CredentialProblem) { items = try reader.read(file, passphrase: passphrase, origin: path, trusted: trusted) } catch { problem = error }
                }
                content.lend { file in
                    if let passphrase = passphrases[path] {
                        passphrase.withSecret { (secret: borrowing SecretBytes) in open(file, secret.span) }
                    } else {
                        open(file, [UInt8]().span)
                    }
                }
                if let problem { throw problem }
            } catch {
                return earlier("\(path) cannot be used: \(error.reason)")
            }
            if content.isReadableByOthers, items.contains(where: { $0.kind == .privateKey }) {
                diagnostics.warning(at: position, "\(path) holds a private key and everybody on this machine can read it: chmod o-r")
            }
            if authority, let wrong = items.first(where: { $0.kind == .certificate && !$0.facts.isAuthority }) {
                complain("\(path) holds no certificate of an authority: \(quoted(wrong.facts.subjectText)) has no basic constraints that make it one (CA)")
                items.removeAll { $0.kind == .certificate && !$0.facts.isAuthority }
            }
            // What a list says that does not count here would be missed when somebody has been revoked.
            for item in items where item.kind == .crl {
                for remark in item.facts.remarks { diagnostics.warning(at: position, "\(path): the CRL of \(quoted("\(Identification(kind: .derDN, data: item.facts.issuer))")) \(remark)") }
            }
            // Keys come from clients by `load-key`, and are theirs to unload.
            if base == nil { items.removeAll { $0.kind == .privateKey } }
            known[path] = items
            credentials += items
            return items
        } catch {
            // One that left a folder is meant to be gone; one that a connection names is missing, and must not keep what else has changed from being used.
            if case .system(ENOENT) = error, severity == .warning || !before.isForNamedFiles {
                complain("\(path) cannot be read: \(error)")
                return nil
            }
            return earlier("\(path) cannot be read: \(error)")
        }
    }

    /// A path in which nothing is a pattern.
    private static func escaped(_ path: String) -> String { path.map { "*?[\\".contains($0) ? "\\\($0)" : String($0) }.joined() }
}
