// The LDAP plugin, loaded as the daemon loads it, opposite a real slapd: each account refused for its own reason, TLS that is right and
// wrong, servers that hang, and one directory's trouble kept from another's users.

import Foundation
import Gateway
import LDAPSchema
import PluginABI
import Synchronization
import Testing

/// Answers as they come, by the order of the questions.
final class Answers: Sendable {
    typealias Answer = (answer: DirectoryAnswer, hash: [UInt8])
    private let state = Mutex<[Int: Answer]>([:])
    private let arrived = DispatchSemaphore(value: 0)

    func add(_ index: Int, _ answer: DirectoryAnswer, _ hash: UnsafeRawBufferPointer) {
        state.withLock { $0[index] = (answer, Array(hash)) }
        arrived.signal()
    }
    func wait(for count: Int) throws -> [Int: Answer] {
        for _ in 0..<count { try #require(arrived.wait(timeout: .now() + 120) == .success, "no answer") }
        return state.withLock { $0 }
    }
    var count: Int { state.withLock { $0.count } }
}

/// The plugin with settings of its own.
final class Loaded: Sendable {
    let plugins: PluginSet
    /// A reload looks there again.
    private let folder: URL
    private let lines = Lines()
    private final class Lines: Sendable {
        let all = Mutex<[String]>([])
    }
    static let services: any PluginServices = {
        guard let thread = ServiceThread() else { preconditionFailure("no service thread") }
        return thread
    }()
    var log: [String] { lines.all.withLock { $0 } }

