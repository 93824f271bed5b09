// Slow work away from the shards: some threads, a bounded queue, and a deadline for each job. A job that blocks keeps its thread and no other's:
// while some do, spare threads take what waits behind them.

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

    /// A job under way.
    private struct Run {
        let began: Instant
        let deadline: Instant
        let lane: Lane?
        /// It has been reported.
        var isOverdue = false
    }

    private struct State {
        var waiting: [UInt64] = []
        var entries: [UInt64: Entry] = [:]
        var running: [Lane: Int] = [:]
        var runs: [UInt64: Run] = [:]
        var last: UInt64 = 0
        /// Threads, and those of them that have nothing to do.
        var alive = 0
        var idle = 0
        /// Nothing is there to watch: whoever adds something wakes the clock.
        var isClockAsleep = false
        var isEnding = false
        var refused: UInt64 = 0
        var late: UInt64 = 0
    }

    private var state = State()
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let work = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private let clock = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private let limit: Int
    package let threadCount: Int
    private let spares: Int
    /// Told of a job that still runs after its deadline, and how many do, on the clock's thread.
    private let overdue: @Sendable (Lane?, Int) -> Void
    /// A job that takes longer has blocked, or has the processor for itself: another thread does no harm.
    private static let stall = Duration.milliseconds(100)

    /// `spares`: how many threads may be added while jobs block.
    package init(threads count: Int, spares: Int = 0, queueLimit: Int = 10_000, overdue: @escaping @Sendable (Lane?, Int) -> Void = { _, _ in }) throws(SystemError) {
        limit = queueLimit
        threadCount = count
        self.spares = spares
        self.overdue = overdue
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(work, nil)
        initialiseMonotonic(clock)
        state.alive = count
        for index in 0..<count { try Thread("job \(index)") { [self] in runJobs() }.detach() }
        try Thread("job clock") { [self] in watchDeadlines() }.detach()
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
        if state.idle > 0 { pthread_cond_signal(work) }
        if state.isClockAsleep { pthread_cond_signal(clock) }
        pthread_mutex_unlock(mutex)
    }

    /// `stuck`: still running after their deadline.
    package var load: (waiting: Int, running: Int, refused: UInt64, late: UInt64, stuck: Int) {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return (state.waiting.count, state.runs.count, state.refused, state.late, state.runs.values.count(where: \.isOverdue))
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
        while !state.runs.isEmpty {
            var time = timespec(deadline)
            if pthread_cond_timedwait(clock, mutex, &time) == ETIMEDOUT { break }
        }
        return state.runs.isEmpty
    }

    private func runJobs() {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while !state.isEnding {
            guard let position = state.waiting.firstIndex(where: { mayRun($0) }) else {
                // A spare thread goes as soon as nothing blocks that it stood in for.
                if state.alive > threadCount + stalled(Instant.now()) { break }
                state.idle += 1
                pthread_cond_wait(work, mutex)
                state.idle -= 1
                continue
            }
            let id = state.waiting.remove(at: position)
            guard let entry = state.entries[id] else { continue }
            if let lane = entry.lane { state.running[lane, default: 0] += 1 }
            state.runs[id] = Run(began: Instant.now(), deadline: entry.deadline, lane: entry.lane)
            pthread_mutex_unlock(mutex)
            entry.run()
            pthread_mutex_lock(mutex)
            state.runs[id] = nil
            state.entries[id] = nil
            if state.isEnding { pthread_cond_broadcast(clock) }
            if let lane = entry.lane {
                state.running[lane, default: 1] -= 1
                pthread_cond_signal(work)
            }
        }
        state.alive -= 1
    }

    private func mayRun(_ id: UInt64) -> Bool {
        guard let lane = state.entries[id]?.lane else { return true }
        return state.running[lane, default: 0] < lane.limit
    }

    private func stalled(_ now: Instant) -> Int { min(spares, state.runs.values.count { now.since($0.began) >= Self.stall }) }

    private func watchDeadlines() {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        var wasQuiet = false
        while !state.isEnding {
            let next = state.entries.values.map(\.deadline).min()
            // Asleep only after a while without anything, so that not every job has to wake it.
            let isQuiet = next == nil && state.runs.isEmpty
            if isQuiet, wasQuiet {
                state.isClockAsleep = true
                pthread_cond_wait(clock, mutex)
                state.isClockAsleep = false
                wasQuiet = false
                continue
            }
            wasQuiet = isQuiet
            // Earlier deadlines may be added meanwhile; a quarter of a second late is early enough for them. What waits behind a job that
            // blocks should not wait for long.
            let tick = Instant.now() + .milliseconds(state.waiting.isEmpty || spares == 0 ? 250 : 50)
            var time = timespec(min(next ?? tick, tick))
            pthread_cond_timedwait(clock, mutex, &time)
            let now = Instant.now()
            let due = state.entries.filter { $0.value.deadline <= now }
            for (id, _) in due { state.entries[id] = nil }
            state.waiting.removeAll { due[$0] != nil }
            state.late += UInt64(due.count)
            let stuck = state.runs.filter { !$0.value.isOverdue && $0.value.deadline <= now }
            for (id, _) in stuck { state.runs[id]?.isOverdue = true }
            let stuckCount = state.runs.values.count(where: \.isOverdue)
            let isWanted = state.idle == 0 && state.alive < threadCount + stalled(now) && state.waiting.contains(where: mayRun)
            if isWanted { state.alive += 1 }
            pthread_mutex_unlock(mutex)
            for entry in due.values { entry.giveUp() }
            for run in stuck.values { overdue(run.lane, stuckCount) }
            let isStarted = isWanted ? startSpare() : true
            pthread_mutex_lock(mutex)
            if !isStarted { state.alive -= 1 }
        }
    }

    private func startSpare() -> Bool {
        do throws(SystemError) {
            try Thread("job spare") { [self] in runJobs() }.detach()
            return true
        } catch { return false }
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
