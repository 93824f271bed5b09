// Directories of users: the C contract (directory.h) as Swift sees it. A plugin implements `DirectoryProvider` and registers
// `Directory.table(of:)`; requests come as values, and each is completed once.

import PluginABI

/// A secret in the host's memory for secrets: locked, wiped at the end. Has no description.
public final class SecretCopy: @unchecked Sendable {
    private let host: Host
    private let memory: UnsafeMutableRawPointer
    public let count: Int

    /// A copy of `bytes`. Nil without memory.
    public init?(_ host: Host, _ bytes: UnsafeRawBufferPointer) {
        // One byte more: a zero, for libraries that take C strings.
        guard let memory = host.allocateSecret(bytes.count + 1) else { return nil }
        if let base = bytes.baseAddress { memory.copyMemory(from: base, byteCount: bytes.count) }
        (self.host, self.memory, self.count) = (host, memory, bytes.count)
    }

    deinit { host.freeSecret(memory, count + 1) }

    /// Lends the bytes; behind them is a zero.
    public func withBytes<T>(_ use: (UnsafeRawBufferPointer) throws -> T) rethrows -> T { try use(UnsafeRawBufferPointer(start: memory, count: count)) }
}

/// What a directory says; the values of `enum martlet_directory_outcome`.
public struct DirectoryOutcome: Hashable, Sendable {
    public let code: UInt32
    public init(_ value: martlet_directory_outcome) { code = value.rawValue }
    public static let ok = Self(MARTLET_DIRECTORY_OK)
    public static let noSuchUser = Self(MARTLET_DIRECTORY_NO_SUCH_USER)
    public static let ambiguous = Self(MARTLET_DIRECTORY_AMBIGUOUS)
    public static let disabled = Self(MARTLET_DIRECTORY_DISABLED)
    public static let locked = Self(MARTLET_DIRECTORY_LOCKED)
    public static let expired = Self(MARTLET_DIRECTORY_EXPIRED)
    public static let passwordExpired = Self(MARTLET_DIRECTORY_PASSWORD_EXPIRED)
    public static let passwordWrong = Self(MARTLET_DIRECTORY_PASSWORD_WRONG)
    public static let passwordEmpty = Self(MARTLET_DIRECTORY_PASSWORD_EMPTY)
    public static let noHash = Self(MARTLET_DIRECTORY_NO_HASH)
    public static let badName = Self(MARTLET_DIRECTORY_BAD_NAME)
    public static let down = Self(MARTLET_DIRECTORY_DOWN)
    public static let slow = Self(MARTLET_DIRECTORY_SLOW)
    public static let lying = Self(MARTLET_DIRECTORY_LYING)
    public static let busy = Self(MARTLET_DIRECTORY_BUSY)
    public static let cancelled = Self(MARTLET_DIRECTORY_CANCELLED)
}

/// What came of a request.
public struct DirectoryAnswer: Sendable {
    public struct Group: Hashable, Sendable {
        public var name: String
        public var distinguishedName: String
        public init(name: String, distinguishedName: String) { (self.name, self.distinguishedName) = (name, distinguishedName) }
    }
    public var outcome: DirectoryOutcome
    /// Of a refusal, for the log: a sentence without a secret.
    public var reason: String
    public var distinguishedName = ""
    /// The name as the directory writes it.
    public var user = ""
    public var groups: [Group] = []
    public var ntHash: SecretCopy?
    public init(_ outcome: DirectoryOutcome, reason: String = "") { (self.outcome, self.reason) = (outcome, reason) }
}

/// One question, copied from whoever asked.
public struct DirectoryRequest: @unchecked Sendable {
    public enum Question: Sendable { case account, password, ntHash }
    public let question: Question
    public let user: [UInt8]
    /// Of `.password`.
    public let password: SecretCopy?
    /// On the host's clock.
    public let deadline: UInt64
    private let id: UInt64
    private let completion: @convention(c) (UInt64, UnsafePointer<martlet_directory_answer>) -> Void

    init?(_ host: Host, _ question: Question, _ table: UnsafePointer<martlet_directory_request>) {
        let request = table.pointee
        // One byte too many is taken: whoever answers says what is too long.
        guard request.user.size == 0 || request.user.data != nil, request.password.size == 0 || request.password.data != nil else { return nil }
        self.question = question
        user = request.user.data.map { Array(UnsafeBufferPointer(start: $0, count: min(request.user.size, Int(MARTLET_DIRECTORY_NAME_MAX) + 1))) } ?? []
        if question == .password {
            guard let password = SecretCopy(host, UnsafeRawBufferPointer(start: request.password.data, count: min(request.password.size, Int(MARTLET_DIRECTORY_PASSWORD_MAX) + 1)))
            else { return nil }
            self.password = password
        } else {
            password = nil
        }
        (deadline, id, completion) = (request.deadline_ns, request.id, request.complete)
    }

