// EAP-MSCHAPv2: challenges of both ends, answered with the NT hash of the password, and a key from it.
// draft-kamath-pppext-eap-mschapv2-02; RFC 2759 (the calculations), RFC 3079 section 3 (the key).

import PluginABI
import PluginKit

package final class MSCHAPv2: EAPConversation, @unchecked Sendable {
    package static nonisolated(unsafe) let method = EAPMethod.table("eap-mschapv2", type: 26, flags: [MARTLET_EAP_AS_SERVER, MARTLET_EAP_AS_CLIENT, MARTLET_EAP_GIVES_KEY, MARTLET_EAP_PASSWORDS]) {
        parameters, out in
        EAPMethod.begin(out, MSCHAPv2(EAPParameters(parameters)))
    }

    private enum Code: UInt8 { case challenge = 1, response, success, failure }
    private enum Phase {
        case beginning
        /// The challenge is out.
        case challenged([UInt8])
        /// As the client: what the server must answer. As the server: it is out.
        case answered(expected: [UInt8], key: SecretMemory)
        case over
    }
    private var phase = Phase.beginning
    private var identifier: UInt8 = 0

    package override func step(_ message: [UInt8]?, identifier: UInt8, _ reply: EAPReply) {
        guard let message else {
            guard let challenge = Digest.random(16), let number = Digest.random(1)?.first else { return reply.fail(MARTLET_E_FAILED, "cannot be asked: no random bytes") }
            self.identifier = number
            phase = .challenged(challenge)
            return reply.send(packet(.challenge, [16] + challenge + Array("martlet".utf8)))
        }
        if parameters.isServer { serve(message, reply) } else { answer(message, reply) }
    }

    // MARK: Server

    private func serve(_ message: [UInt8], _ reply: EAPReply) {
        switch phase {
        case .challenged(let challenge):
            // What it has of a Response: OpCode, ID, length, 49, peer challenge, eight zeros, NT-Response, flags, name.
            guard message.first == Code.response.rawValue, let body = body(message), body.first == 49, body.count >= 50 else {
                return reply.misbehaved("sent an MSCHAPv2 response that is cut short or none")
            }
            let peer = Array(body[1...16]), given = Array(body[25...48]), name = Array(body[50...])
            guard name.count <= 256 else { return reply.misbehaved("sent an MSCHAPv2 response with a name of \(name.count) octets") }
            hash(reply) { [self] hash in
                guard let proof = MSCHAPProof(hash, authenticator: challenge, peer: peer, name: name) else { return reply.fail(MARTLET_E_FAILED, "cannot be checked: there is no SHA-1 or DES here") }
                guard constantTimeEqual(proof.response, given, 24) else {
                    return refuse(reply, MARTLET_E_REJECTED, "gave a wrong password")
                }
                phase = .answered(expected: [], key: proof.key)
                reply.send(packet(.success, Array("S=\(hexadecimal(proof.authenticator)) M=Welcome".utf8)))
            }
        case .answered(_, let key):
            guard message == [Code.success.rawValue] else { return reply.misbehaved("does not confirm the end of MSCHAPv2") }
            phase = .over
            reply.succeed(key: key)
        case .beginning, .over: reply.misbehaved("goes on with MSCHAPv2 after its end")
        }
    }

    /// The same for whatever reason: a peer must not learn which users there are.
    private func refuse(_ reply: EAPReply, _ status: martlet_status, _ reason: String) {
        phase = .over
        let text = "E=691 R=0 C=" + hexadecimal(Digest.random(16) ?? [UInt8](repeating: 0, count: 16)) + " V=3 M=Access denied"
        reply.refuse(packet(.failure, Array(text.utf8)), status, reason)
    }

    // MARK: Client

    private func answer(_ message: [UInt8], _ reply: EAPReply) {
        switch (message.first.flatMap(Code.init(rawValue:)), phase) {
        case (.challenge, .beginning):
            guard let body = body(message), body.first == 16, body.count >= 17 else { return reply.misbehaved("sent an MSCHAPv2 challenge that is cut short") }
            identifier = message[1]
            let challenge = Array(body[1...16])
            hash(reply) { [self] hash in
                guard let peer = Digest.random(16), let proof = MSCHAPProof(hash, authenticator: challenge, peer: peer, name: parameters.identity) else {
                    return reply.fail(MARTLET_E_FAILED, "cannot be answered: there is no SHA-1, DES or random byte here")
                }
                phase = .answered(expected: proof.authenticator, key: proof.key)
                reply.send(packet(.response, [49] + peer + [UInt8](repeating: 0, count: 8) + proof.response + [0] + parameters.identity))
            }
        case (.success, .answered(let expected, let key)):
            guard let body = body(message), body.starts(with: Array("S=".utf8)), body.count >= 42, let given = octets(Array(body[2..<42])), constantTimeEqual(given, expected, 20) else {
                return reply.fail(MARTLET_E_REJECTED, "does not know our password: its answer to our challenge is wrong")
            }
            phase = .over
            reply.succeed([Code.success.rawValue], key: key)
        case (.failure, .answered):
            phase = .over
            let text = String(decoding: (body(message) ?? []).prefix(200), as: UTF8.self)
            reply.refuse([Code.failure.rawValue], MARTLET_E_REJECTED, "refused us: " + Self.meaning(of: text))
        case (_, .beginning), (_, .challenged), (_, .answered), (_, .over): reply.misbehaved("sent an MSCHAPv2 message out of turn")
        }
    }

    /// RFC 2759 section 6.
    private static func meaning(of text: String) -> String {
        let number = text.split(separator: " ").first { $0.hasPrefix("E=") }?.dropFirst(2) ?? ""
        return switch number {
        case "646": "the account may not log in at this time (E=646)"
        case "647": "the account is disabled (E=647)"
        case "648": "the password has expired (E=648)"
        case "649": "the account may not dial in (E=649)"
        case "691": "wrong user or password (E=691)"
        default: "MSCHAPv2 says \(text)"
        }
    }

    // MARK: Both

    private func hash(_ reply: EAPReply, _ then: @escaping @Sendable (SecretMemory) -> Void) {
        Self.hash(parameters, deadline: reply.deadline, then) { [self] answer in
            guard parameters.isServer else { return reply.fail(answer) }
            let isOfUser = answer.status == MARTLET_E_REJECTED || answer.status == MARTLET_E_NOT_FOUND
            refuse(reply, isOfUser ? answer.status : MARTLET_E_FAILED, answer.reason.isEmpty ? "cannot be looked up" : answer.reason)
        }
    }

    /// The NT hash of the user, or made of the password.
    static func hash(
        _ parameters: EAPParameters, deadline: UInt64, _ then: @escaping @Sendable (SecretMemory) -> Void, _ fail: @escaping @Sendable (EAPParameters.Answer) -> Void
    ) {
        parameters.findSecret(.ntHash, of: parameters.identity, deadline: deadline) { answer in
            if let hash = answer.secret, hash.count == 16 { return then(hash) }
            guard answer.status == MARTLET_E_UNSUPPORTED else { return fail(answer) }
            parameters.findSecret(.password, of: parameters.identity, deadline: deadline) { other in
                guard let password = other.secret else { return fail(other.status == MARTLET_E_UNSUPPORTED ? answer : other) }
                then(NTHash.of(password))
            }
        }
    }

    private func packet(_ code: Code, _ body: [UInt8]) -> [UInt8] {
        let count = UInt16(clamping: body.count + 4)
        return [code.rawValue, identifier, UInt8(count >> 8), UInt8(count & 0xff)] + body
    }

    /// What follows OpCode, identifier and length, where the length is right.
    private func body(_ message: [UInt8]) -> [UInt8]? {
        guard message.count >= 4, Int(message[2]) << 8 | Int(message[3]) == message.count else { return nil }
        return Array(message.dropFirst(4))
    }

    private func hexadecimal(_ bytes: [UInt8]) -> String { Self.hexadecimal(bytes) }

    static func hexadecimal(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789ABCDEF")
        return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }

    private func octets(_ text: [UInt8]) -> [UInt8]? {
        let digits = text.map { byte -> UInt8? in
            switch byte {
            case 0x30...0x39: byte - 0x30
            case 0x41...0x46, 0x61...0x66: (byte | 0x20) - 0x61 + 10
            default: nil
            }
        }
        guard digits.count % 2 == 0, !digits.contains(nil) else { return nil }
        let values = digits.compactMap { $0 }
        return stride(from: 0, to: values.count, by: 2).map { values[$0] << 4 | values[$0 + 1] }
    }
}

