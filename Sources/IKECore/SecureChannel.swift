// The keys of one IKE SA at work: seals what we send and opens what the peer sends.
// RFC 7296 sections 2.14, 2.15 and 3.14.

import IKECrypto
import IKEWire

final class SecureChannel {
    let suite: IKESuite
    /// SK_d.
    let d: SecretBytes
    /// SK_pi and SK_pr, until both ends have proven who they are.
    private var proofKeys: (initiator: SecretBox, responder: SecretBox)?
    let isInitiator: Bool
    /// Ni and Nr of IKE_SA_INIT, until the first child's keys are derived from them.
    var nonces: (initiator: [UInt8], responder: [UInt8])
    /// The longest datagram, in bytes of IKE, before a message goes out in fragments; nil where the peer takes none. RFC 7383 section 2.4.
    var fragmentLimit: Int?
    /// The bytes held of a message that comes in fragments: fewer of a peer that has not shown who it is.
    var reassemblyLimit = 24_576
    /// Where what all messages in fragments hold together is counted; without it nothing is.
    var fragmentRoom: FragmentRoom? {
        didSet {
            oldValue?.release(countedBytes)
            inPieces = [:]
            countedBytes = 0
        }
    }
    /// What is here of the peer's request, and, under true, of its response.
    private var inPieces: [Bool: Reassembly] = [:]
    private var heldBytes: Int { inPieces.values.reduce(0) { $0 + $1.byteCount } }
    private var countedBytes = 0
    private var openedDatagram: [UInt8] = []
    /// The octets that the message opened last came in, about.
    private(set) var openedByteCount = 0
    private let sealer: MessageSealer
    private let opener: MessageOpener

    /// `isInitiator`: whether we are the original initiator of this IKE SA, which decides whose keys are whose.
    init(suite: IKESuite, keys: consuming IKEKeys, isInitiator: Bool, nonces: (initiator: [UInt8], responder: [UInt8]) = ([], []), random: any RandomSource) throws(CryptoError) {
        self.suite = suite
        self.isInitiator = isInitiator
        self.nonces = nonces
        if isInitiator {
            sealer = try MessageSealer(suite: suite, key: keys.ei, integrityKey: keys.ai, random: random)
            opener = try MessageOpener(suite: suite, key: keys.er, integrityKey: keys.ar)
        } else {
            sealer = try MessageSealer(suite: suite, key: keys.er, integrityKey: keys.ar, random: random)
            opener = try MessageOpener(suite: suite, key: keys.ei, integrityKey: keys.ai)
        }
        d = keys.d.copy()
        proofKeys = (SecretBox(keys.pi.copy()), SecretBox(keys.pr.copy()))
    }

    /// Both ends have proven who they are, and the first child has its keys: what was for that alone goes.
    func forgetProofKeys() { proofKeys = nil }

    /// The datagram by which a retransmission of the message opened last is known: itself, or its first fragment. It is handed out once.
    func takeOpenedDatagram() -> [UInt8] {
        defer { openedDatagram = [] }
        return openedDatagram
    }

    deinit { fragmentRoom?.release(countedBytes) }

    /// The message as one datagram, or in fragments.
    func seal(_ header: Header, _ payloads: [Payload]) throws(CryptoError) -> [[UInt8]] {
        guard let fragmentLimit else { return [try sealer.seal(header: header, payloads: payloads)] }
        return try sealer.seal(header: header, payloads: payloads, limit: fragmentLimit)
    }

    enum Opened {
        /// The ICV is wrong, or there is nothing to verify: as if it had never come.
        case forged
        /// An authentic fragment of a message that is not whole yet.
        case incomplete
        /// Authentic, but not a message.
        case malformed(WireError)
        case payloads([Payload])
    }

