// Pseudo-random functions, key exchange methods and random sources of a plugin as the core's protocols.

import IKECrypto
import IKEWire
import PluginABI

package final class PluginPRF: PRFAlgorithm, @unchecked Sendable {
    /// Immortal and constant: what an authentication method is handed.
    package let table: UnsafePointer<martlet_prf>
    package let transform: Transform
    package let keyLength: Int
    package let outputLength: Int

    package init(_ table: UnsafePointer<martlet_prf>) throws(TableDefect) {
        try requireSize(table, \.head)
        try requireFunctions(table, (\.compute, "compute"))
        let prf = table.pointee
        guard (1...128).contains(prf.key_size), (16...128).contains(prf.output_size) else {
            throw TableDefect("sizes of \(name(of: table, \.head)) are out of range")
        }
        self.table = table
        transform = Transform(type: .prf, id: prf.head.transform_id)
        keyLength = Int(prf.key_size)
        outputLength = Int(prf.output_size)
    }

    package func compute(key: Span<UInt8>, data: Span<UInt8>, into output: inout MutableSpan<UInt8>) throws(CryptoError) {
        guard output.count == outputLength else { throw .invalid }
        let status = key.withPointer { key, keySize in
            data.withPointer { data, dataSize in
                output.withMutablePointer { output, _ in
                    var part = martlet_bytes(data: data, size: dataSize)
                    return table.pointee.compute(table, key, keySize, &part, 1, output)
                }
            }
        }
        if let error = CryptoError(status: status) { throw error }
    }
}

package final class PluginKeyExchange: KeyExchangeAlgorithm, @unchecked Sendable {
    /// Immortal and constant.
    let table: UnsafePointer<martlet_key_exchange>
    package let transform: Transform
    package let publicLength: Int
    let sharedLength: Int

    package init(_ table: UnsafePointer<martlet_key_exchange>) throws(TableDefect) {
        try requireSize(table, \.head)
        try requireFunctions(table, (\.generate, "generate"), (\.agree, "agree"), (\.destroy, "destroy"))
        let exchange = table.pointee
        guard (16...4096).contains(exchange.public_size), (16...4096).contains(exchange.shared_size) else {
            throw TableDefect("sizes of \(name(of: table, \.head)) are out of range")
        }
        self.table = table
        transform = Transform(type: .keyExchange, id: exchange.head.transform_id)
        publicLength = Int(exchange.public_size)
        sharedLength = Int(exchange.shared_size)
    }

    package func generate() throws(CryptoError) -> any KeyExchangeKey {
        var key: UnsafeMutableRawPointer?
        var publicValue = [UInt8](repeating: 0, count: publicLength)
        let status = table.pointee.generate(table, &key, &publicValue)
        if let error = CryptoError(status: status) { throw error }
        guard let key else { throw .failed }
        return PluginKeyExchangeKey(self, key: key, publicValue: publicValue)
    }

    package func makeKey(privateValue: Span<UInt8>) throws(CryptoError) -> (any KeyExchangeKey)? {
        guard let importPrivate = table.pointee.import_private else { return nil }
        var key: UnsafeMutableRawPointer?
        let status = privateValue.withPointer { bytes, size in importPrivate(table, bytes, size, &key) }
        if status == MARTLET_E_UNSUPPORTED { return nil }
        if let error = CryptoError(status: status) { throw error }
        guard let key else { throw .failed }
        return PluginKeyExchangeKey(self, key: key, publicValue: [])
    }
}

/// Used by one thread at a time, as the core promises.
package final class PluginKeyExchangeKey: KeyExchangeKey, @unchecked Sendable {
    private let algorithm: PluginKeyExchange
    private let key: UnsafeMutableRawPointer
    package let publicValue: [UInt8]

    init(_ algorithm: PluginKeyExchange, key: UnsafeMutableRawPointer, publicValue: [UInt8]) {
        self.algorithm = algorithm
        self.key = key
        self.publicValue = publicValue
    }

    deinit { algorithm.table.pointee.destroy(key) }

    package func agree(_ peerValue: Span<UInt8>) throws(CryptoError) -> SecretBytes {
        //= RFC 6989 §2.1: a value of the wrong size is never handed to the group's arithmetic.
        guard peerValue.count == algorithm.publicLength else { throw .invalid }
        var shared = SecretBytes(count: algorithm.sharedLength)
        var target = shared.mutableSpan
        let status = peerValue.withPointer { peer, size in
            target.withMutablePointer { shared, _ in algorithm.table.pointee.agree(algorithm.table, key, peer, size, shared) }
        }
        if let error = CryptoError(status: status) { throw error }
        return shared
    }
}

package final class PluginRandom: RandomSource, @unchecked Sendable {
    private let table: UnsafePointer<martlet_random>

    package init(_ table: UnsafePointer<martlet_random>) throws(TableDefect) {
        try requireSize(table, \.head)
        try requireFunctions(table, (\.fill, "fill"))
        self.table = table
    }

    package func fill(_ bytes: inout MutableSpan<UInt8>) {
        let status = bytes.withMutablePointer { bytes, size in size == 0 ? MARTLET_OK : table.pointee.fill(table, bytes, size) }
        guard status != MARTLET_OK else { return }
        // Keys must not be made of what a failed source left behind; the kernel's bytes are as good.
        var system = SystemRandomNumberGenerator()
        for index in bytes.indices { bytes[index] = system.next() }
    }
}
