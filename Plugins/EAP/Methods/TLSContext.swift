// What all conversations of TLS in one role share: OpenSSL's context, with our certificate and its key. Made once for each generation of credentials.

import CTLS
import CertificateKit
import PluginKit
import Synchronization

final class TLSContext: @unchecked Sendable {
    /// An SSL_CTX; not changed once it is made, so that all threads may use it.
    let pointer: OpaquePointer

    init?(server: Bool, _ credentials: TLSSession.Credentials?, asksForCertificate: Bool, most: Int32) {
        guard let context = martlet_tls_context(server ? 1 : 0, MARTLET_TLS_1_2, most, asksForCertificate ? 1 : 0) else { return nil }
        pointer = context
        guard let credentials else { return }
        guard SSL_CTX_use_certificate(context, credentials.certificate.pointer) == 1, SSL_CTX_use_PrivateKey(context, credentials.key.pointer) == 1,
            credentials.chain.allSatisfy({ martlet_tls_add_chain(context, $0.pointer) == 1 })
        else { return nil }
    }

    deinit { SSL_CTX_free(pointer) }

    /// The one that is there already for the same certificate, role and versions. It goes with `Known`, and so does the key.
    static func shared(server: Bool, _ credentials: TLSSession.Credentials?, asksForCertificate: Bool, most: Int32) -> TLSContext? {
        func make() -> TLSContext? { TLSContext(server: server, credentials, asksForCertificate: asksForCertificate, most: most) }
        guard let credentials else { return make() }
        return credentials.known.attached([server ? 1 : 0, asksForCertificate ? 1 : 0, UInt8(truncatingIfNeeded: most)] + credentials.certificate.der, make)
    }
}

/// Keeps what was made of the credentials from one log-in to the next, and lets go of it when there was none for a while: keys that were unloaded stay no longer than that.
enum RecentCredentials {
    private struct State {
        var host: Host?
        var known: Known?
        var wasUsed = false
    }
    private static let state = Mutex(State())
    private static let pause: UInt64 = 10_000_000_000

    static func remember(_ host: Host) { state.withLock { $0.host = host } }

    static func hold(_ known: Known) {
        // Frees what it frees outside of the lock.
        let before = state.withLock { state -> Known? in
            guard let host = state.host else { return nil }
            let before = state.known
            if before == nil, host.armTimer(after: pause, context: nil, { _ in RecentCredentials.expire() }) == 0 { return nil }
            (state.known, state.wasUsed) = (known, true)
            return before
        }
        _ = before
    }

    private static func expire() {
        let before = state.withLock { state -> Known? in
            let isArmed = state.wasUsed && state.host?.armTimer(after: pause, context: nil, { _ in RecentCredentials.expire() }) ?? 0 != 0
            state.wasUsed = false
            if isArmed { return nil }
            defer { state.known = nil }
            return state.known
        }
        _ = before
    }
}
