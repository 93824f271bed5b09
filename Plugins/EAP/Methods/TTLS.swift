// EAP-TTLS: a server with a certificate, and inside a password, as it is (PAP), by MSCHAPv2, or by a method of EAP. RFC 5281.

import PluginABI
import PluginKit

package final class TTLS: TLSConversation, @unchecked Sendable {
    package static nonisolated(unsafe) let method = EAPMethod.table(
        "eap-ttls", type: type,
        flags: [
            MARTLET_EAP_AS_SERVER, MARTLET_EAP_AS_CLIENT, MARTLET_EAP_GIVES_KEY, MARTLET_EAP_MUTUAL, MARTLET_EAP_SERVER_CERTIFICATE, MARTLET_EAP_PASSWORDS,
        ]
    ) { parameters, out in EAPMethod.begin(out, TTLS(EAPParameters(parameters))) }
    private static let type: UInt8 = 21

    private enum Phase {
        case handshake
        /// As the client: MSCHAPv2 is out, and this must come back.
        case challenged([UInt8])
        /// As the server: the proof of MSCHAPv2 is out.
        case answered
        /// A method of EAP inside; as the server with the identifier of the packet that is out.
        case eap(InnerEAP, identifier: UInt8)
        case over
    }
    private var phase = Phase.handshake

    override func makeSession() throws(TLSSession.Failure) -> TLSSession { try Tunnel.session(parameters) }

    private func success(_ session: TLSSession, _ last: [UInt8] = []) throws(TLSSession.Failure) -> TLSNext {
        phase = .over
        return .succeed(try session.key(type: Self.type, label: "ttls keying material"), last)
    }

    override func advanced(_ session: TLSSession, isDone: Bool, _ reply: EAPReply) throws(TLSSession.Failure) -> TLSNext {
        guard isDone, !parameters.isServer else { return .send(session.takeOutput()) }
        // A server may begin with EAP right behind the handshake.
        var inside = try session.read([])
        defer { wipe(&inside, inside.count) }
        return inside.isEmpty ? authenticate(session, reply) : try answer(inside, session, reply)
    }

    override func received(_ bytes: [UInt8], _ session: TLSSession, _ reply: EAPReply) throws(TLSSession.Failure) -> TLSNext {
        if parameters.isServer, case .answered = phase {
            //= RFC 5281 §11.2.4: the client acknowledges the proof of MSCHAPv2 with a message that has no data.
            guard bytes.isEmpty else { throw TLSSession.Failure(MARTLET_E_INVALID, "goes on after the end of MSCHAPv2") }
            return try success(session)
        }
        if case .over = phase { throw TLSSession.Failure(MARTLET_E_INVALID, "goes on with TTLS after its end") }
        var inside = try session.read(bytes)
        defer { wipe(&inside, inside.count) }
        return parameters.isServer ? try serve(inside, session, reply) : try answer(inside, session, reply)
    }

    // MARK: Server

    private func serve(_ inside: [UInt8], _ session: TLSSession, _ reply: EAPReply) throws(TLSSession.Failure) -> TLSNext {
        guard var pairs = AVP.parse(inside), !pairs.isEmpty else { throw TLSSession.Failure(MARTLET_E_INVALID, "sent attributes inside TLS that are cut short, or that are not known and must be") }
        // A password may be in them.
        defer { for index in pairs.indices { wipe(&pairs[index].data, pairs[index].data.count) } }
        if let packet = pairs.eap { return try serveEAP(packet, session, reply) }
        guard case .handshake = phase else { throw TLSSession.Failure(MARTLET_E_INVALID, "leaves EAP inside TLS in the middle") }
        guard let user = pairs.first(0, AVP.Code.userName) else { throw TLSSession.Failure(MARTLET_E_INVALID, "names no user inside TLS") }
        try Tunnel.checkUser(user, parameters)
        if let index = pairs.firstIndex(where: { $0.vendor == 0 && $0.code == AVP.Code.userPassword }) {
            //= RFC 5281 §11.2.5: padded with zeros.
            let count = pairs[index].data.lastIndex { $0 != 0 }.map { $0 + 1 } ?? 0
            guard (1...1024).contains(count) else { throw TLSSession.Failure(MARTLET_E_REJECTED, count == 0 ? "gave an empty password" : "gave a password of \(count) octets") }
            let password = pairs[index].data.withUnsafeBufferPointer { SecretMemory(UnsafeBufferPointer(rebasing: $0[..<count])) }
            PasswordCheck.run(parameters, password, of: parameters.identity, reply) { [self] in finish(reply) { () throws(TLSSession.Failure) in try success(session) } }
            return .later
        }
        guard let challenge = pairs.first(AVP.microsoft, AVP.Code.challenge), let response = pairs.first(AVP.microsoft, AVP.Code.response), challenge.count == 16, response.count == 50 else {
            throw TLSSession.Failure(MARTLET_E_INVALID, "gives neither a password nor MSCHAPv2 nor EAP inside TLS")
        }
        //= RFC 5281 §11.2.4: challenge and identifier are those that both ends derive from TLS.
        guard let expected = session.export("ttls challenge", context: nil, count: 17), constantTimeEqual(challenge, expected.octets, 16), response[0] == expected.pointer[16] else {
            throw TLSSession.Failure(MARTLET_E_REJECTED, "answers another challenge than that of this TLS connection")
        }
        MSCHAPv2.hash(
            parameters, deadline: reply.deadline,
            { [self] hash in
                finish(reply) { () throws(TLSSession.Failure) in
                    guard let proof = MSCHAPProof(hash, authenticator: challenge, peer: Array(response[2..<18]), name: user) else {
                        throw TLSSession.Failure(MARTLET_E_FAILED, "cannot be checked: there is no SHA-1 or DES here")
                    }
                    guard constantTimeEqual(proof.response, Array(response[26..<50]), 24) else { throw TLSSession.Failure(MARTLET_E_REJECTED, "gave a wrong password") }
                    phase = .answered
                    try session.write(AVP(vendor: AVP.microsoft, code: AVP.Code.success, data: [response[0]] + Array("S=\(MSCHAPv2.hexadecimal(proof.authenticator))".utf8)).bytes)
                    return .send(session.takeOutput())
                }
            }, { answer in reply.fail(answer) })
        return .later
    }

    private func serveEAP(_ packet: [UInt8], _ session: TLSSession, _ reply: EAPReply) throws(TLSSession.Failure) -> TLSNext {
        guard let (identifier, type, data) = Self.opened(packet, code: 2) else { throw TLSSession.Failure(MARTLET_E_INVALID, "sent something inside TLS that is no response of EAP") }
        switch phase {
        case .handshake:
            guard type == InnerType.identity else { throw TLSSession.Failure(MARTLET_E_INVALID, "does not begin EAP inside TLS with its identity") }
            try Tunnel.checkUser(data, parameters)
            let inner = InnerEAP(parameters, Settings.innerTypes), next = identifier &+ 1
            phase = .eap(inner, identifier: next)
            inner.begin(identifier: next, reply.deadline) { [self] move in finish(reply) { () throws(TLSSession.Failure) in try carry(try move(), code: 1, next, session) } }
        case .eap(let inner, let expected):
            guard identifier == expected else { throw TLSSession.Failure(MARTLET_E_INVALID, "answers another request inside TLS than the one that is out") }
            let next = identifier &+ 1
            phase = .eap(inner, identifier: next)
            inner.answered(type, data, identifier: identifier, reply.deadline) { [self] move in finish(reply) { () throws(TLSSession.Failure) in try carry(try move(), code: 1, next, session) } }
        case .challenged, .answered, .over: throw TLSSession.Failure(MARTLET_E_INVALID, "begins EAP inside TLS too late")
        }
        return .later
    }

    // MARK: Both

    /// The parts of a packet of EAP that is whole and of that code.
    private static func opened(_ packet: [UInt8], code: UInt8) -> (identifier: UInt8, type: UInt8, data: [UInt8])? {
        guard packet.count >= 5, packet[0] == code, Int(packet[2]) << 8 | Int(packet[3]) == packet.count else { return nil }
        return (packet[1], packet[4], Array(packet[5...]))
    }

    private func carry(_ move: InnerMove, code: UInt8, _ identifier: UInt8, _ session: TLSSession) throws(TLSSession.Failure) -> TLSNext {
        func write(_ type: UInt8, _ data: [UInt8]) throws(TLSSession.Failure) {
            let count = UInt16(clamping: data.count + 5)
            var packet = [code, identifier, UInt8(count >> 8), UInt8(count & 0xff), type] + data
            defer { wipe(&packet, packet.count) }
            var attribute = AVP(code: AVP.Code.eapMessage, data: packet).bytes
            defer { wipe(&attribute, attribute.count) }
            try session.write(attribute)
        }
        switch move {
        case .send(let type, let data):
            try write(type, data)
            return .send(session.takeOutput())
        case .refuse(let type, let data, let failure):
            try write(type, data)
            return .refuse(session.takeOutput(), failure)
        case .succeed(let type, let data):
            if parameters.isServer { return try success(session) }
            // The server may have a last word, so the end is not ours.
            try write(type, data)
            return .succeed(try session.key(type: Self.type, label: "ttls keying material"), session.takeOutput())
        }
    }

    // MARK: Client

    /// MSCHAPv2, so that the password does not leave this host; PAP is what some directories need, and is used where the settings say so.
    private func authenticate(_ session: TLSSession, _ reply: EAPReply) -> TLSNext {
        switch Settings.ttls {
        case .pap: authenticateByPAP(session, reply)
        case .mschapv2: authenticateByMSCHAP(session, reply)
        case .eap:
            let inner = InnerEAP(parameters, Settings.innerTypes)
            phase = .eap(inner, identifier: 0)
            finish(reply) { () throws(TLSSession.Failure) in try carry(.send(type: InnerType.identity, parameters.identity), code: 2, 0, session) }
        }
        return .later
    }

    private func authenticateByPAP(_ session: TLSSession, _ reply: EAPReply) {
        parameters.findSecret(.password, of: parameters.identity, deadline: reply.deadline) { [self] answer in
            guard let password = answer.secret else { return reply.fail(answer) }
            finish(reply) { () throws(TLSSession.Failure) in
                var padded = Array(password.bytes) + [UInt8](repeating: 0, count: (16 - password.count % 16) % 16)
                defer { wipe(&padded, padded.count) }
                var attribute = AVP(code: AVP.Code.userPassword, data: padded).bytes
                defer { wipe(&attribute, attribute.count) }
                var inside = AVP(code: AVP.Code.userName, data: parameters.identity).bytes + attribute
                defer { wipe(&inside, inside.count) }
                try session.write(inside)
                return try success(session, session.takeOutput())
            }
        }
    }

    private func authenticateByMSCHAP(_ session: TLSSession, _ reply: EAPReply) {
        MSCHAPv2.hash(
            parameters, deadline: reply.deadline,
            { [self] hash in
                finish(reply) { () throws(TLSSession.Failure) in
                    guard let seed = session.export("ttls challenge", context: nil, count: 17), let peer = Digest.random(16) else {
                        throw TLSSession.Failure(MARTLET_E_FAILED, "cannot be answered: TLS gives no challenge")
                    }
                    let challenge = Array(seed.octets.prefix(16)), number = seed.octets[16]
                    guard let proof = MSCHAPProof(hash, authenticator: challenge, peer: peer, name: parameters.identity) else {
                        throw TLSSession.Failure(MARTLET_E_FAILED, "cannot be answered: there is no SHA-1 or DES here")
                    }
                    let response = [number, 0] + peer + [UInt8](repeating: 0, count: 8) + proof.response
                    try session.write(
                        AVP(code: AVP.Code.userName, data: parameters.identity).bytes + AVP(vendor: AVP.microsoft, code: AVP.Code.challenge, data: challenge).bytes
                            + AVP(vendor: AVP.microsoft, code: AVP.Code.response, data: response).bytes)
                    phase = .challenged([number] + Array("S=\(MSCHAPv2.hexadecimal(proof.authenticator))".utf8))
                    return .send(session.takeOutput())
                }
            }, { answer in reply.fail(answer) })
    }

    private func answer(_ inside: [UInt8], _ session: TLSSession, _ reply: EAPReply) throws(TLSSession.Failure) -> TLSNext {
        guard let pairs = AVP.parse(inside) else { throw TLSSession.Failure(MARTLET_E_INVALID, "sent attributes inside TLS that are cut short, or that are not known and must be") }
        if case .challenged(let expected) = phase {
            guard let given = pairs.first(AVP.microsoft, AVP.Code.success), given.count >= expected.count, constantTimeEqual(Array(given.prefix(expected.count)), expected, expected.count) else {
                throw TLSSession.Failure(MARTLET_E_REJECTED, "does not know our password: its answer to our challenge is wrong")
            }
            return try success(session)
        }
        guard let packet = pairs.eap else { throw TLSSession.Failure(MARTLET_E_INVALID, "asks nothing that is known inside TLS") }
        // The end of the method inside, which the one outside repeats.
        if packet.count == 4, packet[0] == 3 || packet[0] == 4, case .eap(let inner, _) = phase {
            guard packet[0] == 3, inner.isContent else { throw TLSSession.Failure(MARTLET_E_REJECTED, packet[0] == 3 ? "ends EAP inside TLS before its method" : "refused us inside TLS") }
            return try success(session)
        }
        guard let (identifier, type, data) = Self.opened(packet, code: 1) else { throw TLSSession.Failure(MARTLET_E_INVALID, "sent something inside TLS that is no request of EAP") }
        let inner: InnerEAP
        switch phase {
        // Where the password is not to leave this host, the server cannot have it by asking for GTC.
        case .handshake: inner = InnerEAP(parameters, Settings.ttls == .mschapv2 ? Settings.innerTypes.filter { $0 != InnerType.gtc } : Settings.innerTypes)
        case .eap(let known, _): inner = known
        case .challenged, .answered, .over: throw TLSSession.Failure(MARTLET_E_INVALID, "begins EAP inside TLS too late")
        }
        phase = .eap(inner, identifier: identifier)
        inner.asked(type, data, identifier: identifier, reply.deadline) { [self] move in finish(reply) { () throws(TLSSession.Failure) in try carry(try move(), code: 2, identifier, session) } }
        return .later
    }
}
