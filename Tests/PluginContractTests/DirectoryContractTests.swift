// Directories of a plugin in C as the gateway asks them: answers from another thread, inside the call, twice, malformed.

import Foundation
import Gateway
import PluginABI
import Synchronization
import Testing

/// Answers as they come.
final class Answers: Sendable {
    private let state = Mutex<[(answer: DirectoryAnswer, hash: [UInt8])]>([])
    private let arrived = DispatchSemaphore(value: 0)

    func add(_ answer: DirectoryAnswer, _ hash: UnsafeRawBufferPointer) {
        state.withLock { $0.append((answer, Array(hash))) }
        arrived.signal()
    }
    /// Waits for one more.
    func next() throws -> (answer: DirectoryAnswer, hash: [UInt8]) {
        try #require(arrived.wait(timeout: .now() + 60) == .success, "no answer")
        return state.withLock { $0.removeFirst() }
    }
    var count: Int { state.withLock { $0.count } }
}

@Suite struct DirectoryContractTests {
    static let log = LogLines()
    nonisolated(unsafe) static let folder = try? LoaderTests.Folder()
    static let plugins: PluginSet? = {
        guard let folder, (try? folder.compile(LoaderTests.defect.deletingLastPathComponent().appendingPathComponent("directory.c"), name: "martlet-c.so")) != nil else { return nil }
        return PluginSet.load(paths: [folder.path], settings: PluginSettings(), services: Built.services, log: { log.add($0, $1) })
    }()

    func ask(_ question: DirectoryQuestion, _ user: String, password: String = "") throws -> (answer: DirectoryAnswer, hash: [UInt8]) {
        let directory = try #require(Self.plugins?.directory(named: "c"), "\(Self.log.all)")
        let answers = Answers()
        let token = directory.ask(question, user: Array(user.utf8), password: Array(password.utf8), deadline: Built.services.now + 30_000_000_000) { answers.add($0, $1) }
        #expect(token == 7)
        return try answers.next()
    }

    @Test func aDirectoryInPlainCIsLoaded() throws {
        let plugins = try #require(Self.plugins)
        #expect(plugins.refused.isEmpty, "\(Self.log.all)")
        #expect(plugins.loaded.first?.provides == ["directory:c"])
        let directory = try #require(plugins.directory(named: nil))
        #expect(directory.name == "c" && directory.verifiesPasswords && directory.hasNTHashes)
        #expect(plugins.directory(named: "another") == nil)
    }

    @Test(arguments: ["plain", "inside", "twice"]) func anAnswerIsTakenOnceWheneverItComes(user: String) throws {
        let (answer, hash) = try ask(.account, user)
        #expect(answer.isGood && answer.user == "a" && answer.distinguishedName == "uid=a,dc=example")
        #expect(answer.groups == [.init(name: "vpn", distinguishedName: "cn=vpn,dc=example"), .init(name: "staff")])
        #expect(hash.isEmpty)
        #expect(answer.isMember(ofAny: ["VPN"]) && answer.isMember(ofAny: ["x", "CN=vpn,dc=example"]))
        #expect(!answer.isMember(ofAny: ["vp", ""]) && !answer.isMember(ofAny: []))
    }

    @Test func passwordsAndHashesAreAskedFor() throws {
        #expect(try ask(.password, "plain", password: "right").answer.isGood)
        let wrong = try ask(.password, "plain", password: "another").answer
        #expect(wrong.outcome == MARTLET_DIRECTORY_PASSWORD_WRONG.rawValue && wrong.reason == "the password is wrong" && !wrong.isOfDirectory)
        #expect(try ask(.ntHash, "plain").hash == [UInt8](repeating: 0x5a, count: 16))
    }

    @Test func whatIsMalformedIsARefusal() throws {
        #expect(try ask(.ntHash, "short-hash").hash.isEmpty)
        let short = try ask(.account, "short").answer
        #expect(!short.isGood && short.isOfDirectory && short.groups.isEmpty)
        let unknown = try ask(.account, "unheard-of").answer
        #expect(!unknown.isGood && unknown.reason == "something new")
        let directory = try #require(Self.plugins?.directory(named: "c"))
        let answers = Answers()
        #expect(directory.ask(.account, user: [UInt8](repeating: 97, count: 40), deadline: Built.services.now, then: { answers.add($0, $1) }) == nil)
        #expect(answers.count == 0)
    }
}
