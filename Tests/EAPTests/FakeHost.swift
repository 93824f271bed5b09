// A host for methods of EAP: users in a dictionary, answers at once or later, and both ends of a conversation one after the other.

import EAPMethods
import PluginABI
import PluginKit
import Synchronization

/// What a step came to.
struct Result: Sendable {
    var outcome: UInt32
    var message: [UInt8]
    var key: [UInt8]
    var status: martlet_status
    var reason: String
}

/// One end of a method's conversation, driven as the host drives it.
final class Conversation: @unchecked Sendable {
    let method: UnsafePointer<martlet_eap_method>
    private let parameters = UnsafeMutablePointer<martlet_eap_parameters>.allocate(capacity: 1)
    private var context: UnsafeMutableRawPointer?
    private let credentials = UnsafeMutablePointer<martlet_credentials>.allocate(capacity: 1)
    private let sides = UnsafeMutablePointer<martlet_auth_side>.allocate(capacity: 2)
    private var items: UnsafeMutablePointer<martlet_credential>?
    private var own: UnsafeMutablePointer<martlet_bytes>?
    private var memory: [UnsafeMutablePointer<UInt8>] = []
    var passwords: [String: [UInt8]] = [:]
    var hashes: [String: [UInt8]] = [:]
    /// Answers of look-ups come when `release` is called.
    var answersLater = false
    /// Of one who needs no secret.
    var mayLogIn: martlet_status = MARTLET_OK
    private var waiting: [() -> Void] = []
    private(set) var lookUps = 0
    /// Of them those for a secret.
    private(set) var finds = 0
    /// What the host makes of certificates, given the other end's own: MARTLET_OK, or a refusal.
    var judge: ([[UInt8]]) -> martlet_status = { _ in MARTLET_OK }
    /// What was judged.
    private(set) var shown: [[[UInt8]]] = []
    private var results: [Result] = []
    private static let generations = Atomic<UInt64>(0)

    /// How a user's proof can be checked; asked for when a conversation is under way.
    var means: UInt32 {
        get { parameters.pointee.means }
        set { parameters.pointee.means = newValue }
    }

    /// The conversation itself.
    var inner: EAPConversation? { context.map { Unmanaged<EAPConversation>.fromOpaque($0).takeUnretainedValue() } }

