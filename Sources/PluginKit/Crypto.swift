// Algorithms of a provider: subclass a context, hand its maker to a table. The trampolines between are here.
//
// A context is a Swift object that the host holds as an opaque pointer. On the data path a call is one C call and one virtual
// one: no allocation, no reference counting.

import PluginABI

/// One key of an AEAD, in one direction. `nonce`, `tag` and the key have the sizes of the table.
open class AEADContext {
    public init() {}
    open func seal(nonce: UnsafePointer<UInt8>, aad: UnsafePointer<UInt8>?, aadSize: Int, text: UnsafeMutablePointer<UInt8>, textSize: Int, tag: UnsafeMutablePointer<UInt8>) -> martlet_status {
        MARTLET_E_UNSUPPORTED
    }
    open func open(nonce: UnsafePointer<UInt8>, aad: UnsafePointer<UInt8>?, aadSize: Int, text: UnsafeMutablePointer<UInt8>, textSize: Int, tag: UnsafePointer<UInt8>) -> martlet_status {
        MARTLET_E_UNSUPPORTED
    }
}

/// One key of a block cipher in CBC mode, in one direction.
open class CipherContext {
    public init() {}
    open func process(iv: UnsafePointer<UInt8>, text: UnsafeMutablePointer<UInt8>, textSize: Int) -> martlet_status { MARTLET_E_UNSUPPORTED }
}

/// One key of an integrity transform.
open class MACContext {
    public init() {}
    open func compute(parts: UnsafeBufferPointer<martlet_bytes>, tag: UnsafeMutablePointer<UInt8>) -> martlet_status { MARTLET_E_UNSUPPORTED }
}

/// A private value of a key exchange.
open class PrivateKey {
    public init() {}
    open func agree(peer: UnsafeBufferPointer<UInt8>, shared: UnsafeMutablePointer<UInt8>) -> martlet_status { MARTLET_E_UNSUPPORTED }
}

/// A table with the maker of its contexts behind it. The table comes first, so that a pointer to it is a pointer to this.
private struct Owned<Table, Maker> {
    var table: Table
    var maker: Maker
}

public typealias AlgorithmTable = UnsafePointer<martlet_algorithm>

public enum Algorithm {
    public typealias AEADMaker = @Sendable (_ key: UnsafePointer<UInt8>, _ sealing: Bool) throws(PluginError) -> AEADContext
    public typealias CipherMaker = @Sendable (_ key: UnsafePointer<UInt8>, _ encrypting: Bool) throws(PluginError) -> CipherContext
    public typealias MACMaker = @Sendable (_ key: UnsafePointer<UInt8>) throws(PluginError) -> MACContext
    public typealias PRFFunction = @Sendable (_ key: UnsafeBufferPointer<UInt8>, _ parts: UnsafeBufferPointer<martlet_bytes>, _ output: UnsafeMutablePointer<UInt8>) -> martlet_status
    public typealias Generate = @Sendable (_ publicValue: UnsafeMutablePointer<UInt8>) throws(PluginError) -> PrivateKey
    public typealias Import = @Sendable (_ privateValue: UnsafeBufferPointer<UInt8>) throws(PluginError) -> PrivateKey
    public typealias Fill = @Sendable (_ bytes: UnsafeMutablePointer<UInt8>, _ size: Int) -> martlet_status

    private static func head<T>(_ type: T.Type, _ kind: martlet_algorithm_kind, _ name: String, _ id: UInt16, _ bits: UInt16) -> martlet_algorithm {
        martlet_algorithm(
            struct_size: UInt32(MemoryLayout<T>.size), kind: kind.rawValue, transform_id: id, key_bits: bits, flags: 0, name: Immortal.string(name))
    }

    private static func immortal<Table, Maker>(_ table: Table, _ maker: Maker) -> AlgorithmTable {
        UnsafeRawPointer(Immortal.table(Owned(table: table, maker: maker))).assumingMemoryBound(to: martlet_algorithm.self)
    }

    /// An AEAD with a salt of 4 and an IV of 8 bytes. `bits` is the Key Length attribute, 0 for none.
    public static func aead(_ name: String, id: UInt16, bits: UInt16, keySize: Int, tagSize: Int = 16, _ make: @escaping AEADMaker) -> AlgorithmTable {
        immortal(
            martlet_aead(
                head: head(martlet_aead.self, MARTLET_AEAD, name, id, bits), key_size: UInt32(keySize), nonce_size: 12, salt_size: 4, iv_size: 8,
                tag_size: UInt32(tagSize), reserved: 0,
                create: { table, key, sealing, context in
                    let owned = UnsafeRawPointer(table).assumingMemoryBound(to: Owned<martlet_aead, AEADMaker>.self)
                    return handOver(context) { () throws(PluginError) in try owned.pointee.maker(key, sealing != 0) }
                },
                destroy: { Unmanaged<AEADContext>.fromOpaque($0).release() },
                seal: { context, nonce, aad, aadSize, text, textSize, tag in
                    Unmanaged<AEADContext>.fromOpaque(context)._withUnsafeGuaranteedRef {
                        $0.seal(nonce: nonce, aad: aad, aadSize: aadSize, text: text, textSize: textSize, tag: tag)
                    }
                },
                open: { context, nonce, aad, aadSize, text, textSize, tag in
                    Unmanaged<AEADContext>.fromOpaque(context)._withUnsafeGuaranteedRef {
                        $0.open(nonce: nonce, aad: aad, aadSize: aadSize, text: text, textSize: textSize, tag: tag)
                    }
                }), make)
    }

