// What plugins ask of the gateway's event loop: timers and watched descriptors.

/// Timers and descriptors of plugins. Called from any thread; calls back on one service thread.
package protocol PluginServices: AnyObject, Sendable {
    /// CLOCK_MONOTONIC in nanoseconds.
    var now: UInt64 { get }
    /// Calls `fire` once, `after` nanoseconds from now. 0 where there is no room.
    func armTimer(after: UInt64, _ fire: @escaping @Sendable () -> Void) -> UInt64
    /// Calls `ready` with epoll's event bits whenever `descriptor` is ready. 0 where it cannot be watched.
    func watch(_ descriptor: Int32, events: UInt32, _ ready: @escaping @Sendable (UInt32) -> Void) -> UInt64
    /// Ends a timer or a watch.
    func cancel(_ handle: UInt64)
}
