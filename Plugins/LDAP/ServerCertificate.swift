// The certificate by which a server proves itself: what is wrong with one that the TLS library does not take, of which that says no more than that it did not, and the use that a
// certificate is for, which it does not ask about. RFC 4513 section 3.1.3 (names), RFC 5280 section 4.2.1.12 (extended key usage).

import CLDAP
import COpenSSLX509
import CertificateKit
import Glibc

enum ServerCertificate {
    /// What the log calls it.
    static func title(of certificate: X509Certificate) -> String {
        "the certificate \"\(printable(certificate.subjectText))\" of \"\(printable(certificate.issuerText))\""
    }

    /// A certificate that is for something else than being a server of TLS. Nil where it is not.
    static func complaintAboutUse(of certificate: X509Certificate) -> String? {
        guard let purposes = certificate.purposes, PathRules.tlsServerPurposes.isDisjoint(with: purposes) else { return nil }
        return "it is for another use: its extended key usage (EKU) is \(purposes.isEmpty ? "empty" : purposes.prefix(8).map(purposeName).joined(separator: ", ")), and serverAuth is needed"
    }

    /// All that is wrong with it. The certificates that the server may have sent beside it are not known here.
    static func complaints(about certificate: X509Certificate, of server: Server, authorities file: String) -> [String] {
        let now = Int64(time(nil))
        var found: [String] = []
        if certificate.notAfter < now { found.append("it has expired: it was valid until \(dateText(certificate.notAfter))") }
        if certificate.notBefore > now { found.append("it is not yet valid: it will be from \(dateText(certificate.notBefore)) on; now it is \(dateText(now))") }
        if !isOf(server.host, certificate) { found.append("it is not of the name \(printable(server.host)): it is of \(names(of: certificate))") }
        if let use = complaintAboutUse(of: certificate) { found.append(use) }
        guard let trusted = authorities(in: file) else { return found + ["the file of authorities \(file) cannot be read"] }
        var rules = PathRules(time: min(max(now, certificate.notBefore), certificate.notAfter))
        rules.purposes.formUnion(certificate.purposes ?? [])
        rules.leastRSA = 1024
        do throws(Refusal) {
            _ = try Anchors(trusted: trusted, others: [], lists: []).path(of: certificate, sent: [], rules)
        } catch {
            let isOwn = certificate.isSelfSigned
            let isKnown = trusted.contains { $0.subject == certificate.issuer }
            if isOwn || !isKnown {
                found.append(
                    isOwn
                        ? "it is self-signed, and not among the certificates in \(file): put it there, or name another ca_file"
                        : "the authority (CA) that issued it, \"\(printable(certificate.issuerText))\", is not in \(file): name its file as ca_file; or it is an intermediate one whose certificate the server does not send"
                )
            } else {
                found.append(printable(error.reason))
            }
        }
        return found
    }

    private static func isOf(_ host: String, _ certificate: X509Certificate) -> Bool {
        // The second is for addresses; a name is none.
        if X509_check_ip_asc(certificate.pointer, host, 0) == 1 { return true }
        return X509_check_host(certificate.pointer, host, host.utf8.count, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS), nil) == 1
    }

    private static func names(of certificate: X509Certificate) -> String {
        let names = certificate.alternativeNames.compactMap { name -> String? in
            switch name {
            case .host(let text): String(decoding: text, as: UTF8.self)
            case .address(let bytes): address(bytes)
            case .mail, .directory: nil
            }
        }
        return names.isEmpty ? "\"\(printable(certificate.subjectText))\" alone" : names.prefix(8).map(printable).joined(separator: ", ") + (names.count > 8 ? " and \(names.count - 8) more" : "")
    }

    private static func address(_ bytes: [UInt8]) -> String? {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        guard inet_ntop(bytes.count == 4 ? AF_INET : AF_INET6, bytes, &text, socklen_t(text.count)) != nil else { return nil }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The certificates of a file, nil where it cannot be read.
    private static func authorities(in file: String) -> [X509Certificate]? {
        let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_size <= 16 << 20 else { return nil }
        var bytes = [UInt8](repeating: 0, count: max(Int(status.st_size), 1))
        var count = 0
        while count < bytes.count {
            let more = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress.map { $0 + count }, $0.count - count) }
            guard more > 0 else { break }
            count += more
        }
        var found: [X509Certificate] = []
        let empty = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
        bytes.withUnsafeBufferPointer { bytes in
            do throws(CredentialFile.Problem) {
                try CredentialFile.read(UnsafeBufferPointer(rebasing: bytes[..<count]), passphrase: empty) { if case .certificate(let one) = $0 { found.append(one) } }
            } catch {
                // What was read before counts.
            }
        }
        return found
    }
}
