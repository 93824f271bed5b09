// An authentication method of a plugin, as the job pool calls it: the request as the contract's struct, and the wait for a plugin
// that answers later. RFC 7296 section 2.15.

import Glibc
import IKECore
import IKECrypto
import IKEWire
import PluginABI
import PluginCrypto
import Synchronization

/// Lends the secret configured for the identities of a request to `use`, and says whether there was one.
package typealias SecretLookUp = @Sendable (_ request: AuthenticationRequest, _ use: (Span<UInt8>) -> Void) -> Bool

package struct AuthMethod: @unchecked Sendable {
    package let name: String
    /// AUTH methods (IANA "IKEv2 Authentication Method") that it makes and takes.
    package let methods: [UInt16]
    /// The hashes of its signatures (IANA "IKEv2 Hash Algorithms"). RFC 7427.
    package let hashes: [UInt16]
    /// Calls that may be under way at once, which the job pool sees to; nil for no limit.
    package let maximumConcurrency: Int?
    /// Whether a call takes microseconds and never waits.
    package let isQuick: Bool
    /// Immortal and constant.
    let table: UnsafePointer<martlet_auth_method>

    init(_ raw: UnsafeRawPointer) throws(TableDefect) {
        let size = raw.load(as: UInt32.self)
        guard size >= UInt32(MemoryLayout<martlet_auth_method>.size) else {
            throw TableDefect("the method's table has \(size) bytes, the daemon needs \(MemoryLayout<martlet_auth_method>.size)")
        }
        table = raw.assumingMemoryBound(to: martlet_auth_method.self)
        try requireFunctions(table, (\.name, "name"), (\.methods, "methods"), (\.sign, "sign"), (\.verify, "verify"))
        let method = table.pointee
        guard (1...16).contains(method.method_count) else { throw TableDefect("the method makes \(method.method_count) AUTH methods, 1 to 16 are taken") }
        name = String(cString: method.name)
        methods = (0..<method.method_count).map { method.methods[$0] }
        guard method.hash_count <= 32 else { throw TableDefect("the method signs with \(method.hash_count) hashes, at most 32 are taken") }
        hashes = method.hashes.map { hashes in (0..<method.hash_count).map { hashes[$0] } } ?? []
        isQuick = method.flags & MARTLET_AUTH_QUICK.rawValue != 0
        maximumConcurrency = method.max_concurrency == 0 ? nil : Int(method.max_concurrency)
    }

    /// Our AUTH payload. Blocks until the plugin is done or `deadline` (CLOCK_MONOTONIC, nanoseconds) has passed.
    package func sign(_ request: AuthenticationRequest, deadline: UInt64, secret: @escaping SecretLookUp) throws(JobFailure) -> Authentication {
        try signWithCertificates(request, deadline: deadline, credentials: .empty, secret: secret).authentication
    }

    /// The same with the CERT payloads that go before it.
    package func signWithCertificates(
        _ request: AuthenticationRequest, deadline: UInt64, credentials: CredentialSnapshot, secret: @escaping SecretLookUp
    ) throws(JobFailure) -> (authentication: Authentication, certificates: [Certificate]) {
        guard let first = methods.first else { throw .noMethod(name) }
        var data = [UInt8](repeating: 0, count: Int(MARTLET_AUTH_MAX))
        var size = 0
        let (answer, notes) = try run(request, method: first, authData: [], deadline: deadline, credentials: credentials, secret: secret) { request in
            table.pointee.sign(request, &data, &size)
        }
        // A plugin that answers later hands its data to `complete`.
        let signed = answer ?? Array(data.prefix(max(size, 0)))
        guard size <= data.count, !signed.isEmpty, signed.count <= data.count else { throw .crypto(.failed) }
        let method = notes.method ?? first
        guard methods.contains(method) else { throw .crypto(.failed) }
        return (Authentication(method: Authentication.Method(rawValue: UInt8(truncatingIfNeeded: method)), data: signed), notes.certificates)
    }

    /// Returns where the peer's AUTH payload proves its identity; throws `.rejected` where it does not. Blocks as `sign` does.
    package func verify(
        _ request: AuthenticationRequest, _ authentication: Authentication, deadline: UInt64, credentials: CredentialSnapshot = .empty, secret: @escaping SecretLookUp
    ) throws(JobFailure) {
        let method = UInt16(authentication.method.rawValue)
        guard methods.contains(method) else { throw .rejected }
        _ = try run(request, method: method, authData: authentication.data, deadline: deadline, credentials: credentials, secret: secret) { request in table.pointee.verify(request) }
    }

    /// The same for a plugin that may have to ask somebody: no thread waits. `completion` is called once, before this returns or later from any
    /// thread, with the failure, or nil where the peer has proven itself. Whoever gave up by then ignores it.
    package func verify(
        _ request: AuthenticationRequest, _ authentication: Authentication, deadline: UInt64, credentials: CredentialSnapshot, secret: @escaping SecretLookUp,
        _ completion: @escaping @Sendable (JobFailure?) -> Void
    ) {
        let method = UInt16(authentication.method.rawValue)
        guard methods.contains(method) else { return completion(.rejected) }
        guard let prf = request.prf as? PluginPRF else { return completion(.crypto(.unavailable(request.prf.transform))) }
        let pending = PendingRequest(
            request, prf: prf, method: method, authData: authentication.data, deadline: deadline, credentials: credentials, secret: secret, completesLater: true)
        pending.whenComplete = { status, notes in completion(Self.failure(status, notes)) }
        let token = PendingRequests.shared.add(pending)
        pending.setToken(token)
        let status = withExtendedLifetime(pending) { table.pointee.verify(pending.table) }
        // One that has completed already, or will.
        guard status != MARTLET_PENDING, PendingRequests.shared.remove(token) else { return }
        completion(Self.failure(status, pending.takeNotes()))
    }

    /// Calls the plugin, waits for it, and returns what it completed with, if it did, and what it said beside.
    private func run(
        _ request: AuthenticationRequest, method: UInt16, authData: [UInt8], deadline: UInt64, credentials: CredentialSnapshot, secret: @escaping SecretLookUp,
        _ call: (UnsafePointer<martlet_auth_request>) -> martlet_status
    ) throws(JobFailure) -> (data: [UInt8]?, notes: AuthNotes) {
        guard let prf = request.prf as? PluginPRF else { throw .crypto(.unavailable(request.prf.transform)) }
        let pending = PendingRequest(request, prf: prf, method: method, authData: authData, deadline: deadline, credentials: credentials, secret: secret, completesLater: !isQuick)
        if isQuick {
            // Nothing completes later, so nobody looks for it: no table that all threads share.
            let status = withExtendedLifetime(pending) { call(pending.table) }
            if let failure = Self.failure(status == MARTLET_PENDING ? MARTLET_E_FAILED : status, pending.takeNotes()) { throw failure }
            return (nil, pending.takeNotes())
        }
        let token = PendingRequests.shared.add(pending)
        pending.setToken(token)
        // A plugin that completes inside the call and goes on reading still reads what is there.
        let status = withExtendedLifetime(pending) { call(pending.table) }
        guard status == MARTLET_PENDING else {
            PendingRequests.shared.remove(token)
            if let failure = Self.failure(status, pending.takeNotes()) { throw failure }
            return (nil, pending.takeNotes())
        }
        guard let outcome = pending.wait(until: deadline) else {
            table.pointee.cancel?(token)
            // The plugin may still read what it was lent; it is kept until the late completion, which is then ignored.
            throw .deadline
        }
        if let failure = Self.failure(outcome.status, pending.takeNotes()) { throw failure }
        return (outcome.data, pending.takeNotes())
    }

    private static func failure(_ status: martlet_status, _ notes: AuthNotes) -> JobFailure? {
        switch status {
        case MARTLET_OK: nil
        case MARTLET_E_REJECTED: notes.reasons.isEmpty ? .rejected : .refused(notes.reasons)
        case MARTLET_E_NOT_FOUND: notes.reasons.isEmpty ? .noSecret : .unprovable(notes.reasons)
        case MARTLET_E_TIMEOUT: .deadline
        case MARTLET_E_INVALID: .crypto(.invalid)
        default: .crypto(.failed)
        }
    }
}

