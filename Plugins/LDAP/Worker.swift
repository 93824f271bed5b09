// One thread and its connection: connects, asks, and answers. May be given up on while the library keeps it; then what it does counts no more.

import CLDAP
import Glibc
import LDAPSchema
import PluginABI
import PluginKit

final class Worker {
    private let id: Int
    private let kind: WorkerKind
    private let directory: LDAPDirectory
    private var connection: Connection?
    private var settings: Settings { directory.settings }
    private var now: UInt64 { directory.host.now }

    /// How long a connection is kept that nobody needs; servers close them after a while.
    private static let idleTime: UInt64 = 30_000_000_000

    init(_ id: Int, _ kind: WorkerKind, of directory: LDAPDirectory) { (self.id, self.kind, self.directory) = (id, kind, directory) }

    func run() {
        let (id, directory) = (id, directory)
        while true {
            enum Turn {
                case step(Step, PendingRequest)
                case end
            }
            let turn: Turn? = directory.state.wait(until: now + Self.idleTime) { state in
                guard state.workers[id] != nil else { return .end }
                return state.nextStep(of: id).map { .step($0, $1) }
            }
            guard case .step(let step, let pending) = turn else { break }
            perform(step, pending)
            let isReplaced = directory.state.withLock { state in
                guard var worker = state.workers[id] else { return true }
                (worker.token, worker.limit, worker.server) = (nil, .max, nil)
                if worker.isShut { worker.isShut = false }
                state.workers[id] = worker
                return false
            }
            if isReplaced { break }
        }
        connection = nil
        directory.state.withLock { state in
            // Whoever was given up on makes room again.
            if state.workers.removeValue(forKey: id) == nil { state.abandoned -= 1 }
        }
        directory.state.signal()
        // A step that came while this worker left.
        let next = directory.state.withLock { $0.newWorker(kind, limit: directory.workers(kind)) }
        if let next { directory.startWorker(next) }
    }

    // MARK: Steps

    private func perform(_ step: Step, _ pending: PendingRequest) {
        let answer: DirectoryAnswer
        do throws(Failure) {
            if let account = step.account, !step.isVerified {
                answer = try verify(account, pending)
                if answer.outcome == .ok { return handOver(Step(token: step.token, account: answer, isVerified: true), to: .search) }
            } else {
                let isOnlyFound = pending.request.question == .password && !step.isVerified
                let found = try lookUp(pending, withGroups: !isOnlyFound)
                if isOnlyFound, found.outcome == .ok { return handOver(Step(token: step.token, account: found), to: .bind) }
                let isAnother = step.account.map { $0.distinguishedName != found.distinguishedName } ?? false
                answer = isAnother && found.outcome == .ok ? found.refused(.lying, "the directory has another entry of that name than a moment ago") : found
            }
        } catch {
            let outcome: DirectoryOutcome =
                switch error {
                case .down, .lost: .down
                case .slow: .slow
                case .lying: .lying
                }
            answer = DirectoryAnswer(outcome, reason: error.text)
        }
        directory.finish(step.token, answer)
    }

    /// The next step of a request, for a worker of another kind.
    private func handOver(_ step: Step, to kind: WorkerKind) {
        let directory = directory
        let worker = directory.state.withLock { $0.enqueue(step, kind, limit: directory.workers(kind)) }
        stage("waiting for a free connection", step.token)
        if let worker { directory.startWorker(worker) }
        directory.state.signal()
    }

