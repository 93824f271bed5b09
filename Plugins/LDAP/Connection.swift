// One connection to a server through libldap, with its operations. Used by one worker; every wait ends at a deadline, and the
// directory's clock shuts the socket where the library does not keep it.

import CLDAP
import CertificateKit
import Glibc
import LDAPSchema
import PluginKit

final class Connection {
    let server: Server
    private let session: OpaquePointer
    private let descriptor: Int32
    private let clock: () -> UInt64
    /// Told of the socket, and of -1 before it is closed.
    private let opened: (Int32) -> Void
    private var isOpen = true
    /// To see the certificate of a server that is not believed: nothing else is asked or told.
    private let examines: Bool
    /// The server did finish the handshake, and it is we who did not take it.
    private var isHandshakeRefused = false

    /// What a server may send as one message.
    private static let messageLimit: ber_len_t = 2 << 20

    /// Connects, and secures the connection as the settings ask.
    convenience init(to server: Server, _ settings: Settings, deadline: UInt64, clock: @escaping () -> UInt64, stage: (String) -> Void, opened: @escaping (Int32) -> Void) throws(Failure) {
        try self.init(to: server, settings, examines: false, deadline, clock, stage, opened)
    }

    private init(
        to server: Server, _ settings: Settings, examines: Bool, _ deadline: UInt64, _ clock: @escaping () -> UInt64, _ stage: (String) -> Void, _ opened: @escaping (Int32) -> Void
    ) throws(Failure) {
        (self.server, self.clock, self.opened, self.examines) = (server, clock, opened, examines)
        stage("connecting to \(server.uri)")
        let descriptor = try ServerSocket.connect(to: server, deadline: deadline, clock: clock, opened: opened)
        var session: OpaquePointer?
        let isLocal = if case .local = server.transport { true } else { false }
        guard ldap_init_fd(descriptor, isLocal ? MARTLET_LDAP_LOCAL : MARTLET_LDAP_TCP, server.uri, &session) == LDAP_SUCCESS, let session else {
            opened(-1)
            close(descriptor)
            throw .down("there is no memory for a connection")
        }
        (self.session, self.descriptor) = (session, descriptor)
        do throws(Failure) {
            try configure(settings)
            switch server.transport {
            case .plain, .local: break
            case .tls: try secure(settings, deadline, stage)
            case .startTLS:
                stage("asking \(server.uri) for StartTLS")
                var id: Int32 = 0
                guard ldap_start_tls(session, nil, nil, &id) == LDAP_SUCCESS else { throw failure("StartTLS") }
                let message = try result(of: id, deadline, "StartTLS")
                defer { ldap_msgfree(message) }
                let answer = try outcome(message, "StartTLS")
                guard answer.code == LDAP_SUCCESS else { throw .down("\(server.uri) refuses StartTLS: \(answer.words)") }
                try secure(settings, deadline, stage)
            }
        } catch {
            shut()
            guard isHandshakeRefused, let why = Self.disbelief(in: server, settings, deadline, clock, stage, opened) else { throw error }
            throw .down(why)
        }
    }

    /// Why a server's certificate is not believed. The TLS library does not say; so the server is asked once more to show it, and judged here. Nothing is told to it then.
    private static func disbelief(
        in server: Server, _ settings: Settings, _ deadline: UInt64, _ clock: @escaping () -> UInt64, _ stage: (String) -> Void, _ opened: @escaping (Int32) -> Void
    ) -> String? {
        let connection: Connection
        do throws(Failure) {
            connection = try Connection(to: server, settings, examines: true, deadline, clock, stage, opened)
        } catch {
            return nil
        }
        defer { connection.shut() }
        guard let certificate = connection.peerCertificate else { return nil }
        let complaints = ServerCertificate.complaints(about: certificate, of: server, authorities: settings.caFile)
        return "\(server.uri) is not believed: \(ServerCertificate.title(of: certificate)) is not taken" + (complaints.isEmpty ? " by the TLS library" : ": " + complaints.joined(separator: "; "))
    }

    /// What the server has shown in the handshake.
    private var peerCertificate: X509Certificate? {
        var value = berval()
        guard ldap_get_option(session, LDAP_OPT_X_TLS_PEERCERT, &value) == LDAP_OPT_SUCCESS, let bytes = value.bv_val else { return nil }
        defer { ldap_memfree(bytes) }
        return X509Certificate(der: Array(UnsafeRawBufferPointer(start: bytes, count: Int(clamping: value.bv_len))))
    }

    deinit { shut() }

    func shut() {
        guard isOpen else { return }
        isOpen = false
        // From here on the descriptor may be somebody else's.
        opened(-1)
        ldap_unbind_ext(session, nil, nil)
    }

    // MARK: Operations

