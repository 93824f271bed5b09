// A directory of users of a plugin (directory.h), as the gateway and its tests ask it: a question as values, and an answer that comes
// once, from any thread.

import Glibc
import IKECore
import PluginABI
import PluginCrypto
import Synchronization

/// What a directory says of a user. Equal in its groups and outcome where nothing has changed.
package struct DirectoryAnswer: Hashable, Sendable {
    package struct Group: Hashable, Sendable {
        package var name: String
        package var distinguishedName: String
        package init(name: String, distinguishedName: String = "") { (self.name, self.distinguishedName) = (name, distinguishedName) }
    }
    /// `enum martlet_directory_outcome`; what it does not name is a refusal.
    package var outcome: UInt32
    /// For the log.
    package var reason = ""
    package var distinguishedName = ""
    package var user = ""
    package var groups: [Group] = []
    package init(_ outcome: martlet_directory_outcome) { self.outcome = outcome.rawValue }
    /// Nobody can be asked.
    static var unavailable: DirectoryAnswer { DirectoryAnswer(MARTLET_DIRECTORY_DOWN) }

    package var isGood: Bool { outcome == MARTLET_DIRECTORY_OK.rawValue }
    /// Names and distinguished names. A name that could be a distinguished one is no way into the group of that.
    package var groupNames: [String] { groups.flatMap { [$0.name.utf8.contains(UInt8(ascii: "=")) ? "" : $0.name, $0.distinguishedName] }.filter { !$0.isEmpty } }
    /// Whether it says something of the directory rather than of the user.
    package var isOfDirectory: Bool { outcome >= MARTLET_DIRECTORY_DOWN.rawValue }
    /// Whether the user is in one of `groups`, which are names or distinguished names.
    package func isMember(ofAny groups: some Sequence<String>) -> Bool {
        let own = Set(groupNames.map(GroupName.compared))
        return groups.contains { own.contains(GroupName.compared($0)) }
    }
}

package enum DirectoryQuestion: Sendable { case account, password, ntHash }

package struct UserDirectory: @unchecked Sendable {
    package let abilities: DirectoryAbilities
    package var name: String { abilities.name }
    package var verifiesPasswords: Bool { abilities.verifiesPasswords }
    package var hasNTHashes: Bool { abilities.hasNTHashes }
    package var advice: String { abilities.advice }
    /// Immortal and constant.
    private let table: UnsafePointer<martlet_directory>

    init(_ raw: UnsafeRawPointer) throws(TableDefect) {
        let size = raw.load(as: UInt32.self)
        guard size >= UInt32(MemoryLayout<martlet_directory>.size) else {
            throw TableDefect("the directory's table has \(size) bytes, the daemon needs \(MemoryLayout<martlet_directory>.size)")
        }
        table = raw.assumingMemoryBound(to: martlet_directory.self)
        try requireFunctions(
            table, (\.name, "name"), (\.advice, "advice"), (\.look_up, "look_up"), (\.verify_password, "verify_password"), (\.nt_hash, "nt_hash"), (\.cancel, "cancel"))
        let bits = table.pointee.abilities
        abilities = DirectoryAbilities(
            name: String(cString: table.pointee.name), verifiesPasswords: bits & MARTLET_DIRECTORY_VERIFIES_PASSWORDS.rawValue != 0,
            hasNTHashes: bits & MARTLET_DIRECTORY_HAS_NT_HASHES.rawValue != 0, advice: String(cString: table.pointee.advice))
    }

    /// Asks; `then` is called once, from any thread, perhaps before this returns. The NT hash is lent to it and is empty where there is
    /// none. Returns a token for `cancel`, nil where the directory does not take the question, and then `then` is not called.
    @discardableResult package func ask(
        _ question: DirectoryQuestion, user: [UInt8], password: [UInt8] = [], deadline: UInt64, then: @escaping @Sendable (DirectoryAnswer, UnsafeRawBufferPointer) -> Void
    ) -> UInt64? {
        let id = Waiting.shared.add(then)
        var token: UInt64 = 0
        let status = user.withUnsafeBufferPointer { user in
            password.withUnsafeBufferPointer { password in
                var request = martlet_directory_request(
                    struct_size: UInt32(MemoryLayout<martlet_directory_request>.size), reserved: 0, id: id, user: martlet_bytes(data: user.baseAddress, size: user.count),
                    password: martlet_bytes(data: password.baseAddress, size: password.count), deadline_ns: deadline, complete: { Waiting.shared.complete($0, $1) })
                return switch question {
                case .account: table.pointee.look_up(table, &request, &token)
                case .password: table.pointee.verify_password(table, &request, &token)
                case .ntHash: table.pointee.nt_hash(table, &request, &token)
                }
            }
        }
        if status == MARTLET_PENDING { return token }
        Waiting.shared.remove(id)
        return nil
    }

    package func cancel(_ token: UInt64) { table.pointee.cancel(table, token) }
}

/// Questions that wait for their answer, by id. Ids are never used twice, so a late or second answer finds nobody.
private final class Waiting: Sendable {
    static let shared = Waiting()
    typealias Completion = @Sendable (DirectoryAnswer, UnsafeRawBufferPointer) -> Void
    private let state = Mutex<(last: UInt64, completions: [UInt64: Completion])>((0, [:]))

    func add(_ completion: @escaping Completion) -> UInt64 {
        state.withLock { state in
            state.last += 1
            state.completions[state.last] = completion
            return state.last
        }
    }

    func remove(_ id: UInt64) { _ = state.withLock { $0.completions.removeValue(forKey: id) } }

    func complete(_ id: UInt64, _ table: UnsafePointer<martlet_directory_answer>) {
        guard let completion = state.withLock({ $0.completions.removeValue(forKey: id) }) else { return }
        var answer = DirectoryAnswer(MARTLET_DIRECTORY_LYING)
        guard table.pointee.struct_size >= UInt32(MemoryLayout<martlet_directory_answer>.size) else {
            answer.reason = "the directory's plugin answers with a table that is too short"
            return completion(answer, UnsafeRawBufferPointer(start: nil, count: 0))
        }
        let given = table.pointee
        func text(_ bytes: martlet_bytes) -> String { bytes.data.map { String(decoding: UnsafeBufferPointer(start: $0, count: min(bytes.size, 8192)), as: UTF8.self) } ?? "" }
        answer.outcome = given.outcome
        answer.reason = String(decoding: UnsafeBufferPointer(start: given.reason, count: strnlen(given.reason, 1000)).lazy.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        answer.distinguishedName = text(given.distinguished_name)
        answer.user = text(given.user)
        if let groups = given.groups {
            let groups = UnsafeBufferPointer(start: groups, count: min(given.group_count, Int(MARTLET_DIRECTORY_GROUPS)))
            answer.groups = groups.map { DirectoryAnswer.Group(name: text($0.name), distinguishedName: text($0.distinguished_name)) }
        }
        let hash = given.nt_hash.size == 16 ? given.nt_hash.data : nil
        completion(answer, UnsafeRawBufferPointer(start: hash, count: hash == nil ? 0 : 16))
    }
}
