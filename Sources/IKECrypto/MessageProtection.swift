// The Encrypted payload: seals and opens whole messages with SK_e and SK_a of one direction.
// RFC 7296 section 3.14, RFC 5282.

import IKEWire

/// One direction's keys. Contexts are made for each message and go with it: a library's context takes ten times the room of a key, and an
/// IKE SA has a message in a minute or an hour.
private final class Protection {
    let suite: IKESuite
    /// With the salt of an AEAD, which is the implicit part of the nonce. RFC 5282 section 4.
    private let key: SecretBytes
    private let integrityKey: SecretBytes

    init(suite: IKESuite, key: borrowing SecretBytes, integrityKey: borrowing SecretBytes) throws(CryptoError) {
        guard key.count == suite.encryption.keyLength else { throw .invalid }
        switch suite.encryption {
        case .aead(let aead):
            guard aead.saltLength + aead.ivLength == nonceLength, aead.ivLength == counterLength, suite.integrity == nil else { throw .invalid }
        case .cipher(let cipher):
            guard let mac = suite.integrity, integrityKey.count == mac.keyLength, cipher.blockLength > 0, cipher.blockLength <= 256 else { throw .invalid }
        }
        self.suite = suite
        self.key = key.copy()
        self.integrityKey = integrityKey.copy()
    }

    func copies() -> (key: SecretBox, integrityKey: SecretBox) { (SecretBox(key.copy()), SecretBox(integrityKey.copy())) }

    func context(_ aead: any AEADAlgorithm, sealing: Bool) throws(CryptoError) -> any AEADContext { try Self.context(aead, key, sealing: sealing) }
    private static func context(_ aead: any AEADAlgorithm, _ key: borrowing SecretBytes, sealing: Bool) throws(CryptoError) -> any AEADContext {
        try aead.makeContext(key: key.span.extracting(0..<aead.keyLength), sealing: sealing)
    }

    func context(_ cipher: any CipherAlgorithm, encrypting: Bool) throws(CryptoError) -> any CipherContext { try Self.context(cipher, key, encrypting: encrypting) }
    private static func context(_ cipher: any CipherAlgorithm, _ key: borrowing SecretBytes, encrypting: Bool) throws(CryptoError) -> any CipherContext {
        try cipher.makeContext(key: key.span, encrypting: encrypting)
    }

    func context(_ mac: any MACAlgorithm) throws(CryptoError) -> any MACContext { try Self.context(mac, integrityKey) }
    private static func context(_ mac: any MACAlgorithm, _ key: borrowing SecretBytes) throws(CryptoError) -> any MACContext { try mac.makeContext(key: key.span) }

    /// The nonce of a combined-mode algorithm: salt, then IV.
    func nonce(_ aead: any AEADAlgorithm, _ iv: Span<UInt8>) -> [UInt8] { Self.nonce(key, saltAt: aead.keyLength, iv) }
    private static func nonce(_ key: borrowing SecretBytes, saltAt offset: Int, _ iv: Span<UInt8>) -> [UInt8] {
        var nonce: [UInt8] = []
        nonce.reserveCapacity(nonceLength)
        let bytes = key.span
        for index in offset..<bytes.count { nonce.append(bytes[index]) }
        for index in iv.indices { nonce.append(iv[index]) }
        return nonce
    }

    var ivLength: Int {
        switch suite.encryption {
        case .aead(let aead): aead.ivLength
        case .cipher(let cipher): cipher.blockLength
        }
    }

    var tagLength: Int {
        switch suite.encryption {
        case .aead(let aead): aead.tagLength
        case .cipher: suite.integrity?.tagLength ?? 0
        }
    }

    /// The plaintext with its padding is a multiple of this.
    var alignment: Int {
        switch suite.encryption {
        case .aead: 1
        case .cipher(let cipher): cipher.blockLength
        }
    }
}

private let nonceLength = 12
private let counterLength = 8
/// The generic header of the Encrypted payload.
private let genericHeaderLength = 4
/// Fragment Number and Total Fragments. RFC 7383 section 2.5.
private let fragmentNumbersLength = 4

