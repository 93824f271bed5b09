// Whatever bytes the other end sends as messages of a method of EAP, to its server and to its client: those with passwords, the frame of TLS with lengths and pieces that lie, TLS
// itself, and what is said inside TTLS and PEAP once the handshake is done, by clients and by servers. Refused or answered, without a trap, and nobody is let in: the password is not in
// the input; nor does ours leave this host.
//
// An input: what to talk to, then messages, each with its length in two octets.

import CTLS
import EAPMethods
import PluginABI
import PluginKit

/// A host that answers at once: one user, whose password no input has, and certificates that are not believed.
private final class Host {
    let parameters = UnsafeMutablePointer<martlet_eap_parameters>.allocate(capacity: 1)
    private let credentials = UnsafeMutablePointer<martlet_credentials>.allocate(capacity: 1)
    private let side = UnsafeMutablePointer<martlet_auth_side>.allocate(capacity: 1)
    nonisolated(unsafe) static let own = Pair()
    nonisolated(unsafe) static var believes = false

    init(server: Bool) {
        let pair = Host.own
        let items = UnsafeMutablePointer<martlet_credential>.allocate(capacity: 2)
        for (index, item) in [(1, pair.certificate), (3, pair.key)].enumerated() {
            (items + index).initialize(to: martlet_credential(struct_size: UInt32(MemoryLayout<martlet_credential>.size), kind: UInt16(item.0), flags: 0, der: item.1, origin: pair.text))
        }
        // One generation for all: the plugin reads them once.
        credentials.initialize(
            to: martlet_credentials(struct_size: UInt32(MemoryLayout<martlet_credentials>.size), reserved: 0, generation: 1, items: items, count: 2, authorities: nil, authority_count: 0))
        let nothing = martlet_bytes(data: nil, size: 0), nobody = martlet_identity(type: 0, reserved: (0, 0, 0, 0, 0, 0, 0), data: nothing)
        let certificates = UnsafeMutablePointer<martlet_bytes>.allocate(capacity: 1)
        certificates.initialize(to: pair.certificate)
        side.initialize(
            to: martlet_auth_side(
                struct_size: UInt32(MemoryLayout<martlet_auth_side>.size), revocation: 0, reserved: (0, 0, 0), auth: pair.text, certificates: certificates, certificate_count: 1, authorities: nil,
                authority_count: 0, public_keys: nil, public_key_count: 0, policies: nil, policy_count: 0, authority_identity: nobody))
        parameters.initialize(
            to: martlet_eap_parameters(
                struct_size: UInt32(MemoryLayout<martlet_eap_parameters>.size), role: server ? 1 : 2, connection: pair.text, identity: pair.name, local: nobody, remote: nobody, server: nobody,
                find_secret: { _, kind, _, _, answer, context in
                    let secret = Host.own.secret
                    answer(context, kind == 3 ? MARTLET_OK : kind == 1 ? MARTLET_OK : MARTLET_E_UNSUPPORTED, kind == 1 ? secret : martlet_bytes(data: nil, size: 0), nil)
                }, check_password: { _, _, _, _, answer, context in answer(context, MARTLET_E_REJECTED, martlet_bytes(data: nil, size: 0), nil) },
                opaque: UnsafeMutableRawPointer(parameters), credentials: credentials, local_side: side, remote_side: side,
                check_certificate: { _, _, _, _, answer, context in answer(context, Host.believes ? MARTLET_OK : MARTLET_E_REJECTED, martlet_bytes(data: nil, size: 0), nil) }, means: 7, reserved: 0))
    }

    deinit {
        credentials.pointee.items?.deallocate()
        side.pointee.certificates?.deallocate()
        credentials.deallocate()
        side.deallocate()
        parameters.deallocate()
    }
}

/// A certificate and its key, made once; a name; a password that nobody can guess.
private final class Pair {
    let certificate: martlet_bytes, key: martlet_bytes, name: martlet_bytes, secret: martlet_bytes
    let text: UnsafePointer<CChar>

    init() {
        func keep(_ bytes: [UInt8]) -> martlet_bytes {
            let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: bytes.count + 1)
            copy.initialize(repeating: 0, count: bytes.count + 1)
            copy.update(from: bytes, count: bytes.count)
            return martlet_bytes(data: UnsafePointer(copy), size: bytes.count)
        }
        let context = EVP_PKEY_CTX_new_from_name(nil, "EC", nil)
        var key: OpaquePointer?
        precondition(EVP_PKEY_keygen_init(context) == 1 && EVP_PKEY_CTX_set_group_name(context, "P-256") == 1 && EVP_PKEY_generate(context, &key) == 1)
        let made = X509_new()
        X509_set_version(made, 2)
        X509_gmtime_adj(X509_getm_notBefore(made), -1000)
        X509_gmtime_adj(X509_getm_notAfter(made), 1_000_000)
        X509_set_pubkey(made, key)
        X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", 0x1001, "vpn.example", -1, -1, 0)
        X509_set_issuer_name(made, X509_get_subject_name(made))
        precondition(X509_sign(made, key, EVP_sha256()) > 0)
        func encoded(_ write: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>) -> Int32) -> [UInt8] {
            var bytes: UnsafeMutablePointer<UInt8>?
            let count = write(&bytes)
            return Array(UnsafeBufferPointer(start: bytes, count: Int(max(count, 0))))
        }
        certificate = keep(encoded { i2d_X509(made, $0) })
        let info = EVP_PKEY2PKCS8(key)
        self.key = keep(encoded { i2d_PKCS8_PRIV_KEY_INFO(info, $0) })
        name = keep(Array("carol".utf8))
        var random = [UInt8](repeating: 0, count: 24)
        RAND_bytes(&random, 24)
        secret = keep(random)
        text = UnsafeRawPointer(keep(Array("eap".utf8)).data!).assumingMemoryBound(to: CChar.self)
    }
}

