// What the threads of one directory share: the questions that wait, the workers and what each is doing, and which servers rest.
// Under one lock, that no call into the library is made with.

import LDAPSchema
import PluginKit

/// Searches and binds have workers, and so connections, of their own: whoever guesses passwords keeps no look-up from anybody.
enum WorkerKind: Hashable, Sendable, CaseIterable { case search, bind }

struct PendingRequest: Sendable {
    let request: DirectoryRequest
    let deadline: UInt64
    /// For the log, when the time is over.
    var stage = "waiting for a free connection"
}

/// What a worker does for a request.
struct Step: Sendable {
    let token: UInt64
    /// Set for a bind: what the search has found.
    var account: DirectoryAnswer?
    /// The password of `account` is right: what is left are its groups. Nobody who does not know it has them looked for.
    var isVerified = false
}

struct WorkerState: Sendable {
    let kind: WorkerKind
    var token: UInt64?
    /// The socket that it waits on, -1 for none.
    var socket: Int32 = -1
    /// The server that it tries to connect to.
    var server: Int?
    /// When the clock shuts its socket, and then when it is given up on.
    var limit = UInt64.max
    var isShut = false
}

struct DirectoryState: Sendable {
    var lastToken: UInt64 = 0
    var pending: [UInt64: PendingRequest] = [:]
    var queues: [WorkerKind: [Step]] = [:]
    var lastWorker = 0
    var workers: [Int: WorkerState] = [:]
    /// Threads that hang in the library or the resolver, and have been replaced.
    var abandoned = 0
    var isClockRunning = false
    var breakers: [CircuitBreaker]
    /// The last failure of each server; nil where it is well.
    var troubles: [String?]

    /// Threads that may hang at once. Beyond it requests wait for those that are left.
    static let abandonedLimit = 16
    /// What a worker has after its socket was shut.
    static let grace: UInt64 = 1_000_000_000

    init(servers: Int) {
        breakers = Array(repeating: CircuitBreaker(), count: servers)
        troubles = Array(repeating: nil, count: servers)
    }

    /// When the clock has something to do.
    var earliest: UInt64 { min(pending.values.lazy.map(\.deadline).min() ?? .max, workers.values.lazy.map(\.limit).min() ?? .max) }

    /// Puts a step into its queue, and says whether another worker is to be started.
    mutating func enqueue(_ step: Step, _ kind: WorkerKind, limit: Int) -> Int? {
        queues[kind, default: []].append(step)
        return newWorker(kind, limit: limit)
    }

    mutating func newWorker(_ kind: WorkerKind, limit: Int) -> Int? {
        let own = workers.values.filter { $0.kind == kind }
        let idle = own.count { $0.token == nil }
        guard queues[kind, default: []].count > idle, own.count < limit, abandoned < Self.abandonedLimit else { return nil }
        lastWorker += 1
        workers[lastWorker] = WorkerState(kind: kind)
        return lastWorker
    }

    /// The next step of a worker, whose request still waits.
    mutating func nextStep(of worker: Int) -> (Step, PendingRequest)? {
        guard let kind = workers[worker]?.kind else { return nil }
        while let step = queues[kind]?.first {
            queues[kind]?.removeFirst()
            if let request = pending[step.token] {
                workers[worker]?.token = step.token
                return (step, request)
            }
        }
        return nil
    }
}