    /// A block cipher in CBC mode.
    public static func cipher(_ name: String, id: UInt16, bits: UInt16, keySize: Int, blockSize: Int = 16, _ make: @escaping CipherMaker) -> AlgorithmTable {
        immortal(
            martlet_cipher(
                head: head(martlet_cipher.self, MARTLET_CIPHER, name, id, bits), key_size: UInt32(keySize), block_size: UInt32(blockSize),
                create: { table, key, encrypting, context in
                    let owned = UnsafeRawPointer(table).assumingMemoryBound(to: Owned<martlet_cipher, CipherMaker>.self)
                    return handOver(context) { () throws(PluginError) in try owned.pointee.maker(key, encrypting != 0) }
                },
                destroy: { Unmanaged<CipherContext>.fromOpaque($0).release() },
                process: { context, iv, text, textSize in
                    Unmanaged<CipherContext>.fromOpaque(context)._withUnsafeGuaranteedRef { $0.process(iv: iv, text: text, textSize: textSize) }
                }), make)
    }

    /// An integrity transform. `tagSize` after truncation.
    public static func mac(_ name: String, id: UInt16, keySize: Int, tagSize: Int, _ make: @escaping MACMaker) -> AlgorithmTable {
        immortal(
            martlet_mac(
                head: head(martlet_mac.self, MARTLET_MAC, name, id, 0), key_size: UInt32(keySize), tag_size: UInt32(tagSize),
                create: { table, key, context in
                    let owned = UnsafeRawPointer(table).assumingMemoryBound(to: Owned<martlet_mac, MACMaker>.self)
                    return handOver(context) { () throws(PluginError) in try owned.pointee.maker(key) }
                },
                destroy: { Unmanaged<MACContext>.fromOpaque($0).release() },
                compute: { context, parts, count, tag in
                    Unmanaged<MACContext>.fromOpaque(context)._withUnsafeGuaranteedRef {
                        $0.compute(parts: UnsafeBufferPointer(start: parts, count: count), tag: tag)
                    }
                }), make)
    }

    /// A pseudo-random function whose preferred key is as long as its output.
    public static func prf(_ name: String, id: UInt16, size: Int, _ compute: @escaping PRFFunction) -> AlgorithmTable {
        immortal(
            martlet_prf(
                head: head(martlet_prf.self, MARTLET_PRF, name, id, 0), key_size: UInt32(size), output_size: UInt32(size),
                compute: { table, key, keySize, parts, count, output in
                    let owned = UnsafeRawPointer(table).assumingMemoryBound(to: Owned<martlet_prf, PRFFunction>.self)
                    return owned.pointee.maker(UnsafeBufferPointer(start: key, count: keySize), UnsafeBufferPointer(start: parts, count: count), output)
                }), compute)
    }

    /// A key exchange method. `importPrivate` serves the host's known-answer tests.
    public static func keyExchange(_ name: String, id: UInt16, publicSize: Int, sharedSize: Int, generate: @escaping Generate, importPrivate: @escaping Import) -> AlgorithmTable {
        immortal(
            martlet_key_exchange(
                head: head(martlet_key_exchange.self, MARTLET_KEY_EXCHANGE, name, id, 0), public_size: UInt32(publicSize), shared_size: UInt32(sharedSize),
                generate: { table, key, publicValue in
                    let owned = UnsafeRawPointer(table).assumingMemoryBound(to: Owned<martlet_key_exchange, (Generate, Import)>.self)
                    return handOver(key) { () throws(PluginError) in try owned.pointee.maker.0(publicValue) }
                },
                agree: { table, key, peer, peerSize, shared in
                    guard peerSize == Int(table.pointee.public_size) else { return MARTLET_E_INVALID }
                    return Unmanaged<PrivateKey>.fromOpaque(key)._withUnsafeGuaranteedRef {
                        $0.agree(peer: UnsafeBufferPointer(start: peer, count: peerSize), shared: shared)
                    }
                },
                destroy: { Unmanaged<PrivateKey>.fromOpaque($0).release() },
                import_private: { table, bytes, size, key in
                    let owned = UnsafeRawPointer(table).assumingMemoryBound(to: Owned<martlet_key_exchange, (Generate, Import)>.self)
                    return handOver(key) { () throws(PluginError) in try owned.pointee.maker.1(UnsafeBufferPointer(start: bytes, count: size)) }
                }), (generate, importPrivate))
    }

    /// Random bytes fit for keys.
    public static func random(_ name: String, _ fill: @escaping Fill) -> AlgorithmTable {
        immortal(
            martlet_random(
                head: head(martlet_random.self, MARTLET_RANDOM, name, 0, 0),
                fill: { table, bytes, size in
                    UnsafeRawPointer(table).assumingMemoryBound(to: Owned<martlet_random, Fill>.self).pointee.maker(bytes, size)
                }), fill)
    }

    /// What to provide under `Provision.crypto`.
    public static func provider(name: String, libraryVersion: String, _ algorithms: [AlgorithmTable]) -> UnsafePointer<martlet_crypto_provider> {
        Immortal.table(
            martlet_crypto_provider(
                struct_size: UInt32(MemoryLayout<martlet_crypto_provider>.size), reserved: 0, name: Immortal.string(name),
                library_version: Immortal.string(libraryVersion), algorithms: Immortal.array(algorithms.map(Optional.some)), algorithm_count: algorithms.count))
    }
}

/// Gives the host a context that it releases with `destroy`.
private func handOver<T: AnyObject>(_ context: UnsafeMutablePointer<UnsafeMutableRawPointer?>, _ make: () throws(PluginError) -> T) -> martlet_status {
    do {
        context.pointee = Unmanaged.passRetained(try make()).toOpaque()
        return MARTLET_OK
    } catch {
        context.pointee = nil
        return error.status
    }
}