/// Seals messages in one direction of an IKE SA.
package final class MessageSealer {
    private let protection: Protection
    private let random: any RandomSource
    /// How many messages a combined-mode algorithm has sealed with this key: the next IV, so that none is ever used twice.
    private var counter: UInt64 = 0

    /// `key` is SK_ei or SK_er (with the salt of an AEAD), `integrityKey` SK_ai or SK_ar (empty with an AEAD).
    package init(suite: IKESuite, key: borrowing SecretBytes, integrityKey: borrowing SecretBytes, random: any RandomSource) throws(CryptoError) {
        protection = try Protection(suite: suite, key: key, integrityKey: integrityKey)
        self.random = random
    }

    /// For a protocol analyser.
    package func keyCopies() -> (key: SecretBox, integrityKey: SecretBox) { protection.copies() }

    /// A whole message: the header, its lengths filled in, and one Encrypted payload that holds `payloads`.
    package func seal(header: Header, payloads: [Payload]) throws(CryptoError) -> [UInt8] {
        let (first, chain) = Payload.serializeChain(payloads)
        return try seal(header, .encrypted, first: first, numbers: [], chain[...])
    }

    /// The same as fragments of at most `limit` bytes each, in order, where the message is longer than that. RFC 7383 section 2.5.
    /// Throws `.invalid` where the limit leaves no room for content.
    package func seal(header: Header, payloads: [Payload], limit: Int) throws(CryptoError) -> [[UInt8]] {
        let (first, chain) = Payload.serializeChain(payloads)
        func textLength(_ content: Int) -> Int { (content / protection.alignment + 1) * protection.alignment }
        let fixed = Header.byteCount + genericHeaderLength + protection.ivLength + protection.tagLength
        if fixed + textLength(chain.count) <= limit { return [try seal(header, .encrypted, first: first, numbers: [], chain[...])] }
        let room = (limit - fixed - fragmentNumbersLength) / protection.alignment * protection.alignment - 1
        guard room > 0 else { throw .invalid }
        let total = (chain.count + room - 1) / room
        guard total <= Int(UInt16.max) else { throw .invalid }
        var fragments: [[UInt8]] = []
        for number in 1...total {
            let piece = chain[(number - 1) * room..<min(number * room, chain.count)]
            let numbers = [number, total].flatMap { [UInt8(truncatingIfNeeded: $0 >> 8), UInt8(truncatingIfNeeded: $0)] }
            //= RFC 7383 §2.5: Next Payload names the first payload inside in the first fragment, and nothing in the others.
            fragments.append(try seal(header, .encryptedFragment, first: number == 1 ? first : .none, numbers: numbers, piece))
        }
        return fragments
    }

    /// `numbers`: the Fragment Number and Total Fragments of a fragment.
    private func seal(_ header: Header, _ type: PayloadType, first: PayloadType, numbers: [UInt8], _ chain: ArraySlice<UInt8>) throws(CryptoError) -> [UInt8] {
        let iv = nextIV()
        let tagLength = protection.tagLength

        //= RFC 7296 §3.14: the padding makes payloads, padding and Pad Length a multiple of the block size.
        let padding = (protection.alignment - (chain.count + 1) % protection.alignment) % protection.alignment
        let textLength = chain.count + padding + 1
        let payloadLength = genericHeaderLength + numbers.count + iv.count + textLength + tagLength
        guard payloadLength <= Int(UInt16.max) else { throw .invalid }
        var text: [UInt8] = []
        text.reserveCapacity(textLength)
        text.append(contentsOf: chain)
        text.append(contentsOf: repeatElement(0, count: padding))
        text.append(UInt8(truncatingIfNeeded: padding))

        // A response is kept as long as it may be asked for again: not a byte of room more than it has.
        var message: [UInt8] = []
        message.reserveCapacity(Header.byteCount + payloadLength)
        Self.append(header, type, length: Header.byteCount + payloadLength, to: &message)
        message.append(first.rawValue)
        message.append(0)
        message.append(UInt8(truncatingIfNeeded: payloadLength >> 8))
        message.append(UInt8(truncatingIfNeeded: payloadLength))
        message.append(contentsOf: numbers)

        var tag: [UInt8] = Array(repeating: 0, count: tagLength)
        switch protection.suite.encryption {
        case .aead(let aead):
            //= RFC 5282 §5.1: the associated data is the message from its first octet to the Encrypted payload's generic header.
            var textSpan = text.mutableSpan
            var tagSpan = tag.mutableSpan
            try protection.context(aead, sealing: true).seal(nonce: protection.nonce(aead, iv.span).span, aad: message.span, text: &textSpan, tag: &tagSpan)
            message.append(contentsOf: iv)
            message.append(contentsOf: text)
        case .cipher(let cipher):
            guard let mac = protection.suite.integrity else { throw .invalid }
            var textSpan = text.mutableSpan
            try protection.context(cipher, encrypting: true).process(iv: iv.span, text: &textSpan)
            message.append(contentsOf: iv)
            message.append(contentsOf: text)
            //= RFC 7296 §3.14: the checksum is over the encrypted message, from the header to the end of the ciphertext.
            var tagSpan = tag.mutableSpan
            try protection.context(mac).compute(message.span, text.span.extracting(0..<0), into: &tagSpan)
        }
        message.append(contentsOf: tag)
        return message
    }

    private func nextIV() -> [UInt8] {
        switch protection.suite.encryption {
        case .aead:
            //= RFC 5282 §3.1: the IV MUST be chosen so that it is never used twice with one key.
            let value = counter
            // 2^64 messages do not fit in any SA: message identifiers have 32 bits.
            counter &+= 1
            return (0..<counterLength).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * UInt64($0))) }
        case .cipher(let cipher):
            //= RFC 7296 §3.14: the initialization vector of a CBC cipher MUST be unpredictable.
            var iv: [UInt8] = Array(repeating: 0, count: cipher.blockLength)
            var span = iv.mutableSpan
            random.fill(&span)
            return iv
        }
    }

    /// The header of a message whose one payload is encrypted. RFC 7296 section 3.1.
    private static func append(_ header: Header, _ type: PayloadType, length: Int, to bytes: inout [UInt8]) {
        for spi in [header.initiatorSPI, header.responderSPI] {
            for shift in stride(from: 56 as UInt64, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: spi.rawValue >> shift)) }
        }
        bytes.append(type.rawValue)
        bytes.append(header.majorVersion << 4 | header.minorVersion & 0x0f)
        bytes.append(header.exchangeType.rawValue)
        bytes.append(header.flags.rawValue)
        for value in [header.messageID, UInt32(truncatingIfNeeded: length)] {
            for shift in [24, 16, 8, 0] as [UInt32] { bytes.append(UInt8(truncatingIfNeeded: value >> shift)) }
        }
    }
}

