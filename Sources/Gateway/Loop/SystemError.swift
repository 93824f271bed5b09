// A system call that failed, in words.

import Glibc

package struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was tried: "bind UDP port 500".
    package let action: String
    package let code: Int32

    package init(_ action: String, _ code: Int32 = errno) {
        self.action = action
        self.code = code
    }

    package var description: String { "cannot \(action): \(errorText(code))" }
}

/// The descriptor or count that one of CLinux's functions returned, or what its negative value means.
@discardableResult
func check(_ action: @autoclosure () -> String, _ result: Int32) throws(SystemError) -> Int32 {
    guard result >= 0 else { throw SystemError(action(), -result) }
    return result
}