private let methods: [@Sendable (EAPParameters) -> EAPConversation] = [
    { MD5Challenge($0) }, { GTC($0) }, { MSCHAPv2($0) }, { EAPTLS($0) }, { TTLS($0) }, { PEAP($0) },
]

private func pieces(_ bytes: ArraySlice<UInt8>) -> [[UInt8]] {
    var rest = bytes, found: [[UInt8]] = []
    while rest.count >= 2, found.count < 40 {
        let head = Array(rest.prefix(2)), count = Int(head[0]) << 8 | Int(head[1])
        found.append(Array(rest.dropFirst(2).prefix(count)))
        rest = rest.dropFirst(2 + count)
    }
    return found
}

/// A server of ours up to the end of the handshake, and then the input inside, to our client.
private func ask(_ method: (EAPParameters) -> EAPConversation, isPEAP: Bool, _ messages: [[UInt8]]) {
    Host.believes = true
    defer { Host.believes = false }
    let hosts = (server: Host(server: true), client: Host(server: false))
    guard let server = method(EAPParameters(UnsafePointer(hosts.server.parameters))) as? TLSConversation, let client = method(EAPParameters(UnsafePointer(hosts.client.parameters))) as? TLSConversation
    else { return }
    func step(_ conversation: TLSConversation, _ message: [UInt8]?) -> [UInt8]? {
        nonisolated(unsafe) var result: EAPReply.Result?
        conversation.step(message, identifier: 7, EAPReply(deadline: .max) { result = $0 })
        guard let result else { fatalError("a step did not end") }
        precondition(!isPEAP || result.outcome != MARTLET_EAP_SUCCESS, "a server that does not know the password was believed")
        return result.outcome == MARTLET_EAP_CONTINUE ? result.message : nil
    }
    var request = step(server, nil)
    for _ in 0..<12 {
        guard let asked = request, let answer = step(client, asked) else { return }
        if server.session?.isDone == true { break }
        request = step(server, answer)
    }
    guard let session = server.session, session.isDone else { return }
    let secret = EAPParameters.octets(Host.own.secret)
    for message in messages where !message.isEmpty {
        guard (try? session.write(message)) != nil, let answer = step(client, [0] + session.takeOutput()) else { return }
        let inside = (try? session.read(Array(answer.dropFirst(answer.first.map { $0 & 0x80 != 0 ? 5 : 1 } ?? 0)))) ?? []
        precondition(inside.firstRange(of: secret) == nil, "the password has left this host")
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzEAP(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    guard let first = bytes.first else { return 0 }
    if let pairs = AVP.parse(Array(bytes.dropFirst())) {
        for pair in pairs where pair.vendor == 0 && pair.code == 79 || pair.vendor == 311 { precondition(AVP.parse(pair.bytes)?.first?.data == pair.data) }
    }
    if first & 0xa0 == 0xa0 {
        ask(methods[4 + Int(first & 1)], isPEAP: first & 1 == 1, pieces(bytes.dropFirst()))
        return 0
    }
    let isInside = first & 0x80 != 0, isServer = isInside || first & 0x40 != 0
    let host = Host(server: isServer)
    let conversation = methods[isInside ? 4 + Int(first & 1) : Int(first & 0x3f) % methods.count](EAPParameters(UnsafePointer(host.parameters)))
    func say(_ message: [UInt8]?) -> EAPReply.Result? {
        nonisolated(unsafe) var result: EAPReply.Result?
        conversation.step(message, identifier: 7, EAPReply(deadline: .max) { result = $0 })
        guard let result else { fatalError("a step did not end") }
        precondition(result.message.count <= Int(MARTLET_EAP_MESSAGE_MAX))
        precondition(!isServer || result.outcome != MARTLET_EAP_SUCCESS, "somebody was let in")
        return result.outcome == MARTLET_EAP_CONTINUE ? result : nil
    }
    if isServer { guard say(nil) != nil else { return 0 } }
    guard isInside else {
        for message in pieces(bytes.dropFirst()) { guard say(message) != nil else { break } }
        return 0
    }
    // A client that believes everything, until the handshake is done; then what the input says goes inside.
    guard let client = try? TLSSession(server: false, nil, asksForCertificate: false, most: MARTLET_TLS_1_2) else { return 0 }
    var output: [UInt8] = [], incoming: [UInt8] = []
    try? client.advance([])
    output = client.takeOutput()
    for _ in 0..<12 {
        guard let answer = say([0] + output) else { return 0 }
        output = []
        incoming += answer.message.dropFirst(answer.message.first.map { $0 & 0x80 != 0 ? 5 : 1 } ?? 0)
        if answer.message.first.map({ $0 & 0x40 != 0 }) == true { continue }
        client.accept()
        try? client.advance(incoming)
        incoming = []
        output = client.takeOutput()
        if client.isDone { break }
    }
    guard client.isDone else { return 0 }
    if first & 1 == 1 { guard say([0] + output) != nil else { return 0 } }
    for message in pieces(bytes.dropFirst()) where !message.isEmpty {
        guard (try? client.write(message)) != nil, say([0] + client.takeOutput()) != nil else { break }
    }
    return 0
}
