// How the bytes of a fuzzer become a conversation of EAP with the core's layer, as the server and as the client, with the scripted methods.

import IKECore
import IKEWire

/// An input: the role and what to begin with; then packets, each with a flag and its length before it. The flags set right what a guess would miss: the identifier, the length, the code, and
/// where the method has made something of it, the answer that it wants. The secret of the client is in no input.
package enum FuzzedEAP {
    private static let secret: [UInt8] = { (0..<16).map { _ in UInt8.random(in: 0...255) } }()
    private static let name = Array("carol".utf8)
    private static let rounds = 2

    package static func exchange(_ bytes: [UInt8]) {
        guard let flags = bytes.first else { return }
        if flags & 1 == 0 { serve(flags, bytes.dropFirst()) } else { answer(flags, bytes.dropFirst()) }
    }

    private struct Packets {
        var rest: ArraySlice<UInt8>

        /// The next one, with the code and the identifier that it should have.
        mutating func next(_ code: UInt8, _ identifier: UInt8) -> [UInt8]? {
            guard let flags = rest.popFirst(), let size = rest.popFirst() else { return nil }
            var packet = Array(rest.prefix(Int(size)))
            rest = rest.dropFirst(packet.count)
            if flags & 1 != 0, packet.count >= 1 { packet[0] = code }
            if flags & 2 != 0, packet.count >= 2 { packet[1] = identifier }
            if flags & 4 != 0, packet.count >= 4 { (packet[2], packet[3]) = (0, UInt8(truncatingIfNeeded: packet.count)) }
            return packet
        }
    }

    private static func step(_ method: EAPMethod, _ isServer: Bool, _ identity: [UInt8], _ conversation: (any EAPConversation)?, _ identifier: UInt8, _ message: [UInt8]?) -> EAPStep {
        let nobody = Identification(kind: .fqdn, data: name)
        return EAPStep(
            method: method, isServer: isServer, connection: "fuzz", identity: identity, local: nobody, remote: nobody, conversation: conversation, identifier: identifier, message: message)
    }

    private static func run(_ step: EAPStep) -> (any EAPConversation, EAPOutcome) {
        guard case .eap(let conversation, let outcome) = ScriptedEAP.run(step, secrets: [name: secret], rounds: rounds) else { fatalError("a scripted method is no method") }
        return (conversation, outcome)
    }

    /// The end that asks: whoever does not know the secret is not let in, each request is another, and after the end there is none.
    private static func serve(_ flags: UInt8, _ bytes: ArraySlice<UInt8>) {
        var layer = EAPAuthenticator(identifier: flags), packets = Packets(rest: bytes), identity = name, last: UInt8?
        let methods = flags & 2 == 0 ? ScriptedEAP.methods : Array(ScriptedEAP.methods.reversed())
        var move = flags & 4 == 0 ? layer.askIdentity() : layer.begin(methods)
        for _ in 0..<256 {
            switch move {
            case .send(let packet), .sendRefusal(let packet, _):
                precondition(packet.code == .request && packet.identifier != last && EAPPacket(packet.bytes) == packet)
                last = packet.identifier
                guard let next = packets.next(2, packet.identifier) else { return }
                move = layer.received(next)
            case .identified(let named):
                precondition((1...253).contains(named.count) && !named.contains(0))
                identity = named
                move = layer.begin(methods)
            case .run(let method, let conversation, let identifier, let message):
                precondition(methods.contains(method) && layer.method == method)
                let (made, outcome) = run(step(method, true, identity, conversation, identifier, message))
                move = layer.finished(made, outcome, isFirst: conversation == nil)
            case .succeed: fatalError("somebody was let in")
            case .fail(let packet, _):
                precondition(packet.code == .failure && EAPPacket(packet.bytes) == packet)
                // What comes after the end is refused once more.
                guard let next = packets.next(2, packet.identifier) else { return }
                guard case .fail = layer.received(next) else { fatalError("EAP goes on after its end") }
                return
            }
        }
    }

    /// The end that is asked: content only when its method is, and by a Success that follows.
    private static func answer(_ flags: UInt8, _ bytes: ArraySlice<UInt8>) {
        let methods = flags & 2 == 0 ? ScriptedEAP.methods : [ScriptedEAP.plain]
        var layer = EAPPeer(identity: name, methods: methods), packets = Packets(rest: bytes), identifier: UInt8 = flags, isContent = false
        while let packet = packets.next(1, identifier) {
            var move = layer.received(packet)
            if case .run(let method, let conversation, let number, let message) = move {
                precondition(methods.contains(method))
                let (made, outcome) = run(step(method, false, name, conversation, number, message))
                if case .succeeded = outcome { isContent = true } else { isContent = false }
                move = layer.finished(made, outcome)
            }
            switch move {
            case .send(let answer), .sendAfterNotice(let answer, _):
                precondition(answer.code == .response && answer.identifier == packet[1] && EAPPacket(answer.bytes) == answer)
                if answer.type == EAPPacket.nak { precondition(answer.data == methods.map(\.type)) }
                identifier = answer.identifier
            case .succeed(let method, let key):
                precondition(isContent && packet == [3, identifier, 0, 4] && (key != nil) == method.givesKey, "the client was content too early")
                return
            case .fail: return
            case .run: fatalError("a method is asked twice")
            }
        }
    }
}
