// Outbound ESP in place: trailer, encryption, ICV, header.
// RFC 4303 sections 2 and 3.3, RFC 4106, RFC 7634, RFC 3602, RFC 4868.

import IKECrypto
import IKEWire

/// Random bytes drawn in large pieces, for IVs that must not be predictable.
package struct RandomPool: ~Copyable {
    private let source: any RandomSource
    private var bytes: SecretBytes
    private var used: Int

    /// `size` bytes are fetched at a time.
    package init(_ source: any RandomSource, size: Int = 4096) {
        self.source = source
        bytes = SecretBytes(count: size)
        used = bytes.count
    }

    private static func refill(_ bytes: inout SecretBytes, from source: any RandomSource) {
        var all = bytes.mutableSpan
        source.fill(&all)
    }

    mutating func copy(to target: inout MutableSpan<UInt8>, at offset: Int, count: Int) {
        if used + count > bytes.count {
            Self.refill(&bytes, from: source)
            used = 0
        }
        let first = used
        used += count
        let span = bytes.span
        for index in 0..<count { target[offset + index] = span[first + index] }
    }
}

/// The sealing half of one SA for one thread. Several may share a key as long as no sequence number is used twice.
package final class Sealer {
    package let layout: PacketLayout
    private let spi: UInt32
    private let isExtended: Bool
    private let suite: Suite
    /// The first half of each nonce; unlike the key it need not be secret. RFC 4106 section 4.
    private let salt: UInt32
    private var pool: RandomPool?

    private enum Suite {
        case aead(any AEADContext)
        case separate(any CipherContext, any MACContext)
    }

    /// `keyMaterial` is the key and then the salt. RFC 4106 section 8.1.
    package init(
        spi: UInt32, extended: Bool, aead: any AEADAlgorithm, keyMaterial: Span<UInt8>
    ) throws(CryptoError) {
        guard keyMaterial.count == aead.keyLength + aead.saltLength, aead.saltLength == 4, aead.ivLength == 8, aead.tagLength <= 16 else {
            throw .invalid
        }
        self.spi = spi
        isExtended = extended
        layout = PacketLayout(ivLength: aead.ivLength, icvLength: aead.tagLength, blockLength: 4)
        salt = keyMaterial.bigEndian32(at: aead.keyLength)
        suite = .aead(try aead.makeContext(key: keyMaterial.extracting(0..<aead.keyLength), sealing: true))
        pool = nil
    }

    /// CBC with a separate integrity transform.
    package init(
        spi: UInt32, extended: Bool, cipher: any CipherAlgorithm, key: Span<UInt8>, mac: any MACAlgorithm, integrityKey: Span<UInt8>,
        random: any RandomSource
    ) throws(CryptoError) {
        guard key.count == cipher.keyLength, integrityKey.count == mac.keyLength, cipher.blockLength <= 16, mac.tagLength <= 64 else {
            throw .invalid
        }
        self.spi = spi
        isExtended = extended
        layout = PacketLayout(ivLength: cipher.blockLength, icvLength: mac.tagLength, blockLength: cipher.blockLength)
        salt = 0
        suite = .separate(try cipher.makeContext(key: key, encrypting: true), try mac.makeContext(key: integrityKey))
        pool = RandomPool(random)
    }

    /// The last sequence number that may be sent.
    package var lastSequence: UInt64 { isExtended ? .max : UInt64(UInt32.max) }

    /// Seals the payload at `payload` in place, with `layout.headroom` bytes free in front of it and `layout.maximumTailroom` behind.
    /// Returns where the packet, from SPI to ICV, lies. `sequence` is used for this packet alone.
    package func seal(
        _ buffer: inout MutableSpan<UInt8>, payload: Range<Int>, nextHeader: UInt8, sequence: UInt64
    ) throws(ESPError) -> Range<Int> {
        //= RFC 4303 §3.3.3
        guard sequence != 0, sequence <= lastSequence else { throw .sequenceExhausted }
        let start = payload.lowerBound - layout.headroom
        let padding = layout.padding(for: payload.count)
        let textEnd = payload.upperBound + padding + 2
        let end = textEnd + layout.icvLength
        guard start >= 0, end <= buffer.count else { throw .room }

        buffer.store(spi, at: start)
        buffer.store(UInt32(truncatingIfNeeded: sequence), at: start + 4)
        //= RFC 4303 §2.4
        for index in 0..<padding { buffer[payload.upperBound + index] = UInt8(truncatingIfNeeded: index + 1) }
        buffer[textEnd - 2] = UInt8(truncatingIfNeeded: padding)
        buffer[textEnd - 1] = nextHeader

        do throws(CryptoError) {
            switch suite {
            case .aead(let context):
                try seal(&buffer, context, start: start, text: payload.lowerBound..<textEnd, sequence: sequence)
            case .separate(let cipher, let mac):
                try seal(&buffer, cipher, mac, start: start, text: payload.lowerBound..<textEnd, sequence: sequence)
            }
        } catch { throw .failed }
        return start..<end
    }

    private func seal(
        _ buffer: inout MutableSpan<UInt8>, _ context: any AEADContext, start: Int, text: Range<Int>, sequence: UInt64
    ) throws(CryptoError) {
        // The 64-bit counter is unique for the key, whether or not its high half is sent. RFC 4106 section 3.1.
        buffer.store(sequence, at: start + 8)
        var nonce: InlineArray<12, UInt8> = .init(repeating: 0)
        AssociatedData.fillNonce(&nonce, salt: salt, iv: buffer.span, at: start + 8)
        let aad = AssociatedData(spi: spi, sequence: sequence, extended: isExtended)
        var tag: InlineArray<16, UInt8> = .init(repeating: 0)
        do {
            var body = buffer._mutatingExtracting(text)
            var tagSpan = tag.mutableSpan
            try context.seal(nonce: nonce.span, aad: aad.span, text: &body, tag: &tagSpan)
        }
        for index in 0..<layout.icvLength { buffer[text.upperBound + index] = tag[index] }
    }

    private func seal(
        _ buffer: inout MutableSpan<UInt8>, _ cipher: any CipherContext, _ mac: any MACContext, start: Int, text: Range<Int>,
        sequence: UInt64
    ) throws(CryptoError) {
        //= RFC 3602 §3
        pool?.copy(to: &buffer, at: start + 8, count: layout.ivLength)
        var iv: InlineArray<16, UInt8> = .init(repeating: 0)
        for index in 0..<layout.ivLength { iv[index] = buffer[start + 8 + index] }
        do {
            var body = buffer._mutatingExtracting(text)
            try cipher.process(iv: iv.span.extracting(0..<layout.ivLength), text: &body)
        }
        var tag: InlineArray<64, UInt8> = .init(repeating: 0)
        let high = HighSequence(sequence, extended: isExtended)
        do {
            var tagSpan = tag.mutableSpan
            var truncated = tagSpan._mutatingExtracting(0..<layout.icvLength)
            try mac.compute(buffer.span.extracting(start..<text.upperBound), high.span, into: &truncated)
        }
        for index in 0..<layout.icvLength { buffer[text.upperBound + index] = tag[index] }
    }
}

