// Memory that is handed to the host for ever: tables, strings and arrays. The contract never unloads a plugin, so nothing here is freed.

import PluginABI

public enum Immortal {
    /// A table in memory of its own.
    public static func table<T>(_ value: T) -> UnsafePointer<T> {
        let memory = UnsafeMutablePointer<T>.allocate(capacity: 1)
        memory.initialize(to: value)
        return UnsafePointer(memory)
    }

    /// UTF-8 with a zero at its end.
    public static func string(_ value: String) -> UnsafePointer<CChar> {
        let bytes = value.utf8CString
        let memory = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
        for (index, byte) in bytes.enumerated() { memory.advanced(by: index).initialize(to: byte) }
        return UnsafePointer(memory)
    }

    /// The elements in a row.
    public static func array<T>(_ values: [T]) -> UnsafePointer<T> {
        let memory = UnsafeMutablePointer<T>.allocate(capacity: max(values.count, 1))
        for (index, value) in values.enumerated() { memory.advanced(by: index).initialize(to: value) }
        return UnsafePointer(memory)
    }
}

/// A failure as a status of the contract.
public struct PluginError: Error, Hashable, Sendable {
    public let status: martlet_status
    public init(_ status: martlet_status) { self.status = status }
    public static let failed = PluginError(MARTLET_E_FAILED)
    public static let invalid = PluginError(MARTLET_E_INVALID)
    public static let memory = PluginError(MARTLET_E_MEMORY)
    public static let unsupported = PluginError(MARTLET_E_UNSUPPORTED)
    public static let rejected = PluginError(MARTLET_E_REJECTED)
    public static let notFound = PluginError(MARTLET_E_NOT_FOUND)
}