    struct Outcome {
        var code: Int32
        /// The server's own words.
        var diagnostic: String
        /// OpenLDAP's password policy: locked, expired, to be changed.
        var isLocked = false
        var isPasswordExpired = false
        /// Where the next page of a search begins; empty behind the last one.
        var cookie: [UInt8] = []
        var words: String { String(cString: ldap_err2string(code)) + (diagnostic.isEmpty ? "" : " (\(diagnostic))") }
    }

    /// A simple bind. The caller sees to it that the password is not empty.
    func bind(_ name: String, _ password: SecretCopy, deadline: UInt64) throws(Failure) -> Outcome {
        var control: UnsafeMutablePointer<LDAPControl>?
        _ = ldap_create_passwordpolicy_control(session, &control)
        defer { if let control { ldap_control_free(control) } }
        var controls: [UnsafeMutablePointer<LDAPControl>?] = control == nil ? [nil] : [control, nil]
        var id: Int32 = 0
        let sent = password.withBytes { bytes in
            var credentials = berval(bv_len: ber_len_t(bytes.count), bv_val: UnsafeMutablePointer(mutating: bytes.baseAddress?.assumingMemoryBound(to: CChar.self)))
            return controls.withUnsafeMutableBufferPointer { ldap_sasl_bind(session, name, nil, &credentials, $0.baseAddress, nil, &id) }
        }
        guard sent == LDAP_SUCCESS else { throw failure("a bind") }
        let message = try result(of: id, deadline, "a bind")
        defer { ldap_msgfree(message) }
        guard ldap_msgtype(message) == MARTLET_LDAP_BOUND else { throw .lying("\(server.uri) answers a bind with something else") }
        return try outcome(message, "a bind")
    }

    /// What a page of a search is to have, where more may come: servers have limits of their own, 500 or 1000 as they come.
    private static let page = 250

    /// The entries below `base`, or `base` itself. At most `limit`: one more is `isTooMany`. Where many may come, page by page: RFC 2696.
    func search(base: String, isExact: Bool, filter: String, attributes: [String], limit: Int, deadline: UInt64) throws(Failure) -> (entries: [DirectoryEntry], isTooMany: Bool) {
        var names: [UnsafeMutablePointer<CChar>?] = attributes.map { strdup($0) } + [nil]
        defer { for name in names { free(name) } }
        let isPaged = limit > Self.page
        func ask(_ cookie: [UInt8]) throws(Failure) -> Int32 {
            var id: Int32 = 0
            var time = remaining(deadline)
            var control: UnsafeMutablePointer<LDAPControl>?
            if isPaged {
                var cookie = cookie
                _ = cookie.withUnsafeMutableBytes { bytes in
                    var value = berval(bv_len: ber_len_t(bytes.count), bv_val: bytes.baseAddress?.assumingMemoryBound(to: CChar.self))
                    return ldap_create_page_control(session, ber_int_t(Self.page), &value, 0, &control)
                }
            }
            defer { if let control { ldap_control_free(control) } }
            var controls: [UnsafeMutablePointer<LDAPControl>?] = control == nil ? [nil] : [control, nil]
            let sent = names.withUnsafeMutableBufferPointer { names in
                controls.withUnsafeMutableBufferPointer {
                    ldap_search_ext(
                        session, base, isExact ? LDAP_SCOPE_BASE : LDAP_SCOPE_SUBTREE, filter, names.baseAddress, 0, $0.baseAddress, nil, &time, isPaged ? 0 : Int32(limit + 1), &id)
                }
            }
            if sent == LDAP_FILTER_ERROR { throw .down("the filter \(filter) is none") }
            guard sent == LDAP_SUCCESS else { throw failure("a search") }
            return id
        }
        var id = try ask([])
        var entries: [DirectoryEntry] = []
        var references = 0, pages = 1
        while true {
            let message = try result(of: id, deadline, "a search")
            defer { ldap_msgfree(message) }
            switch ldap_msgtype(message) {
            case MARTLET_LDAP_ENTRY:
                guard entries.count < limit else {
                    ldap_abandon_ext(session, id, nil, nil)
                    return (entries, true)
                }
                entries.append(try entry(message))
            case MARTLET_LDAP_REFERENCE:
                // To other servers, whom nobody has said to trust.
                references += 1
                guard references <= 100 else { throw .lying("\(server.uri) answers a search with references without end") }
            case MARTLET_LDAP_DONE:
                let outcome = try outcome(message, "a search")
                switch outcome.code {
                case LDAP_SUCCESS:
                    guard isPaged, !outcome.cookie.isEmpty else { return (entries, false) }
                    pages += 1
                    guard pages <= limit else { throw .lying("\(server.uri) answers a search with pages without end") }
                    id = try ask(outcome.cookie)
                case LDAP_NO_SUCH_OBJECT:
                    // Of an entry that is read itself it is the answer; a base is the administrator's.
                    guard !isExact else { return (entries, false) }
                    throw .down("\(server.uri) has no entry \(base), below which users and groups are to be: look at base, user_base and group_base, and whether the service account may see it")
                case LDAP_SIZELIMIT_EXCEEDED where !entries.isEmpty && !isPaged: return (entries, true)
                case LDAP_SIZELIMIT_EXCEEDED, LDAP_ADMINLIMIT_EXCEEDED:
                    throw .down("\(server.uri) hands out no more than \(entries.count) entries of a search (\(outcome.words)): its limit for the service account has to be higher")
                case LDAP_BUSY, LDAP_UNAVAILABLE: throw .down("\(server.uri) cannot search: \(outcome.words)")
                case LDAP_TIMELIMIT_EXCEEDED: throw .slow("\(server.uri) did not finish a search in time")
                default: throw .down("\(server.uri) refuses a search below \(base): \(outcome.words)")
                }
            default: throw .lying("\(server.uri) answers a search with something else")
            }
        }
    }

