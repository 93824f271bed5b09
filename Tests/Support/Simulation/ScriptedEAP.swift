// A method of EAP that tests can foresee: some rounds of nonsense, then a challenge and its answer made with a shared secret, with a key or without.

import IKECore
import IKECrypto
import IKEWire
import Synchronization

package final class ScriptedEAP: EAPConversation, @unchecked Sendable {
    package static let withKey = EAPMethod(name: "eap-test", type: 200, givesKey: true, isMutual: true)
    package static let plain = EAPMethod(name: "eap-plain", type: 201, givesKey: false)
    package static let methods = [withKey, plain]

    /// Rounds before the challenge. 0 at the end.
    private var rounds: Int
    private let challenge: [UInt8]
    private let secret: [UInt8]
    /// What a directory calls users, by what they call themselves.
    package static let accounts = Mutex<[String: String]>([:])
    package let account: [UInt8]?

    private init(rounds: Int, challenge: [UInt8], secret: [UInt8], identity: [UInt8] = []) {
        account = Self.accounts.withLock { $0[String(decoding: identity, as: UTF8.self)] }.map { Array($0.utf8) }
        self.rounds = rounds
        self.challenge = challenge
        self.secret = secret
    }

    /// The answer to a challenge; the sum is no cryptography, and tells secrets apart.
    package static func answer(_ challenge: [UInt8], _ secret: [UInt8], _ label: UInt8 = 0) -> [UInt8] {
        var state: UInt64 = 0xcbf2_9ce4_8422_2325 ^ UInt64(label)
        return (challenge + secret + [label]).map { byte in
            state = (state ^ UInt64(byte)) &* 0x100_0000_01b3
            return UInt8(truncatingIfNeeded: state >> 32)
        }
    }

    package static func key(_ challenge: [UInt8], _ secret: [UInt8]) -> SecretBox {
        let bytes = (1...8).flatMap { answer(challenge, secret, $0).suffix(8) }
        return SecretBox(SecretBytes(copying: bytes.span))
    }

    /// What the job comes to. `secrets` by the client's identity; `rounds` of the server.
    package static func run(_ step: EAPStep, secrets: [[UInt8]: [UInt8]], rounds: Int = 1, random: UInt64 = 4711) -> JobResult {
        let gives = step.method.givesKey
        guard let secret = secrets[step.identity] else { return .eap(ScriptedEAP(rounds: 0, challenge: [], secret: []), .failed(EAPRefusal(.unknownUser, "is nobody that is known here"))) }
        if step.isServer {
            guard let conversation = step.conversation as? ScriptedEAP, let message = step.message else {
                let challenge = (0..<8).map { UInt8(truncatingIfNeeded: random >> (8 * $0)) }
                let new = ScriptedEAP(rounds: rounds, challenge: challenge, secret: secret, identity: step.identity)
                return .eap(new, .message(rounds > 0 ? [0, UInt8(truncatingIfNeeded: rounds)] : [1] + challenge))
            }
            if conversation.rounds > 0 {
                guard message == [0, UInt8(truncatingIfNeeded: conversation.rounds)] else { return .eap(conversation, .failed(EAPRefusal(.misbehaved, "sent no round"))) }
                conversation.rounds -= 1
                return .eap(conversation, .message(conversation.rounds > 0 ? [0, UInt8(truncatingIfNeeded: conversation.rounds)] : [1] + conversation.challenge))
            }
            guard message == answer(conversation.challenge, conversation.secret) else { return .eap(conversation, .failed(EAPRefusal(.wrong, "gave a wrong answer"))) }
            return .eap(conversation, .succeeded(nil, gives ? key(conversation.challenge, conversation.secret) : nil))
        }
        let conversation = step.conversation as? ScriptedEAP ?? ScriptedEAP(rounds: 0, challenge: [], secret: secret)
        guard let message = step.message, let kind = message.first else { return .eap(conversation, .failed(EAPRefusal(.misbehaved, "sent nothing"))) }
        if kind == 0 { return .eap(conversation, .message(message)) }
        let challenge = Array(message.dropFirst())
        return .eap(conversation, .succeeded(answer(challenge, secret), gives ? key(challenge, secret) : nil))
    }
}
