// The names of a user in a certificate that no identity of IKE has: the common name, and the user principal name of Microsoft's.
// RFC 5280 sections 4.1.2.6 and 4.2.1.6.

import COpenSSLX509

extension X509Certificate {
    /// Whether it names the user of an EAP identity, which is text: by a subjectAltName, or by the only common name of its subject.
    package func isOf(user identity: IKEIdentity) -> Bool {
        if isOf(identity) { return true }
        guard [IKEIdentity.fqdn, IKEIdentity.mail, IKEIdentity.keyID].contains(identity.type), !identity.data.isEmpty else { return false }
        // Directories compare principal names without regard to case, and know no two that differ in it alone.
        return principalNames.contains { sameLetters($0, identity.data) } || commonName == identity.data
    }

    /// UTF-8; nil where there is none or more than one.
    package var commonName: [UInt8]? {
        guard let name = X509_get_subject_name(pointer) else { return nil }
        let index = X509_NAME_get_index_by_NID(name, NID_commonName, -1)
        guard index >= 0, X509_NAME_get_index_by_NID(name, NID_commonName, index) < 0 else { return nil }
        let value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index))
        return encoded { ASN1_STRING_to_UTF8($0, value) }
    }

    private var principalNames: [[UInt8]] {
        guard let memory = X509_get_ext_d2i(pointer, NID_subject_alt_name, nil, nil) else {
            forgetErrors()
            return []
        }
        let names = OpaquePointer(memory)
        defer { martlet_general_names_free(names) }
        return (0..<martlet_general_name_count(names)).compactMap { index in
            var bytes: UnsafePointer<UInt8>?, size = 0
            guard martlet_general_name_principal(martlet_general_name_at(names, index), &bytes, &size) == 0, let bytes else { return nil }
            return Array(UnsafeBufferPointer(start: bytes, count: size))
        }
    }
}
