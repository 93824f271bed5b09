// Why a call of the plane's contract failed.

import Glibc
import PluginABI

/// The status, and the log line unless it would say nothing new.
package struct PlaneError: Error {
    package let status: martlet_status
    package let message: String?
    package init(status: martlet_status, message: String?) {
        self.status = status
        self.message = message
    }
    package static func invalid(_ message: String) -> PlaneError { PlaneError(status: MARTLET_E_INVALID, message: message) }
    package static func system(_ message: String) -> PlaneError { PlaneError(status: MARTLET_E_SYSTEM, message: message) }
    package static func unsupported(_ message: String) -> PlaneError { PlaneError(status: MARTLET_E_UNSUPPORTED, message: message) }
    package static let notFound = PlaneError(status: MARTLET_E_NOT_FOUND, message: nil)

    /// The words for a negative errno.
    package static func reason(_ negative: Int32) -> String { String(cString: strerror(-negative)) }
}

/// An SPI as logs write it.
package func hex(_ spi: UInt32) -> String {
    let digits = String(spi, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
}
