// What the methods say when they cannot go on.

import PluginABI
import PluginKit

extension EAPReply {
    /// Whoever knows the user has not said what was asked for.
    func fail(_ answer: EAPParameters.Answer) {
        switch answer.status {
        case MARTLET_E_REJECTED, MARTLET_E_NOT_FOUND: fail(answer.status, answer.reason.isEmpty ? "is refused" : answer.reason)
        default: fail(MARTLET_E_FAILED, answer.reason.isEmpty ? "cannot be looked up" : answer.reason)
        }
    }

    func misbehaved(_ what: String) { fail(MARTLET_E_INVALID, what) }
}