    func open(_ header: Header, _ bytes: [UInt8], now: Instant) -> Opened {
        guard let inner = try? opener.open(bytes.span) else { return .forged }
        openedByteCount = bytes.count
        guard let chain = inner.chain else {
            openedDatagram = bytes
            return .malformed(.badLength(inner.padLength))
        }
        guard let fragment = inner.fragment else {
            openedDatagram = bytes
            return parse(first: inner.first, chain, refused: inner.refused)
        }
        // A peer that was not told that we take fragments sends none.
        guard fragmentLimit != nil else { return .forged }
        //= RFC 7383 §5: what is held of all messages together has a limit as well. A fragment without room is lost, as on the way.
        if let fragmentRoom, !fragmentRoom.hasRoom(for: chain.count, beside: heldBytes) { return .incomplete }
        defer { countPieces() }
        var reassembly =
            inPieces[header.isResponse].flatMap { $0.isSuperseded(by: fragment, of: header.messageID, now: now) ? nil : $0 }
            ?? Reassembly(messageID: header.messageID, total: fragment.total, began: now)
        let outcome = reassembly.add(chain, first: inner.first, refused: inner.refused, fragment, datagram: bytes, byteLimit: reassemblyLimit)
        if case .incomplete = outcome { inPieces[header.isResponse] = reassembly } else { inPieces[header.isResponse] = nil }
        switch outcome {
        case .incomplete: return .incomplete
        case .complete(let first, let chain):
            openedDatagram = reassembly.firstDatagram
            openedByteCount = reassembly.byteCount
            return parse(first: first, chain, refused: reassembly.refused)
        //= RFC 7383 §5: beyond the limit what was collected goes, and the connection with it.
        case .tooLarge:
            openedDatagram = bytes
            return .malformed(.tooMany(fragment.total))
        }
    }

    /// The first fragment, authentic, of a message that was opened long ago: its sender has cut it anew. RFC 7383 section 2.6.1.
    func isFirstFragment(_ bytes: [UInt8]) -> Bool {
        guard fragmentLimit != nil, let inner = try? opener.open(bytes.span), let fragment = inner.fragment else { return false }
        return fragment.number == 1
    }

    /// When what is held of messages that never became whole is of no use.
    var piecesDeadline: Instant? {
        inPieces.values.map { $0.began + Reassembly.lifetime }.min()
    }

    //= RFC 7383 §2.6: what is not complete in time is discarded.
    func discardPieces(now: Instant) {
        inPieces = inPieces.filter { $0.value.began + Reassembly.lifetime > now }
        countPieces()
    }

    private func countPieces() {
        guard let fragmentRoom else { return }
        let held = heldBytes
        fragmentRoom.change(by: held - countedBytes)
        countedBytes = held
    }

    /// `refused`: a critical payload of an unknown type that stood in clear before this.
    private func parse(first: PayloadType, _ chain: [UInt8], refused: PayloadType?) -> Opened {
        if let refused { return .payloads([.unknown(refused, critical: true, body: [])]) }
        do throws(WireError) {
            let payloads = try Payload.parseChain(first: first, chain.span)
            // Encrypted inside encrypted has no meaning, and two of what must be one are two readings of one message.
            if let wrong = payloads.misplacedType { throw .forbidden(wrong) }
            return .payloads(payloads)
        } catch {
            return .malformed(error)
        }
    }

    /// prf(SK_px, body of the ID payload) of the original initiator or of the responder. RFC 7296 section 2.15.
    func macedIdentity(_ identity: Identification, ofInitiator: Bool) throws(CryptoError) -> [UInt8] {
        guard let proofKeys else { throw .invalid }
        let body = identity.body
        let mac = try (ofInitiator ? proofKeys.initiator : proofKeys.responder).withSecret { (key) throws(CryptoError) -> [UInt8] in
            let mac = try KeySchedule.prf(suite.prf, key: key.span, data: body.span)
            let bytes = mac.span
            return bytes.indices.map { bytes[$0] }
        }
        guard let mac else { throw .invalid }
        return mac
    }

