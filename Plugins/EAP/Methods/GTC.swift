// Generic Token Card: the password itself, inside what IKE has encrypted. No key. RFC 3748 section 5.6.

import PluginABI
import PluginKit

package final class GTC: EAPConversation, @unchecked Sendable {
    package static nonisolated(unsafe) let method = EAPMethod.table("eap-gtc", type: 6, flags: [MARTLET_EAP_AS_SERVER, MARTLET_EAP_AS_CLIENT, MARTLET_EAP_PASSWORDS]) { parameters, out in
        EAPMethod.begin(out, GTC(EAPParameters(parameters)))
    }
    private static let longest = 1024

    package override func step(_ message: [UInt8]?, identifier: UInt8, _ reply: EAPReply) {
        guard parameters.isServer else {
            return parameters.findSecret(.password, of: parameters.identity, deadline: reply.deadline) { answer in
                guard let password = answer.secret else { return reply.fail(answer) }
                var octets = password.octets
                defer { wipe(&octets, octets.count) }
                reply.succeed(octets)
            }
        }
        guard let message else { return reply.send(Array("Password: ".utf8)) }
        guard (1...Self.longest).contains(message.count) else { return reply.misbehaved("sent a password of \(message.count) octets") }
        let password = message.withUnsafeBufferPointer { SecretMemory($0) }
        PasswordCheck.run(parameters, password, of: parameters.identity, reply) { reply.succeed() }
    }
}

/// Has a password checked by whoever knows the user, or against an NT hash where that is all there is.
enum PasswordCheck {
    static func run(_ parameters: EAPParameters, _ password: SecretMemory, of user: [UInt8], _ reply: EAPReply, _ right: @escaping @Sendable () -> Void) {
        parameters.checkPassword(password, of: user, deadline: reply.deadline) { answer in
            switch answer.status {
            case MARTLET_OK: right()
            case MARTLET_E_UNSUPPORTED:
                parameters.findSecret(.ntHash, of: user, deadline: reply.deadline) { known in
                    guard let hash = known.secret, hash.count == 16 else { return reply.fail(answer) }
                    let given = NTHash.of(password)
                    guard constantTimeEqual(hash.pointer, given.pointer, 16) else { return reply.fail(MARTLET_E_REJECTED, "gave a wrong password") }
                    right()
                }
            default: reply.fail(answer)
            }
        }
    }
}
