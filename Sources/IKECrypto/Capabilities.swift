// What a cipher backend must be able to do, as the core and the data path see it. Implemented over the plugin contract by
// `PluginCrypto`, and by null algorithms in the tests.

import IKEWire

/// Why an operation of a backend failed. Never carries key material.
package enum CryptoError: Error, Hashable, Sendable {
    /// A tag, a MAC or padding is wrong.
    case rejected
    /// A key, a public value or a buffer has a size or a value that the algorithm does not take.
    case invalid
    /// The backend failed for a reason of its own.
    case failed
    /// No enabled provider offers the transform.
    case unavailable(Transform)
}

/// Authenticated encryption with a salt and an explicit IV. RFC 4106, RFC 5282, RFC 7634.
package protocol AEADAlgorithm: AnyObject, Sendable {
    var transform: Transform { get }
    /// Bytes of key without the salt.
    var keyLength: Int { get }
    var saltLength: Int { get }
    /// Bytes of explicit IV on the wire.
    var ivLength: Int { get }
    var tagLength: Int { get }
    /// A context for one key and one direction. `key` has `keyLength` bytes.
    func makeContext(key: Span<UInt8>, sealing: Bool) throws(CryptoError) -> any AEADContext
}

/// One key in one direction. Used by one thread at a time. `nonce` is salt and IV, 12 bytes.
package protocol AEADContext: AnyObject {
    func seal(nonce: Span<UInt8>, aad: Span<UInt8>, text: inout MutableSpan<UInt8>, tag: inout MutableSpan<UInt8>) throws(CryptoError)
    func open(nonce: Span<UInt8>, aad: Span<UInt8>, text: inout MutableSpan<UInt8>, tag: Span<UInt8>) throws(CryptoError)
}

/// A block cipher in CBC mode. RFC 3602.
package protocol CipherAlgorithm: AnyObject, Sendable {
    var transform: Transform { get }
    var keyLength: Int { get }
    /// Also the length of the IV.
    var blockLength: Int { get }
    func makeContext(key: Span<UInt8>, encrypting: Bool) throws(CryptoError) -> any CipherContext
}

package protocol CipherContext: AnyObject {
    /// In place; `text` is a whole number of blocks.
    func process(iv: Span<UInt8>, text: inout MutableSpan<UInt8>) throws(CryptoError)
}

/// An integrity transform. RFC 4868.
package protocol MACAlgorithm: AnyObject, Sendable {
    var transform: Transform { get }
    var keyLength: Int { get }
    /// Bytes on the wire, after truncation.
    var tagLength: Int { get }
    func makeContext(key: Span<UInt8>) throws(CryptoError) -> any MACContext
}

package protocol MACContext: AnyObject {
    /// The MAC over `head` and then `body`, truncated to `tagLength`.
    func compute(_ head: Span<UInt8>, _ body: Span<UInt8>, into tag: inout MutableSpan<UInt8>) throws(CryptoError)
}

/// A pseudo-random function. RFC 7296 section 2.13.
package protocol PRFAlgorithm: AnyObject, Sendable {
    var transform: Transform { get }
    /// The preferred key length, bytes.
    var keyLength: Int { get }
    var outputLength: Int { get }
    func compute(key: Span<UInt8>, data: Span<UInt8>, into output: inout MutableSpan<UInt8>) throws(CryptoError)
}

/// A Diffie-Hellman group.
package protocol KeyExchangeAlgorithm: AnyObject, Sendable {
    var transform: Transform { get }
    /// Bytes in the KE payload.
    var publicLength: Int { get }
    /// A fresh key pair; slow, so run it as a job.
    func generate() throws(CryptoError) -> any KeyExchangeKey
    /// For known-answer tests: a key from its private value, without a public one. Nil where the backend has no way to do that.
    func makeKey(privateValue: Span<UInt8>) throws(CryptoError) -> (any KeyExchangeKey)?
}

extension KeyExchangeAlgorithm {
    package var isQuick: Bool { transform.isQuickKeyExchange }

    package func makeKey(privateValue: Span<UInt8>) throws(CryptoError) -> (any KeyExchangeKey)? { nil }
}

/// A private value with its public one. Used by one thread at a time.
package protocol KeyExchangeKey: AnyObject, Sendable {
    var publicValue: [UInt8] { get }
    /// The shared secret; throws `.invalid` for a value that fails the checks of RFC 6989 or RFC 8031. Slow, so run it as a job.
    func agree(_ peerValue: Span<UInt8>) throws(CryptoError) -> SecretBytes
}

/// Random bytes fit for keys.
package protocol RandomSource: AnyObject, Sendable {
    func fill(_ bytes: inout MutableSpan<UInt8>)
}
