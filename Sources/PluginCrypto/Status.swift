// How the adapters speak to a table: statuses as errors, and spans as pointers that outlive no call.

import IKECrypto
import IKEWire
import PluginABI

extension CryptoError {
    /// Nil for MARTLET_OK.
    package init?(status: martlet_status) {
        switch status {
        case MARTLET_OK: return nil
        case MARTLET_E_REJECTED: self = .rejected
        case MARTLET_E_INVALID: self = .invalid
        default: self = .failed
        }
    }
}

/// Where an empty run of bytes points: never read or written, and never null.
nonisolated(unsafe) let emptyBytes = UnsafeMutablePointer<UInt8>.allocate(capacity: 1)

extension Span where Element == UInt8 {
    /// Lends the bytes; the pointer is never null.
    package func withPointer<R>(_ body: (UnsafePointer<UInt8>, Int) -> R) -> R {
        withUnsafeBufferPointer { body($0.baseAddress ?? UnsafePointer(emptyBytes), $0.count) }
    }
}

extension MutableSpan where Element == UInt8 {
    /// Lends the bytes for writing; the pointer is never null.
    package mutating func withMutablePointer<R>(_ body: (UnsafeMutablePointer<UInt8>, Int) -> R) -> R {
        withUnsafeMutableBufferPointer { body($0.baseAddress ?? emptyBytes, $0.count) }
    }
}

/// What is wrong with a table.
package struct TableDefect: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}
