// Inbound ESP in place: replay check, ICV, decryption, window, trailer, in this order.
// RFC 4303 section 3.4.

import IKECrypto
import IKEWire

/// What an accepted packet held.
package struct OpenedPacket: Hashable, Sendable {
    /// Where in the buffer the payload lies.
    package let payload: Range<Int>
    package let nextHeader: UInt8
    package let sequence: UInt64
}

/// The opening half of one SA, with its replay window. Used by one thread.
package final class Opener {
    package let layout: PacketLayout
    package private(set) var window: ReplayWindow
    private let isExtended: Bool
    private let suite: Suite
    /// The first half of each nonce; unlike the key it need not be secret. RFC 4106 section 4.
    private let salt: UInt32

    private enum Suite {
        case aead(any AEADContext)
        case separate(any CipherContext, any MACContext)
    }

    /// `keyMaterial` is the key and then the salt. RFC 4106 section 8.1.
    package init(
        window: ReplayWindow, aead: any AEADAlgorithm, keyMaterial: Span<UInt8>
    ) throws(CryptoError) {
        guard keyMaterial.count == aead.keyLength + aead.saltLength, aead.saltLength == 4, aead.ivLength == 8, aead.tagLength <= 16 else {
            throw .invalid
        }
        self.window = window
        isExtended = window.isExtended
        layout = PacketLayout(ivLength: aead.ivLength, icvLength: aead.tagLength, blockLength: 4)
        salt = keyMaterial.bigEndian32(at: aead.keyLength)
        suite = .aead(try aead.makeContext(key: keyMaterial.extracting(0..<aead.keyLength), sealing: false))
    }

    package init(
        window: ReplayWindow, cipher: any CipherAlgorithm, key: Span<UInt8>, mac: any MACAlgorithm, integrityKey: Span<UInt8>
    ) throws(CryptoError) {
        guard key.count == cipher.keyLength, integrityKey.count == mac.keyLength, cipher.blockLength <= 16, mac.tagLength <= 64 else {
            throw .invalid
        }
        self.window = window
        isExtended = window.isExtended
        layout = PacketLayout(ivLength: cipher.blockLength, icvLength: mac.tagLength, blockLength: cipher.blockLength)
        salt = 0
        suite = .separate(try cipher.makeContext(key: key, encrypting: false), try mac.makeContext(key: integrityKey))
    }

    /// Opens the packet that fills `packet`, from SPI to ICV, in place. On a throw before the ICV was verified the window is as it was.
    /// The SPI is the caller's: it found this SA by it.
    package func open(_ packet: inout MutableSpan<UInt8>) throws(ESPError) -> OpenedPacket {
        let length = packet.count
        guard length >= layout.minimumPacket, (length - layout.headroom - layout.icvLength) % layout.alignment == 0 else {
            throw .malformed(length: length)
        }
        let low = packet.span.bigEndian32(at: 4)
        //= RFC 4303 §3.4.3
        guard let sequence = window.check(low) else { throw .replayed(sequence: low) }

        let text = layout.headroom..<(length - layout.icvLength)
        do throws(CryptoError) {
            switch suite {
            case .aead(let context): try open(&packet, context, text: text, sequence: sequence)
            case .separate(let cipher, let mac): try open(&packet, cipher, mac, text: text, sequence: sequence)
            }
        } catch {
            if error == .rejected { throw .rejected }
            throw .failed
        }
        //= RFC 4303 §3.4.3
        window.advance(sequence)

        let padding = Int(packet[text.upperBound - 2])
        let nextHeader = packet[text.upperBound - 1]
        let payloadEnd = text.upperBound - 2 - padding
        guard payloadEnd >= text.lowerBound else { throw .padding }
        //= RFC 4303 §2.4
        var difference: UInt8 = 0
        for index in 0..<padding { difference |= packet[payloadEnd + index] ^ UInt8(truncatingIfNeeded: index + 1) }
        guard difference == 0 else { throw .padding }
        //= RFC 4303 §2.6
        guard nextHeader != NextHeader.none else { throw .dummy }
        return OpenedPacket(payload: text.lowerBound..<payloadEnd, nextHeader: nextHeader, sequence: sequence)
    }

    private func open(
        _ packet: inout MutableSpan<UInt8>, _ context: any AEADContext, text: Range<Int>, sequence: UInt64
    ) throws(CryptoError) {
        var nonce: InlineArray<12, UInt8> = .init(repeating: 0)
        AssociatedData.fillNonce(&nonce, salt: salt, iv: packet.span, at: PacketLayout.headerLength)
        let aad = AssociatedData(spi: packet.span.bigEndian32(at: 0), sequence: sequence, extended: isExtended)
        var tag: InlineArray<16, UInt8> = .init(repeating: 0)
        for index in 0..<layout.icvLength { tag[index] = packet[text.upperBound + index] }
        var body = packet._mutatingExtracting(text)
        try context.open(nonce: nonce.span, aad: aad.span, text: &body, tag: tag.span.extracting(0..<layout.icvLength))
    }

    private func open(
        _ packet: inout MutableSpan<UInt8>, _ cipher: any CipherContext, _ mac: any MACContext, text: Range<Int>, sequence: UInt64
    ) throws(CryptoError) {
        var expected: InlineArray<64, UInt8> = .init(repeating: 0)
        let high = HighSequence(sequence, extended: isExtended)
        do {
            var all = expected.mutableSpan
            var truncated = all._mutatingExtracting(0..<layout.icvLength)
            try mac.compute(packet.span.extracting(0..<text.upperBound), high.span, into: &truncated)
        }
        guard Self.isEqual(packet.span, text.upperBound..<packet.count, expected.span.extracting(0..<layout.icvLength)) else { throw .rejected }
        var iv: InlineArray<16, UInt8> = .init(repeating: 0)
        for index in 0..<layout.ivLength { iv[index] = packet[PacketLayout.headerLength + index] }
        var body = packet._mutatingExtracting(text)
        try cipher.process(iv: iv.span.extracting(0..<layout.ivLength), text: &body)
    }

    private static func isEqual(_ packet: Span<UInt8>, _ range: Range<Int>, _ expected: Span<UInt8>) -> Bool {
        constantTimeEqual(packet.extracting(range), expected)
    }
}
