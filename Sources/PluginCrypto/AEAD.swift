// Authenticated encryption of a plugin as the core's protocol. One C call a packet: no allocation and no reference counting.

import IKECrypto
import IKEWire
import PluginABI

package final class PluginAEAD: AEADAlgorithm, @unchecked Sendable {
    /// Immortal and constant.
    package let table: UnsafePointer<martlet_aead>
    package let transform: Transform
    package let keyLength: Int
    package let saltLength: Int
    package let ivLength: Int
    package let tagLength: Int

    package init(_ table: UnsafePointer<martlet_aead>) throws(TableDefect) {
        try requireSize(table, \.head)
        try requireFunctions(table, (\.create, "create"), (\.destroy, "destroy"), (\.seal, "seal"), (\.open, "open"))
        let aead = table.pointee
        guard (1...64).contains(aead.key_size), aead.nonce_size == 12, aead.salt_size <= 12, aead.iv_size <= 12,
            aead.salt_size + aead.iv_size == aead.nonce_size, (8...16).contains(aead.tag_size)
        else { throw TableDefect("sizes of \(name(of: table, \.head)) are out of range") }
        self.table = table
        transform = Transform(type: .encryption, id: aead.head.transform_id, keyLength: aead.head.key_bits == 0 ? nil : aead.head.key_bits)
        keyLength = Int(aead.key_size)
        saltLength = Int(aead.salt_size)
        ivLength = Int(aead.iv_size)
        tagLength = Int(aead.tag_size)
    }

    package func makeContext(key: Span<UInt8>, sealing: Bool) throws(CryptoError) -> any AEADContext {
        try PluginAEADContext(self, key: key, sealing: sealing)
    }
}

package final class PluginAEADContext: AEADContext {
    let context: UnsafeMutableRawPointer
    let sealing: Bool
    let tagLength: Int
    let sealFunction: @convention(c) (UnsafeMutableRawPointer, UnsafePointer<UInt8>, UnsafePointer<UInt8>?, Int, UnsafeMutablePointer<UInt8>, Int, UnsafeMutablePointer<UInt8>) -> martlet_status
    let openFunction: @convention(c) (UnsafeMutableRawPointer, UnsafePointer<UInt8>, UnsafePointer<UInt8>?, Int, UnsafeMutablePointer<UInt8>, Int, UnsafePointer<UInt8>) -> martlet_status
    private let destroy: @convention(c) (UnsafeMutableRawPointer) -> Void

    package init(_ algorithm: PluginAEAD, key: Span<UInt8>, sealing: Bool) throws(CryptoError) {
        guard key.count == algorithm.keyLength else { throw .invalid }
        let table = algorithm.table
        var made: UnsafeMutableRawPointer?
        let status = key.withPointer { key, _ in table.pointee.create(table, key, sealing ? 1 : 0, &made) }
        if let error = CryptoError(status: status) { throw error }
        guard let made else { throw .failed }
        context = made
        self.sealing = sealing
        tagLength = algorithm.tagLength
        sealFunction = table.pointee.seal
        openFunction = table.pointee.open
        destroy = table.pointee.destroy
    }

    deinit { destroy(context) }

    package func seal(nonce: Span<UInt8>, aad: Span<UInt8>, text: inout MutableSpan<UInt8>, tag: inout MutableSpan<UInt8>) throws(CryptoError) {
        guard sealing, nonce.count == 12, tag.count == tagLength else { throw .invalid }
        let status = nonce.withPointer { nonce, _ in
            aad.withPointer { aad, aadSize in
                text.withMutablePointer { text, textSize in
                    tag.withMutablePointer { tag, _ in sealFunction(context, nonce, aad, aadSize, text, textSize, tag) }
                }
            }
        }
        if let error = CryptoError(status: status) { throw error }
    }

    package func open(nonce: Span<UInt8>, aad: Span<UInt8>, text: inout MutableSpan<UInt8>, tag: Span<UInt8>) throws(CryptoError) {
        guard !sealing, nonce.count == 12, tag.count == tagLength else { throw .invalid }
        let status = nonce.withPointer { nonce, _ in
            aad.withPointer { aad, aadSize in
                text.withMutablePointer { text, textSize in
                    tag.withPointer { tag, _ in openFunction(context, nonce, aad, aadSize, text, textSize, tag) }
                }
            }
        }
        if let error = CryptoError(status: status) { throw error }
    }
}
