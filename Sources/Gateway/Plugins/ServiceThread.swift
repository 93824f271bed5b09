// Timers and watched descriptors of plugins on one thread of their own, so that a slow plugin holds up no shard.

import CLinux
import Glibc
import Synchronization

package final class ServiceThread: PluginServices {
    /// Timers and watches together.
    private static let limit = 4096

    private struct Watch {
        var descriptor: Int32
        var ready: @Sendable (UInt32) -> Void
    }

    private struct State {
        var lastHandle: UInt64 = 0
        var timers: [UInt64: (deadline: UInt64, fire: @Sendable () -> Void)] = [:]
        var watches: [UInt64: Watch] = [:]
        var isEnding = false
    }

    private let state = Mutex(State())
    private let epoll: Int32
    private let wakeUp: Int32

    /// Nil where the kernel gives no descriptor or thread.
    package init?() {
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        wakeUp = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        guard epoll >= 0, wakeUp >= 0 else { return nil }
        // Handle 0 is the wake-up itself.
        var event = epoll_event(events: EPOLLIN.rawValue, data: epoll_data_t(u64: 0))
        guard epoll_ctl(epoll, EPOLL_CTL_ADD, wakeUp, &event) == 0 else { return nil }
        var thread = pthread_t()
        // The thread keeps this object alive until `end`.
        let created = pthread_create(
            &thread, nil,
            { context in
                if let context { Unmanaged<ServiceThread>.fromOpaque(context).takeRetainedValue().run() }
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
        guard created == 0 else {
            Unmanaged.passUnretained(self).release()
            return nil
        }
        pthread_detach(thread)
    }

    deinit {
        if epoll >= 0 { close(epoll) }
        if wakeUp >= 0 { close(wakeUp) }
    }

    package var now: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
    }

    package func armTimer(after: UInt64, _ fire: @escaping @Sendable () -> Void) -> UInt64 {
        let (sum, overflow) = now.addingReportingOverflow(after)
        let handle: UInt64 = state.withLock { state in
            guard state.timers.count + state.watches.count < Self.limit else { return 0 }
            state.lastHandle += 1
            state.timers[state.lastHandle] = (overflow ? .max : sum, fire)
            return state.lastHandle
        }
        wake()
        return handle
    }

    package func watch(_ descriptor: Int32, events: UInt32, _ ready: @escaping @Sendable (UInt32) -> Void) -> UInt64 {
        state.withLock { state in
            guard state.timers.count + state.watches.count < Self.limit else { return 0 }
            state.lastHandle += 1
            // Level triggered whatever was asked for; EPOLLONESHOT and EPOLLEXCLUSIVE are not part of the contract.
            var event = epoll_event(events: events & 0xffff, data: epoll_data_t(u64: state.lastHandle))
            guard epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0 else { return 0 }
            state.watches[state.lastHandle] = Watch(descriptor: descriptor, ready: ready)
            return state.lastHandle
        }
    }

    package func cancel(_ handle: UInt64) {
        state.withLock { state in
            state.timers[handle] = nil
            guard let watch = state.watches.removeValue(forKey: handle) else { return }
            epoll_ctl(epoll, EPOLL_CTL_DEL, watch.descriptor, nil)
        }
    }

    /// Ends the thread; nothing is called any more once what is under way has returned.
    package func end() {
        state.withLock { state in
            state.isEnding = true
            state.timers = [:]
        }
        wake()
    }

    private func wake() {
        var one: UInt64 = 1
        _ = write(wakeUp, &one, 8)
    }

    private func run() {
        var events = [epoll_event](repeating: epoll_event(), count: 64)
        while !state.withLock({ $0.isEnding }) {
            let count = epoll_wait(epoll, &events, Int32(events.count), timeout())
            for event in events.prefix(Int(max(count, 0))) {
                let handle = event.data.u64
                guard handle != 0 else {
                    var counter: UInt64 = 0
                    _ = read(wakeUp, &counter, 8)
                    continue
                }
                // Looked up for each event: one before may have cancelled it.
                state.withLock { $0.watches[handle]?.ready }?(event.events)
            }
            while let fire = nextDue() { fire() }
        }
    }

    /// Milliseconds to the next timer, rounded up; -1 for none.
    private func timeout() -> Int32 {
        guard let next = state.withLock({ $0.timers.values.map(\.deadline).min() }) else { return -1 }
        let now = now
        guard next > now else { return 0 }
        return Int32(min((next - now + 999_999) / 1_000_000, 60_000))
    }

    private func nextDue() -> (@Sendable () -> Void)? {
        let now = now
        return state.withLock { state in
            guard let due = state.timers.filter({ $0.value.deadline <= now }).min(by: { $0.value.deadline < $1.value.deadline }) else { return nil }
            state.timers[due.key] = nil
            return due.value.fire
        }
    }
}
