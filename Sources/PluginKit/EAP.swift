// Methods of EAP: the contract's conversation as a class, its steps and answers as values, and the trampolines between.

import PluginABI

/// Bytes that are wiped when nobody holds them.
public final class SecretMemory: @unchecked Sendable {
    public let pointer: UnsafeMutablePointer<UInt8>
    public let count: Int

    public init(count: Int) {
        self.count = count
        pointer = .allocate(capacity: max(count, 1))
        pointer.initialize(repeating: 0, count: max(count, 1))
    }

    public convenience init(_ bytes: UnsafeBufferPointer<UInt8>) {
        self.init(count: bytes.count)
        if let base = bytes.baseAddress { pointer.update(from: base, count: bytes.count) }
    }

    deinit {
        wipe(pointer, max(count, 1))
        pointer.deallocate()
    }

    /// A copy, which nobody wipes.
    public var octets: [UInt8] { withExtendedLifetime(self) { Array(bytes) } }
    /// Valid as long as somebody holds this: never of a value that has no name.
    public var bytes: UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(start: pointer, count: count) }
    public var table: martlet_bytes { martlet_bytes(data: UnsafePointer(pointer), size: count) }
}

/// What a conversation is about, lent by the host for as long as it lasts.
public struct EAPParameters: @unchecked Sendable {
    public enum Secret: UInt32, Sendable {
        case password = 1, ntHash
        /// None: whether one who has proven to be the user may log in.
        case account
    }

    /// What the host knows of a user.
    public struct Answer: Sendable {
        public let status: martlet_status
        public let secret: SecretMemory?
        /// The rest of a sentence that begins with the user.
        public let reason: String
    }

    public let table: UnsafePointer<martlet_eap_parameters>
    public let isServer: Bool
    public let identity: [UInt8]

    public init(_ table: UnsafePointer<martlet_eap_parameters>) {
        self.table = table
        isServer = table.pointee.role == MARTLET_EAP_SERVER.rawValue
        identity = EAPParameters.octets(table.pointee.identity)
    }

    /// Whether the user's proof can be checked in one of these ways.
    public func isChecked(by means: martlet_eap_means...) -> Bool { means.contains { table.pointee.means & $0.rawValue != 0 } }

    public static func octets(_ bytes: martlet_bytes) -> [UInt8] { bytes.data.map { Array(UnsafeBufferPointer(start: $0, count: bytes.size)) } ?? [] }

    /// `then` is called once: before this returns, or later on any thread.
    public func findSecret(_ kind: Secret, of user: [UInt8], deadline: UInt64, _ then: @escaping @Sendable (Answer) -> Void) {
        let waiting = Unmanaged.passRetained(Waiting(then)).toOpaque()
        user.withUnsafeBufferPointer {
            table.pointee.find_secret(table, kind.rawValue, martlet_bytes(data: $0.baseAddress, size: $0.count), deadline, Waiting.answer, waiting)
        }
    }

    public func checkPassword(_ password: SecretMemory, of user: [UInt8], deadline: UInt64, _ then: @escaping @Sendable (Answer) -> Void) {
        let waiting = Unmanaged.passRetained(Waiting(then)).toOpaque()
        user.withUnsafeBufferPointer {
            table.pointee.check_password(table, martlet_bytes(data: $0.baseAddress, size: $0.count), password.table, deadline, Waiting.answer, waiting)
        }
    }

    /// Whether the other end's certificates, DER, its own first, are those of whom it has to be. `then` as above; in `step` alone.
    public func checkCertificate(_ certificates: [[UInt8]], deadline: UInt64, _ then: @escaping @Sendable (Answer) -> Void) {
        let waiting = Unmanaged.passRetained(Waiting(then)).toOpaque()
        let whole = certificates.flatMap { $0 }
        whole.withUnsafeBufferPointer { bytes in
            var start = 0
            let list = certificates.map { certificate in
                defer { start += certificate.count }
                return martlet_bytes(data: bytes.baseAddress.map { $0 + start }, size: certificate.count)
            }
            list.withUnsafeBufferPointer { list in
                guard let first = list.baseAddress else { return Waiting.answer(waiting, MARTLET_E_INVALID, martlet_bytes(data: nil, size: 0), nil) }
                table.pointee.check_certificate(table, first, list.count, deadline, Waiting.answer, waiting)
            }
        }
    }

    private final class Waiting: Sendable {
        let then: @Sendable (Answer) -> Void
        init(_ then: @escaping @Sendable (Answer) -> Void) { self.then = then }

        static let answer: martlet_eap_answer = { context, status, secret, reason in
            guard let context else { return }
            let waiting = Unmanaged<Waiting>.fromOpaque(context).takeRetainedValue()
            let copy = status == MARTLET_OK && secret.size > 0 ? SecretMemory(UnsafeBufferPointer(start: secret.data, count: secret.data == nil ? 0 : secret.size)) : nil
            waiting.then(Answer(status: status, secret: copy, reason: reason.map { String(cString: $0) } ?? ""))
        }
    }
}

