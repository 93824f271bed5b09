// Threads of the gateway: named, with signals blocked and a small stack.

import CLinux
import Glibc
import IKECore

package final class Thread: @unchecked Sendable {
    private var handle = pthread_t()
    /// Virtual memory; only what is touched counts.
    private static let stackBytes = 1 << 20

    /// Starts at once.
    package init(_ name: String, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setstacksize(&attributes, Self.stackBytes)
        let start = Unmanaged.passRetained(ThreadStart(name: name, body: body))
        let code = pthread_create(&handle, &attributes, threadMain, start.toOpaque())
        guard code == 0 else {
            start.release()
            throw SystemError("start the thread \(name)", code)
        }
    }

    /// Nobody waits for its end.
    package func detach() { pthread_detach(handle) }

    /// Waits for its end; call it once.
    package func join() { pthread_join(handle, nil) }
}

private final class ThreadStart {
    let name: String
    let body: @Sendable () -> Void
    init(name: String, body: @escaping @Sendable () -> Void) {
        self.name = name
        self.body = body
    }
}

private func threadMain(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let context else { return nil }
    // Retained by `Thread.init`.
    let start = Unmanaged<ThreadStart>.fromOpaque(context).takeRetainedValue()
    martlet_thread_block_signals()
    martlet_thread_name(start.name)
    start.body()
    return nil
}

extension Instant {
    /// CLOCK_MONOTONIC.
    package static func now() -> Instant {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Instant(nanoseconds: UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec))
    }
}

/// Milliseconds since 1970.
func unixMilliseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
}

/// Waits for one signal from another thread.
package final class Gate: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var isOpen = false

    package init() {
        pthread_mutex_init(mutex, nil)
        initialiseMonotonic(condition)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    package func open() {
        pthread_mutex_lock(mutex)
        isOpen = true
        pthread_cond_broadcast(condition)
        pthread_mutex_unlock(mutex)
    }

    /// False where it was not opened in time.
    @discardableResult
    package func wait(_ limit: Duration? = nil) -> Bool {
        let deadline = limit.map { Instant.now() + $0 }
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while !isOpen {
            guard let deadline else {
                pthread_cond_wait(condition, mutex)
                continue
            }
            var time = timespec(deadline)
            if pthread_cond_timedwait(condition, mutex, &time) == ETIMEDOUT { return isOpen }
        }
        return true
    }
}

/// A condition whose time-outs are on CLOCK_MONOTONIC.
func initialiseMonotonic(_ condition: UnsafeMutablePointer<pthread_cond_t>) {
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(condition, &attributes)
    pthread_condattr_destroy(&attributes)
}

extension timespec {
    init(_ instant: Instant) { self.init(tv_sec: Int(instant.nanoseconds / 1_000_000_000), tv_nsec: Int(instant.nanoseconds % 1_000_000_000)) }
}