    init(_ settings: [String: String]) throws {
        let executable = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        let built = URL(fileURLWithPath: executable).deletingLastPathComponent().appendingPathComponent("libmartlet-ldap.so")
        // A folder with this plugin alone.
        let folder = URL(fileURLWithPath: NSTemporaryDirectory()).appendingPathComponent("martlet-ldap-" + UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        try FileManager.default.createSymbolicLink(at: folder.appendingPathComponent("libmartlet-ldap.so"), withDestinationURL: built)
        let lines = lines
        plugins = PluginSet.load(paths: [folder.path], settings: PluginSettings(sections: ["ldap": settings]), services: Self.services, log: { _, line in lines.all.withLock { $0.append(line) } })
        self.folder = folder
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    func directory(_ name: String? = nil) throws -> UserDirectory { try #require(plugins.directory(named: name), "\(plugins.refused)") }

    func ask(_ question: DirectoryQuestion, _ user: String, password: String = "", of name: String? = nil, within seconds: Double = 60) throws -> Answers.Answer {
        let answers = Answers()
        let deadline = Self.services.now + UInt64(seconds * 1e9)
        let token = try directory(name).ask(question, user: Array(user.utf8), password: Array(password.utf8), deadline: deadline) { answers.add(0, $0, $1) }
        try #require(token != nil, "the question is not taken")
        return try #require(try answers.wait(for: 1)[0])
    }
}

@Suite struct DirectoryTests {
    let slapd: Slapd
    init() throws { slapd = try Slapd.shared.get() }

    var samba: [String: String] {
        [
            "uri": slapd.secureURI, "ca_file": slapd.authority, "base": Slapd.base, "schema": "samba", "bind_dn": Slapd.service, "bind_password": Slapd.servicePassword,
            "timeout": "60",
        ]
    }
    func load(_ changes: [String: String] = [:]) throws -> Loaded { try Loaded(samba.merging(changes) { $1 }) }

    static let accounts: [(user: String, outcome: martlet_directory_outcome, reason: String)] = [
        ("alice", MARTLET_DIRECTORY_OK, ""), ("ALICE", MARTLET_DIRECTORY_OK, ""), ("jürgen", MARTLET_DIRECTORY_OK, ""), ("heidi(x)*", MARTLET_DIRECTORY_OK, ""),
        ("ivan\\2a,+", MARTLET_DIRECTORY_OK, ""), ("nobody", MARTLET_DIRECTORY_NO_SUCH_USER, "there is no user nobody"), ("*", MARTLET_DIRECTORY_NO_SUCH_USER, "there is no user *"),
        ("alice)(uid=*", MARTLET_DIRECTORY_NO_SUCH_USER, "there is no user"), ("dup", MARTLET_DIRECTORY_AMBIGUOUS, "more than one entry answers to the name dup"),
        ("dave", MARTLET_DIRECTORY_DISABLED, "the account dave is disabled: sambaAcctFlags has D"), ("erin", MARTLET_DIRECTORY_LOCKED, "sambaAcctFlags has L"),
        ("peter", MARTLET_DIRECTORY_LOCKED, "pwdAccountLockedTime is set"), ("judy", MARTLET_DIRECTORY_EXPIRED, "sambaKickoffTime has passed"),
        ("", MARTLET_DIRECTORY_BAD_NAME, "empty"), ("a\nb", MARTLET_DIRECTORY_BAD_NAME, "control"),
    ]

    @Test func eachAccountHasItsOwnReason() throws {
        let loaded = try load()
        for (user, outcome, reason) in Self.accounts {
            let (answer, _) = try loaded.ask(.account, user)
            #expect(answer.outcome == outcome.rawValue, "\(user): \(answer)")
            #expect(reason.isEmpty ? answer.reason.isEmpty : answer.reason.contains(reason), "\(user): \(answer.reason)")
        }
        // However the user wrote the name.
        #expect(try loaded.ask(.account, "ALICE").answer.user == "alice")
        #expect(try loaded.ask(.account, "ivan\\2a,+").answer.distinguishedName.hasSuffix(",ou=people,\(Slapd.base)"))
    }

    @Test func groupsOfGroupsAreFound() throws {
        let loaded = try load()
        func groups(_ user: String) throws -> [String] { try loaded.ask(.account, user).answer.groups.map(\.name).sorted() }
        #expect(try groups("alice") == ["vpn"])
        #expect(try groups("jürgen") == ["vpn"])
        // A name with a comma inside.
        #expect(try groups("ivan\\2a,+") == ["vpn"])
        // A circle of groups ends.
        #expect(try groups("mallory") == ["inner", "outer", "outermost"])
        #expect(try groups("heidi(x)*") == [])
        #expect(try loaded.ask(.account, "alice").answer.isMember(ofAny: ["CN=vpn, OU=groups,\(Slapd.base)"]))
        // A comma in a name, as RFC 4514 writes it and as the server does; and a name that looks like a distinguished one is no way into that group.
        let bob = try loaded.ask(.account, "bob").answer
        #expect(bob.isMember(ofAny: ["cn=odd\\, one,ou=groups,\(Slapd.base)"]) && bob.isMember(ofAny: ["Odd, one"]) && !bob.isMember(ofAny: ["odd", "one"]), "\(bob)")
        #expect(bob.groups.contains { $0.name == "cn=vpn,ou=groups,\(Slapd.base)" } && !bob.isMember(ofAny: ["cn=vpn,ou=groups,\(Slapd.base)"]), "\(bob)")
        let memberOf = try load(["member_of_attribute": "memberOf", "group_filter": "no", "group_nested_filter": "no"])
        #expect(try memberOf.ask(.account, "alice").answer.groups.map(\.name) == ["vpn"])
    }

    @Test func aServersLimitOfEntriesIsNone() throws {
        let loaded = try load()
        let (bulk, _) = try loaded.ask(.account, "bulk")
        #expect(bulk.isGood && Set(bulk.groups.map(\.name)) == Set((0..<600).map { "bulk\($0)" }), "\(bulk.groups.count): \(bulk.reason)")
        let (deep, _) = try loaded.ask(.account, "deep")
        #expect(deep.outcome == MARTLET_DIRECTORY_LYING.rawValue && deep.reason.contains("more than 64 deep"), "\(deep)")
    }

    @Test func aPasswordIsVerifiedByABind() throws {
        let loaded = try load()
        func outcome(_ user: String, _ password: String) throws -> UInt32 { try loaded.ask(.password, user, password: password).answer.outcome }
        #expect(try outcome("alice", "secret-alice") == MARTLET_DIRECTORY_OK.rawValue)
        #expect(try loaded.ask(.password, "alice", password: "secret-alice").answer.groups.map(\.name) == ["vpn"])
        #expect(try outcome("jürgen", "pässwörd") == MARTLET_DIRECTORY_OK.rawValue)
        #expect(try outcome("heidi(x)*", "secret-heidi(x)*") == MARTLET_DIRECTORY_OK.rawValue)
        #expect(try outcome("ivan\\2a,+", "secret-ivan\\2a,+") == MARTLET_DIRECTORY_OK.rawValue)
        // Whoever guesses here is locked out by the third: nobody of the other tests.
        #expect(try outcome("bob", "secret-alice") == MARTLET_DIRECTORY_PASSWORD_WRONG.rawValue)
        #expect(try outcome("bob", "secret-bob\u{0}") == MARTLET_DIRECTORY_PASSWORD_WRONG.rawValue)
        // slapd would let an empty password succeed.
        #expect(try outcome("alice", "") == MARTLET_DIRECTORY_PASSWORD_EMPTY.rawValue)
        #expect(try outcome("alice", String(repeating: "x", count: 2000)) == MARTLET_DIRECTORY_PASSWORD_WRONG.rawValue)
        for (user, refused) in [
            ("dave", MARTLET_DIRECTORY_DISABLED), ("erin", MARTLET_DIRECTORY_LOCKED), ("judy", MARTLET_DIRECTORY_EXPIRED), ("dup", MARTLET_DIRECTORY_AMBIGUOUS),
            ("nobody", MARTLET_DIRECTORY_NO_SUCH_USER),
        ] {
            #expect(try outcome(user, "secret-\(user)") == refused.rawValue, "\(user)")
        }
        // The directory's own limit is three.
        for _ in 0..<3 { #expect(try outcome("guessed", "wrong") == MARTLET_DIRECTORY_PASSWORD_WRONG.rawValue) }
        #expect(try outcome("guessed", "secret-guessed") == MARTLET_DIRECTORY_LOCKED.rawValue)
    }

    @Test func anNTHashIsHandedOver() throws {
        let loaded = try load()
        let (answer, hash) = try loaded.ask(.ntHash, "alice")
        #expect(answer.isGood && hash == Slapd.hash && answer.groups.map(\.name) == ["vpn"])
        let (none, nothing) = try loaded.ask(.ntHash, "frank")
        #expect(none.outcome == MARTLET_DIRECTORY_NO_HASH.rawValue && nothing.isEmpty && none.reason.contains("sambaNTPassword"))
        #expect(try loaded.ask(.ntHash, "dave").answer.outcome == MARTLET_DIRECTORY_DISABLED.rawValue)
        // Who may not read it is told so.
        let anonymous = try loaded.ask(.account, "alice")
        #expect(anonymous.hash.isEmpty)
    }

    @Test func activeDirectorysAttributesAreUnderstood() throws {
        let loaded = try load([
            "schema": "ad", "user_filter": "(&(objectClass=otherAccount)(sAMAccountName=%u))", "group_filter": "(member=%d)", "group_nested_filter": "no",
        ])
        let directory = try loaded.directory()
        #expect(directory.verifiesPasswords && !directory.hasNTHashes && directory.advice.contains("EAP-TLS"))
        #expect(directory.ask(.ntHash, user: Array("alice".utf8), deadline: .max, then: { _, _ in Issue.record("answered") }) == nil)
        #expect(try loaded.ask(.account, "CORP\\alice").answer.groups.map(\.name) == ["vpn"])
        for (user, outcome) in [
            ("dave", MARTLET_DIRECTORY_DISABLED), ("erin", MARTLET_DIRECTORY_LOCKED), ("judy", MARTLET_DIRECTORY_EXPIRED), ("frank", MARTLET_DIRECTORY_LYING),
            ("mallory", MARTLET_DIRECTORY_NO_SUCH_USER),
        ] {
            #expect(try loaded.ask(.account, user).answer.outcome == outcome.rawValue, "\(user)")
        }
    }

    @Test func activeDirectorysNamesAreFoundByItsOwnFilter() throws {
        // slapd does not follow groups of groups by that matching rule.
        let loaded = try load(["schema": "ad", "group_filter": "(member=%d)", "group_nested_filter": "no"])
        for name in ["alice", "ALICE", "CORP\\alice", "alice@corp.example"] {
            let (answer, _) = try loaded.ask(.account, name)
            #expect(answer.isGood && answer.user == "alice" && answer.groups.map(\.name) == ["vpn"], "\(name): \(answer)")
        }
        // No user by its class.
        #expect(try loaded.ask(.account, "dave").answer.outcome == MARTLET_DIRECTORY_NO_SUCH_USER.rawValue)
    }

    @Test func accountsOfUnixAreUnderstood() throws {
        let loaded = try load(["schema": "posix"])
        #expect(try !loaded.directory().hasNTHashes)
        let (paul, _) = try loaded.ask(.password, "paul", password: "secret-paul")
        #expect(paul.isGood && paul.groups.map(\.name) == ["unix"], "\(paul)")
        #expect(try loaded.ask(.account, "alice").answer.groups.map(\.name) == ["vpn"])
        let (pete, _) = try loaded.ask(.account, "pete")
        #expect(pete.outcome == MARTLET_DIRECTORY_EXPIRED.rawValue && pete.reason.contains("shadowExpire has passed"), "\(pete)")
        #expect(try loaded.ask(.account, "peter").answer.outcome == MARTLET_DIRECTORY_LOCKED.rawValue)
    }

    @Test func freeIPAsAttributesAreUnderstood() throws {
        let loaded = try load(["schema": "freeipa"])
        let (paul, hash) = try loaded.ask(.ntHash, "paul")
        #expect(paul.isGood && hash == Slapd.hash && paul.groups.map(\.name) == ["vpn"], "\(paul)")
        #expect(try loaded.ask(.account, "petra").answer.outcome == MARTLET_DIRECTORY_DISABLED.rawValue)
        #expect(try loaded.ask(.ntHash, "pete").answer.outcome == MARTLET_DIRECTORY_NO_HASH.rawValue)
        // No account of Unix.
        #expect(try loaded.ask(.account, "alice").answer.outcome == MARTLET_DIRECTORY_NO_SUCH_USER.rawValue)
    }

    @Test func aUserMayBeReadWithoutASearch() throws {
        let loaded = try load(["user_dn": "uid=%u,ou=elsewhere,\(Slapd.base)"])
        let (answer, _) = try loaded.ask(.password, "dup", password: "secret-dup")
        #expect(answer.isGood, "\(answer.reason)")
        #expect(try loaded.ask(.account, "dup,ou=people").answer.outcome == MARTLET_DIRECTORY_NO_SUCH_USER.rawValue)
    }

    @Test func certificatesAreChecked() throws {
        #expect(try load(["uri": slapd.uri]).ask(.account, "alice").answer.isGood)
        for uri in [slapd.uri, slapd.secureURI] {
            func refused(_ changes: [String: String], _ words: String...) throws {
                let (answer, _) = try load(["uri": uri, "connect_timeout": "60"].merging(changes) { $1 }).ask(.account, "alice")
                #expect(answer.outcome == MARTLET_DIRECTORY_DOWN.rawValue, "\(answer)")
                for word in words + ["is not believed: the certificate \"CN=directory\" of \"CN=Test-CA\" is not taken: "] { #expect(answer.reason.contains(word), "\(word): \(answer.reason)") }
            }
            try refused(["ca_file": slapd.anotherAuthority], "not taken: the authority (CA) that issued it, \"CN=Test-CA\", is not in \(slapd.anotherAuthority)")
            // The certificate is for the address, not for this name.
            try refused(["uri": uri.replacing("127.0.0.1", with: "localhost")], "not taken: it is not of the name localhost: it is of 127.0.0.1")
            #expect(try load(["uri": uri, "ca_file": slapd.anotherAuthority, "verify": "no"]).ask(.account, "alice").answer.isGood)
        }
        let (missing, _) = try load(["ca_file": "/nowhere.pem"]).ask(.account, "alice")
        #expect(missing.outcome == MARTLET_DIRECTORY_DOWN.rawValue && missing.reason.contains("/nowhere.pem"), "\(missing.reason)")
    }

    @Test(arguments: [
        ("expired.pem", "not taken: it has expired: it was valid until "), ("client.pem", "not taken: it is for another use: its extended key usage (EKU) is clientAuth, and serverAuth is needed"),
    ])
    func aCertificateHasAllItNeeds(file: String, words: String) throws {
        let server = try TLSServer(slapd, certificate: file)
        let (answer, _) = try load(["uri": "ldaps://127.0.0.1:\(server.port)", "connect_timeout": "60"]).ask(.account, "alice")
        #expect(answer.outcome == MARTLET_DIRECTORY_DOWN.rawValue && answer.reason.contains(words), "\(answer.reason)")
    }

    @Test func aBaseThatIsNotThereIsTheDirectorysTrouble() throws {
        for key in ["base", "group_base"] {
            let (answer, _) = try load([key: "dc=elsewhere,dc=org"]).ask(.account, "alice")
            #expect(answer.outcome == MARTLET_DIRECTORY_DOWN.rawValue && answer.reason.contains("has no entry dc=elsewhere,dc=org"), "\(answer.reason)")
        }
    }

    @Test func aServiceAccountThatIsRefusedIsTheDirectorysTrouble() throws {
        let (answer, _) = try load(["bind_password": "another"]).ask(.account, "alice")
        #expect(answer.outcome == MARTLET_DIRECTORY_DOWN.rawValue && answer.reason.contains("refuses the service account \(Slapd.service)"), "\(answer.reason)")
        #expect(!answer.reason.contains("another"))
        #expect(try Loaded(samba.merging(["bind_password": ""]) { $1 }).plugins.directory(named: nil) == nil)
        #expect(try Loaded(["schema": "samba"]).plugins.directory(named: nil) == nil)
    }

    /// As a reload does: what is wrong leaves those that there are, and a question under way is answered by whom it was asked.
    @Test func theSectionMayChange() throws {
        let loaded = try load()
        let before = try loaded.directory()
        let wrong = loaded.plugins.renewedDirectories(PluginSettings(sections: ["ldap": samba.merging(["uri": "ldap://"]) { $1 }]))
        #expect(wrong.abilities.isEmpty && wrong.failure?.contains("is not loaded") == true)
        let other = loaded.plugins.renewedDirectories(PluginSettings(sections: ["ldap": samba.merging(["schema": "posix", "directories": "corp"]) { $1 }]))
        #expect(other.failure == nil && other.abilities.map(\.name) == ["corp"])
        #expect(try loaded.directory().hasNTHashes, "it counts before it is used")
        loaded.plugins.use(other)
        #expect(try !loaded.directory("corp").hasNTHashes && loaded.ask(.account, "alice", of: "corp").answer.isGood)
        #expect(loaded.plugins.loaded.map(\.provides) == [["directory:ldap", "directory:corp"]] && loaded.plugins.refused.isEmpty)
        let answers = Answers()
        #expect(before.ask(.account, user: Array("alice".utf8), deadline: Loaded.services.now + 60_000_000_000, then: { answers.add(0, $0, $1) }) != nil)
        #expect(try answers.wait(for: 1)[0]?.answer.isGood == true)
        loaded.plugins.use(loaded.plugins.renewedDirectories(PluginSettings()))
        #expect(loaded.plugins.directory(named: nil) == nil && loaded.plugins.loaded.isEmpty)
    }

    @Test func theNextServerIsAskedWhereOneDoesNotAnswer() throws {
        let silent = try SilentServer()
        let loaded = try load(["uri": "ldaps://127.0.0.1:\(silent.port), ldap://127.0.0.1:1, \(slapd.secureURI)", "connect_timeout": "1"])
        for _ in 0..<3 { #expect(try loaded.ask(.password, "alice", password: "secret-alice").answer.isGood) }
    }

    /// Black holes: after the connection, in the TLS handshake, after StartTLS was granted, and noise instead of LDAP.
    @Test(arguments: ["plain", "tls", "starttls", "noise"]) func aServerThatDoesNotAnswerIsTheTrueReason(kind: String) throws {
        let granted: [UInt8] = [0x30, 0x0c, 0x02, 0x01, 0x01, 0x78, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00]
        let server = try SilentServer(answer: kind == "starttls" ? granted : kind == "noise" ? Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8) : [])
        let loaded = try load(["uri": "\(kind == "tls" ? "ldaps" : "ldap")://127.0.0.1:\(server.port)", "start_tls": kind == "starttls" ? "yes" : "no", "connect_timeout": "1"])
        let (answer, _) = try loaded.ask(.account, "alice")
        #expect(answer.isOfDirectory && answer.outcome != MARTLET_DIRECTORY_SLOW.rawValue, "\(answer)")
        let word = ["plain": "did not answer a bind in time", "tls": "did not finish the TLS handshake in time", "starttls": "did not finish the TLS handshake in time", "noise": "a bind"][kind] ?? ""
        #expect(answer.reason.contains(word), "\(answer.reason)")
        // The next one is not kept waiting, and is told the same.
        let (again, _) = try loaded.ask(.account, "alice")
        #expect(again.outcome == MARTLET_DIRECTORY_DOWN.rawValue && again.reason.contains(word) && again.reason.contains("left alone"), "\(again)")
    }

    @Test func aDeadlineIsKeptWhateverTheServerDoes() throws {
        let silent = try SilentServer()
        let loaded = try load(["uri": "ldaps://127.0.0.1:\(silent.port)", "connect_timeout": "60"])
        let (answer, _) = try loaded.ask(.account, "alice", within: 0.2)
        #expect(answer.outcome == MARTLET_DIRECTORY_SLOW.rawValue && answer.reason.contains("TLS handshake"), "\(answer)")
        // And one that has passed already.
        #expect(try loaded.ask(.account, "alice", within: 0).answer.isOfDirectory)
    }

    /// Two directories, of which one is a black hole whose workers all hang: nobody of the other is refused, or waits for them.
    @Test func aDirectoryThatHangsDelaysNoOther() throws {
        let silent = try SilentServer()
        let loaded = try load([
            "directories": "good, hanging", "good.uri": slapd.secureURI, "hanging.uri": "ldaps://127.0.0.1:\(silent.port)", "connect_timeout": "120", "timeout": "120",
        ])
        let hanging = try loaded.directory("hanging")
        let stuck = Answers()
        let deadline = Loaded.services.now + 120_000_000_000
        let tokens = (0..<40).compactMap { index in hanging.ask(.account, user: Array("alice".utf8), deadline: deadline) { stuck.add(index, $0, $1) } }
        #expect(tokens.count == 40)
        let answers = Answers()
        let good = try loaded.directory("good")
        for index in 0..<200 {
            let isPassword = index % 4 == 0
            let taken = good.ask(isPassword ? .password : .account, user: Array("alice".utf8), password: isPassword ? Array("secret-alice".utf8) : [], deadline: deadline) {
                answers.add(index, $0, $1)
            }
            #expect(taken != nil)
        }
        let all = try answers.wait(for: 200)
        #expect(all.values.allSatisfy { $0.answer.isGood }, "\(all.values.first { !$0.answer.isGood }?.answer as Any)")
        #expect(stuck.count == 0)
        // Each is completed once, when it is given up.
        for token in tokens {
            hanging.cancel(token)
            hanging.cancel(token)
        }
        #expect(try stuck.wait(for: 40).values.allSatisfy { $0.answer.outcome == MARTLET_DIRECTORY_CANCELLED.rawValue })
        #expect(stuck.count == 40)
    }

    /// Passwords that hang, more of them than there are workers, keep no look-up from anybody: those have connections of their own.
    @Test func bindsKeepNoLookUpWaiting() throws {
        let proxy = try StallingProxy(to: slapd.port)
        let loaded = try load(["uri": "ldap://127.0.0.1:\(proxy.port)", "start_tls": "no", "connect_timeout": "120", "timeout": "120", "search_connections": "2", "bind_connections": "2"])
        let directory = try loaded.directory()
        let stuck = Answers()
        let tokens = (0..<6).compactMap { index in
            directory.ask(.password, user: Array("alice".utf8), password: Array("secret-alice".utf8), deadline: Loaded.services.now + 120_000_000_000) { stuck.add(index, $0, $1) }
        }
        // Both workers for binds wait.
        try #require(proxy.waitForStalled(2), "no bind came")
        for _ in 0..<3 { #expect(try loaded.ask(.account, "alice").answer.isGood) }
        #expect(tokens.count == 6 && stuck.count == 0)
        for token in tokens { directory.cancel(token) }
        _ = try stuck.wait(for: 6)
    }

    @Test func aQueueThatIsFullIsSaidSo() throws {
        let silent = try SilentServer()
        let loaded = try load(["uri": "ldaps://127.0.0.1:\(silent.port)", "connect_timeout": "120", "queue": "3"])
        let answers = Answers()
        let directory = try loaded.directory()
        let tokens = (0..<4).compactMap { index in directory.ask(.account, user: [97], deadline: Loaded.services.now + 60_000_000_000) { answers.add(index, $0, $1) } }
        #expect(try answers.wait(for: 1)[3]?.answer.outcome == MARTLET_DIRECTORY_BUSY.rawValue)
        for token in tokens { directory.cancel(token) }
        _ = try answers.wait(for: 3)
    }

    @Test func noPasswordIsInALine() throws {
        let loaded = try load(["uri": "ldap://127.0.0.1:1, \(slapd.secureURI)"])
        _ = try loaded.ask(.password, "grace", password: "wrong-guess-1")
        let (answer, _) = try loaded.ask(.password, "erin", password: "wrong-guess-2")
        let text = (loaded.log + [answer.reason]).joined(separator: "\n")
        #expect(loaded.log.contains { $0.contains("directory:ldap") } && loaded.log.contains { $0.contains("ldap://127.0.0.1:1") }, "\(loaded.log)")
        for secret in ["wrong-guess", Slapd.servicePassword, "8846"] { #expect(!text.contains(secret)) }
    }
}