    /// Hands the answer over. Once for each request.
    public func complete(_ answer: DirectoryAnswer) {
        let texts = Lent()
        func bytes(_ text: String) -> martlet_bytes { texts.add(text) }
        let groups = answer.groups.prefix(Int(MARTLET_DIRECTORY_GROUPS)).map { martlet_directory_group(name: bytes($0.name), distinguished_name: bytes($0.distinguishedName)) }
        let name = bytes(answer.distinguishedName)
        let user = bytes(answer.user)
        groups.withUnsafeBufferPointer { groups in
            answer.reason.withCString { reason in
                func call(_ hash: martlet_bytes) {
                    var table = martlet_directory_answer(
                        struct_size: UInt32(MemoryLayout<martlet_directory_answer>.size), outcome: answer.outcome.code, reason: reason, distinguished_name: name, user: user,
                        groups: groups.baseAddress, group_count: groups.count, nt_hash: hash)
                    completion(id, &table)
                }
                if let hash = answer.ntHash {
                    hash.withBytes { call(martlet_bytes(data: $0.baseAddress?.assumingMemoryBound(to: UInt8.self), size: $0.count)) }
                } else {
                    call(martlet_bytes(data: nil, size: 0))
                }
            }
        }
        withExtendedLifetime(texts) {}
    }

    /// Texts as bytes that stay where they are.
    private final class Lent {
        private var memory: [UnsafeMutableBufferPointer<UInt8>] = []
        func add(_ text: String) -> martlet_bytes {
            let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(text.utf8.count, 1))
            _ = copy.initialize(from: text.utf8)
            memory.append(copy)
            return martlet_bytes(data: UnsafePointer(copy.baseAddress), size: text.utf8.count)
        }
        deinit { for piece in memory { piece.deallocate() } }
    }
}

/// A directory, as a plugin in Swift implements it.
public protocol DirectoryProvider: AnyObject, Sendable {
    var host: Host { get }
    /// `enum martlet_directory_abilities`.
    var abilities: UInt32 { get }
    var advice: String { get }
    /// Takes the request and returns its token, never 0. The request is completed once, from any thread.
    func begin(_ request: DirectoryRequest) -> UInt64
    func cancel(_ token: UInt64)
}

public enum Directory {
    /// The table of a directory, for `Host.provide`. The provider lives for ever.
    public static func table(of provider: any DirectoryProvider, name: String) -> UnsafePointer<martlet_directory> {
        let entry = UnsafeMutablePointer<DirectoryEntry>.allocate(capacity: 1)
        entry.initialize(
            to: DirectoryEntry(
                table: martlet_directory(
                    struct_size: UInt32(MemoryLayout<martlet_directory>.size), abilities: provider.abilities, name: Immortal.string(name), advice: Immortal.string(provider.advice),
                    look_up: { directory, request, token in begin(directory, .account, request, token) },
                    verify_password: { directory, request, token in begin(directory, .password, request, token) },
                    nt_hash: { directory, request, token in begin(directory, .ntHash, request, token) },
                    cancel: { directory, token in owner(of: directory).cancel(token) }),
                provider: provider))
        // The table is the entry's first field.
        return UnsafeRawPointer(entry).assumingMemoryBound(to: martlet_directory.self)
    }
}

private struct DirectoryEntry {
    let table: martlet_directory
    let provider: any DirectoryProvider
}

private func owner(of directory: UnsafePointer<martlet_directory>) -> any DirectoryProvider {
    UnsafeRawPointer(directory).assumingMemoryBound(to: DirectoryEntry.self).pointee.provider
}

private func begin(
    _ directory: UnsafePointer<martlet_directory>, _ question: DirectoryRequest.Question, _ request: UnsafePointer<martlet_directory_request>, _ token: UnsafeMutablePointer<UInt64>
) -> martlet_status {
    let provider = owner(of: directory)
    guard request.pointee.struct_size >= UInt32(MemoryLayout<martlet_directory_request>.size) else { return MARTLET_E_INVALID }
    let ability: UInt32 =
        switch question {
        case .account: 0
        case .password: MARTLET_DIRECTORY_VERIFIES_PASSWORDS.rawValue
        case .ntHash: MARTLET_DIRECTORY_HAS_NT_HASHES.rawValue
        }
    guard provider.abilities & ability == ability else { return MARTLET_E_UNSUPPORTED }
    guard let request = DirectoryRequest(provider.host, question, request) else { return MARTLET_E_INVALID }
    token.pointee = provider.begin(request)
    return MARTLET_PENDING
}
