// What TTLS and PEAP have in common: a server with a certificate, a client without one, a user who is the same inside and outside, and methods of EAP inside.
// RFC 5281 sections 7 and 11.2.1. TLS 1.2, whose keys those methods have; a version of theirs with TLS 1.3 is RFC 9427.

import CTLS
import PluginABI
import PluginKit

enum Tunnel {
    static func session(_ parameters: EAPParameters) throws(TLSSession.Failure) -> TLSSession {
        try TLSSession(
            server: parameters.isServer, parameters.isServer ? try parameters.ownCredentials() : nil, asksForCertificate: false, most: MARTLET_TLS_1_2, serverName: parameters.serverHostName)
    }

    /// Connection, leases and limits go by the name outside: another inside would borrow them.
    static func checkUser(_ inside: some Collection<UInt8>, _ parameters: EAPParameters) throws(TLSSession.Failure) {
        func lower(_ bytes: some Collection<UInt8>) -> [UInt8] { bytes.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 } }
        guard lower(inside) == lower(parameters.identity) else { throw TLSSession.Failure(MARTLET_E_REJECTED, "names itself otherwise inside TLS than outside") }
    }

    static func random() throws(TLSSession.Failure) -> UInt8 {
        guard let byte = Digest.random(1)?.first else { throw TLSSession.Failure(MARTLET_E_FAILED, "cannot be asked: no random bytes") }
        return byte
    }
}

/// A method of EAP inside: its packets as a type with its data.
enum InnerMove {
    case send(type: UInt8, [UInt8])
    case refuse(type: UInt8, [UInt8], TLSSession.Failure)
    /// As the client with what says so.
    case succeed(type: UInt8, [UInt8])
}

enum InnerType {
    static let identity: UInt8 = 1, notification: UInt8 = 2, nak: UInt8 = 3
    static let mschapv2: UInt8 = 26, gtc: UInt8 = 6, md5: UInt8 = 4

    /// Whether anybody here can check what the user of the conversation proves by it.
    static func isChecked(_ type: UInt8, _ parameters: EAPParameters) -> Bool {
        switch type {
        case mschapv2: parameters.isChecked(by: MARTLET_EAP_BY_NT_HASH, MARTLET_EAP_BY_PASSWORD)
        case gtc: parameters.isChecked(by: MARTLET_EAP_BY_CHECK, MARTLET_EAP_BY_NT_HASH)
        case md5: parameters.isChecked(by: MARTLET_EAP_BY_PASSWORD)
        default: true
        }
    }

    static func make(_ type: UInt8, _ parameters: EAPParameters) -> EAPConversation? {
        switch type {
        case mschapv2: MSCHAPv2(parameters)
        case gtc: GTC(parameters)
        case md5: MD5Challenge(parameters)
        default: nil
        }
    }
}

/// One end of it. Used by one step at a time.
final class InnerEAP: @unchecked Sendable {
    private let parameters: EAPParameters
    /// Types, the preferred one first; the server takes them out as it offers them.
    private var types: [UInt8]
    private var current: (type: UInt8, conversation: EAPConversation)?
    private var isFirst = true
    private(set) var isContent = false
    typealias Then = @Sendable (() throws(TLSSession.Failure) -> InnerMove) -> Void

    init(_ parameters: EAPParameters, _ types: [UInt8]) {
        // The server offers what leads somewhere; where nothing does, whoever knows the user says why.
        let checked = parameters.isServer ? types.filter { InnerType.isChecked($0, parameters) } : types
        (self.parameters, self.types) = (parameters, checked.isEmpty ? types : checked)
    }

    // MARK: Server

    /// The client has named itself: the first method. `identifier`: of the packet that goes out.
    func begin(identifier: UInt8, _ deadline: UInt64, _ then: @escaping Then) {
        guard let type = types.first, let conversation = InnerType.make(type, parameters) else {
            return then { () throws(TLSSession.Failure) in throw TLSSession.Failure(MARTLET_E_REJECTED, "takes no method that there is inside the tunnel") }
        }
        types.removeFirst()
        current = (type, conversation)
        isFirst = true
        run(nil, identifier: identifier, deadline, then)
    }

    /// An answer of the client's. `identifier`: of its packet; that of the next is one more.
    func answered(_ type: UInt8, _ data: [UInt8], identifier: UInt8, _ deadline: UInt64, _ then: @escaping Then) {
        guard let current, !isContent else { return then { () throws(TLSSession.Failure) in throw TLSSession.Failure(MARTLET_E_INVALID, "goes on inside the tunnel after the end") } }
        if type == InnerType.nak, isFirst {
            types = types.filter { data.contains($0) }
            return begin(identifier: identifier &+ 1, deadline, then)
        }
        guard type == current.type else {
            return then { () throws(TLSSession.Failure) in throw TLSSession.Failure(MARTLET_E_INVALID, "answers inside the tunnel with the EAP type \(type), not \(current.type)") }
        }
        isFirst = false
        run(data, identifier: identifier, deadline, then)
    }

    // MARK: Client

    func asked(_ type: UInt8, _ data: [UInt8], identifier: UInt8, _ deadline: UInt64, _ then: @escaping Then) {
        if type == InnerType.identity, current == nil {
            let name = parameters.identity
            return then { () throws(TLSSession.Failure) in .send(type: InnerType.identity, name) }
        }
        if let current, current.type != type { return then { () throws(TLSSession.Failure) in throw TLSSession.Failure(MARTLET_E_INVALID, "changes to the EAP type \(type) inside the tunnel") } }
        if current == nil {
            guard types.contains(type), let conversation = InnerType.make(type, parameters) else {
                let wanted = types
                return then { () throws(TLSSession.Failure) in .send(type: InnerType.nak, wanted) }
            }
            current = (type, conversation)
        }
        run(data, identifier: identifier, deadline, then)
    }

    private func run(_ message: [UInt8]?, identifier: UInt8, _ deadline: UInt64, _ then: @escaping Then) {
        guard let current else { return }
        let type = current.type
        current.conversation.step(
            message, identifier: identifier,
            EAPReply(deadline: deadline) { [self] result in
                if result.outcome == MARTLET_EAP_SUCCESS { isContent = true }
                then { () throws(TLSSession.Failure) in
                    switch result.outcome {
                    case MARTLET_EAP_CONTINUE: return .send(type: type, result.message)
                    case MARTLET_EAP_SUCCESS: return .succeed(type: type, result.message)
                    case MARTLET_EAP_REFUSED: return .refuse(type: type, result.message, TLSSession.Failure(result.status, result.reason))
                    default: throw TLSSession.Failure(result.status, result.reason)
                    }
                }
            })
    }
}
