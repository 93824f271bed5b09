// One thread that waits for descriptors, timers and messages: the loop of every shard, reader, and of the control socket.

import CLinux
import Glibc
import IKECore
import Synchronization

/// An epoll loop. Messages come from any thread; descriptors and timers belong to the loop's own.
package final class EventLoop: @unchecked Sendable {
    package typealias Work = @Sendable () -> Void
    package typealias TimerID = UInt64

    package let name: String
    private let epoll: Int32
    private let wake: Int32
    private let timer: Int32
    /// How many messages `offer` lets wait.
    private let capacity: Int
    private let inbox = Mutex(Inbox())
    private let droppedCount = Atomic<UInt64>(0)

    private struct Inbox {
        var work: [Work] = []
        var isEnded = false
    }

    // The loop's thread alone.
    private var watches: [Int32: (UInt32) -> Void] = [:]
    private var timers: [TimerID: (at: Instant, fire: () -> Void)] = [:]
    private var lastTimer: TimerID = 0
    private var armed: Instant?
    private var isEnding = false
    private var thread: Thread?
    /// Runs after each round of work; for what is sent in batches.
    package var afterBatch: (() -> Void)?

    package init(_ name: String, capacity: Int = 4096) throws(SystemError) {
        self.name = name
        self.capacity = capacity
        epoll = try check("make an epoll descriptor", martlet_epoll_create())
        wake = try check("make an eventfd", martlet_wake_create())
        timer = try check("make a timerfd", martlet_timer_create())
        try check("watch an eventfd", martlet_epoll_set(epoll, wake, MARTLET_READABLE))
        try check("watch a timerfd", martlet_epoll_set(epoll, timer, MARTLET_READABLE))
    }

    deinit {
        close(epoll)
        close(wake)
        close(timer)
    }

    // MARK: From any thread

    /// Runs `work` on the loop, unless too much waits already: then it is dropped, counted, and the answer is false.
    @discardableResult
    package func offer(_ work: @escaping Work) -> Bool { add(work, limit: capacity) }

    /// Runs `work` on the loop whatever waits. For answers to what the loop itself has asked.
    @discardableResult
    package func post(_ work: @escaping Work) -> Bool { add(work, limit: .max) }

    /// What `offer` has dropped.
    package var dropped: UInt64 { droppedCount.load(ordering: .relaxed) }

    /// Ends `run` after what was posted before.
    package func end() { post { self.isEnding = true } }

    private func add(_ work: @escaping Work, limit: Int) -> Bool {
        let (taken, first): (Bool, Bool) = inbox.withLock { inbox in
            guard !inbox.isEnded, inbox.work.count < limit else { return (false, false) }
            inbox.work.append(work)
            return (true, inbox.work.count == 1)
        }
        if !taken { droppedCount.wrappingAdd(1, ordering: .relaxed) }
        if first { martlet_wake_signal(wake) }
        return taken
    }

    // MARK: On the loop's thread, or before it runs

    /// Calls `ready` with epoll's bits while `descriptor` is ready for `events`.
    package func watch(_ descriptor: Int32, _ events: UInt32, _ ready: @escaping (UInt32) -> Void) throws(SystemError) {
        try check("watch a descriptor", martlet_epoll_set(epoll, descriptor, events))
        watches[descriptor] = ready
    }

    /// Call it before the descriptor is closed.
    package func unwatch(_ descriptor: Int32) {
        guard watches.removeValue(forKey: descriptor) != nil else { return }
        martlet_epoll_remove(epoll, descriptor)
    }

    @discardableResult
    package func arm(at time: Instant, _ fire: @escaping () -> Void) -> TimerID {
        lastTimer += 1
        timers[lastTimer] = (time, fire)
        return lastTimer
    }

    @discardableResult
    package func arm(after delay: Duration, _ fire: @escaping () -> Void) -> TimerID { arm(at: Instant.now() + delay, fire) }

    package func cancel(_ id: TimerID) { timers[id] = nil }

    package var timerCount: Int { timers.count }

    // MARK: Running

    /// Runs on a thread of its own until `end`.
    package func start() throws(SystemError) {
        thread = try Thread(name) { self.run() }
    }

    package func join() {
        thread?.join()
        thread = nil
    }

    /// Runs on the calling thread until `end`.
    package func run() {
        var ready = [martlet_ready](repeating: martlet_ready(), count: 64)
        while !isEnding {
            setTimer()
            let count = Int(max(0, martlet_epoll_wait(epoll, &ready, Int32(ready.count))))
            for entry in ready.prefix(count) {
                switch entry.fd {
                case wake: martlet_wake_clear(wake)
                case timer: martlet_timer_clear(timer)
                // Looked up for each: one before may have ended the watch.
                default: watches[entry.fd]?(entry.events)
                }
            }
            fireTimers()
            for work in inbox.withLock({ inbox in take(&inbox.work) }) { work() }
            afterBatch?()
        }
        // What was taken is done, so that nobody waits for it in vain.
        let rest = inbox.withLock { inbox in
            inbox.isEnded = true
            return take(&inbox.work)
        }
        for work in rest { work() }
        watches = [:]
        timers = [:]
        afterBatch = nil
    }

    private func take(_ work: inout [Work]) -> [Work] {
        let taken = work
        work = []
        return taken
    }

    private func setTimer() {
        let next = timers.values.map(\.at).min()
        guard next != armed else { return }
        armed = next
        martlet_timer_set(timer, next.map { max($0.nanoseconds, 1) } ?? 0)
    }

    private func fireTimers() {
        guard let armed else { return }
        let now = Instant.now()
        guard armed <= now else { return }
        self.armed = nil
        for (id, _) in timers.filter({ $0.value.at <= now }).sorted(by: { $0.value.at < $1.value.at }) {
            // One before may have cancelled it.
            timers.removeValue(forKey: id)?.fire()
        }
    }
}

extension EventLoop {
    /// Runs `work` on the loop and waits for it; nil where the loop has ended. Not on the loop's own thread.
    package func sync<Result: Sendable>(_ work: @escaping @Sendable () -> Result) -> Result? {
        let gate = Gate()
        let slot = Slot<Result>()
        let taken = post {
            slot.value.withLock { $0 = work() }
            gate.open()
        }
        guard taken else { return nil }
        gate.wait()
        return slot.value.withLock { $0 }
    }
}

private final class Slot<Value: Sendable>: Sendable {
    let value = Mutex<Value?>(nil)
}