    /// `like`: has the same generation of credentials. `items`: kind, flags and DER of what the host has of certificates and keys. `certificates`: those that the connection names as ours.
    init?(
        _ method: UnsafePointer<martlet_eap_method>, server: Bool, identity: String = "carol", name: String = "host", items: [(UInt16, UInt16, [UInt8])] = [], certificates: [[UInt8]] = [],
        like other: Conversation? = nil
    ) {
        self.method = method
        func lent(_ text: String) -> martlet_bytes { lent(Array(text.utf8)) }
        func lent(_ bytes: [UInt8]) -> martlet_bytes {
            let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: bytes.count + 1)
            for (index, byte) in (bytes + [0]).enumerated() { copy[index] = byte }
            memory.append(copy)
            return martlet_bytes(data: UnsafePointer(copy), size: bytes.count)
        }
        let nobody = martlet_identity(type: 2, reserved: (0, 0, 0, 0, 0, 0, 0), data: lent(name))
        let origin = lent("test")
        let text = UnsafeRawPointer(origin.data!).assumingMemoryBound(to: CChar.self)
        let all = UnsafeMutablePointer<martlet_credential>.allocate(capacity: items.count + 1)
        for (index, item) in items.enumerated() {
            all.advanced(by: index).initialize(
                to: martlet_credential(struct_size: UInt32(MemoryLayout<martlet_credential>.size), kind: item.0, flags: item.1, der: lent(item.2), origin: text))
        }
        let own = UnsafeMutablePointer<martlet_bytes>.allocate(capacity: certificates.count + 1)
        for (index, certificate) in certificates.enumerated() { own.advanced(by: index).initialize(to: lent(certificate)) }
        (self.items, self.own) = (all, own)
        credentials.initialize(
            to: martlet_credentials(
                struct_size: UInt32(MemoryLayout<martlet_credentials>.size), reserved: 0, generation: other?.credentials.pointee.generation ?? Self.generations.add(1, ordering: .relaxed).newValue,
                items: all, count: items.count,
                authorities: nil, authority_count: 0))
        for index in 0..<2 {
            sides.advanced(by: index).initialize(
                to: martlet_auth_side(
                    struct_size: UInt32(MemoryLayout<martlet_auth_side>.size), revocation: 0, reserved: (0, 0, 0), auth: text, certificates: own,
                    certificate_count: index == 0 ? certificates.count : 0,
                    authorities: nil, authority_count: 0, public_keys: nil, public_key_count: 0, policies: nil, policy_count: 0,
                    authority_identity: martlet_identity(type: 0, reserved: (0, 0, 0, 0, 0, 0, 0), data: martlet_bytes(data: nil, size: 0))))
        }
        parameters.initialize(
            to: martlet_eap_parameters(
                struct_size: UInt32(MemoryLayout<martlet_eap_parameters>.size), role: server ? 1 : 2, connection: text,
                identity: lent(identity), local: nobody, remote: nobody, server: nobody,
                find_secret: { parameters, kind, user, _, answer, context in
                    Unmanaged<Conversation>.fromOpaque(parameters.pointee.opaque).takeUnretainedValue().find(kind, user, answer, context)
                },
                check_password: { parameters, user, password, _, answer, context in
                    Unmanaged<Conversation>.fromOpaque(parameters.pointee.opaque).takeUnretainedValue().check(user, password, answer, context)
                }, opaque: UnsafeMutableRawPointer(parameters), credentials: credentials, local_side: sides, remote_side: sides + 1,
                check_certificate: { parameters, certificates, count, _, answer, context in
                    Unmanaged<Conversation>.fromOpaque(parameters.pointee.opaque).takeUnretainedValue().check((0..<count).map { EAPParameters.octets(certificates[$0]) }, answer, context)
                }, means: 7, reserved: 0))
        parameters.pointee.opaque = Unmanaged.passUnretained(self).toOpaque()
        guard method.pointee.begin(parameters, &context) == MARTLET_OK else { return nil }
    }

    deinit {
        if let context { method.pointee.destroy(context) }
        for piece in memory { piece.deallocate() }
        parameters.deallocate()
        credentials.deallocate()
        sides.deallocate()
        items?.deallocate()
        own?.deallocate()
    }

    private func octets(_ bytes: martlet_bytes) -> [UInt8] { EAPParameters.octets(bytes) }

    private func later(_ body: @escaping () -> Void) {
        lookUps += 1
        if answersLater { waiting.append(body) } else { body() }
    }

    private func find(_ kind: UInt32, _ user: martlet_bytes, _ answer: @escaping martlet_eap_answer, _ context: UnsafeMutableRawPointer?) {
        let name = String(decoding: octets(user), as: UTF8.self)
        if kind == MARTLET_EAP_ACCOUNT.rawValue { return answer(context, mayLogIn, martlet_bytes(data: nil, size: 0), "is disabled, as the test wants it") }
        let wanted = kind == MARTLET_EAP_NT_HASH.rawValue ? hashes[name] : passwords[name]
        let status: martlet_status = wanted != nil ? MARTLET_OK : passwords[name] == nil && hashes[name] == nil ? MARTLET_E_NOT_FOUND : MARTLET_E_UNSUPPORTED
        finds += 1
        nonisolated(unsafe) let context = context
        later { (wanted ?? []).withUnsafeBufferPointer { answer(context, status, martlet_bytes(data: $0.baseAddress, size: $0.count), "is as the test wants it") } }
    }

    private func check(_ user: martlet_bytes, _ password: martlet_bytes, _ answer: @escaping martlet_eap_answer, _ context: UnsafeMutableRawPointer?) {
        let name = String(decoding: octets(user), as: UTF8.self)
        let status: martlet_status =
            if let known = passwords[name] { known == octets(password) ? MARTLET_OK : MARTLET_E_REJECTED } else { hashes[name] == nil ? MARTLET_E_NOT_FOUND : MARTLET_E_UNSUPPORTED }
        nonisolated(unsafe) let context = context
        later { answer(context, status, martlet_bytes(data: nil, size: 0), "gave what the test calls wrong") }
    }

    private func check(_ certificates: [[UInt8]], _ answer: @escaping martlet_eap_answer, _ context: UnsafeMutableRawPointer?) {
        shown.append(certificates)
        answer(context, judge(certificates), martlet_bytes(data: nil, size: 0), "is not believed: as the test wants it")
    }

    func release() {
        let all = waiting
        waiting = []
        for body in all { body() }
    }

    /// Nil where the step is not complete.
    func step(_ message: [UInt8]?, identifier: UInt8 = 7) -> Result? {
        results = []
        let token = Table.shared.add(self)
        // Memory that ends where the message does, so that a sanitizer sees a read behind it.
        let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: max(message?.count ?? 0, 1))
        defer { copy.deallocate() }
        for (index, byte) in (message ?? []).enumerated() { copy[index] = byte }
        var step = martlet_eap_step(
            struct_size: UInt32(MemoryLayout<martlet_eap_step>.size), identifier: identifier, reserved: (0, 0, 0), message: martlet_bytes(data: copy, size: message?.count ?? 0),
            deadline_ns: .max, complete: { token, result in Table.shared.complete(token, result) }, token: token)
        guard let context, method.pointee.step(context, &step) == MARTLET_OK else { return nil }
        return results.first
    }

    /// Of a step that ended later.
    var late: Result? { results.first }
    var completions: Int { results.count }

    fileprivate func add(_ result: UnsafePointer<martlet_eap_result>) {
        let given = result.pointee
        results.append(
            Result(
                outcome: given.outcome, message: octets(given.message), key: octets(given.key), status: given.status, reason: given.reason.map { String(cString: $0) } ?? ""))
    }
}

private final class Table: Sendable {
    static let shared = Table()
    private let state = Mutex<(last: UInt64, all: [UInt64: Conversation])>((0, [:]))
    func add(_ conversation: Conversation) -> UInt64 {
        state.withLock {
            $0.last += 1
            $0.all[$0.last] = conversation
            return $0.last
        }
    }
    func complete(_ token: UInt64, _ result: UnsafePointer<martlet_eap_result>) { state.withLock { $0.all.removeValue(forKey: token) }?.add(result) }
}

/// Lets a client and a server talk until one of them ends; returns the last result of each.
func talk(_ server: Conversation, _ client: Conversation, change: (Int, [UInt8]) -> [UInt8] = { $1 }) -> (server: Result?, client: Result?) {
    var fromServer = server.step(nil), fromClient: Result?
    for round in 0..<64 {
        guard let request = fromServer, request.outcome == MARTLET_EAP_CONTINUE.rawValue || request.outcome == MARTLET_EAP_REFUSED.rawValue else { break }
        fromClient = client.step(change(2 * round, request.message))
        guard request.outcome == MARTLET_EAP_CONTINUE.rawValue, let answer = fromClient, answer.outcome == MARTLET_EAP_CONTINUE.rawValue || answer.outcome == MARTLET_EAP_SUCCESS.rawValue else {
            break
        }
        fromServer = server.step(change(2 * round + 1, answer.message))
    }
    return (fromServer, fromClient)
}
