// The EAP layer of the end that asks: one request at a time, each with an identifier of its own; an identity, then a method.
// RFC 3748 sections 2, 4 and 5. Retransmission is IKE's.

import IKECrypto

package struct EAPAuthenticator {
    package enum Move {
        case send(EAPPacket)
        /// The last request: the peer has failed, and it says so.
        case sendRefusal(EAPPacket, EAPRefusal)
        /// The peer has named itself: `begin` goes on with the methods for it.
        case identified([UInt8])
        /// The next message for the method.
        case run(EAPMethod, (any EAPConversation)?, identifier: UInt8, [UInt8]?)
        case succeed(EAPPacket, SecretBox?)
        case fail(EAPPacket, EAPRefusal)
    }

    private enum Phase {
        case identity
        /// The method was offered: it, or the last message of its, is out.
        case method(any EAPConversation, isFirst: Bool)
        case refused(EAPRefusal)
        /// A job of the method runs, of a conversation that has begun or not; or nothing has begun.
        case busy((any EAPConversation)?)
    }
    private var phase = Phase.busy(nil)
    /// Of the request that is out, or was last.
    private var identifier: UInt8
    private var current: EAPMethod?
    /// The one that is spoken, or was last.
    package var method: EAPMethod? { current }
    /// Methods that were not offered yet, the preferred one first.
    private var remaining: [EAPMethod] = []
    private static let identityByteCount = 1...253

    /// `identifier`: where to begin to count. Random, so that a response made beforehand does not fit.
    package init(identifier: UInt8) { self.identifier = identifier }

    /// Asks for the identity.
    package mutating func askIdentity() -> Move {
        phase = .identity
        return .send(EAPPacket(.request, identifier, type: EAPPacket.identity))
    }

    /// Begins with the first of `methods`; the others are for a peer that does not take it.
    package mutating func begin(_ methods: [EAPMethod]) -> Move {
        remaining = methods
        return next(EAPRefusal(.noMethod, "has no method of EAP that a loaded plugin does as the server"))
    }

    private mutating func next(_ refusal: @autoclosure () -> EAPRefusal) -> Move {
        guard let method = remaining.first else { return fail(refusal()) }
        remaining.removeFirst()
        current = method
        phase = .busy(nil)
        return .run(method, nil, identifier: identifier &+ 1, nil)
    }

    /// What comes of an answer of the peer.
    package mutating func received(_ bytes: [UInt8]) -> Move {
        guard let packet = EAPPacket(bytes) else { return fail(.misbehaved("sent an EAP payload that is no EAP packet")) }
        guard packet.code == .response else { return fail(.misbehaved("sent an EAP packet of the code \(packet.code.rawValue) where a response is due")) }
        //= RFC 3748 §4.1: the identifier of a response is that of the request that it answers.
        guard packet.identifier == identifier else { return fail(.misbehaved("answered another EAP request than the one that is out: identifier \(packet.identifier), not \(identifier)")) }
        switch phase {
        case .identity:
            guard packet.type == EAPPacket.identity else { return fail(.misbehaved("was asked for its EAP identity and answered with the type \(packet.type)")) }
            //= RFC 3748 §5.1: an identity is not ended by a zero octet.
            guard Self.identityByteCount.contains(packet.data.count), !packet.data.contains(0) else { return fail(.misbehaved("named no usable EAP identity")) }
            phase = .busy(nil)
            return .identified(packet.data)
        case .method(let conversation, let isFirst):
            guard let current else { return fail(.misbehaved("sent an EAP response out of turn")) }
            if packet.type == EAPPacket.nak || packet.type == EAPPacket.expanded, isFirst { return refusedMethod(packet) }
            guard packet.type == current.type else { return fail(.misbehaved("answered \(current.name) with the EAP type \(packet.type)")) }
            phase = .busy(conversation)
            return .run(current, conversation, identifier: packet.identifier, packet.data)
        // Whatever it says to that.
        case .refused(let refusal): return fail(refusal)
        case .busy: return fail(.misbehaved("sent an EAP response out of turn"))
        }
    }

    //= RFC 3748 §5.3.1: a Nak names the types that the peer would take, or zero for none.
    private mutating func refusedMethod(_ nak: EAPPacket) -> Move {
        // An expanded Nak (RFC 3748 section 5.3.2) speaks of types that no method here has.
        let wanted = nak.type == EAPPacket.nak ? nak.data.filter { $0 != 0 } : []
        let offered = current?.name ?? "EAP"
        remaining = remaining.filter { wanted.contains($0.type) }
        let names = wanted.prefix(8).map(EAPPacket.name(of:)).joined(separator: ", ")
        return next(EAPRefusal(.noMethod, "does not take \(offered)" + (wanted.isEmpty ? ", and names no other method of EAP" : ": it wants \(names)")))
    }

    /// What comes of the method's job.
    package mutating func finished(_ conversation: any EAPConversation, _ outcome: EAPOutcome, isFirst: Bool) -> Move {
        switch outcome {
        case .message(let data):
            phase = .method(conversation, isFirst: isFirst)
            return .send(ask(data))
        case .refused(let data, let refusal):
            phase = .refused(refusal)
            return .sendRefusal(ask(data), refusal)
        case .succeeded(_, let key):
            guard key != nil || current?.givesKey == false else { return fail(EAPRefusal(.unavailable, "has succeeded without a key: the plugin of \(current?.name ?? "EAP") breaks the contract")) }
            phase = .busy(nil)
            //= RFC 3748 §4.2: a Success has the identifier of the response that it follows.
            return .succeed(EAPPacket(.success, identifier), key)
        case .failed(let refusal): return fail(refusal)
        }
    }

    private mutating func ask(_ data: [UInt8]) -> EAPPacket {
        //= RFC 3748 §4.1: each new request has another identifier.
        identifier &+= 1
        return EAPPacket(.request, identifier, type: current?.type ?? 0, data: data)
    }

    mutating func fail(_ refusal: EAPRefusal) -> Move {
        phase = .busy(nil)
        return .fail(EAPPacket(.failure, identifier), refusal)
    }
}
