// The frame of EAP-TLS that TTLS and PEAP share: messages of TLS cut into pieces, each acknowledged, and put together again; and the certificate of the other
// end, which is judged before anything that came after it is answered.
// RFC 5216 sections 2.1.5 and 3.1.

import PluginABI
import PluginKit

/// What a conversation does with a whole message of the other end.
enum TLSNext {
    /// Goes out, in pieces if it is long; empty is an acknowledgement.
    case send([UInt8])
    /// As the server nothing more; as the client with these octets.
    case succeed(SecretMemory, [UInt8])
    /// The last that goes out, as words of a method inside: the other end has failed, or has said that we have.
    case refuse([UInt8], TLSSession.Failure)
    /// Somebody is being asked, who goes on with the reply.
    case later
}

package class TLSConversation: EAPConversation, @unchecked Sendable {
    private enum Flag { static let length: UInt8 = 0x80, more: UInt8 = 0x40, start: UInt8 = 0x20, version: UInt8 = 0x07 }
    /// Octets of TLS in one message: with IKE's own around it, it passes every path in one piece.
    private static let pieceByteCount = 1000
    private static let longest = 65_536
    /// Pieces of one message: with fewer octets in each nobody could go on for long.
    private static let mostPieces = 128
    private var incoming: [UInt8] = []
    private let budget = TLSBudget()
    private var announced: Int?
    private var pieces = 0
    private var outgoing: [UInt8] = []
    private var hasStarted = false
    package private(set) var session: TLSSession?

    func makeSession() throws(TLSSession.Failure) -> TLSSession { throw TLSSession.Failure(MARTLET_E_UNSUPPORTED, "is asked for what is not there") }
    /// The handshake has come as far as it does, and the other end's certificate holds where one is due. `isDone`: it is over.
    func advanced(_ session: TLSSession, isDone: Bool, _ reply: EAPReply) throws(TLSSession.Failure) -> TLSNext { .send(session.takeOutput()) }
    /// A whole message after the handshake.
    func received(_ bytes: [UInt8], _ session: TLSSession, _ reply: EAPReply) throws(TLSSession.Failure) -> TLSNext { .send([]) }

    package override func step(_ message: [UInt8]?, identifier: UInt8, _ reply: EAPReply) {
        guard let message else { return reply.send([Flag.start]) }
        do throws(TLSSession.Failure) {
            guard let flags = message.first else { throw TLSSession.Failure(MARTLET_E_INVALID, "sent a message of TLS without flags") }
            // Later versions of PEAP are answered with ours, and the other end comes down to it or goes.
            if !parameters.isServer, !hasStarted { return try start(flags, reply) }
            guard flags & Flag.start == 0 else { throw TLSSession.Failure(MARTLET_E_INVALID, "begins TLS anew in the middle") }
            if !hasStarted {
                hasStarted = true
                session = try makeSession()
            }
            try take(piece: Array(message.dropFirst()), flags, reply)
        } catch {
            end(error, reply)
        }
    }

    //= RFC 5216 §2.1.1: the server begins with a Start, which has no data.
    private func start(_ flags: UInt8, _ reply: EAPReply) throws(TLSSession.Failure) {
        guard flags & Flag.start != 0 else { throw TLSSession.Failure(MARTLET_E_INVALID, "begins TLS without a Start") }
        hasStarted = true
        session = try makeSession()
        try proceed([], reply)
    }

    private func take(piece message: [UInt8], _ flags: UInt8, _ reply: EAPReply) throws(TLSSession.Failure) {
        var body = message[...], total: Int?
        if flags & Flag.length != 0 {
            guard body.count >= 4 else { throw TLSSession.Failure(MARTLET_E_INVALID, "sent a message of TLS that is cut short") }
            total = body.prefix(4).reduce(0) { $0 << 8 | Int($1) }
            body = body.dropFirst(4)
        }
        if let total, total > Self.longest { throw TLSSession.Failure(MARTLET_E_INVALID, "wants to send \(total) octets of TLS at once") }
        //= RFC 5216 §2.1.5: the next piece is sent when the last was acknowledged.
        if !outgoing.isEmpty {
            guard body.isEmpty, flags & Flag.more == 0, (total ?? 0) == 0 else { throw TLSSession.Failure(MARTLET_E_INVALID, "does not acknowledge a piece of TLS") }
            return sendPiece(reply)
        }
        pieces += 1
        if pieces == 1 { announced = total }
        guard total == nil || total == announced else { throw TLSSession.Failure(MARTLET_E_INVALID, "announces another length of TLS in the middle of a message") }
        guard budget.hold((session?.held ?? 0) + incoming.count + body.count) else {
            throw TLSSession.Failure(MARTLET_E_MEMORY, "cannot be heard now: those who log in hold \(TLSBudget.all >> 20) MB of TLS already")
        }
        incoming += body
        guard incoming.count <= announced ?? Self.longest else {
            throw TLSSession.Failure(MARTLET_E_INVALID, "sends more octets of TLS than \(announced.map { "the \($0) that it has announced" } ?? "\(Self.longest)")")
        }
        //= RFC 5216 §2.1.5: a piece that is not the last is acknowledged without data.
        if flags & Flag.more != 0 {
            guard !body.isEmpty else { throw TLSSession.Failure(MARTLET_E_INVALID, "sends an empty piece of TLS") }
            guard pieces < Self.mostPieces else { throw TLSSession.Failure(MARTLET_E_INVALID, "cuts a message of TLS into more than \(Self.mostPieces) pieces") }
            return reply.send([0])
        }
        guard announced == nil || announced == incoming.count else { throw TLSSession.Failure(MARTLET_E_INVALID, "sends \(incoming.count) octets of TLS and has announced \(announced ?? 0)") }
        let whole = incoming
        (incoming, announced, pieces) = ([], nil, 0)
        try proceed(whole, reply)
    }

    private func proceed(_ bytes: [UInt8], _ reply: EAPReply) throws(TLSSession.Failure) {
        guard let session else { throw TLSSession.Failure(MARTLET_E_FAILED, "is asked out of turn") }
        guard !session.isDone else {
            _ = budget.hold(0)
            return take(try received(bytes, session, reply), reply)
        }
        try session.advance(bytes)
        _ = budget.hold(session.held)
        guard let shown = session.shown else {
            // Nobody has shown anything that would have to be judged, and the end without that is none.
            return take(try advanced(session, isDone: session.isDone, reply), reply)
        }
        parameters.checkCertificate(shown, deadline: reply.deadline) { [self] answer in
            finish(reply) { () throws(TLSSession.Failure) in
                guard answer.status == MARTLET_OK else { throw TLSSession.Failure(answer.status == MARTLET_E_REJECTED ? MARTLET_E_REJECTED : MARTLET_E_FAILED, answer.reason) }
                session.accept()
                return try advanced(session, isDone: session.isDone, reply)
            }
        }
    }

    /// For what goes on later.
    func finish(_ reply: EAPReply, _ body: () throws(TLSSession.Failure) -> TLSNext) {
        do throws(TLSSession.Failure) { take(try body(), reply) } catch { end(error, reply) }
    }

    /// What comes of a message, at once or later.
    private func take(_ next: TLSNext, _ reply: EAPReply) {
        switch next {
        case .later: break
        case .succeed(let key, let last): reply.succeed(parameters.isServer ? [] : [0] + last, key: key)
        case .refuse(let bytes, let failure):
            guard bytes.count <= Self.pieceByteCount else { return reply.fail(failure.status, failure.reason) }
            reply.refuse([0] + bytes, failure.status, failure.reason)
        case .send(let bytes):
            outgoing = bytes
            if bytes.isEmpty { reply.send([0]) } else { sendPiece(reply, isFirst: true) }
        }
    }

    private func sendPiece(_ reply: EAPReply, isFirst: Bool = false) {
        let piece = outgoing.prefix(Self.pieceByteCount), rest = outgoing.dropFirst(Self.pieceByteCount)
        var head: [UInt8] = [rest.isEmpty ? 0 : Flag.more]
        //= RFC 5216 §3.1: the length stands in the first of several pieces.
        if isFirst, !rest.isEmpty {
            head[0] |= Flag.length
            head += [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: outgoing.count >> $0) }
        }
        outgoing = Array(rest)
        reply.send(head + piece)
    }

    /// With the alert of TLS, where TLS itself has failed. Why a certificate was refused nobody learns from it.
    private func end(_ failure: TLSSession.Failure, _ reply: EAPReply) {
        let alert = failure.status == MARTLET_E_INVALID ? session?.takeOutput() ?? [] : []
        outgoing = []
        if alert.isEmpty || alert.count > Self.pieceByteCount { reply.fail(failure.status, failure.reason) } else { reply.refuse([0] + alert, failure.status, failure.reason) }
    }
}