/// A lock with a condition whose waits end at a time of CLOCK_MONOTONIC.
private final class Monitor: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init() {
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    /// Changes what the monitor guards, and wakes who waits for it.
    func change(_ body: () -> Void) {
        pthread_mutex_lock(mutex)
        body()
        pthread_cond_broadcast(condition)
        pthread_mutex_unlock(mutex)
    }

    /// Waits until `body` gives a value, at most until `deadline` in nanoseconds. Nil where the deadline came first.
    func wait<T>(until deadline: UInt64, for body: () -> T?) -> T? {
        var time = timespec(tv_sec: Int(deadline / 1_000_000_000), tv_nsec: Int(deadline % 1_000_000_000))
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            if let value = body() { return value }
            if pthread_cond_timedwait(condition, mutex, &time) == ETIMEDOUT { return body() }
        }
    }
}

/// What a method said of a request beside its status.
struct AuthNotes: Sendable {
    var method: UInt16?
    var certificates: [Certificate] = []
    var reasons: [String] = []
    /// A method that goes wrong must not fill memory.
    static let limit = 32
}

/// A request in the contract's form. Everything that it lends lives as long as it does.
private final class PendingRequest: @unchecked Sendable {
    let table: UnsafeMutablePointer<martlet_auth_request>
    private let request: AuthenticationRequest
    private let secret: SecretLookUp
    private let credentials: CredentialSnapshot
    private let memory: [UnsafeMutableRawPointer]
    private let notes = Mutex(AuthNotes())
    /// Nil where the plugin has promised to be done when it returns.
    private let monitor: Monitor?
    private var outcome: (status: martlet_status, data: [UInt8])?
    /// For whoever does not wait. Set before the plugin is called.
    var whenComplete: ((martlet_status, AuthNotes) -> Void)?