/// Opens messages in one direction of an IKE SA.
package final class MessageOpener {
    private let protection: Protection

    /// `key` is SK_ei or SK_er (with the salt of an AEAD), `integrityKey` SK_ai or SK_ar (empty with an AEAD).
    package init(suite: IKESuite, key: borrowing SecretBytes, integrityKey: borrowing SecretBytes) throws(CryptoError) {
        protection = try Protection(suite: suite, key: key, integrityKey: integrityKey)
    }

    /// For a protocol analyser.
    package func keyCopies() -> (key: SecretBox, integrityKey: SecretBox) { protection.copies() }

    /// What was inside: the type of the first payload and the chain, padding removed; of a fragment, its part of them.
    package struct Opened {
        package let first: PayloadType
        /// Nil where the Pad Length is more than there is: authentic, and not a message.
        package let chain: [UInt8]?
        package let padLength: Int
        package let fragment: Fragment?
        /// The type of a payload before the Encrypted one that is critical and unknown. The ICV covers it.
        package let refused: PayloadType?
    }

    /// Fragment Number, from 1, and Total Fragments.
    package struct Fragment: Equatable {
        package let number: Int
        package let total: Int
    }

    /// The plaintext of a message's Encrypted or Encrypted Fragment payload. The ICV covers the datagram from its first byte. Throws `.rejected` where the ICV is wrong, `.invalid` where there is no well-formed
    /// Encrypted payload; nothing is believed before.
    package func open(_ datagram: Span<UInt8>) throws(CryptoError) -> Opened {
        let (start, isFragment, refused) = try Self.encryptedPayload(in: datagram)
        let bodyStart = start + genericHeaderLength + (isFragment ? fragmentNumbersLength : 0)
        let textStart = bodyStart + protection.ivLength
        let textEnd = datagram.count - protection.tagLength
        // At least the Pad Length octet is encrypted.
        guard textStart < textEnd, (textEnd - textStart) % protection.alignment == 0 else { throw .invalid }
        let iv = datagram.extracting(bodyStart..<textStart)
        let tag = datagram.extracting(textEnd..<datagram.count)
        var text = Self.copy(datagram.extracting(textStart..<textEnd))

        switch protection.suite.encryption {
        case .aead(let aead):
            var span = text.mutableSpan
            try protection.context(aead, sealing: false).open(nonce: protection.nonce(aead, iv).span, aad: datagram.extracting(0..<bodyStart), text: &span, tag: tag)
        case .cipher(let cipher):
            guard let mac = protection.suite.integrity else { throw .invalid }
            var expected: [UInt8] = Array(repeating: 0, count: mac.tagLength)
            var expectedSpan = expected.mutableSpan
            try protection.context(mac).compute(datagram.extracting(0..<textEnd), datagram.extracting(0..<0), into: &expectedSpan)
            guard constantTimeEqual(expected.span, tag) else { throw .rejected }
            var span = text.mutableSpan
            try protection.context(cipher, encrypting: false).process(iv: iv, text: &span)
        }

        // Authenticated from here on, so the padding is the peer's own and its check tells nobody else anything.
        //= RFC 7296 §3.14: the recipient MUST accept any length that results in proper alignment.
        guard let padding = text.last else { throw .invalid }
        let fits = Int(padding) < text.count
        if fits { text.removeLast(Int(padding) + 1) }
        let fragment = isFragment ? try Self.fragment(datagram, at: start + genericHeaderLength) : nil
        return Opened(first: PayloadType(rawValue: datagram[start]), chain: fits ? text : nil, padLength: Int(padding), fragment: fragment, refused: refused)
    }

    private static func fragment(_ datagram: Span<UInt8>, at offset: Int) throws(CryptoError) -> Fragment {
        let number = Int(datagram[offset]) << 8 | Int(datagram[offset + 1]), total = Int(datagram[offset + 2]) << 8 | Int(datagram[offset + 3])
        //= RFC 7383 §2.6: a number that is zero or beyond the total is dropped.
        guard number > 0, number <= total else { throw .invalid }
        return Fragment(number: number, total: total)
    }

    /// Where the generic header of the Encrypted or Encrypted Fragment payload begins: the last payload of a message whose lengths all agree.
    private static func encryptedPayload(in datagram: Span<UInt8>) throws(CryptoError) -> (start: Int, isFragment: Bool, refused: PayloadType?) {
        guard datagram.count >= Header.byteCount + genericHeaderLength else { throw .invalid }
        var length = 0
        for index in 24..<28 { length = length << 8 | Int(datagram[index]) }
        guard length == datagram.count else { throw .invalid }
        var type = datagram[16]
        var offset = Header.byteCount
        var refused: PayloadType?
        while datagram.count - offset >= genericHeaderLength {
            let size = Int(datagram[offset + 2]) << 8 | Int(datagram[offset + 3])
            guard size >= genericHeaderLength, size <= datagram.count - offset else { throw .invalid }
            if type == PayloadType.encrypted.rawValue || type == PayloadType.encryptedFragment.rawValue {
                //= RFC 7296 §3.14: the Encrypted payload MUST be the last payload in the message.
                guard offset + size == datagram.count else { throw .invalid }
                return (offset, type == PayloadType.encryptedFragment.rawValue, refused)
            }
            //= RFC 7296 §2.5: critical and unknown is refused wherever in the message it stands.
            if datagram[offset + 1] & 0x80 != 0, !PayloadType(rawValue: type).isKnown { refused = refused ?? PayloadType(rawValue: type) }
            type = datagram[offset]
            offset += size
        }
        throw .invalid
    }

    private static func copy(_ span: Span<UInt8>) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(span.count)
        for index in span.indices { bytes.append(span[index]) }
        return bytes
    }
}