/// What an AEAD authenticates beside the payload: SPI and sequence number, 64 bits of it with ESN. RFC 4106 section 5.
struct AssociatedData {
    private var bytes: InlineArray<12, UInt8>
    private let count: Int

    @inline(__always)
    init(spi: UInt32, sequence: UInt64, extended: Bool) {
        bytes = .init(repeating: 0)
        count = extended ? 12 : 8
        var span = bytes.mutableSpan
        span.store(spi, at: 0)
        if extended { span.store(sequence, at: 4) } else { span.store(UInt32(truncatingIfNeeded: sequence), at: 4) }
    }

    var span: Span<UInt8> {
        @_lifetime(borrow self)
        @inline(__always)
        borrowing get { bytes.span.extracting(0..<count) }
    }

    /// Salt and IV. RFC 4106 section 4, RFC 7634 section 2.
    @inline(__always)
    static func fillNonce(_ nonce: inout InlineArray<12, UInt8>, salt: UInt32, iv: Span<UInt8>, at offset: Int) {
        var target = nonce.mutableSpan
        target.store(salt, at: 0)
        for index in 0..<8 { target[4 + index] = iv[offset + index] }
    }
}

/// The high half of an extended sequence number, which a separate MAC covers after the packet. RFC 4303 section 3.3.2.1.
struct HighSequence {
    private var bytes: InlineArray<4, UInt8>
    private let count: Int

    @inline(__always)
    init(_ sequence: UInt64, extended: Bool) {
        bytes = .init(repeating: 0)
        count = extended ? 4 : 0
        var span = bytes.mutableSpan
        span.store(UInt32(truncatingIfNeeded: sequence &>> 32), at: 0)
    }

    var span: Span<UInt8> {
        @_lifetime(borrow self)
        @inline(__always)
        borrowing get { bytes.span.extracting(0..<count) }
    }
}
