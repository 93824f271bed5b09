// The EAP layer of the end that is asked: its identity, one method that it takes, and an end that it believes only when the method is content.
// RFC 3748 sections 2, 4 and 5.

import IKECrypto

package struct EAPPeer {
    package enum Move {
        case send(EAPPacket)
        /// The same, with what the server wants people to read.
        case sendAfterNotice(EAPPacket, String)
        case run(EAPMethod, (any EAPConversation)?, identifier: UInt8, [UInt8])
        /// Both ends are content: the key, where the method gives one.
        case succeed(EAPMethod, SecretBox?)
        case fail(EAPRefusal)
    }

    /// How the method stands with us.
    private enum Phase {
        case none
        case talking(EAPMethod, any EAPConversation)
        case content(EAPMethod, any EAPConversation, SecretBox?)
        /// The server has refused us in words of the method, and hears that we have understood.
        case refused(EAPRefusal)
        /// A job of it runs.
        case busy(EAPMethod, (any EAPConversation)?)
    }
    private var phase = Phase.none
    private let identity: [UInt8]
    private let methods: [EAPMethod]
    /// Of the request that was answered last.
    private var identifier: UInt8?

    package init(identity: [UInt8], methods: [EAPMethod]) {
        self.identity = identity
        self.methods = methods
    }

    package mutating func received(_ bytes: [UInt8]) -> Move {
        guard let packet = EAPPacket(bytes) else { return .fail(.misbehaved("sent an EAP payload that is no EAP packet")) }
        switch packet.code {
        case .response: return .fail(.misbehaved("sent an EAP response, and is the one that asks"))
        case .failure:
            if case .refused(let refusal) = phase { return .fail(refusal) }
            return .fail(EAPRefusal(.byPeer, "refused us: EAP-Failure"))
        case .success:
            //= RFC 3748 §4.2: a Success before the method is done is no success.
            guard case .content(let method, _, let key) = phase else { return .fail(.misbehaved("claims that EAP has succeeded before its method was done")) }
            //= RFC 3748 §4.2: it has the identifier of the response that it follows.
            guard packet.identifier == identifier else { return .fail(.misbehaved("ends EAP with an identifier that is not that of our last response")) }
            return .succeed(method, key)
        case .request: return asked(packet)
        }
    }

    private mutating func asked(_ packet: EAPPacket) -> Move {
        identifier = packet.identifier
        switch packet.type {
        case EAPPacket.identity:
            guard case .none = phase else { return .fail(.misbehaved("asks for our EAP identity in the middle of a method")) }
            return .send(EAPPacket(.response, packet.identifier, type: EAPPacket.identity, data: identity))
        case EAPPacket.notification:
            //= RFC 3748 §5.2: a Notification is answered, and its text is for people.
            let text = String(decoding: packet.data.prefix(512).map { $0 < 0x20 || $0 == 0x7f ? UInt8(ascii: " ") : $0 }, as: UTF8.self)
            return .sendAfterNotice(EAPPacket(.response, packet.identifier, type: EAPPacket.notification), text)
        case EAPPacket.nak: return .fail(.misbehaved("sent a Nak as a request"))
        default: break
        }
        switch phase {
        case .none:
            guard let method = methods.first(where: { $0.type == packet.type }) else {
                //= RFC 3748 §5.3.1: a Nak with the types that we would take, or zero.
                let wanted = methods.map(\.type)
                return .send(EAPPacket(.response, packet.identifier, type: EAPPacket.nak, data: wanted.isEmpty ? [0] : wanted))
            }
            phase = .busy(method, nil)
            return .run(method, nil, identifier: packet.identifier, packet.data)
        case .talking(let method, let conversation), .content(let method, let conversation, _):
            //= RFC 3748 §2.1: one method in a conversation.
            guard packet.type == method.type else { return .fail(.misbehaved("changes from \(method.name) to the EAP type \(packet.type)")) }
            phase = .busy(method, conversation)
            return .run(method, conversation, identifier: packet.identifier, packet.data)
        case .refused(let refusal): return .fail(refusal)
        case .busy: return .fail(.misbehaved("sent an EAP request out of turn"))
        }
    }

    package mutating func finished(_ conversation: any EAPConversation, _ outcome: EAPOutcome) -> Move {
        guard case .busy(let method, _) = phase, let identifier else { return .fail(.misbehaved("sent an EAP request out of turn")) }
        switch outcome {
        case .message(let data):
            phase = .talking(method, conversation)
            return .send(EAPPacket(.response, identifier, type: method.type, data: data))
        case .succeeded(let data?, let key) where key != nil || !method.givesKey:
            phase = .content(method, conversation, key)
            return .send(EAPPacket(.response, identifier, type: method.type, data: data))
        case .refused(let data, let refusal):
            phase = .refused(refusal.kind == .wrong ? EAPRefusal(.byPeer, refusal.reason) : refusal)
            return .send(EAPPacket(.response, identifier, type: method.type, data: data))
        case .succeeded: return .fail(EAPRefusal(.unavailable, "was not answered: the plugin of \(method.name) breaks the contract"))
        case .failed(let refusal): return .fail(refusal)
        }
    }
}
