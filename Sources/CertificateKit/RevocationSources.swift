// Where a certificate says that its authority tells who was revoked.
// RFC 5280 sections 4.2.1.13 (CRL distribution points) and 4.2.2.1 (authority information access).

import COpenSSLX509

extension X509Certificate {
    /// Those that can be asked: `http` and `https`, in the certificate's order.
    package var crlURIs: [String] { uris(martlet_crl_uri) }
    package var ocspURIs: [String] { uris(martlet_ocsp_uri) }

    /// It names a place, be it one that cannot be asked here.
    package var namesRevocationSource: Bool {
        X509_get_ext_by_NID(pointer, NID_crl_distribution_points, -1) >= 0 || martlet_ocsp_uri(pointer, 0, nil, 0) != -1
    }

    /// The most that are taken of each kind.
    private static let sourceLimit: Int32 = 8

    private func uris(_ uri: (OpaquePointer?, Int32, UnsafeMutablePointer<UInt8>?, Int) -> Int) -> [String] {
        defer { forgetErrors() }
        var found: [String] = []
        for index in 0..<Self.sourceLimit {
            var text = [UInt8](repeating: 0, count: RevocationURI.limit)
            let size = uri(pointer, index, &text, text.count)
            if size == -1 { break }
            if size > 0, let checked = RevocationURI.checked(String(decoding: text.prefix(size), as: UTF8.self)), !found.contains(checked) { found.append(checked) }
        }
        return found
    }
}

package enum RevocationURI {
    static let limit = 1024

    /// The text where it is a URI that may be asked: `http` or `https` with a host, and nothing that could mean something else to a log or a library.
    package static func checked(_ text: String) -> String? {
        let bytes = Array(text.utf8)
        guard bytes.count <= limit, bytes.allSatisfy({ (0x21...0x7e).contains($0) && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) else { return nil }
        let lower = text.lowercased()
        guard let scheme = ["http://", "https://"].first(where: { lower.hasPrefix($0) }) else { return nil }
        let host = text.dropFirst(scheme.count).prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        // No user names: nobody is logged in anywhere.
        return host.isEmpty || host.contains("@") ? nil : text
    }
}
