// ESP packets behind a cipher that accepts everything, so that the fuzzer reaches what lies after the ICV.

import ESPCore
import IKECrypto
import IKEWire

/// Seals nothing and believes everything.
private final class Credulous: AEADAlgorithm, AEADContext, CipherAlgorithm, CipherContext, MACAlgorithm, MACContext, @unchecked Sendable {
    let transform = Transform.aesGCM16(256)
    let keyLength = 32, saltLength = 4, ivLength = 8, tagLength = 16, blockLength = 16
    func makeContext(key: Span<UInt8>, sealing: Bool) throws(CryptoError) -> any AEADContext { self }
    func makeContext(key: Span<UInt8>, encrypting: Bool) throws(CryptoError) -> any CipherContext { self }
    func makeContext(key: Span<UInt8>) throws(CryptoError) -> any MACContext { self }
    func seal(nonce: Span<UInt8>, aad: Span<UInt8>, text: inout MutableSpan<UInt8>, tag: inout MutableSpan<UInt8>) throws(CryptoError) {}
    func open(nonce: Span<UInt8>, aad: Span<UInt8>, text: inout MutableSpan<UInt8>, tag: Span<UInt8>) throws(CryptoError) {}
    func process(iv: Span<UInt8>, text: inout MutableSpan<UInt8>) throws(CryptoError) { precondition(text.count % 16 == 0) }
    func compute(_ head: Span<UInt8>, _ body: Span<UInt8>, into tag: inout MutableSpan<UInt8>) throws(CryptoError) {}
}

/// The first byte chooses the suite, the window and ESN; after it come packets, each behind its length of two bytes.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzESP(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    guard let choice = bytes.first else { return 0 }
    let algorithm = Credulous()
    let window = ReplayWindow(size: [0, 64, 100, 4096][Int(choice >> 2 & 3)], extended: choice & 2 != 0, highest: choice & 16 != 0 ? 0xffff_ffc0 : 0)
    let key = [UInt8](repeating: 0, count: 36), half = [UInt8](repeating: 0, count: 32)
    let made =
        choice & 1 != 0
        ? try? Opener(window: window, aead: algorithm, keyMaterial: key.span)
        : try? Opener(window: window, cipher: algorithm, key: half.span, mac: algorithm, integrityKey: half.span)
    guard let opener = made else { preconditionFailure("no opener") }
    var at = 1
    while at + 2 <= bytes.count {
        let length = min(Int(bytes[at]) << 8 | Int(bytes[at + 1]), bytes.count - at - 2)
        var packet = Array(bytes[(at + 2)..<(at + 2 + length)])
        at += 2 + length
        let before = opener.window.highest
        var span = packet.mutableSpan
        guard let opened = try? opener.open(&span) else { continue }
        precondition(opened.payload.upperBound <= length && opened.payload.lowerBound == opener.layout.headroom)
        precondition(opener.window.highest == max(before, opened.sequence) && opened.sequence > 0)
        if opener.window.size > 0 { precondition(opener.window.check(UInt32(truncatingIfNeeded: opened.sequence)) != opened.sequence, "a replay") }
        _ = try? InnerPacket(packet.span.extracting(opened.payload))
    }
    return 0
}
