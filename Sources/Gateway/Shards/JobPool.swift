// Slow work away from the shards: a fixed number of threads, a bounded queue, and a deadline for each job.

import Glibc
import IKECore
import Synchronization

package final class JobPool: @unchecked Sendable {
    /// How a job ended.
    package enum Outcome<Value: Sendable>: Sendable {
        case done(Value)
        /// It did not start or did not end in time. What it would still bring is dropped.
        case late
        /// Too many wait already.
        case refused
    }

    /// Jobs of one kind of which only so many may run at once.
    package struct Lane: Hashable, Sendable {
        var name: String
        var limit: Int
    }

    private struct Entry {
        let deadline: Instant
        let lane: Lane?
        let run: () -> Void
        /// Ends the job without its result; harmless after its end.
        let giveUp: () -> Void
    }

    private struct State {
        var waiting: [UInt64] = []
        var entries: [UInt64: Entry] = [:]
        var running: [Lane: Int] = [:]
        var runningCount = 0
        var last: UInt64 = 0
        var isEnding = false
        var refused: UInt64 = 0
        var late: UInt64 = 0
    }

    private var state = State()
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let work = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private let clock = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var threads: [Thread] = []
    private let limit: Int
    package let threadCount: Int

    package init(threads count: Int, queueLimit: Int = 10_000) throws(SystemError) {
        limit = queueLimit
        threadCount = count
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(work, nil)
        initialiseMonotonic(clock)
        for index in 0..<count { threads.append(try Thread("job \(index)") { [self] in runJobs() }) }
        threads.append(try Thread("job clock") { [self] in watchDeadlines() })
    }

    /// Runs `body` on one of the threads; `completion` is called once, on any thread.
    package func submit<Value: Sendable>(
        deadline: Instant, lane: Lane? = nil, _ body: @escaping @Sendable () -> Value, _ completion: @escaping @Sendable (Outcome<Value>) -> Void
    ) {
        let once = Once(completion)
        pthread_mutex_lock(mutex)
        guard state.waiting.count < limit, !state.isEnding else {
            state.refused += 1
            pthread_mutex_unlock(mutex)
            return once.end(.refused)
        }
        state.last += 1
        state.entries[state.last] = Entry(deadline: deadline, lane: lane, run: { once.end(.done(body())) }, giveUp: { once.end(.late) })
        state.waiting.append(state.last)
        let isFirst = state.entries.count == 1
        pthread_cond_signal(work)
        // The clock sleeps while there is nothing to watch.
        if isFirst { pthread_cond_signal(clock) }
        pthread_mutex_unlock(mutex)
    }

    package var load: (waiting: Int, running: Int, refused: UInt64, late: UInt64) {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return (state.waiting.count, state.runningCount, state.refused, state.late)
    }

    /// Forgets what waits, and waits a moment for what runs. False where something still does: it may be in a plugin that hangs.
    @discardableResult
    package func stop(_ grace: Duration = .milliseconds(500)) -> Bool {
        let deadline = Instant.now() + grace
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        state.isEnding = true
        state.waiting = []
        state.entries = [:]
        pthread_cond_broadcast(work)
        pthread_cond_broadcast(clock)
        while state.runningCount > 0 {
            var time = timespec(deadline)
            if pthread_cond_timedwait(clock, mutex, &time) == ETIMEDOUT { break }
        }
        return state.runningCount == 0
    }

    private func runJobs() {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while !state.isEnding {
            guard let position = state.waiting.firstIndex(where: { mayRun($0) }) else {
                pthread_cond_wait(work, mutex)
                continue
            }
            let id = state.waiting.remove(at: position)
            guard let entry = state.entries[id] else { continue }
            if let lane = entry.lane { state.running[lane, default: 0] += 1 }
            state.runningCount += 1
            pthread_mutex_unlock(mutex)
            entry.run()
            pthread_mutex_lock(mutex)
            state.runningCount -= 1
            state.entries[id] = nil
            if state.isEnding { pthread_cond_broadcast(clock) }
            if let lane = entry.lane {
                state.running[lane, default: 1] -= 1
                pthread_cond_signal(work)
            }
        }
    }

    private func mayRun(_ id: UInt64) -> Bool {
        guard let lane = state.entries[id]?.lane else { return true }
        return state.running[lane, default: 0] < lane.limit
    }

    private func watchDeadlines() {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while !state.isEnding {
            guard let next = state.entries.values.map(\.deadline).min() else {
                pthread_cond_wait(clock, mutex)
                continue
            }
            // Earlier deadlines may be added meanwhile; a quarter of a second late is early enough for them.
            let wake = min(next, Instant.now() + .milliseconds(250))
            var time = timespec(wake)
            pthread_cond_timedwait(clock, mutex, &time)
            let now = Instant.now()
            let due = state.entries.filter { $0.value.deadline <= now }
            for (id, _) in due { state.entries[id] = nil }
            state.waiting.removeAll { due[$0] != nil }
            state.late += UInt64(due.count)
            pthread_mutex_unlock(mutex)
            for entry in due.values { entry.giveUp() }
            pthread_mutex_lock(mutex)
        }
    }
}

/// Calls a completion once, whoever comes first.
private final class Once<Value: Sendable>: Sendable {
    private let completion: Mutex<(@Sendable (JobPool.Outcome<Value>) -> Void)?>
    init(_ completion: @escaping @Sendable (JobPool.Outcome<Value>) -> Void) { self.completion = Mutex(completion) }
    func end(_ outcome: JobPool.Outcome<Value>) {
        let call = completion.withLock { completion in
            let call = completion
            completion = nil
            return call
        }
        call?(outcome)
    }
}