    // MARK: Parts

    private func set(_ option: Int32, _ value: Int32) {
        var value = value
        ldap_set_option(session, option, &value)
    }

    private func configure(_ settings: Settings) throws(Failure) {
        set(LDAP_OPT_PROTOCOL_VERSION, LDAP_VERSION3)
        set(LDAP_OPT_DEREF, LDAP_DEREF_NEVER)
        // A referral would take passwords to servers that nobody has named.
        ldap_set_option(session, LDAP_OPT_REFERRALS, nil)
        var sockets: OpaquePointer?
        var limit = Self.messageLimit
        guard ldap_get_option(session, LDAP_OPT_SOCKBUF, &sockets) == LDAP_OPT_SUCCESS, let sockets else { throw .down("libldap shows no socket") }
        ber_sockbuf_ctrl(sockets, MARTLET_LDAP_MAX_INCOMING, &limit)
    }

    private func secure(_ settings: Settings, _ deadline: UInt64, _ stage: (String) -> Void) throws(Failure) {
        stage("in the TLS handshake with \(server.uri)")
        if settings.verifiesCertificates, !examines {
            set(LDAP_OPT_X_TLS_REQUIRE_CERT, LDAP_OPT_X_TLS_DEMAND)
            guard ldap_set_option(session, LDAP_OPT_X_TLS_CACERTFILE, settings.caFile) == LDAP_OPT_SUCCESS else { throw .down("the file of authorities \(settings.caFile) cannot be used") }
        } else {
            set(LDAP_OPT_X_TLS_REQUIRE_CERT, LDAP_OPT_X_TLS_NEVER)
        }
        set(LDAP_OPT_X_TLS_PROTOCOL_MIN, MARTLET_LDAP_TLS12)
        var isServer: Int32 = 0
        guard ldap_set_option(session, LDAP_OPT_X_TLS_NEWCTX, &isServer) == LDAP_OPT_SUCCESS else {
            throw .down("TLS cannot be set up: is \(settings.caFile) a file of certificates that the daemon may read?")
        }
        // On a socket that does not block, or with a time-out of its own, the library asks it again and again until the handshake is over, and has a core to
        // itself meanwhile. So it blocks, and the directory's clock shuts the socket when the time is over.
        setBlocking(true)
        defer { setBlocking(false) }
        guard ldap_install_tls(session) == LDAP_SUCCESS else {
            guard clock() < deadline else { throw .down("\(server.uri) did not finish the TLS handshake in time") }
            let words = diagnostic()
            isHandshakeRefused = settings.verifiesCertificates && !examines
            throw .down("the TLS handshake with \(server.uri) fails\(words.isEmpty ? "" : ": " + words)")
        }
        guard settings.verifiesCertificates, !examines else { return }
        // The library asks for an authority, a name and a date, and not for the use.
        guard let certificate = peerCertificate else { throw .down("\(server.uri) shows no certificate that can be read") }
        if let complaint = ServerCertificate.complaintAboutUse(of: certificate) {
            throw .down("\(server.uri) is not believed: \(ServerCertificate.title(of: certificate)) is not taken: \(complaint)")
        }
    }

    private func setBlocking(_ blocks: Bool) {
        let flags = fcntl(descriptor, F_GETFL)
        if flags >= 0 { _ = fcntl(descriptor, F_SETFL, blocks ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) }
    }