/// What both ends compute from the NT hash and the two challenges. RFC 2759 section 8, RFC 3079 section 3.
package struct MSCHAPProof {
    /// The NT-Response: 24 octets.
    package let response: [UInt8]
    /// The Authenticator Response: 20 octets.
    package let authenticator: [UInt8]
    /// The MSK: two keys of 16 octets, and zeros.
    package let key: SecretMemory

    /// `name`: as it stands in the response; a Windows domain before it does not count.
    package init?(_ hash: SecretMemory, authenticator challenge: [UInt8], peer: [UInt8], name: [UInt8]) {
        let user = name.lastIndex(of: UInt8(ascii: "\\")).map { Array(name[($0 + 1)...]) } ?? name
        guard hash.count == 16, let hashed = Digest.sha1([peer, challenge, user]) else { return nil }
        let short = Array(hashed.prefix(8))
        let wide = SecretMemory(count: 21)
        wide.pointer.update(from: hash.pointer, count: 16)
        var response: [UInt8] = []
        for part in 0..<3 {
            guard let block = Digest.des(key: UnsafeBufferPointer(start: wide.pointer + 7 * part, count: 7), short) else { return nil }
            response += block
        }
        self.response = response
        let twice = withExtendedLifetime(hash) { MD4.digest(hash.bytes) }
        let magic1 = Array("Magic server to client signing constant".utf8), magic2 = Array("Pad to make it do more than one iteration".utf8)
        guard let inner = Digest.sha1(twice, [response, magic1]), let answer = Digest.sha1([inner, short, magic2]),
            var master = Digest.sha1(twice, [response, Array("This is the MPPE Master Key".utf8)])
        else { return nil }
        authenticator = answer
        let start = SecretMemory(count: 16)
        for index in 0..<16 { start.pointer[index] = master[index] }
        wipe(&master, master.count)
        key = SecretMemory(count: 64)
        let zeros = [UInt8](repeating: 0, count: 40), padding = [UInt8](repeating: 0xf2, count: 40)
        let sides = ["On the client side, this is the send key; on the server side, it is the receive key.", "On the client side, this is the receive key; on the server side, it is the send key."]
        for (index, side) in sides.enumerated() {
            guard var part = Digest.sha1(start, [zeros, Array(side.utf8), padding]) else { return nil }
            for offset in 0..<16 { key.pointer[index * 16 + offset] = part[offset] }
            wipe(&part, part.count)
        }
    }
}
