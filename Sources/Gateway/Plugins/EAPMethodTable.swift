// A method of EAP of a plugin (eap.h): its table, one conversation in the contract's form, and steps that end later. No thread waits for one.
// RFC 3748.

import Glibc
import IKECore
import IKECrypto
import IKEWire
import PluginABI
import PluginCrypto
import Synchronization

package struct EAPMethodTable: @unchecked Sendable {
    package let method: EAPMethod
    package let maximumConcurrency: Int?
    /// Immortal and constant.
    fileprivate let table: UnsafePointer<martlet_eap_method>

    init(_ raw: UnsafeRawPointer) throws(TableDefect) {
        let size = raw.load(as: UInt32.self)
        guard size >= UInt32(MemoryLayout<martlet_eap_method>.size) else {
            throw TableDefect("the EAP method's table has \(size) bytes, the daemon needs \(MemoryLayout<martlet_eap_method>.size)")
        }
        table = raw.assumingMemoryBound(to: martlet_eap_method.self)
        try requireFunctions(table, (\.name, "name"), (\.begin, "begin"), (\.step, "step"), (\.destroy, "destroy"))
        let given = table.pointee
        func has(_ flag: martlet_eap_flags) -> Bool { given.flags & flag.rawValue != 0 }
        let name = String(cString: given.name)
        // Identity, Notification, Nak and expanded types are not methods of this contract.
        guard name.hasPrefix("eap-"), given.type > 3, given.type != 254 else {
            throw TableDefect("the EAP method \(name) has the type \(given.type): its name begins with eap-, and its type is from 4 on")
        }
        method = EAPMethod(
            name: name, type: given.type, isServer: has(MARTLET_EAP_AS_SERVER), isClient: has(MARTLET_EAP_AS_CLIENT), givesKey: has(MARTLET_EAP_GIVES_KEY), isMutual: has(MARTLET_EAP_MUTUAL),
            proof: EAPMethod.Proof(server: has(MARTLET_EAP_SERVER_CERTIFICATE), client: has(MARTLET_EAP_CLIENT_CERTIFICATE), password: has(MARTLET_EAP_PASSWORDS)))
        maximumConcurrency = given.max_concurrency == 0 ? nil : Int(given.max_concurrency)
    }

    /// Hands one message to the plugin. `completion` is called once: before this returns, or later from any thread.
    package func run(
        _ step: EAPStep, users: any UserSource, credentials: CredentialSnapshot = .empty, judge: AuthMethod? = nil, deadline: UInt64, _ completion: @escaping @Sendable (JobResult) -> Void
    ) {
        let known = step.conversation as? EAPHandle
        guard step.conversation == nil || known != nil, let handle = known ?? PluginConversation(table, step, users, credentials, judge).map(EAPHandle.init) else {
            return completion(.failed(.crypto(.failed)))
        }
        let pending = PendingStep(handle, isFirst: known == nil, message: step.message ?? [], method: method, completion)
        let token = PendingSteps.shared.add(pending)
        var raw = martlet_eap_step(
            struct_size: UInt32(MemoryLayout<martlet_eap_step>.size), identifier: step.identifier, reserved: (0, 0, 0), message: pending.message, deadline_ns: deadline,
            complete: { token, result in PendingSteps.shared.complete(token, result) }, token: token)
        let conversation = handle.conversation
        conversation.isBusy(true)
        let status = withExtendedLifetime(pending) { table.pointee.step(conversation.context, &raw) }
        guard status != MARTLET_OK, PendingSteps.shared.take(token) != nil else { return }
        conversation.isBusy(false)
        completion(.eap(handle, .failed(EAPRefusal(.unavailable, "was not looked at: \(method.name) has failed with status \(status)"))))
    }
}

/// What the core holds. When it goes, a step that still runs is asked to end.
private final class EAPHandle: EAPConversation {
    let conversation: PluginConversation
    init(_ conversation: PluginConversation) { self.conversation = conversation }
    var groups: [String]? { conversation.groups }
    var account: [UInt8]? { conversation.account }
    deinit { conversation.cancel() }
}