    /// The account, its state, its groups, and its NT hash where that is asked for.
    private func lookUp(_ pending: PendingRequest, withGroups: Bool) throws(Failure) -> DirectoryAnswer {
        let schema = settings.schema
        let asked = schema.stripsDomain ? UserName.withoutDomain(pending.request.user) : pending.request.user
        let wantsHash = pending.request.question == .ntHash
        let isExact = settings.userName != nil
        let base = settings.userName.map { NameText.filled($0, user: asked) } ?? settings.userBase
        let filter = isExact ? "(objectClass=*)" : FilterText.filled(schema.userFilter, user: asked)
        let name = printable(String(decoding: asked, as: UTF8.self))
        let found = try use(pending) { connection, deadline throws(Failure) in
            try connection.search(base: base, isExact: isExact, filter: filter, attributes: schema.attributes(withHash: wantsHash), limit: 1, deadline: deadline)
        }
        guard !found.isTooMany else { return DirectoryAnswer(.ambiguous, reason: "more than one entry answers to the name \(name)") }
        guard let entry = found.entries.first else { return DirectoryAnswer(.noSuchUser, reason: "there is no user \(name)") }

        var answer = DirectoryAnswer(.ok)
        answer.distinguishedName = entry.distinguishedName
        let names = entry.texts(schema.userAttribute)
        answer.user = names.first { $0.lowercased() == String(decoding: asked, as: UTF8.self).lowercased() } ?? names.first ?? entry.distinguishedName
        (answer.outcome, answer.reason) =
            switch AccountState(of: entry, schema, now: Int64(time(nil))) {
            case .good: (.ok, "")
            case .disabled(let why): (.disabled, "the account \(name) is disabled: \(why)")
            case .locked(let why): (.locked, "the account \(name) is locked: \(why)")
            case .expired(let why): (.expired, "the account \(name) has expired: \(why)")
            case .passwordExpired(let why): (.passwordExpired, "the password of \(name) has expired: \(why)")
            case .unclear(let why): (.lying, "whether the account \(name) is good cannot be told: \(why)")
            }
        guard answer.outcome == .ok else { return answer }
        if wantsHash {
            let attribute = schema.ntHashAttribute ?? ""
            guard var hash = entry.values(attribute).first.flatMap({ ntHash(in: $0) }) else {
                return answer.refused(.noHash, "the entry of \(name) shows no NT hash in \(attribute): the user has none, or that of an empty password, or the service account may not read it")
            }
            answer.ntHash = hash.withUnsafeBytes { SecretCopy(directory.host, $0) }
            hash.withUnsafeMutableBytes { if let base = $0.baseAddress { wipe(base, $0.count) } }
            guard answer.ntHash != nil else { return answer.refused(.down, "there is no memory for a secret") }
        }
        guard withGroups else { return answer }
        stage("looking for the groups", nil)
        switch try groups(of: entry, answer.user, pending) {
        case .found(let groups):
            answer.groups = groups
            return answer
        case .tooMany: return answer.refused(.lying, "the user \(name) is in more than \(MARTLET_DIRECTORY_GROUPS) groups")
        case .tooDeep: return answer.refused(.lying, "the user \(name) is in groups that are more than \(Self.levels) deep within each other")
        }
    }

    private enum Groups {
        case found([DirectoryAnswer.Group])
        case tooMany, tooDeep
    }
    /// How deep groups may be within each other.
    private static let levels = 64

