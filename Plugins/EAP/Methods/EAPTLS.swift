// EAP-TLS: both ends prove themselves with certificates. RFC 5216 with TLS 1.2, RFC 9190 with TLS 1.3. No session is resumed.

import CTLS
import PluginABI
import PluginKit

package final class EAPTLS: TLSConversation, @unchecked Sendable {
    package static nonisolated(unsafe) let method = EAPMethod.table(
        "eap-tls", type: type,
        flags: [
            MARTLET_EAP_AS_SERVER, MARTLET_EAP_AS_CLIENT, MARTLET_EAP_GIVES_KEY, MARTLET_EAP_MUTUAL, MARTLET_EAP_SERVER_CERTIFICATE, MARTLET_EAP_CLIENT_CERTIFICATE,
        ]
    ) { parameters, out in EAPMethod.begin(out, EAPTLS(EAPParameters(parameters))) }
    private static let type: UInt8 = 13
    /// Our end is said: as the server with Finished or what follows it, as the client with an answer to that.
    private var isOver = false

    override func makeSession() throws(TLSSession.Failure) -> TLSSession {
        try TLSSession(
            server: parameters.isServer, try parameters.ownCredentials(), asksForCertificate: true, most: Settings.allowsTLS13 ? MARTLET_TLS_1_3 : MARTLET_TLS_1_2,
            serverName: parameters.serverHostName)
    }

    private func success(_ session: TLSSession, _ last: [UInt8] = []) throws(TLSSession.Failure) -> TLSNext { .succeed(try session.key(type: Self.type, label: "client EAP encryption"), last) }

    override func advanced(_ session: TLSSession, isDone: Bool, _ reply: EAPReply) throws(TLSSession.Failure) -> TLSNext {
        guard isDone else { return .send(session.takeOutput()) }
        if parameters.isServer {
            parameters.findSecret(.account, of: parameters.identity, deadline: reply.deadline) { [self] answer in
                guard answer.status == MARTLET_OK else { return reply.fail(answer) }
                finish(reply) { () throws(TLSSession.Failure) in
                    isOver = true
                    //= RFC 9190 §2.5: with TLS 1.3 one octet of zero, as application data, says that the server will say nothing more.
                    if session.isTLS13 { try session.write([0]) }
                    return .send(session.takeOutput())
                }
            }
            return .later
        }
        // With TLS 1.3 the server has still to say that it takes our certificate.
        if session.isTLS13 { return .send(session.takeOutput()) }
        isOver = true
        return try success(session, session.takeOutput())
    }

    override func received(_ bytes: [UInt8], _ session: TLSSession, _ reply: EAPReply) throws(TLSSession.Failure) -> TLSNext {
        if parameters.isServer {
            //= RFC 5216 §2.1.1: the client acknowledges the server's last message with one that has no data.
            guard isOver, bytes.isEmpty else {
                if !bytes.isEmpty { _ = try session.read(bytes) }
                throw TLSSession.Failure(MARTLET_E_INVALID, "goes on with TLS after its end")
            }
            return try success(session)
        }
        //= RFC 9190 §2.5: nothing but that octet counts as the end.
        guard session.isTLS13, !isOver, try session.read(bytes) == [0] else { throw TLSSession.Failure(MARTLET_E_INVALID, "does not end EAP-TLS as TLS 1.3 wants it") }
        isOver = true
        return try success(session)
    }
}

extension EAPParameters {
    /// As the client: what the server has to be, where that is a host's name, for one that has a certificate for each.
    var serverHostName: String? {
        let name = table.pointee.server
        guard !isServer, name.type == 2 else { return nil }
        let bytes = EAPParameters.octets(name.data)
        guard (1...253).contains(bytes.count), bytes.allSatisfy({ ($0 | 0x20 >= 0x61 && $0 | 0x20 <= 0x7a) || ($0 >= 0x30 && $0 <= 0x39) || $0 == 0x2d || $0 == 0x2e }), bytes.contains(0x2e) else {
            return nil
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