/// A conversation with what it was lent. Destroyed when nobody holds it: neither the core nor a step under way.
private final class PluginConversation: @unchecked Sendable {
    private let table: UnsafePointer<martlet_eap_method>
    private(set) var context: UnsafeMutableRawPointer
    private let parameters: UnsafeMutablePointer<martlet_eap_parameters>
    private var memory: [UnsafeMutableRawPointer] = []
    private let users: any UserSource
    private let credentials: CredentialSnapshot
    /// Judges certificates, for IKE as for TLS.
    private let judge: AuthMethod?
    private let remoteCertificates: CertificatePolicy
    /// Whom the peer's certificate may name.
    private let peers: [Identification]
    private let isServer: Bool
    private let connection: String
    private let busy = Mutex(false)

    init?(_ table: UnsafePointer<martlet_eap_method>, _ step: EAPStep, _ users: any UserSource, _ credentials: CredentialSnapshot, _ judge: AuthMethod?) {
        self.table = table
        self.credentials = credentials
        self.judge = judge
        remoteCertificates = step.remoteCertificates
        peers = step.isServer ? Self.names(of: step) : [step.serverName ?? step.remote]
        self.users = users
        isServer = step.isServer
        connection = step.connection
        parameters = .allocate(capacity: 1)
        var lender = Lender()
        parameters.initialize(
            to: martlet_eap_parameters(
                struct_size: UInt32(MemoryLayout<martlet_eap_parameters>.size), role: step.isServer ? MARTLET_EAP_SERVER.rawValue : MARTLET_EAP_CLIENT.rawValue,
                connection: lender.text(step.connection),
                identity: lender.bytes(step.identity), local: lender.identity(step.local), remote: lender.identity(step.remote), server: lender.identity(step.serverName),
                find_secret: { parameters, kind, user, deadline, answer, context in
                    PluginConversation.of(parameters).find(kind, user, deadline, answer, context)
                },
                check_password: { parameters, user, password, deadline, answer, context in
                    PluginConversation.of(parameters).check(user, password, deadline, answer, context)
                }, opaque: UnsafeMutableRawPointer(parameters), credentials: UnsafePointer(credentials.table),
                local_side: lender.side(step.localCertificates, auth: step.method.name), remote_side: lender.side(step.remoteCertificates, auth: step.method.name),
                check_certificate: { parameters, certificates, count, deadline, answer, context in
                    PluginConversation.of(parameters).checkCertificate(certificates, count, deadline, answer, context)
                }, means: step.isServer ? users.means(of: step.identity).rawValue : 0, reserved: 0))
        memory = lender.memory
        // Any pointer until the plugin gives one.
        context = UnsafeMutableRawPointer(parameters)
        parameters.pointee.opaque = Unmanaged.passUnretained(self).toOpaque()
        var made: UnsafeMutableRawPointer?
        guard table.pointee.begin(parameters, &made) == MARTLET_OK, let made else {
            isMade = false
            return nil
        }
        context = made
        isMade = true
    }
    private var isMade = false

    deinit {
        if isMade { table.pointee.destroy(context) }
        for piece in memory { piece.deallocate() }
        parameters.deinitialize(count: 1)
        parameters.deallocate()
    }

    var groups: [String]? { users.groups }
    var account: [UInt8]? { users.account }
    func isBusy(_ value: Bool) { busy.withLock { $0 = value } }
    func cancel() { if busy.withLock({ $0 }) { table.pointee.cancel?(context) } }

    private static func of(_ parameters: UnsafePointer<martlet_eap_parameters>) -> PluginConversation {
        Unmanaged<PluginConversation>.fromOpaque(parameters.pointee.opaque).takeUnretainedValue()
    }

    private func find(_ kind: UInt32, _ user: martlet_bytes, _ deadline: UInt64, _ answer: @escaping martlet_eap_answer, _ context: UnsafeMutableRawPointer?) {
        let answering = Answering(answer, context)
        let wanted: UserSecretKind = kind == MARTLET_EAP_NT_HASH.rawValue ? .ntHash : kind == MARTLET_EAP_ACCOUNT.rawValue ? .account : .password
        users.find(wanted, of: Self.octets(user), connection: connection, isServer: isServer, deadline: deadline) { answering.end($0) }
    }