    init(_ request: AuthenticationRequest, prf: PluginPRF, method: UInt16, authData: [UInt8], deadline: UInt64, credentials: CredentialSnapshot, secret: @escaping SecretLookUp, completesLater: Bool) {
        self.credentials = credentials
        monitor = completesLater ? Monitor() : nil
        self.request = request
        self.secret = secret
        table = .allocate(capacity: 1)
        var lender = Lender()
        func payloads(_ payloads: [(encoding: UInt8, data: [UInt8])]) -> UnsafePointer<martlet_certificate_payload>? {
            lender.array(payloads.map { martlet_certificate_payload(encoding: $0.encoding, reserved: (0, 0, 0, 0, 0, 0, 0), data: lender.bytes($0.data)) })
        }
        let send: martlet_send_certificate =
            switch request.sendCertificate {
            case .ifasked: MARTLET_SEND_IF_ASKED
            case .always: MARTLET_SEND_ALWAYS
            case .never: MARTLET_SEND_NEVER
            }
        table.initialize(
            to: martlet_auth_request(
                struct_size: UInt32(MemoryLayout<martlet_auth_request>.size), method: method, reserved: 0, connection: lender.text(request.connection), local: lender.identity(request.local),
                remote: lender.identity(request.remote), prf: prf.table, message: lender.bytes(request.message), nonce: lender.bytes(request.nonce),
                maced_identity: lender.bytes(request.macedIdentity), auth_data: lender.bytes(authData), deadline_ns: deadline,
                with_secret: { request, use, context in PendingRequest.of(request).withSecret(use, context) }, opaque: UnsafeMutableRawPointer(table),
                complete: { token, status, data in PendingRequests.shared.complete(token, status, data) }, token: 0, peer_hashes: lender.array(request.peerHashes),
                peer_hash_count: request.peerHashes.count, credentials: UnsafePointer(credentials.table), local_side: lender.side(request.localCertificates, auth: request.method),
                remote_side: lender.side(request.remoteCertificates, auth: request.method), peer_certificates: payloads(request.peerCertificates.map { ($0.encoding, $0.data) }),
                peer_certificate_count: request.peerCertificates.count, peer_requests: payloads(request.peerRequests.map { ($0.encoding, $0.authorities) }),
                peer_request_count: request.peerRequests.count, made: { request, method in PendingRequest.of(request).note { $0.method = method } },
                add_certificate: { request, encoding, data in
                    let bytes = data.data.map { Array(UnsafeBufferPointer(start: $0, count: data.size)) } ?? []
                    PendingRequest.of(request).note { if $0.certificates.count < AuthNotes.limit { $0.certificates.append(Certificate(encoding: encoding, data: bytes)) } }
                },
                explain: { request, text in
                    let reason = PluginText.line(text)
                    PendingRequest.of(request).note { if $0.reasons.count < AuthNotes.limit { $0.reasons.append(reason) } }
                }, send_certificate: UInt32(send.rawValue), flags: request.isInitiator ? MARTLET_AUTH_WE_BEGAN.rawValue : 0))
        memory = lender.memory
        table.pointee.opaque = Unmanaged.passUnretained(self).toOpaque()
    }

