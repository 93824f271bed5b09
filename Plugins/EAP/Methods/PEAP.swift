// PEAP version 0 with EAP-MSCHAPv2 inside, as Windows does it: inner packets without a header, and an end of its own.
// draft-kamath-pppext-peapv0-00, [MS-PEAP]. Cryptobinding is neither asked for nor given ([MS-PEAP] section 3.1.5.5 leaves it to both ends): keys are those of the tunnel.

import PluginABI
import PluginKit

package final class PEAP: TLSConversation, @unchecked Sendable {
    package static nonisolated(unsafe) let method = EAPMethod.table(
        "eap-peap", type: type,
        flags: [
            MARTLET_EAP_AS_SERVER, MARTLET_EAP_AS_CLIENT, MARTLET_EAP_GIVES_KEY, MARTLET_EAP_MUTUAL, MARTLET_EAP_SERVER_CERTIFICATE, MARTLET_EAP_PASSWORDS,
        ]
    ) { parameters, out in EAPMethod.begin(out, PEAP(EAPParameters(parameters))) }
    private static let type: UInt8 = 25, extensions: UInt8 = 33

    private enum Phase {
        /// As the server: our Finished is out. As the client: the handshake, or what follows it.
        case tunnel
        /// As the server: the inner identity was asked for. As the client: it was given.
        case identity
        /// MSCHAPv2 runs.
        case inner
        /// As the server: the Result is out.
        case result
        case over
    }
    private var phase = Phase.tunnel
    private lazy var inner = InnerEAP(parameters, [InnerType.mschapv2])

    override func makeSession() throws(TLSSession.Failure) -> TLSSession { try Tunnel.session(parameters) }

    override func received(_ bytes: [UInt8], _ session: TLSSession, _ reply: EAPReply) throws(TLSSession.Failure) -> TLSNext {
        if parameters.isServer, case .tunnel = phase {
            guard bytes.isEmpty else { throw TLSSession.Failure(MARTLET_E_INVALID, "does not acknowledge the end of the TLS handshake") }
            phase = .identity
            return try say([InnerType.identity], session)
        }
        var inside = try session.read(bytes)
        defer { wipe(&inside, inside.count) }
        guard !inside.isEmpty else { throw TLSSession.Failure(MARTLET_E_INVALID, "says nothing inside TLS") }
        return parameters.isServer ? try serve(inside, session, reply) : try answer(inside, session, reply)
    }

    private func say(_ bytes: [UInt8], _ session: TLSSession) throws(TLSSession.Failure) -> TLSNext {
        try session.write(bytes)
        return .send(session.takeOutput())
    }

    private func carry(_ move: InnerMove, _ session: TLSSession) throws(TLSSession.Failure) -> TLSNext {
        switch move {
        case .send(let type, let data): return try say([type] + data, session)
        case .refuse(let type, let data, let failure):
            try session.write([type] + data)
            return .refuse(session.takeOutput(), failure)
        case .succeed(let type, let data):
            guard parameters.isServer else { return try say([type] + data, session) }
            phase = .result
            return try say(Self.result(code: 1, identifier: try Tunnel.random(), isSuccess: true), session)
        }
    }

    private func success(_ session: TLSSession, _ last: [UInt8] = []) throws(TLSSession.Failure) -> TLSNext {
        phase = .over
        return .succeed(try session.key(type: Self.type, label: "client EAP encryption"), last)
    }

    // MARK: The end

    /// The Result TLV, mandatory, in a packet of the type Extensions, which has its whole header.
    private static func result(code: UInt8, identifier: UInt8, isSuccess: Bool) -> [UInt8] { [code, identifier, 0, 11, extensions, 0x80, 3, 0, 2, 0, isSuccess ? 1 : 2] }

    /// What the Result of such a packet says, nil where there is none. Other TLVs that are not mandatory, such as cryptobinding, are passed over.
    private static func result(in packet: [UInt8], code: UInt8) throws(TLSSession.Failure) -> (identifier: UInt8, isSuccess: Bool)? {
        guard packet.count >= 5, packet[0] == code, packet[4] == extensions, Int(packet[2]) << 8 | Int(packet[3]) == packet.count else { return nil }
        var rest = packet[5...], value: UInt16?
        while !rest.isEmpty {
            let head = Array(rest.prefix(4))
            guard head.count == 4 else { throw TLSSession.Failure(MARTLET_E_INVALID, "sent TLVs of PEAP that are cut short") }
            let type = UInt16(head[0] & 0x3f) << 8 | UInt16(head[1]), count = Int(head[2]) << 8 | Int(head[3])
            let body = Array(rest.dropFirst(4).prefix(count))
            guard body.count == count else { throw TLSSession.Failure(MARTLET_E_INVALID, "sent TLVs of PEAP that are cut short") }
            if type == 3 {
                guard count == 2, value == nil else { throw TLSSession.Failure(MARTLET_E_INVALID, "sent a Result of PEAP that is none") }
                value = UInt16(body[0]) << 8 | UInt16(body[1])
            } else if head[0] & 0x80 != 0 {
                throw TLSSession.Failure(MARTLET_E_INVALID, "sent a TLV of PEAP, \(type), that is mandatory and not known here")
            }
            rest = rest.dropFirst(4 + count)
        }
        guard let value, (1...2).contains(value) else { throw TLSSession.Failure(MARTLET_E_INVALID, "sent Extensions of PEAP without a Result") }
        return (packet[1], value == 1)
    }

    // MARK: Server

    private func serve(_ inside: [UInt8], _ session: TLSSession, _ reply: EAPReply) throws(TLSSession.Failure) -> TLSNext {
        let body = Array(inside.dropFirst())
        switch phase {
        case .identity:
            guard inside.first == InnerType.identity else { throw TLSSession.Failure(MARTLET_E_INVALID, "was asked for its identity inside PEAP and says something else") }
            try Tunnel.checkUser(body, parameters)
            phase = .inner
            inner.begin(identifier: 0, reply.deadline) { [self] move in finish(reply) { () throws(TLSSession.Failure) in try carry(try move(), session) } }
            return .later
        case .inner:
            inner.answered(inside[0], body, identifier: 0, reply.deadline) { [self] move in finish(reply) { () throws(TLSSession.Failure) in try carry(try move(), session) } }
            return .later
        case .result:
            guard let end = try Self.result(in: inside, code: 2), end.isSuccess else { throw TLSSession.Failure(MARTLET_E_INVALID, "does not take the success of PEAP") }
            return try success(session)
        case .tunnel, .over: throw TLSSession.Failure(MARTLET_E_INVALID, "goes on with PEAP after its end")
        }
    }

    // MARK: Client

    private func answer(_ inside: [UInt8], _ session: TLSSession, _ reply: EAPReply) throws(TLSSession.Failure) -> TLSNext {
        if case .over = phase { throw TLSSession.Failure(MARTLET_E_INVALID, "goes on with PEAP after its end") }
        if let end = try Self.result(in: inside, code: 1) {
            let isGood = end.isSuccess && inner.isContent
            try session.write(Self.result(code: 2, identifier: end.identifier, isSuccess: isGood))
            let output = session.takeOutput()
            if isGood { return try success(session, output) }
            phase = .over
            return .refuse(output, TLSSession.Failure(MARTLET_E_REJECTED, end.isSuccess ? "ends PEAP before MSCHAPv2 has succeeded" : "refused us inside PEAP"))
        }
        guard !inner.isContent else { throw TLSSession.Failure(MARTLET_E_INVALID, "goes on inside PEAP after MSCHAPv2 has succeeded") }
        // Some write the header that version 0 leaves out.
        let hasHeader = inside.count >= 5 && inside[0] == 1 && Int(inside[2]) << 8 | Int(inside[3]) == inside.count
        let packet = hasHeader ? Array(inside.dropFirst(4)) : inside
        guard let type = packet.first else { throw TLSSession.Failure(MARTLET_E_INVALID, "says nothing inside PEAP") }
        inner.asked(type, Array(packet.dropFirst()), identifier: 0, reply.deadline) { [self] move in finish(reply) { () throws(TLSSession.Failure) in try carry(try move(), session) } }
        return .later
    }
}
