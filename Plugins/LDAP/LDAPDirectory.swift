// One directory: takes questions, hands them to workers, and keeps every deadline whatever a server or the library does.

import CLDAP
import Glibc
import LDAPSchema
import PluginABI
import PluginKit

final class LDAPDirectory: DirectoryProvider {
    let host: Host
    let name: String
    let settings: Settings
    let state: Monitor<DirectoryState>

    init(_ host: Host, name: String, _ settings: Settings) {
        (self.host, self.name, self.settings) = (host, name, settings)
        state = Monitor(DirectoryState(servers: settings.servers.count))
    }

    var abilities: UInt32 { MARTLET_DIRECTORY_VERIFIES_PASSWORDS.rawValue | (settings.schema.ntHashAttribute == nil ? 0 : MARTLET_DIRECTORY_HAS_NT_HASHES.rawValue) }
    var advice: String { settings.schema.advice }

    // MARK: Questions

    func begin(_ request: DirectoryRequest) -> UInt64 {
        let now = host.now
        let asked = PendingRequest(request: request, deadline: min(request.deadline, now.addingReportingOverflow(settings.timeout).partialValue))
        let refusal = refusal(of: request)
        var worker: Int?
        var startsClock = false
        let (token, isFull) = state.withLock { state in
            state.lastToken += 1
            let token = state.lastToken
            guard refusal == nil else { return (token, false) }
            guard state.pending.count < settings.queue else { return (token, true) }
            state.pending[token] = asked
            worker = state.enqueue(Step(token: token), .search, limit: settings.searchWorkers)
            startsClock = !state.isClockRunning
            state.isClockRunning = true
            return (token, false)
        }
        if let refusal {
            request.complete(refusal)
        } else if isFull {
            request.complete(DirectoryAnswer(.busy, reason: "\(settings.queue) requests wait for the directory \(name) already"))
        } else {
            if startsClock, !startThread("ldap clock", { self.runClock() }) {
                state.withLock { $0.isClockRunning = false }
                finish(token, DirectoryAnswer(.down, reason: "there is no thread for the directory \(name)"))
            }
            if let worker { startWorker(worker) }
            state.signal()
        }
        return token
    }

    func cancel(_ token: UInt64) { finish(token, DirectoryAnswer(.cancelled, reason: "the request was given up")) }

    /// What needs no directory to be refused.
    private func refusal(of request: DirectoryRequest) -> DirectoryAnswer? {
        if let complaint = UserName.complaint(about: request.user, limit: Int(MARTLET_DIRECTORY_NAME_MAX)) { return DirectoryAnswer(.badName, reason: complaint) }
        guard request.question == .password else { return nil }
        // A bind with a name and no password is an anonymous one, which most servers let succeed (RFC 4513 section 5.1.2).
        guard let password = request.password, password.count > 0 else { return DirectoryAnswer(.passwordEmpty, reason: "the password is empty") }
        if password.count > Int(MARTLET_DIRECTORY_PASSWORD_MAX) { return DirectoryAnswer(.passwordWrong, reason: "the password is longer than \(MARTLET_DIRECTORY_PASSWORD_MAX) bytes") }
        return nil
    }

    /// Hands an answer over, unless the request has had one.
    func finish(_ token: UInt64, _ answer: DirectoryAnswer) {
        let done = state.withLock { $0.pending.removeValue(forKey: token) }
        done?.request.complete(answer)
    }

    // MARK: Workers

    func startWorker(_ worker: Int) {
        guard let kind = state.withLock({ $0.workers[worker]?.kind }) else { return }
        if startThread(kind == .search ? "ldap search" : "ldap bind", { Worker(worker, kind, of: self).run() }) { return }
        let stranded: [UInt64] = state.withLock { state in
            state.workers[worker] = nil
            guard !state.workers.values.contains(where: { $0.kind == kind }) else { return [] }
            return state.queues.removeValue(forKey: kind)?.map(\.token) ?? []
        }
        for token in stranded { finish(token, DirectoryAnswer(.down, reason: "there is no thread for the directory \(name)")) }
    }

    // MARK: The clock

    /// Ends what is late. Its own thread: nothing that a server or the library does holds it up.
    private func runClock() {
        while true {
            let now = host.now
            var late: [(PendingRequest, DirectoryAnswer)] = []
            var replacements: [Int] = []
            let next: UInt64? = state.withLock { state in
                for (token, pending) in state.pending where pending.deadline <= now {
                    state.pending[token] = nil
                    late.append((pending, DirectoryAnswer(.slow, reason: "the directory \(name) did not answer in time: it was \(pending.stage)")))
                    for (id, worker) in state.workers where worker.token == token { shut(id, &state, now) }
                }
                for (id, worker) in state.workers where worker.limit <= now {
                    guard worker.isShut else {
                        shut(id, &state, now)
                        continue
                    }
                    // It hangs where no socket wakes it.
                    state.workers[id] = nil
                    state.abandoned += 1
                    if let server = worker.server { state.breakers[server].failed(isDown: true, now: now) }
                    if let token = worker.token, let pending = state.pending.removeValue(forKey: token) {
                        late.append((pending, DirectoryAnswer(.down, reason: "the directory \(name) did not answer in time: it was \(pending.stage)")))
                    }
                    if let replacement = state.newWorker(worker.kind, limit: workers(worker.kind)) { replacements.append(replacement) }
                }
                // Nobody asks: whoever does next begins another clock. One that a reload has replaced ends so.
                if state.pending.isEmpty, state.workers.isEmpty { state.isClockRunning = false }
                return state.isClockRunning ? state.earliest : nil
            }
            for (pending, answer) in late { pending.request.complete(answer) }
            for worker in replacements { startWorker(worker) }
            guard let next else { return }
            // An hour: the end of time overflows what the system waits for.
            _ = state.wait(until: min(next, now + 3_600_000_000_000)) { $0.earliest < next || $0.pending.isEmpty && $0.workers.isEmpty ? true : nil }
        }
    }

    /// Wakes a worker from whatever it does with its socket; it has a moment to come back. Under the lock: the worker closes the socket
    /// only after it has said so under the same lock.
    private func shut(_ id: Int, _ state: inout DirectoryState, _ now: UInt64) {
        guard let worker = state.workers[id], !worker.isShut else { return }
        if worker.socket >= 0 { shutdown(worker.socket, Int32(SHUT_RDWR)) }
        state.workers[id]?.isShut = true
        state.workers[id]?.limit = now + DirectoryState.grace
    }

    func workers(_ kind: WorkerKind) -> Int { kind == .search ? settings.searchWorkers : settings.bindWorkers }
}
