// An authentication method of a plugin, as the job pool calls it.
// RFC 7296 section 2.15.

import IKECore
import IKECrypto
import IKEWire
import PluginABI

/// Lends the secret configured for the identities of a request to `use`, and says whether there was one.
package typealias SecretLookUp = @Sendable (_ request: AuthenticationRequest, _ use: (Span<UInt8>) -> Void) -> Bool

package struct AuthMethod: Sendable {
    package let name: String
    /// AUTH methods (IANA "IKEv2 Authentication Method") that it makes and takes.
    package let methods: [UInt16]
    /// Calls that may be under way at once; nil for no limit.
    package let maximumConcurrency: Int?

    /// Our AUTH payload. Blocks until the plugin is done or `deadline` (CLOCK_MONOTONIC, nanoseconds) has passed.
    package func sign(_ request: AuthenticationRequest, deadline: UInt64, secret: @escaping SecretLookUp) throws(JobFailure) -> Authentication { throw .noMethod(name) }

    /// Returns where the peer's AUTH payload proves its identity; throws `.rejected` where it does not. Blocks as `sign` does.
    package func verify(_ request: AuthenticationRequest, _ authentication: Authentication, deadline: UInt64, secret: @escaping SecretLookUp) throws(JobFailure) { throw .noMethod(name) }
}