    /// Groups that the user is in, those of groups too.
    private func groups(of entry: DirectoryEntry, _ user: String, _ pending: PendingRequest) throws(Failure) -> Groups {
        let schema = settings.schema
        var groups: [DirectoryAnswer.Group] = []
        var seen: Set<String> = []
        func add(_ name: String, _ group: String) -> Bool {
            guard seen.insert(name.lowercased()).inserted else { return false }
            groups.append(.init(name: group, distinguishedName: name))
            return true
        }
        var frontier: [String] = []
        if let attribute = schema.memberOfAttribute {
            for name in entry.texts(attribute) where add(name, NameText.firstValue(of: name)) { frontier.append(name) }
        }
        let limit = Int(MARTLET_DIRECTORY_GROUPS)
        func search(_ filter: String) throws(Failure) -> [DirectoryEntry]? {
            let base = settings.groupBase
            let found = try use(pending) { connection, deadline throws(Failure) in
                try connection.search(base: base, isExact: false, filter: filter, attributes: [schema.groupNameAttribute], limit: limit, deadline: deadline)
            }
            return found.isTooMany ? nil : found.entries
        }
        func take(_ entries: [DirectoryEntry]) -> [String] {
            entries.filter { add($0.distinguishedName, $0.texts(schema.groupNameAttribute).first ?? NameText.firstValue(of: $0.distinguishedName)) }.map(\.distinguishedName)
        }
        if let filter = schema.groupFilter {
            guard let entries = try search(FilterText.filled(filter, user: Array(user.utf8), name: entry.distinguishedName)) else { return .tooMany }
            frontier += take(entries)
        }
        // Level by level, each group once: a circle of groups ends.
        var level = 0
        while let filter = schema.nestedGroupFilter, !frontier.isEmpty {
            level += 1
            guard level <= Self.levels else { return .tooDeep }
            guard groups.count <= limit else { return .tooMany }
            var next: [String] = []
            while !frontier.isEmpty {
                let part = frontier.prefix(20)
                frontier = Array(frontier.dropFirst(20))
                guard let entries = try search("(|" + part.map { FilterText.filled(filter, user: Array(user.utf8), name: $0) }.joined() + ")") else { return .tooMany }
                next += take(entries)
            }
            frontier = next
        }
        return groups.count <= limit ? .found(groups) : .tooMany
    }

    /// Whether the directory takes the password.
    private func verify(_ account: DirectoryAnswer, _ pending: PendingRequest) throws(Failure) -> DirectoryAnswer {
        guard let password = pending.request.password, password.count > 0, !account.distinguishedName.isEmpty else { return account.refused(.passwordEmpty, "the password is empty") }
        let outcome = try use(pending) { connection, deadline throws(Failure) in try connection.bind(account.distinguishedName, password, deadline: deadline) }
        let name = printable(account.user)
        if outcome.isLocked { return account.refused(.locked, "the account \(name) is locked: \(outcome.words)") }
        if outcome.isPasswordExpired { return account.refused(.passwordExpired, "the password of \(name) has expired: \(outcome.words)") }
        switch outcome.code {
        case LDAP_SUCCESS: return account
        case LDAP_INVALID_CREDENTIALS:
            return account.refused(WindowsCode.meaning(of: outcome.diagnostic).map(DirectoryOutcome.init) ?? .passwordWrong, "the directory refuses the password of \(name): \(outcome.words)")
        case LDAP_NO_SUCH_OBJECT, LDAP_INAPPROPRIATE_AUTH: return account.refused(.passwordWrong, "the directory has no password of \(name): \(outcome.words)")
        // So say servers that count wrong passwords, and those that know disabled accounts.
        case LDAP_CONSTRAINT_VIOLATION: return account.refused(.locked, "the directory lets \(name) not log in: \(outcome.words)")
        case LDAP_UNWILLING_TO_PERFORM, LDAP_INSUFFICIENT_ACCESS: return account.refused(.disabled, "the directory lets \(name) not log in: \(outcome.words)")
        default: return account.refused(.down, "the directory cannot verify a password: \(outcome.words)")
        }
    }

    // MARK: Connections

    /// Runs an operation on this worker's connection. One that has ended meanwhile is replaced once.
    private func use<T>(_ pending: PendingRequest, _ operation: (Connection, UInt64) throws(Failure) -> T) throws(Failure) -> T {
        if let old = connection {
            // A server that went without a word is found out in time to ask another.
            let now = now
            guard pending.deadline > now else { throw .slow("there was no time left to ask") }
            let limit = now + (pending.deadline - now) / 2
            stage("waiting for an answer of \(old.server.uri)", nil)
            wake(at: limit)
            do throws(Failure) {
                return try operation(old, limit)
            } catch {
                connection = nil
                switch error {
                case .lost, .slow: break
                case .down, .lying: throw error
                }
            }
        }
        let fresh = try connect(until: pending.deadline)
        connection = fresh
        stage("waiting for an answer of \(fresh.server.uri)", nil)
        wake(at: pending.deadline)
        do throws(Failure) {
            return try operation(fresh, pending.deadline)
        } catch {
            connection = nil
            if case .slow = error, let index = settings.servers.firstIndex(where: { $0.uri == fresh.server.uri }) { note(index, .slow(error.text)) }
            throw error
        }
    }

