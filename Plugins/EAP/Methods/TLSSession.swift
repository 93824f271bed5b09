// One TLS connection over messages of EAP, by OpenSSL with buffers in memory: the handshake, what is said inside, and keys exported from it.
// RFC 5216, RFC 9190 (TLS 1.3), RFC 9427.

import CTLS
import CertificateKit
import PluginABI
import PluginKit

/// Used by one step at a time.
package final class TLSSession: @unchecked Sendable {
    package struct Failure: Error {
        package let status: martlet_status
        package let reason: String
        init(_ status: martlet_status, _ reason: String) { (self.status, self.reason) = (status, reason) }
    }

    /// A certificate of ours with its key, and what is above it but the root.
    package struct Credentials {
        var certificate: X509Certificate
        var key: SigningKey
        var chain: [X509Certificate]
        /// Where they are from. What is shared lives as long as one conversation has it.
        var known: Known
    }

    let context: TLSContext
    private let known: Known?
    /// The connection, which tests ask for its secrets.
    let ssl: OpaquePointer
    private let isServer: Bool
    /// The handshake is over; what the other end has shown may not be judged yet.
    package private(set) var isDone = false
    /// Whether the other end is who it has to be. TLS alone shows that it has the key of what it has shown.
    private var isProven: Bool
    /// The most that the other end may make us hold in all.
    private static let longest = 131_072
    private var taken = 0
    /// Octets that may still be held of what came: until the handshake is over OpenSSL collects its messages.
    var held: Int { isDone ? 0 : taken }

    /// `credentials`: ours; a client may have none. `asksForCertificate`: as the server, of a client that has to show one. `serverName`: for a server that has
    /// more than one certificate.
    package init(server: Bool, _ credentials: Credentials?, asksForCertificate: Bool, most: Int32, serverName: String? = nil) throws(Failure) {
        isServer = server
        isProven = server && !asksForCertificate
        func fail() -> Failure { Failure(MARTLET_E_FAILED, "cannot be asked: TLS could not be set up (\(Self.errors))") }
        guard let context = TLSContext.shared(server: server, credentials, asksForCertificate: asksForCertificate, most: most) else {
            guard let own = credentials?.certificate else { throw fail() }
            throw Failure(MARTLET_E_FAILED, "cannot be \(server ? "asked" : "answered"): our certificate \"\(own.subjectText)\" is of no use in TLS (\(Self.errors))")
        }
        guard let ssl = SSL_new(context.pointer) else { throw fail() }
        (self.context, self.ssl, known) = (context, ssl, credentials?.known)
        guard martlet_tls_memory(ssl) == 1 else { throw fail() }
        if let serverName, martlet_tls_server_name(ssl, serverName) != 1 { throw fail() }
        if server { SSL_set_accept_state(ssl) } else { SSL_set_connect_state(ssl) }
    }

    deinit { SSL_free(ssl) }

    // MARK: The handshake

    /// Goes on with the handshake. What goes out after the other end has shown a certificate waits in `takeOutput` until that is judged.
    package func advance(_ bytes: [UInt8]) throws(Failure) {
        try give(bytes)
        guard !isDone else { return }
        ERR_clear_error()
        let result = SSL_do_handshake(ssl)
        guard result != 1 else {
            isDone = true
            return
        }
        switch SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return
        default: throw failure()
        }
    }

    /// What has to be judged before anything else happens: the certificates that the other end has shown, DER, its own first. Nil where it has shown none yet, or is proven.
    /// A server judges a client that has shown the key as well, at the end of the handshake: for somebody else's certificate nobody is asked.
    var shown: [[UInt8]]? {
        guard !isProven, isDone || !isServer else { return nil }
        var all: [[UInt8]] = []
        while all.count < 17 {
            var der: UnsafeMutablePointer<UInt8>?
            let size = martlet_tls_shown(ssl, Int32(all.count), &der)
            defer { martlet_tls_free(der) }
            guard size > 0, let der else { break }
            all.append(Array(UnsafeBufferPointer(start: der, count: Int(size))))
        }
        ERR_clear_error()
        return all.isEmpty ? nil : all
    }

    /// It was judged, and is who it has to be.
    package func accept() { isProven = true }

    private func give(_ bytes: [UInt8]) throws(Failure) {
        taken += bytes.count
        guard taken <= Self.longest else { throw Failure(MARTLET_E_INVALID, "goes on with TLS beyond \(Self.longest) octets") }
        guard bytes.isEmpty || martlet_tls_give(ssl, bytes, bytes.count) == 1 else { throw Failure(MARTLET_E_MEMORY, "cannot be asked: no memory for TLS") }
    }

    /// What is to be sent: all of it. Alerts too.
    package func takeOutput() -> [UInt8] {
        var output: [UInt8] = []
        while martlet_tls_pending(ssl) > 0, output.count < Self.longest {
            var piece = [UInt8](repeating: 0, count: min(martlet_tls_pending(ssl), 65_536))
            let count = martlet_tls_take(ssl, &piece, piece.count)
            guard count > 0 else { break }
            output += piece.prefix(count)
        }
        return output
    }

    /// What the other end did.
    private func failure() -> Failure {
        let errors = Self.errors
        // Nobody has guessed anything by that.
        if errors.contains("alert") { return Failure(MARTLET_E_INVALID, "broke TLS off: \(errors)") }
        if errors.contains("peer did not return a certificate") { return Failure(MARTLET_E_REJECTED, "has shown no certificate") }
        return Failure(MARTLET_E_INVALID, "breaks TLS: \(errors)")
    }

    /// OpenSSL's words for what went wrong last on this thread.
    private static var errors: String {
        var texts: [String] = []
        while texts.count < 4 {
            let code = ERR_get_error()
            guard code != 0 else { break }
            texts.append(ERR_reason_error_string(code).map { String(cString: $0) } ?? "error \(code)")
        }
        ERR_clear_error()
        return texts.isEmpty ? "nothing more is known" : texts.joined(separator: ", ")
    }

    // MARK: Inside

    private func requireProof() throws(Failure) {
        guard isDone, isProven else { throw Failure(MARTLET_E_FAILED, "is asked before TLS has proven who it is") }
    }

    package func write(_ bytes: [UInt8]) throws(Failure) {
        try requireProof()
        ERR_clear_error()
        guard !bytes.isEmpty, SSL_write(ssl, bytes, Int32(clamping: bytes.count)) == Int32(clamping: bytes.count) else { throw failure() }
    }

    /// What the other end has said inside. Nothing may be left over of a message: records are whole. The caller wipes it.
    package func read(_ bytes: [UInt8]) throws(Failure) -> [UInt8] {
        try requireProof()
        try give(bytes)
        var all: [UInt8] = [], piece = [UInt8](repeating: 0, count: 16_384)
        // It is never moved, or what was inside would be left behind.
        all.reserveCapacity(65_536 + piece.count)
        var isRead = false
        defer {
            wipe(&piece, piece.count)
            if !isRead { wipe(&all, all.count) }
        }
        while all.count < 65_536 {
            ERR_clear_error()
            let count = SSL_read(ssl, &piece, Int32(piece.count))
            guard count > 0 else {
                switch SSL_get_error(ssl, count) {
                case SSL_ERROR_WANT_READ:
                    guard martlet_tls_unread(ssl) == 0, SSL_has_pending(ssl) == 0 else { throw Failure(MARTLET_E_INVALID, "sends a record of TLS that is cut short") }
                    isRead = true
                    return all
                case SSL_ERROR_ZERO_RETURN: throw Failure(MARTLET_E_INVALID, "has closed TLS")
                default: throw failure()
                }
            }
            all += piece.prefix(Int(count))
        }
        throw Failure(MARTLET_E_INVALID, "says too much inside TLS")
    }

    // MARK: Keys

    var isTLS13: Bool { SSL_version(ssl) == MARTLET_TLS_1_3 }

    /// The MSK: RFC 5216 section 2.3, RFC 9190 section 2.3, RFC 5281 section 8.
    func key(type: UInt8, label: String) throws(Failure) -> SecretMemory {
        try requireProof()
        //= RFC 9190 §2.3: with TLS 1.3 the label is another, and the context is the method's type.
        //= RFC 5216 §2.3: the first 64 octets are the MSK.
        //= RFC 9190 §2.3: of 128 that are exported at once: TLS 1.3 hashes their number in, so that those of 64 would be others.
        let material = isTLS13 ? export("EXPORTER_EAP_TLS_Key_Material", context: [type], count: 128) : export(label, context: nil, count: 64)
        let key = material.map { SecretMemory(UnsafeBufferPointer(rebasing: $0.bytes.prefix(64))) }
        guard let key else { throw Failure(MARTLET_E_FAILED, "cannot be let in: TLS gives no key") }
        return key
    }

    func export(_ label: String, context: [UInt8]?, count: Int) -> SecretMemory? {
        guard isDone, isProven else { return nil }
        let key = SecretMemory(count: count)
        let isMade = SSL_export_keying_material(ssl, key.pointer, count, label, label.utf8.count, context ?? [], context?.count ?? 0, context == nil ? 0 : 1)
        return isMade == 1 ? key : nil
    }
}