/// Ends one step. Exactly one of its functions is called, once.
public struct EAPReply: @unchecked Sendable {
    /// What a step came to, for a method that another one carries.
    public struct Result {
        public let outcome: martlet_eap_outcome
        public let message: [UInt8]
        public let status: martlet_status
        public let reason: String
    }
    private enum Place {
        case host(@convention(c) (UInt64, UnsafePointer<martlet_eap_result>) -> Void, UInt64)
        case method((Result) -> Void)
    }
    private let place: Place
    /// On the host's clock.
    public let deadline: UInt64

    init(_ step: UnsafePointer<martlet_eap_step>) {
        place = .host(step.pointee.complete, step.pointee.token)
        deadline = step.pointee.deadline_ns
    }

    /// For a method inside another.
    public init(deadline: UInt64, _ end: @escaping (Result) -> Void) {
        place = .method(end)
        self.deadline = deadline
    }

    public func send(_ message: [UInt8]) { end(MARTLET_EAP_CONTINUE, message) }
    /// As the server nothing more goes out; as the client `message` does.
    public func succeed(_ message: [UInt8] = [], key: SecretMemory? = nil) { end(MARTLET_EAP_SUCCESS, message, key: key) }
    /// It has failed, and `message` tells the peer so before the end; as the client, that it has understood.
    public func refuse(_ message: [UInt8], _ status: martlet_status, _ reason: String) { end(MARTLET_EAP_REFUSED, message, status, reason) }
    public func fail(_ status: martlet_status, _ reason: String) { end(MARTLET_EAP_FAILURE, [], status, reason) }

    private func end(_ outcome: martlet_eap_outcome, _ message: [UInt8], key: SecretMemory? = nil, _ status: martlet_status = MARTLET_OK, _ reason: String = "") {
        let complete: @convention(c) (UInt64, UnsafePointer<martlet_eap_result>) -> Void, token: UInt64
        switch place {
        case .method(let end): return end(Result(outcome: outcome, message: message, status: status, reason: reason))
        case .host(let call, let number): (complete, token) = (call, number)
        }
        message.withUnsafeBufferPointer { message in
            reason.withCString { reason in
                var result = martlet_eap_result(
                    struct_size: UInt32(MemoryLayout<martlet_eap_result>.size), outcome: outcome.rawValue, message: martlet_bytes(data: message.baseAddress, size: message.count),
                    key: key?.table ?? martlet_bytes(data: nil, size: 0), status: status, reserved: 0, reason: reason)
                complete(token, &result)
            }
        }
    }
}

/// One conversation of a method. Steps come one after the other, the next when the last has ended.
open class EAPConversation: @unchecked Sendable {
    public let parameters: EAPParameters
    public init(_ parameters: EAPParameters) { self.parameters = parameters }

    /// `message`: nil in a server's first step.
    open func step(_ message: [UInt8]?, identifier: UInt8, _ reply: EAPReply) { reply.fail(MARTLET_E_UNSUPPORTED, "is asked for what is not there") }
    /// The step that is not complete should end early.
    open func cancel() {}

    private var hasBegun = false
    fileprivate func run(_ step: UnsafePointer<martlet_eap_step>) {
        let isFirst = parameters.isServer && !hasBegun
        hasBegun = true
        // It may be a password.
        var message = EAPParameters.octets(step.pointee.message)
        defer { wipe(&message, message.count) }
        self.step(isFirst ? nil : message, identifier: step.pointee.identifier, EAPReply(step))
    }
}

public enum EAPMethod {
    /// For `begin` of a method's table: hands the conversation to the host.
    public static func begin(_ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>, _ conversation: EAPConversation) -> martlet_status {
        out.pointee = Unmanaged.passRetained(conversation).toOpaque()
        return MARTLET_OK
    }

    public static func table(
        _ name: String, type: UInt8, flags: [martlet_eap_flags],
        begin: @escaping @convention(c) (UnsafePointer<martlet_eap_parameters>, UnsafeMutablePointer<UnsafeMutableRawPointer?>) -> martlet_status
    ) -> UnsafePointer<martlet_eap_method> {
        Immortal.table(
            martlet_eap_method(
                struct_size: UInt32(MemoryLayout<martlet_eap_method>.size), max_concurrency: 0, name: Immortal.string(name), type: type, reserved: (0, 0, 0),
                flags: flags.reduce(0) { $0 | $1.rawValue }, begin: begin,
                step: { conversation, step in
                    Unmanaged<EAPConversation>.fromOpaque(conversation).takeUnretainedValue().run(step)
                    return MARTLET_OK
                },
                cancel: { Unmanaged<EAPConversation>.fromOpaque($0).takeUnretainedValue().cancel() },
                destroy: { Unmanaged<EAPConversation>.fromOpaque($0).release() }))
    }
}
