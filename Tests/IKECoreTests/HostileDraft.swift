// A message as octets that a test can get wrong one by one: every field that the codec would fill in can be told to lie.
// RFC 7296 sections 3.1, 3.2 and 3.14 and RFC 7383 section 2.5, written here a second time.

@testable import IKECore
import IKECrypto
import IKEWire
import TestSupport

/// One payload: what its generic header says, and its body.
struct Raw {
    var type: UInt8
    var body: [UInt8]
    /// The critical bit and the seven reserved ones.
    var flags: UInt8 = 0
    /// Added to the right Payload Length.
    var lengthDelta = 0
    /// The Payload Length as it stands there, whatever is right.
    var length: Int?

    init(_ type: UInt8, _ body: [UInt8], flags: UInt8 = 0) {
        self.type = type
        self.body = body
        self.flags = flags
    }

    init(_ payload: Payload) {
        type = payload.type.rawValue
        body = Array(Payload.serializeChain([payload]).bytes.dropFirst(4))
    }

    static func notify(_ type: UInt16, protocolID: UInt8 = 0, spi: [UInt8] = [], spiSize: UInt8? = nil, _ data: [UInt8] = []) -> Raw {
        Raw(41, [protocolID, spiSize ?? UInt8(spi.count), UInt8(type >> 8), UInt8(type & 0xff)] + spi + data)
    }

    /// The chain of some payloads. `last`: what the last one names as the next.
    static func chain(_ payloads: [Raw], last: UInt8 = 0) -> [UInt8] {
        var bytes: [UInt8] = []
        for (index, payload) in payloads.enumerated() {
            let length = payload.length ?? payload.body.count + 4 + payload.lengthDelta
            bytes += [index + 1 < payloads.count ? payloads[index + 1].type : last, payload.flags, UInt8(truncatingIfNeeded: length >> 8), UInt8(truncatingIfNeeded: length)] + payload.body
        }
        return bytes
    }
}

struct Draft {
    var initiatorSPI: UInt64
    var responderSPI: UInt64
    var version: UInt8 = 0x20
    var exchange: UInt8
    var flags: UInt8
    var id: UInt32
    /// The header's Next Payload, where it is to be another than the first payload.
    var next: UInt8?
    var lengthDelta = 0
    /// Octets after everything that the Length covers.
    var trailing: [UInt8] = []
    /// Payloads in the clear: all of an IKE_SA_INIT; before the Encrypted payload of others.
    var clear: [Raw] = []
    /// What the Encrypted payload holds; nil where there is none.
    var inner: [Raw]?
    /// What the last payload inside names as the next.
    var innerLast: UInt8 = 0
    /// What the Encrypted payload's Next Payload says, where it is not the first payload inside.
    var innerFirst: UInt8?
    /// The plaintext as it is, instead of `inner`'s chain.
    var innerBytes: [UInt8]?
    var padding: [UInt8] = []
    var padLength: UInt8?
    var encryptedFlags: UInt8 = 0
    var encryptedLengthDelta = 0
    /// Octets between the Encrypted payload's end and the message's.
    var afterEncrypted: [UInt8] = []
    var breaksICV = false
    /// Fragment Number and Total Fragments: the message becomes an Encrypted Fragment.
    var fragment: (number: UInt16, total: UInt16)?

    init(_ header: Header) {
        initiatorSPI = header.initiatorSPI.rawValue
        responderSPI = header.responderSPI.rawValue
        exchange = header.exchangeType.rawValue
        flags = header.flags.rawValue
        id = header.messageID
    }

    /// The payloads that matter: those inside, or those in the clear.
    var payloads: [Raw] {
        get { inner ?? clear }
        set { if inner != nil { inner = newValue } else { clear = newValue } }
    }

    private func header(_ first: UInt8, length: Int) -> [UInt8] {
        let total = UInt32(truncatingIfNeeded: length + lengthDelta)
        return IKESPI(rawValue: initiatorSPI).bytes + IKESPI(rawValue: responderSPI).bytes + [next ?? first, version, exchange, flags] + id.bytes + total.bytes
    }

    /// The datagram. `peer` has the keys; what is in the clear needs none.
    func bytes(_ peer: HostilePeer) throws -> [UInt8] {
        guard let inner else {
            let chain = Raw.chain(clear)
            return header(clear.first?.type ?? 0, length: 28 + chain.count) + chain + trailing
        }
        guard case .aead(let aead) = peer.suite.encryption, peer.sealingKey.count == aead.keyLength + aead.saltLength else { throw HostilePeer.Broken(what: "no keys") }
        let type: UInt8 = fragment == nil ? 46 : 53
        let numbers = fragment.map { [UInt8($0.number >> 8), UInt8($0.number & 0xff), UInt8($0.total >> 8), UInt8($0.total & 0xff)] } ?? []
        var text = innerBytes ?? Raw.chain(inner, last: innerLast)
        text += padding + [padLength ?? UInt8(padding.count)]
        let before = Raw.chain(clear, last: type)
        let length = 4 + numbers.count + aead.ivLength + text.count + aead.tagLength
        let stated = length + encryptedLengthDelta
        var message = header(clear.first?.type ?? type, length: 28 + before.count + length + afterEncrypted.count) + before
        message += [innerFirst ?? inner.first?.type ?? 0, encryptedFlags, UInt8(truncatingIfNeeded: stated >> 8), UInt8(truncatingIfNeeded: stated)] + numbers
        peer.rawSealed += 1
        let iv = [0xf0] + Array(peer.rawSealed.bytes) + [0, 0, 0]
        var tag = [UInt8](repeating: 0, count: aead.tagLength)
        let key = peer.sealingKey, nonce = Array(key.suffix(aead.saltLength)) + iv
        let context = try aead.makeContext(key: key.span.extracting(0..<aead.keyLength), sealing: true)
        var textSpan = text.mutableSpan, tagSpan = tag.mutableSpan
        try context.seal(nonce: nonce.span, aad: message.span, text: &textSpan, tag: &tagSpan)
        if breaksICV { tag[0] ^= 1 }
        return message + iv + text + tag + afterEncrypted + trailing
    }
}