    private func check(_ user: martlet_bytes, _ password: martlet_bytes, _ deadline: UInt64, _ answer: @escaping martlet_eap_answer, _ context: UnsafeMutableRawPointer?) {
        let answering = Answering(answer, context)
        let given = UnsafeBufferPointer(start: password.data, count: password.data == nil ? 0 : password.size)
        var secret = SecretBytes(count: given.count)
        var span = secret.mutableSpan
        for index in span.indices { span[index] = given[index] }
        users.check(SecretBox(secret), of: Self.octets(user), connection: connection, deadline: deadline) { answering.end($0) }
    }

    private func checkCertificate(_ certificates: UnsafePointer<martlet_bytes>, _ count: Int, _ deadline: UInt64, _ answer: @escaping martlet_eap_answer, _ context: UnsafeMutableRawPointer?) {
        let answering = Answering(answer, context)
        guard let judge, judge.judgesCertificates else { return answering.end(.no(.unavailable, "cannot be believed: no plugin that is loaded judges certificates (x509)")) }
        guard (1...32).contains(count) else { return answering.end(.no(.rejected, "is not believed: it has shown \(count) certificates")) }
        let use = isServer ? MARTLET_CERTIFICATE_TLS_CLIENT : MARTLET_CERTIFICATE_TLS_SERVER
        let shown = (0..<count).map { index in
            let bytes = certificates[index]
            return bytes.data.map { Array(UnsafeBufferPointer(start: $0, count: min(bytes.size, 65_536))) } ?? []
        }
        judge.judge(shown, use: use, identities: peers, side: remoteCertificates, connection: connection, credentials: credentials, deadline: deadline) { reasons in
            answering.end(reasons.isEmpty ? .right : .no(.rejected, "is not believed: " + reasons.joined(separator: "; ")))
        }
    }

    /// As whom the client's certificate may know the user: its EAP identity, which is a distinguished name with some clients, or that of IKE where they are the same.
    private static func names(of step: EAPStep) -> [Identification] {
        var names = [Identification(eap: step.identity)]
        if step.identity.first == 0x30 { names.append(Identification(kind: .derDN, data: step.identity)) }
        if step.remote.eapIdentity == step.identity, !names.contains(step.remote) { names.append(step.remote) }
        return names
    }

    private static func octets(_ bytes: martlet_bytes) -> [UInt8] { bytes.data.map { Array(UnsafeBufferPointer(start: $0, count: min(bytes.size, 1024))) } ?? [] }
}

/// A plugin's function that waits for what is known of a user. Called once, whatever the source does.
private final class Answering: @unchecked Sendable {
    private let answer: martlet_eap_answer
    private let context: UnsafeMutableRawPointer?
    private let isDone = Mutex(false)

    init(_ answer: @escaping martlet_eap_answer, _ context: UnsafeMutableRawPointer?) {
        self.answer = answer
        self.context = context
    }

    func end(_ known: UserAnswer) {
        guard
            isDone.withLock({ done in
                defer { done = true }
                return !done
            })
        else { return }
        let nothing = martlet_bytes(data: nil, size: 0)
        switch known {
        case .secret(let secret):
            let isThere: Void? = secret.withSecret { (bytes: borrowing SecretBytes) in
                bytes.span.withUnsafeBufferPointer { answer(context, MARTLET_OK, martlet_bytes(data: $0.baseAddress, size: $0.count), nil) }
            }
            if isThere == nil { answer(context, MARTLET_E_FAILED, nothing, nil) }
        case .right: answer(context, MARTLET_OK, nothing, nil)
        case .no(let why, let reason): reason.withCString { answer(context, why.status, nothing, $0) }
        }
    }
}

/// One step until it is complete.
private final class PendingStep: @unchecked Sendable {
    private let conversation: PluginConversation
    /// The core's own where it has one: when that goes, nobody waits any more.
    private weak var handle: EAPHandle?
    private let first: EAPHandle?
    private let memory: UnsafeMutableRawPointer
    let message: martlet_bytes
    private let method: EAPMethod
    private let completion: @Sendable (JobResult) -> Void