    /// Lends SK_pi or SK_pr, for the AUTH of a method of EAP that gives no key. RFC 7296 section 2.16.
    func withProofKey<R>(ofInitiator: Bool, _ body: (Span<UInt8>) throws(CryptoError) -> R) throws(CryptoError) -> R {
        guard let proofKeys else { throw .invalid }
        let result = try (ofInitiator ? proofKeys.initiator : proofKeys.responder).withSecret { (key: borrowing SecretBytes) throws(CryptoError) -> R in try body(key.span) }
        guard let result else { throw .invalid }
        return result
    }

    /// The keys for a protocol analyser.
    func export(initiatorSPI: IKESPI, responderSPI: IKESPI) -> ExportedKeys {
        let encryption: Transform
        switch suite.encryption {
        case .aead(let algorithm): encryption = algorithm.transform
        case .cipher(let algorithm): encryption = algorithm.transform
        }
        let ours = sealer.keyCopies(), theirs = opener.keyCopies()
        let (initiator, responder) = isInitiator ? (ours, theirs) : (theirs, ours)
        return .ike(
            initiatorSPI: initiatorSPI, responderSPI: responderSPI, encryption: encryption, integrity: suite.integrity?.transform,
            ei: initiator.key, er: responder.key, ai: initiator.integrityKey, ar: responder.integrityKey)
    }
}

extension [Payload] {
    /// The first type that has no place here: encrypted where the message is clear or open already, or the second of a type of which
    /// no exchange has two. RFC 7296 section 1.
    var misplacedType: PayloadType? {
        var seen: Set<UInt8> = []
        for payload in self {
            switch payload.type {
            case .encrypted, .encryptedFragment: return payload.type
            case .securityAssociation, .keyExchange, .nonce, .identificationInitiator, .identificationResponder, .authentication, .eap, .trafficSelectorInitiator, .trafficSelectorResponder:
                guard seen.insert(payload.type.rawValue).inserted else { return payload.type }
            default: break
            }
        }
        return nil
    }
}

extension Registry {
    /// The backends for an IKE proposal with one transform of each type; nil when one is missing.
    func suite(_ proposal: Proposal) -> IKESuite? {
        guard let encryption = proposal.transform(.encryption), let prfTransform = proposal.transform(.prf), let prf = prf(prfTransform),
            let method = proposal.transform(.keyExchange), let keyExchange = keyExchange(method)
        else { return nil }
        //= RFC 7296 §5: IKE is never without encryption, whatever a plugin serves.
        guard encryption.id != 11 else { return nil }
        if let aead = aead(encryption) { return IKESuite(encryption: .aead(aead), integrity: nil, prf: prf, keyExchange: keyExchange) }
        //= RFC 7296 §5: nor without integrity.
        guard let cipher = cipher(encryption), let integrity = proposal.transform(.integrity), integrity.id != 0, let mac = mac(integrity) else { return nil }
        return IKESuite(encryption: .cipher(cipher), integrity: mac, prf: prf, keyExchange: keyExchange)
    }

    /// Bytes of encryption key (with salt) and of integrity key of an ESP proposal; nil when a backend is missing.
    func espKeyLengths(_ proposal: Proposal) -> (encryption: Int, integrity: Int)? {
        guard let encryption = proposal.transform(.encryption) else { return nil }
        if let aead = aead(encryption) { return (aead.keyLength + aead.saltLength, 0) }
        // What no provider serves the data plane does itself: the configuration names nothing else.
        guard let length = cipher(encryption)?.keyLength ?? ESPKeyLengths.encryption(encryption) else { return nil }
        if ESPKeyLengths.isCombined(encryption) { return (length, 0) }
        guard let integrity = proposal.transform(.integrity), let integrityLength = mac(integrity)?.keyLength ?? ESPKeyLengths.integrity(integrity) else { return nil }
        return (length, integrityLength)
    }
}