    private static func of(_ request: UnsafePointer<martlet_auth_request>) -> PendingRequest {
        Unmanaged<PendingRequest>.fromOpaque(request.pointee.opaque).takeUnretainedValue()
    }

    private func note(_ change: (inout AuthNotes) -> Void) { notes.withLock { change(&$0) } }
    func takeNotes() -> AuthNotes { notes.withLock { $0 } }

    deinit {
        for piece in memory { piece.deallocate() }
        table.deinitialize(count: 1)
        table.deallocate()
    }

    func setToken(_ token: UInt64) { table.pointee.token = token }

    private func withSecret(_ use: @convention(c) (UnsafeMutableRawPointer?, martlet_bytes) -> Void, _ context: UnsafeMutableRawPointer?) -> martlet_status {
        let found = secret(request) { secret in
            secret.withUnsafeBufferPointer { use(context, martlet_bytes(data: $0.baseAddress, size: $0.count)) }
        }
        return found ? MARTLET_OK : MARTLET_E_NOT_FOUND
    }

    /// The first completion counts.
    func complete(_ status: martlet_status, _ data: [UInt8]) {
        monitor?.change { if outcome == nil { outcome = (status, data) } }
        whenComplete?(status, takeNotes())
    }

    /// Nil where the deadline came first.
    func wait(until deadline: UInt64) -> (status: martlet_status, data: [UInt8])? { monitor?.wait(until: deadline) { outcome } }
}

/// Requests that plugins may still complete, by token. Tokens are never used twice, so a late completion finds nothing.
private final class PendingRequests: Sendable {
    static let shared = PendingRequests()
    private let state = Mutex<(last: UInt64, requests: [UInt64: PendingRequest])>((0, [:]))

    func add(_ request: PendingRequest) -> UInt64 {
        state.withLock { state in
            state.last += 1
            state.requests[state.last] = request
            return state.last
        }
    }

    /// False where it was complete already.
    @discardableResult
    func remove(_ token: UInt64) -> Bool { state.withLock { $0.requests.removeValue(forKey: token) } != nil }

    func complete(_ token: UInt64, _ status: martlet_status, _ data: martlet_bytes) {
        guard let request = state.withLock({ $0.requests.removeValue(forKey: token) }) else { return }
        let size = min(data.size, Int(MARTLET_AUTH_MAX) + 1)
        request.complete(status, data.data.map { Array(UnsafeBufferPointer(start: $0, count: size)) } ?? [])
    }
}
