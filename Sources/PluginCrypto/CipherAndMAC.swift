// Block ciphers and integrity transforms of a plugin as the core's protocols.

import IKECrypto
import IKEWire
import PluginABI

package final class PluginCipher: CipherAlgorithm, @unchecked Sendable {
    /// Immortal and constant.
    let table: UnsafePointer<martlet_cipher>
    package let transform: Transform
    package let keyLength: Int
    package let blockLength: Int

    package init(_ table: UnsafePointer<martlet_cipher>) throws(TableDefect) {
        try requireSize(table, \.head)
        try requireFunctions(table, (\.create, "create"), (\.destroy, "destroy"), (\.process, "process"))
        let cipher = table.pointee
        guard (1...64).contains(cipher.key_size), [8, 16].contains(cipher.block_size) else {
            throw TableDefect("sizes of \(name(of: table, \.head)) are out of range")
        }
        self.table = table
        transform = Transform(type: .encryption, id: cipher.head.transform_id, keyLength: cipher.head.key_bits == 0 ? nil : cipher.head.key_bits)
        keyLength = Int(cipher.key_size)
        blockLength = Int(cipher.block_size)
    }

    package func makeContext(key: Span<UInt8>, encrypting: Bool) throws(CryptoError) -> any CipherContext {
        try PluginCipherContext(self, key: key, encrypting: encrypting)
    }
}

package final class PluginCipherContext: CipherContext {
    let context: UnsafeMutableRawPointer
    let blockLength: Int
    let processFunction: @convention(c) (UnsafeMutableRawPointer, UnsafePointer<UInt8>, UnsafeMutablePointer<UInt8>, Int) -> martlet_status
    private let destroy: @convention(c) (UnsafeMutableRawPointer) -> Void

    package init(_ algorithm: PluginCipher, key: Span<UInt8>, encrypting: Bool) throws(CryptoError) {
        guard key.count == algorithm.keyLength else { throw .invalid }
        let table = algorithm.table
        var made: UnsafeMutableRawPointer?
        let status = key.withPointer { key, _ in table.pointee.create(table, key, encrypting ? 1 : 0, &made) }
        if let error = CryptoError(status: status) { throw error }
        guard let made else { throw .failed }
        context = made
        blockLength = algorithm.blockLength
        processFunction = table.pointee.process
        destroy = table.pointee.destroy
    }

    deinit { destroy(context) }

    package func process(iv: Span<UInt8>, text: inout MutableSpan<UInt8>) throws(CryptoError) {
        // A block is 8 or 16 bytes.
        guard iv.count == blockLength, text.count & (blockLength - 1) == 0 else { throw .invalid }
        let status = iv.withPointer { iv, _ in
            text.withMutablePointer { text, textSize in processFunction(context, iv, text, textSize) }
        }
        if let error = CryptoError(status: status) { throw error }
    }
}

package final class PluginMAC: MACAlgorithm, @unchecked Sendable {
    /// Immortal and constant.
    let table: UnsafePointer<martlet_mac>
    package let transform: Transform
    package let keyLength: Int
    package let tagLength: Int

    package init(_ table: UnsafePointer<martlet_mac>) throws(TableDefect) {
        try requireSize(table, \.head)
        try requireFunctions(table, (\.create, "create"), (\.destroy, "destroy"), (\.compute, "compute"))
        let mac = table.pointee
        guard (1...128).contains(mac.key_size), (8...64).contains(mac.tag_size) else {
            throw TableDefect("sizes of \(name(of: table, \.head)) are out of range")
        }
        self.table = table
        transform = Transform(type: .integrity, id: mac.head.transform_id)
        keyLength = Int(mac.key_size)
        tagLength = Int(mac.tag_size)
    }

    package func makeContext(key: Span<UInt8>) throws(CryptoError) -> any MACContext { try PluginMACContext(self, key: key) }
}

package final class PluginMACContext: MACContext {
    let context: UnsafeMutableRawPointer
    let tagLength: Int
    let computeFunction: @convention(c) (UnsafeMutableRawPointer, UnsafePointer<martlet_bytes>, Int, UnsafeMutablePointer<UInt8>) -> martlet_status
    private let destroy: @convention(c) (UnsafeMutableRawPointer) -> Void

    package init(_ algorithm: PluginMAC, key: Span<UInt8>) throws(CryptoError) {
        guard key.count == algorithm.keyLength else { throw .invalid }
        let table = algorithm.table
        var made: UnsafeMutableRawPointer?
        let status = key.withPointer { key, _ in table.pointee.create(table, key, &made) }
        if let error = CryptoError(status: status) { throw error }
        guard let made else { throw .failed }
        context = made
        tagLength = algorithm.tagLength
        computeFunction = table.pointee.compute
        destroy = table.pointee.destroy
    }

    deinit { destroy(context) }

    package func compute(_ head: Span<UInt8>, _ body: Span<UInt8>, into tag: inout MutableSpan<UInt8>) throws(CryptoError) {
        guard tag.count == tagLength else { throw .invalid }
        let status = head.withPointer { head, headSize in
            body.withPointer { body, bodySize in
                tag.withMutablePointer { tag, _ in
                    var parts = (martlet_bytes(data: head, size: headSize), martlet_bytes(data: body, size: bodySize))
                    return withUnsafeMutablePointer(to: &parts) { parts in
                        parts.withMemoryRebound(to: martlet_bytes.self, capacity: 2) { computeFunction(context, $0, 2, tag) }
                    }
                }
            }
        }
        if let error = CryptoError(status: status) { throw error }
    }
}
