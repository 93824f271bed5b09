// Files of certificates, CRLs and keys taken apart: PEM with any number of things in it, DER, PKCS#12.
// RFC 7468 (PEM), RFC 5958 (PKCS#8), RFC 7292 (PKCS#12), RFC 5280.

import COpenSSLX509

package enum CredentialFile {
    package enum Item {
        case certificate(X509Certificate)
        case crl([UInt8])
        /// PrivateKeyInfo, not encrypted. Lent for the call alone.
        case privateKey(UnsafeBufferPointer<UInt8>, SigningKey)
        case publicKey(PublicKey)
    }

    package enum Problem: Error {
        /// The passphrase is wrong, or missing.
        case locked(String)
        case unreadable(String)
    }

    /// The most pieces that are taken of one file.
    package static let limit = 4096

    /// Calls `found` for each piece, in the order of the file. What `found` was called for before a failure counts for nothing.
    package static func read(_ file: UnsafeBufferPointer<UInt8>, passphrase: UnsafeBufferPointer<UInt8>, _ found: (Item) -> Void) throws(Problem) {
        defer { forgetErrors() }
        guard file.count <= 16 << 20 else { throw .unreadable("it is larger than 16 MB") }
        if begins(file, with: "-----BEGIN ") { return try readPEM(file, passphrase, found) }
        try readDER(file, passphrase, found)
    }

    /// Whether the text stands at the beginning of a line.
    private static func begins(_ file: UnsafeBufferPointer<UInt8>, with text: String) -> Bool {
        let mark = Array(text.utf8)
        guard file.count >= mark.count else { return false }
        for start in 0...(file.count - mark.count) where start == 0 || file[start - 1] == 0x0a || file[start - 1] == 0x0d {
            if (0..<mark.count).allSatisfy({ file[start + $0] == mark[$0] }) { return true }
        }
        return false
    }

    /// Text with a zero behind it, wiped after use.
    private static func withText<T>(_ bytes: UnsafeBufferPointer<UInt8>, _ use: (UnsafePointer<CChar>) -> T) -> T {
        let text = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count + 1)
        for (index, byte) in bytes.enumerated() { text[index] = CChar(bitPattern: byte) }
        text[bytes.count] = 0
        defer {
            martlet_cleanse(text, bytes.count)
            text.deallocate()
        }
        return use(text)
    }

    // MARK: PEM

    private static func readPEM(_ file: UnsafeBufferPointer<UInt8>, _ passphrase: UnsafeBufferPointer<UInt8>, _ found: (Item) -> Void) throws(Problem) {
        guard let input = BIO_new_mem_buf(file.baseAddress, Int32(clamping: file.count)) else { throw .unreadable("memory ran out") }
        defer { BIO_free(input) }
        var count = 0
        while true {
            var name: UnsafeMutablePointer<CChar>?, header: UnsafeMutablePointer<CChar>?, data: UnsafeMutablePointer<UInt8>?, size = 0
            guard PEM_read_bio(input, &name, &header, &data, &size) == 1, let name, let header, let data else {
                let error = ERR_peek_last_error()
                // Nothing begins any more, or what begins is damaged.
                if count > 0, martlet_error_library(error) == ERR_LIB_PEM, martlet_error_reason(error) == PEM_R_NO_START_LINE { return }
                throw .unreadable("its PEM is damaged (\(lastReason()))")
            }
            let room = size
            defer {
                martlet_free(name)
                martlet_free(header)
                martlet_clear_free(data, room)
            }
            count += 1
            guard count <= limit else { throw .unreadable("it holds more than \(limit) pieces") }
            let kind = String(cString: name)
            if martlet_pem_is_encrypted(header) != 0 {
                guard !passphrase.isEmpty else { throw .locked("its key is encrypted, and no passphrase is configured for it") }
                guard withText(passphrase, { martlet_pem_decrypt(header, data, &size, $0) }) == 0 else { throw .locked("the passphrase that is configured does not open its key") }
            }
            let bytes = UnsafeBufferPointer(start: UnsafePointer(data), count: size)
            switch kind {
            case "CERTIFICATE", "X509 CERTIFICATE": try addCertificate(bytes, found)
            case "X509 CRL": try addCRL(bytes, found)
            case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY": try addKey(bytes, found)
            case "ENCRYPTED PRIVATE KEY": try addEncryptedKey(bytes, passphrase, found)
            case "PUBLIC KEY": try addPublicKey(bytes, found)
            // The curve's name before an EC key.
            case "EC PARAMETERS", "DH PARAMETERS": continue
            default: throw .unreadable("it holds a piece \"\(printable(Array(kind.utf8)))\", which is of no use here")
            }
        }
    }

    private static func addCertificate(_ bytes: UnsafeBufferPointer<UInt8>, _ found: (Item) -> Void) throws(Problem) {
        guard let certificate = X509Certificate(der: Array(bytes)) else { throw .unreadable("it holds a certificate that is malformed") }
        found(.certificate(certificate))
    }

    private static func addCRL(_ bytes: UnsafeBufferPointer<UInt8>, _ found: (Item) -> Void) throws(Problem) {
        guard RevocationList(der: Array(bytes)) != nil else { throw .unreadable("it holds a CRL that is malformed") }
        found(.crl(Array(bytes)))
    }

    private static func addPublicKey(_ bytes: UnsafeBufferPointer<UInt8>, _ found: (Item) -> Void) throws(Problem) {
        guard let key = PublicKey(der: Array(bytes)) else { throw .unreadable("it holds a public key that is malformed, or of a kind that is of no use here") }
        found(.publicKey(key))
    }

    /// PrivateKeyInfo, or the forms of RFC 8017 and RFC 5915.
    private static func addKey(_ bytes: UnsafeBufferPointer<UInt8>, _ found: (Item) -> Void) throws(Problem) {
        var next = bytes.baseAddress
        guard let key = d2i_AutoPrivateKey(nil, &next, bytes.count) else { throw .unreadable("it holds a private key that is malformed, or of a kind that is of no use here") }
        try add(key, found)
    }

    private static func addEncryptedKey(_ bytes: UnsafeBufferPointer<UInt8>, _ passphrase: UnsafeBufferPointer<UInt8>, _ found: (Item) -> Void) throws(Problem) {
        var next = bytes.baseAddress
        guard let sealed = d2i_X509_SIG(nil, &next, bytes.count) else { throw .unreadable("it holds an encrypted key that is malformed") }
        defer { X509_SIG_free(sealed) }
        guard !passphrase.isEmpty else { throw .locked("its key is encrypted, and no passphrase is configured for it") }
        forgetErrors()
        var opened = withText(passphrase, { PKCS8_decrypt(sealed, $0, Int32(clamping: passphrase.count)) })
        var isUnknown = opened == nil && martlet_errors_are_of_algorithm() == 1
        if isUnknown, let legacy {
            opened = withText(passphrase, { PKCS8_decrypt_ex(sealed, $0, Int32(clamping: passphrase.count), legacy, nil) })
            isUnknown = opened == nil && martlet_errors_are_of_algorithm() == 1
        }
        guard let opened else {
            if isUnknown { throw .unreadable("its key is encrypted with an algorithm that OpenSSL does not have here; make it anew (`openssl pkcs8 -topk8`)") }
            throw .locked("the passphrase that is configured does not open its key")
        }
        // It wipes what it holds.
        defer { PKCS8_PRIV_KEY_INFO_free(opened) }
        guard let key = EVP_PKCS82PKEY(opened) else { throw .unreadable("it holds a private key of a kind that is of no use here") }
        try add(key, found)
    }

    /// The library with the algorithms of old files: RC2 and DES.
    private static nonisolated(unsafe) let legacy = martlet_legacy_library()

    /// Takes over the key.
    private static func add(_ pointer: OpaquePointer, _ found: (Item) -> Void) throws(Problem) {
        guard let key = SigningKey(owning: pointer) else { throw .unreadable("it holds a private key of a kind that is of no use here; RSA, ECDSA with P-256, P-384 or P-521, Ed25519 and Ed448 are") }
        guard let info = EVP_PKEY2PKCS8(pointer) else { throw .unreadable("it holds a private key that cannot be written as PKCS#8") }
        defer { PKCS8_PRIV_KEY_INFO_free(info) }
        var memory: UnsafeMutablePointer<UInt8>?
        let size = i2d_PKCS8_PRIV_KEY_INFO(info, &memory)
        guard size > 0, let memory else { throw .unreadable("it holds a private key that cannot be written as PKCS#8") }
        defer { martlet_clear_free(memory, Int(size)) }
        found(.privateKey(UnsafeBufferPointer(start: UnsafePointer(memory), count: Int(size)), key))
    }

    // MARK: DER

    private static func readDER(_ file: UnsafeBufferPointer<UInt8>, _ passphrase: UnsafeBufferPointer<UInt8>, _ found: (Item) -> Void) throws(Problem) {
        guard file.first == 0x30 else { throw .unreadable("it is neither PEM nor DER") }
        if file.count <= X509Certificate.limit, let certificate = X509Certificate(der: Array(file)) { return found(.certificate(certificate)) }
        if RevocationList(der: Array(file)) != nil { return found(.crl(Array(file))) }
        var next = file.baseAddress
        if let container = d2i_PKCS12(nil, &next, file.count) {
            defer { PKCS12_free(container) }
            return try readPKCS12(container, passphrase, found) { next in
                guard let legacy, let again = martlet_pkcs12(legacy, file.baseAddress, file.count) else { return }
                defer { PKCS12_free(again) }
                next(again)
            }
        }
        next = file.baseAddress
        if let sealed = d2i_X509_SIG(nil, &next, file.count) {
            X509_SIG_free(sealed)
            return try addEncryptedKey(file, passphrase, found)
        }
        if let key = PublicKey(der: Array(file)) { return found(.publicKey(key)) }
        do throws(Problem) { try addKey(file, found) } catch {
            if case .unreadable = error { throw .unreadable("it is DER, and neither a certificate nor a CRL, a key or PKCS#12") }
            throw error
        }
    }

    /// `legacy` lends the same container for the algorithms of old files, with which Windows, Java and earlier versions of OpenSSL write them.
    private static func readPKCS12(
        _ container: OpaquePointer, _ passphrase: UnsafeBufferPointer<UInt8>, _ found: (Item) -> Void, legacy: ((OpaquePointer) -> Void) -> Void
    ) throws(Problem) {
        var key: OpaquePointer?, certificate: OpaquePointer?, others: OpaquePointer?
        func parse(_ container: OpaquePointer) -> Bool {
            forgetErrors()
            return withText(passphrase, { PKCS12_parse(container, $0, &key, &certificate, &others) }) == 1
        }
        guard PKCS12_mac_present(container) == 1 else { throw .unreadable("it is PKCS#12 without a MAC, by which a passphrase could be told from a wrong one; make it anew with one") }
        var isOpen = parse(container)
        if !isOpen {
            let error = ERR_peek_last_error()
            if martlet_error_library(error) == ERR_LIB_PKCS12, martlet_error_reason(error) == PKCS12_R_MAC_VERIFY_FAILURE {
                throw .locked(passphrase.isEmpty ? "it is encrypted, and no passphrase is configured for it" : "the passphrase that is configured does not open it")
            }
            legacy { isOpen = parse($0) }
        }
        guard isOpen else { throw .unreadable("its contents cannot be opened (\(lastReason())): they may be encrypted with an algorithm that OpenSSL does not have here; make it anew") }
        defer {
            X509_free(certificate)
            martlet_x509_stack_free_all(others)
        }
        if let key { try add(key, found) }
        for pointer in [certificate] + (0..<max(0, martlet_x509_stack_count(others))).map({ martlet_x509_stack_at(others, $0) }) {
            guard let pointer, let der = encoded({ i2d_X509(pointer, $0) }) else { continue }
            try der.withUnsafeBufferPointer { bytes throws(Problem) in try addCertificate(bytes, found) }
        }
    }
}