    /// Waits for the next message of an operation.
    private func result(of id: Int32, _ deadline: UInt64, _ what: String) throws(Failure) -> OpaquePointer {
        while true {
            guard clock() < deadline else {
                ldap_abandon_ext(session, id, nil, nil)
                throw .slow("\(server.uri) did not answer \(what) in time")
            }
            var time = remaining(deadline)
            var message: OpaquePointer?
            let kind = ldap_result(session, id, LDAP_MSG_ONE, &time, &message)
            if kind > 0, let message { return message }
            if kind < 0 {
                // The clock has shut the socket.
                if clock() >= deadline { throw .slow("\(server.uri) did not answer \(what) in time") }
                throw failure(what)
            }
        }
    }

    private func outcome(_ message: OpaquePointer, _ what: String) throws(Failure) -> Outcome {
        var code: Int32 = 0
        var text: UnsafeMutablePointer<CChar>?
        var controls: UnsafeMutablePointer<UnsafeMutablePointer<LDAPControl>?>?
        let parsed = ldap_parse_result(session, message, &code, nil, &text, nil, &controls, 0)
        defer {
            ldap_memfree(text)
            if let controls { ldap_controls_free(controls) }
        }
        guard parsed == LDAP_SUCCESS else { throw .lying("\(server.uri) answers \(what) with what cannot be read") }
        var outcome = Outcome(code: code, diagnostic: text.map { printable(String(cString: $0)) } ?? "")
        if let controls, let control = ldap_control_find(LDAP_CONTROL_PAGEDRESULTS, controls, nil) {
            var count: ber_int_t = 0
            var cookie = berval()
            if ldap_parse_pageresponse_control(session, control, &count, &cookie) == LDAP_SUCCESS, let bytes = cookie.bv_val {
                outcome.cookie = Array(UnsafeRawBufferPointer(start: bytes, count: Int(clamping: cookie.bv_len)))
                ldap_memfree(bytes)
            }
        }
        if let controls, let control = ldap_control_find(LDAP_CONTROL_PASSWORDPOLICYRESPONSE, controls, nil) {
            var expires: ber_int_t = -1
            var grace: ber_int_t = -1
            var error = PP_noError
            if ldap_parse_passwordpolicy_control(session, control, &expires, &grace, &error) == LDAP_SUCCESS {
                outcome.isLocked = error == PP_accountLocked
                outcome.isPasswordExpired = error == PP_passwordExpired || error == PP_changeAfterReset
            }
        }
        return outcome
    }

    private func entry(_ message: OpaquePointer) throws(Failure) -> DirectoryEntry {
        guard let name = ldap_get_dn(session, message) else { throw .lying("\(server.uri) sends an entry without a name") }
        defer { ldap_memfree(name) }
        guard let text = String(validatingCString: name), text.utf8.count <= 8192, !text.isEmpty else { throw .lying("\(server.uri) sends an entry whose name is no text or too long") }
        var entry = DirectoryEntry(distinguishedName: text)
        var cursor: OpaquePointer?
        var next = ldap_first_attribute(session, message, &cursor)
        defer { if let cursor { ber_free(cursor, 0) } }
        while let attribute = next {
            defer { ldap_memfree(attribute) }
            if let name = String(validatingCString: attribute), let values = ldap_get_values_len(session, message, attribute) {
                defer { ldap_value_free_len(values) }
                var index = 0
                while let value = values[index]?.pointee {
                    let bytes = value.bv_val.map { Array(UnsafeRawBufferPointer(start: $0, count: Int(value.bv_len))) } ?? []
                    guard entry.add(name, bytes) else { throw .lying("\(server.uri) sends an entry \(text) that is larger than \(DirectoryEntry.sizeLimit) bytes") }
                    index += 1
                }
            }
            next = ldap_next_attribute(session, message, cursor)
        }
        return entry
    }

    /// What the library says of an operation that failed.
    private func failure(_ what: String) -> Failure {
        var code: Int32 = 0
        ldap_get_option(session, LDAP_OPT_RESULT_CODE, &code)
        if code == LDAP_DECODING_ERROR { return .lying("\(server.uri) answers \(what) with what cannot be read") }
        return .lost("the connection to \(server.uri) ended before \(what) was answered: \(String(cString: ldap_err2string(code)))")
    }

    private func diagnostic() -> String {
        var text: UnsafeMutablePointer<CChar>?
        ldap_get_option(session, LDAP_OPT_DIAGNOSTIC_MESSAGE, &text)
        defer { ldap_memfree(text) }
        return text.map { printable(String(cString: $0)) } ?? ""
    }

    private func remaining(_ deadline: UInt64) -> timeval {
        let now = clock()
        let left = deadline > now ? deadline - now : 1_000_000
        return timeval(tv_sec: Int(clamping: left / 1_000_000_000), tv_usec: Int(left % 1_000_000_000 / 1000))
    }
}

/// A server's words for the log: short, without control characters.
func printable(_ text: String) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.prefix(200).map { $0.value < 0x20 || (0x7f..<0xa0).contains($0.value) ? "?" : $0 }))
}