    /// To the first server that lets us in.
    private func connect(until deadline: UInt64) throws(Failure) -> Connection {
        var reasons: [String] = []
        let (id, directory) = (id, directory)
        for (index, server) in settings.servers.enumerated() {
            guard now < deadline else { break }
            let now = now
            let rest: String? = directory.state.withLock { state in
                guard !state.breakers[index].mayTry(now: now) else {
                    state.workers[id]?.server = index
                    return nil
                }
                return state.troubles[index] ?? "\(server.uri) is being tried"
            }
            if let rest {
                reasons.append("\(rest) (left alone for a while)")
                continue
            }
            let limit = min(deadline, now + settings.connectTimeout)
            wake(at: limit)
            do throws(Failure) {
                let made = try Connection(
                    to: server, settings, deadline: limit, clock: { directory.host.now }, stage: { stage($0, nil) },
                    opened: { socket in directory.state.withLock { $0.workers[id]?.socket = socket } })
                if kind == .search, let name = settings.bindName, let password = settings.bindPassword {
                    stage("logging in to \(server.uri)", nil)
                    let outcome = try made.bind(name, password, deadline: limit)
                    guard outcome.code == LDAP_SUCCESS else { throw .down("\(server.uri) refuses the service account \(name): \(outcome.words)") }
                }
                note(index, nil)
                return made
            } catch {
                note(index, .down(error.text))
                reasons.append(error.text)
            }
        }
        throw .down(reasons.isEmpty ? "there was no time left to connect" : reasons.joined(separator: "; "))
    }

    /// What came of an attempt at a server; its change is a line in the log.
    private func note(_ index: Int, _ failure: Failure?) {
        let (id, now) = (id, now)
        let isNews = directory.state.withLock { state in
            // Whoever was given up on has been counted.
            guard state.workers[id] != nil else { return false }
            state.workers[id]?.server = nil
            let before = state.troubles[index]
            switch failure {
            case nil: state.breakers[index].succeeded()
            case .slow: state.breakers[index].failed(isDown: false, now: now)
            default: state.breakers[index].failed(isDown: true, now: now)
            }
            state.troubles[index] = failure?.text
            return (before == nil) != (failure == nil)
        }
        guard isNews else { return }
        if let failure {
            directory.host.log(.warning, "directory \(directory.name): \(failure.text)")
        } else {
            directory.host.log(.notice, "directory \(directory.name): \(settings.servers[index].uri) answers again")
        }
    }

    /// What is being done, for whoever waits too long.
    private func stage(_ text: String, _ token: UInt64?) {
        let id = id
        directory.state.withLock { state in
            guard let token = token ?? state.workers[id]?.token else { return }
            state.pending[token]?.stage = text
        }
    }

    /// Has the clock shut the socket at a time. A socket that it has shut already is not to be used again.
    private func wake(at limit: UInt64) {
        let id = id
        directory.state.withLock { state in
            state.workers[id]?.limit = limit
            state.workers[id]?.isShut = false
        }
        directory.state.signal()
    }
}

extension DirectoryAnswer {
    /// The same entry, refused.
    func refused(_ outcome: DirectoryOutcome, _ reason: String) -> DirectoryAnswer {
        var answer = self
        (answer.outcome, answer.reason, answer.groups, answer.ntHash) = (outcome, reason, [], nil)
        return answer
    }
}

extension DirectoryOutcome {
    init(_ meaning: WindowsCode.Meaning) {
        self =
            switch meaning {
            case .noSuchUser: .noSuchUser
            case .disabled: .disabled
            case .passwordExpired: .passwordExpired
            case .expired: .expired
            case .locked: .locked
            }
    }
}