    init(_ handle: EAPHandle, isFirst: Bool, message octets: [UInt8], method: EAPMethod, _ completion: @escaping @Sendable (JobResult) -> Void) {
        conversation = handle.conversation
        self.handle = handle
        first = isFirst ? handle : nil
        memory = UnsafeMutableRawPointer.allocate(byteCount: max(octets.count, 1), alignment: 1)
        memory.copyMemory(from: octets, byteCount: octets.count)
        message = martlet_bytes(data: UnsafePointer(memory.assumingMemoryBound(to: UInt8.self)), size: octets.count)
        self.method = method
        self.completion = completion
    }

    deinit {
        explicit_bzero(memory, max(message.size, 1))
        memory.deallocate()
    }

    func complete(_ result: UnsafePointer<martlet_eap_result>) {
        conversation.isBusy(false)
        guard let handle = first ?? handle else { return }
        completion(.eap(handle, outcome(result)))
    }

    private func outcome(_ raw: UnsafePointer<martlet_eap_result>) -> EAPOutcome {
        func broken(_ what: String) -> EAPOutcome { .failed(EAPRefusal(.unavailable, "was not looked at: the plugin of \(method.name) breaks the contract: \(what)")) }
        guard raw.pointee.struct_size >= UInt32(MemoryLayout<martlet_eap_result>.size) else { return broken("its result is too short") }
        let given = raw.pointee
        guard given.message.size <= Int(MARTLET_EAP_MESSAGE_MAX) else { return broken("its message has \(given.message.size) octets") }
        let message = given.message.data.map { Array(UnsafeBufferPointer(start: $0, count: given.message.size)) } ?? []
        switch given.outcome {
        case MARTLET_EAP_CONTINUE.rawValue: return .message(message)
        case MARTLET_EAP_REFUSED.rawValue: return .refused(message, refusal(given))
        case MARTLET_EAP_FAILURE.rawValue: return .failed(refusal(given))
        case MARTLET_EAP_SUCCESS.rawValue:
            guard method.givesKey else { return .succeeded(message, nil) }
            guard given.key.size == Int(MARTLET_EAP_KEY_SIZE), let bytes = given.key.data else { return broken("its key has \(given.key.size) bytes") }
            var key = SecretBytes(count: given.key.size)
            var span = key.mutableSpan
            for index in span.indices { span[index] = bytes[index] }
            return .succeeded(message, SecretBox(key))
        default: return broken("it has no outcome \(given.outcome)")
        }
    }

    private func refusal(_ given: martlet_eap_result) -> EAPRefusal {
        let kind: EAPRefusal.Kind =
            switch given.status {
            case MARTLET_E_REJECTED: .wrong
            case MARTLET_E_NOT_FOUND: .unknownUser
            case MARTLET_E_INVALID: .misbehaved
            default: .unavailable
            }
        guard let reason = given.reason else { return EAPRefusal(kind, "failed in \(method.name)") }
        let bytes = UnsafeBufferPointer(start: reason, count: strnlen(reason, 2000)).map { UInt8(bitPattern: $0) }
        return EAPRefusal(kind, String(decoding: bytes.map { $0 < 0x20 || $0 == 0x7f ? UInt8(ascii: " ") : $0 }, as: UTF8.self))
    }
}

/// Steps that plugins may still complete, by token. Tokens are never used twice, so a late or second completion finds nothing.
private final class PendingSteps: Sendable {
    static let shared = PendingSteps()
    private let state = Mutex<(last: UInt64, steps: [UInt64: PendingStep])>((0, [:]))

    func add(_ step: PendingStep) -> UInt64 {
        state.withLock { state in
            state.last += 1
            state.steps[state.last] = step
            return state.last
        }
    }

    func take(_ token: UInt64) -> PendingStep? { state.withLock { $0.steps.removeValue(forKey: token) } }
    func complete(_ token: UInt64, _ result: UnsafePointer<martlet_eap_result>) { take(token)?.complete(result) }
}
