// What Active Directory says behind "invalid credentials": `AcceptSecurityContext error, data 775, v4563`. MS-ADTS section 5.1.1.1.1 has the codes of Windows' system errors.

package enum WindowsCode {
    package enum Meaning: Sendable { case noSuchUser, disabled, passwordExpired, expired, locked }

    /// Nil where it says no more than that the password is wrong, which 52e is.
    package static func meaning(of diagnostic: String) -> Meaning? {
        guard let start = diagnostic.firstRange(of: "data ")?.upperBound else { return nil }
        return switch diagnostic[start...].prefix(while: { $0.isHexDigit }).lowercased() {
        case "525": .noSuchUser
        // Not now, not from here, disabled.
        case "530", "531", "533": .disabled
        case "532", "773": .passwordExpired
        case "701": .expired
        case "775": .locked
        default: nil
        }
    }
}
