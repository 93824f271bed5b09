// The host's table as Swift sees it: log lines, settings, the clock, timers, watched descriptors, secret memory, other plugins.

import PluginABI

/// The host of this plugin. A value around the immortal table; any thread may use it.
public struct Host: @unchecked Sendable {
    public let table: UnsafePointer<martlet_host>
    public init(_ table: UnsafePointer<martlet_host>) { self.table = table }

    public enum LogLevel: Int32, Sendable { case error = 0, warning, notice, info, debug }

    /// One line; must not hold a secret.
    public func log(_ level: LogLevel, _ message: String) { message.withCString { table.pointee.log(table, level.rawValue, $0) } }

    /// A value of this plugin's section; nested keys are written "a.b".
    public func setting(_ key: String) -> String? { key.withCString { table.pointee.setting(table, $0) }.map { String(cString: $0) } }

    /// CLOCK_MONOTONIC in nanoseconds.
    public var now: UInt64 { table.pointee.now(table) }

    /// The version of the daemon.
    public var version: String { String(cString: table.pointee.version) }

    /// Registers an immortal table. In `init` alone.
    public func provide<T>(_ provision: Provision, _ provided: UnsafePointer<T>) -> martlet_status {
        provision.name.withCString { table.pointee.provide(table, provision.kind, $0, UnsafeRawPointer(provided)) }
    }

    /// What a loaded plugin provides, of the preferred one where `name` is nil.
    public func lookUp(kind: UInt32, name: String?) -> UnsafeRawPointer? {
        guard let name else { return table.pointee.look_up(table, kind, nil) }
        return name.withCString { table.pointee.look_up(table, kind, $0) }
    }

    /// The algorithm that the host prefers, or that `provider` offers; tested. After start-up.
    public func aead(id: UInt16, bits: UInt16, provider: String? = nil) -> UnsafePointer<martlet_aead>? { algorithm(MARTLET_AEAD, id, bits, provider) }
    public func cipher(id: UInt16, bits: UInt16, provider: String? = nil) -> UnsafePointer<martlet_cipher>? { algorithm(MARTLET_CIPHER, id, bits, provider) }
    public func mac(id: UInt16, provider: String? = nil) -> UnsafePointer<martlet_mac>? { algorithm(MARTLET_MAC, id, 0, provider) }
    public func prf(id: UInt16, provider: String? = nil) -> UnsafePointer<martlet_prf>? { algorithm(MARTLET_PRF, id, 0, provider) }
    public func random(provider: String? = nil) -> UnsafePointer<martlet_random>? { algorithm(MARTLET_RANDOM, 0, 0, provider) }

    private func algorithm<T>(_ kind: martlet_algorithm_kind, _ id: UInt16, _ bits: UInt16, _ provider: String?) -> UnsafePointer<T>? {
        let found: UnsafeRawPointer? =
            if let provider {
                provider.withCString { table.pointee.algorithm(table, $0, kind.rawValue, id, bits) }
            } else {
                table.pointee.algorithm(table, nil, kind.rawValue, id, bits)
            }
        return found?.assumingMemoryBound(to: T.self)
    }

    /// Calls `fire` once on the host's service thread. 0 where there is no room for another timer.
    public func armTimer(after nanoseconds: UInt64, context: UnsafeMutableRawPointer?, _ fire: @convention(c) (UnsafeMutableRawPointer?) -> Void) -> martlet_handle {
        table.pointee.arm_timer(table, nanoseconds, fire, context)
    }

    /// Calls `ready` on the host's service thread with epoll's bits whenever the descriptor is ready. 0 where it cannot be watched.
    public func watch(_ descriptor: Int32, events: UInt32, context: UnsafeMutableRawPointer?, _ ready: @convention(c) (UnsafeMutableRawPointer?, UInt32) -> Void) -> martlet_handle {
        table.pointee.watch(table, descriptor, events, ready, context)
    }

    public func cancel(_ handle: martlet_handle) { table.pointee.cancel(table, handle) }

    /// Zeroed memory for secrets; give it back with `freeSecret`.
    public func allocateSecret(_ size: Int) -> UnsafeMutableRawPointer? { table.pointee.secret_allocate(table, size) }
    public func freeSecret(_ memory: UnsafeMutableRawPointer?, _ size: Int) { table.pointee.secret_free(table, memory, size) }
}
