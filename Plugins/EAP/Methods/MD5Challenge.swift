// MD5-Challenge: a digest over identifier, password and challenge. No key. RFC 3748 section 5.4, RFC 1994 section 4.1.

import PluginABI
import PluginKit

package final class MD5Challenge: EAPConversation, @unchecked Sendable {
    package static nonisolated(unsafe) let method = EAPMethod.table("eap-md5", type: 4, flags: [MARTLET_EAP_AS_SERVER, MARTLET_EAP_AS_CLIENT, MARTLET_EAP_PASSWORDS]) { parameters, out in
        EAPMethod.begin(out, MD5Challenge(EAPParameters(parameters)))
    }
    private var challenge: [UInt8] = []

    package override func step(_ message: [UInt8]?, identifier: UInt8, _ reply: EAPReply) {
        guard let message else {
            guard let random = Digest.random(16) else { return reply.fail(MARTLET_E_FAILED, "cannot be asked: no random bytes") }
            challenge = random
            return reply.send([16] + challenge)
        }
        // Value-Size, Value, Name.
        guard let size = message.first.map(Int.init), size > 0, message.count > size, message.count <= size + 257 else {
            return reply.misbehaved("sent an MD5-Challenge that is cut short or has a name of more than 256 octets")
        }
        let value = Array(message[1...size])
        parameters.findSecret(.password, of: parameters.identity, deadline: reply.deadline) { [self] answer in
            guard let password = answer.secret else { return reply.fail(answer) }
            guard let expected = Digest.md5([[identifier]], password, [parameters.isServer ? challenge : value]) else { return reply.fail(MARTLET_E_FAILED, "cannot be checked: there is no MD5 here") }
            guard parameters.isServer else { return reply.succeed([16] + expected + parameters.identity) }
            guard size == 16, constantTimeEqual(value, expected, 16) else { return reply.fail(MARTLET_E_REJECTED, "gave a wrong password") }
            reply.succeed()
        }
    }
}
