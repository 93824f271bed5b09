// Algorithms with the shapes of the real ones and none of their strength, so that the core and its simulations run without a
// library. Deterministic from a seed. Never shipped: no product depends on this target.

import IKECrypto
import IKEWire
import Synchronization

package enum NullCrypto {
    /// AES-GCM-16, ChaCha20-Poly1305, AES-CBC with HMAC-SHA-256-128, three PRFs, and three key exchange methods in name and size.
    package static func registry(seed: UInt64) -> Registry {
        let random = NullRandom(seed: seed)
        var registry = Registry(random: random)
        registry.add(NullAEAD(.aesGCM16(256), keyLength: 32))
        registry.add(NullAEAD(.aesGCM16(128), keyLength: 16))
        registry.add(NullAEAD(.chaCha20Poly1305, keyLength: 32))
        registry.add(NullCipher(.aesCBC(256), keyLength: 32))
        registry.add(NullCipher(.aesCBC(128), keyLength: 16))
        registry.add(NullMAC(.hmacSHA256_128, keyLength: 32, tagLength: 16))
        registry.add(NullPRF(.prfHMACSHA256, length: 32))
        registry.add(NullPRF(.prfHMACSHA384, length: 48))
        registry.add(NullPRF(.prfHMACSHA512, length: 64))
        registry.add(NullKeyExchange(.curve25519, publicLength: 32, sharedLength: 32, random: random))
        registry.add(NullKeyExchange(.ecp256, publicLength: 64, sharedLength: 32, random: random))
        registry.add(NullKeyExchange(.modp2048, publicLength: 256, sharedLength: 256, random: random))
        return registry
    }
}

/// SplitMix64. The same seed gives the same bytes in the same order of calls.
package final class NullRandom: RandomSource {
    private let state: Mutex<UInt64>
    package init(seed: UInt64) { state = Mutex(seed) }

    package func next() -> UInt64 {
        state.withLock { state in
            state &+= 0x9e37_79b9_7f4a_7c15
            return mixed(state)
        }
    }

    package func fill(_ bytes: inout MutableSpan<UInt8>) {
        var word: UInt64 = 0
        for index in bytes.indices {
            if index % 8 == 0 { word = next() }
            bytes[index] = UInt8(truncatingIfNeeded: word)
            word >>= 8
        }
    }
}

package final class NullAEAD: AEADAlgorithm {
    package let transform: Transform
    package let keyLength: Int
    package let saltLength = 4
    package let ivLength = 8
    package let tagLength = 16

    package init(_ transform: Transform, keyLength: Int) {
        self.transform = transform
        self.keyLength = keyLength
    }

    package func makeContext(key: Span<UInt8>, sealing: Bool) throws(CryptoError) -> any AEADContext {
        guard key.count == keyLength else { throw .invalid }
        return Context(Mix(label: transform.id, key))
    }

    private final class Context: AEADContext {
        let key: Mix
        init(_ key: Mix) { self.key = key }

        func seal(nonce: Span<UInt8>, aad: Span<UInt8>, text: inout MutableSpan<UInt8>, tag: inout MutableSpan<UInt8>) throws(CryptoError) {
            guard nonce.count == 12, tag.count == 16 else { throw .invalid }
            mask(nonce, &text)
            checksum(nonce, aad, text.span).squeeze(into: &tag)
        }

        func open(nonce: Span<UInt8>, aad: Span<UInt8>, text: inout MutableSpan<UInt8>, tag: Span<UInt8>) throws(CryptoError) {
            guard nonce.count == 12, tag.count == 16 else { throw .invalid }
            var expected: [UInt8] = Array(repeating: 0, count: 16)
            var span = expected.mutableSpan
            checksum(nonce, aad, text.span).squeeze(into: &span)
            guard constantTimeEqual(expected.span, tag) else { throw .rejected }
            mask(nonce, &text)
        }

        private func mask(_ nonce: Span<UInt8>, _ text: inout MutableSpan<UInt8>) {
            var stream = key
            stream.absorb(nonce)
            stream.xor(into: &text)
        }

        private func checksum(_ nonce: Span<UInt8>, _ aad: Span<UInt8>, _ text: Span<UInt8>) -> Mix {
            var sum = key
            sum.absorb(nonce)
            sum.absorb(aad)
            sum.absorb(text)
            return sum
        }
    }
}

package final class NullCipher: CipherAlgorithm {
    package let transform: Transform
    package let keyLength: Int
    package let blockLength = 16

    package init(_ transform: Transform, keyLength: Int) {
        self.transform = transform
        self.keyLength = keyLength
    }

    package func makeContext(key: Span<UInt8>, encrypting: Bool) throws(CryptoError) -> any CipherContext {
        guard key.count == keyLength else { throw .invalid }
        return Context(Mix(label: transform.id, key))
    }

    private final class Context: CipherContext {
        let key: Mix
        init(_ key: Mix) { self.key = key }

        func process(iv: Span<UInt8>, text: inout MutableSpan<UInt8>) throws(CryptoError) {
            guard iv.count == 16, text.count % 16 == 0 else { throw .invalid }
            var stream = key
            stream.absorb(iv)
            stream.xor(into: &text)
        }
    }
}

package final class NullMAC: MACAlgorithm {
    package let transform: Transform
    package let keyLength: Int
    package let tagLength: Int

    package init(_ transform: Transform, keyLength: Int, tagLength: Int) {
        self.transform = transform
        self.keyLength = keyLength
        self.tagLength = tagLength
    }

    package func makeContext(key: Span<UInt8>) throws(CryptoError) -> any MACContext {
        guard key.count == keyLength else { throw .invalid }
        return Context(Mix(label: transform.id, key), tagLength)
    }

    private final class Context: MACContext {
        let key: Mix
        let tagLength: Int
        init(_ key: Mix, _ tagLength: Int) {
            self.key = key
            self.tagLength = tagLength
        }

        func compute(_ head: Span<UInt8>, _ body: Span<UInt8>, into tag: inout MutableSpan<UInt8>) throws(CryptoError) {
            guard tag.count == tagLength else { throw .invalid }
            var sum = key
            // One run of bytes, wherever it is cut.
            for index in head.indices { sum.absorb(head[index]) }
            for index in body.indices { sum.absorb(body[index]) }
            sum.absorb(UInt64(head.count + body.count))
            sum.squeeze(into: &tag)
        }
    }
}

package final class NullPRF: PRFAlgorithm {
    package let transform: Transform
    package let keyLength: Int
    package let outputLength: Int

    package init(_ transform: Transform, length: Int) {
        self.transform = transform
        keyLength = length
        outputLength = length
    }

    package func compute(key: Span<UInt8>, data: Span<UInt8>, into output: inout MutableSpan<UInt8>) throws(CryptoError) {
        guard output.count == outputLength else { throw .invalid }
        var sum = Mix(label: transform.id, key)
        sum.absorb(data)
        sum.squeeze(into: &output)
    }
}

/// Diffie-Hellman modulo the prime 2^61 - 1, its values padded at the front to the size of the group it stands for.
package final class NullKeyExchange: KeyExchangeAlgorithm {
    package let transform: Transform
    package let publicLength: Int
    private let sharedLength: Int
    private let random: NullRandom

    private static let prime: UInt64 = (1 << 61) - 1

    package init(_ transform: Transform, publicLength: Int, sharedLength: Int, random: NullRandom) {
        self.transform = transform
        self.publicLength = publicLength
        self.sharedLength = sharedLength
        self.random = random
    }

    package func generate() throws(CryptoError) -> any KeyExchangeKey {
        let exponent = random.next() % (Self.prime - 3) + 2
        return Key(exponent: exponent, publicLength: publicLength, sharedLength: sharedLength)
    }

    private final class Key: KeyExchangeKey {
        private let exponent: UInt64
        private let sharedLength: Int
        let publicValue: [UInt8]

        init(exponent: UInt64, publicLength: Int, sharedLength: Int) {
            self.exponent = exponent
            self.sharedLength = sharedLength
            let value = NullKeyExchange.power(37, exponent)
            publicValue = Array(repeating: 0, count: publicLength - 8) + (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * $0)) }
        }

        func agree(_ peerValue: Span<UInt8>) throws(CryptoError) -> SecretBytes {
            guard peerValue.count == publicValue.count else { throw .invalid }
            var value: UInt64 = 0
            for index in peerValue.indices {
                guard value >> 56 == 0 else { throw .invalid }
                value = value << 8 | UInt64(peerValue[index])
            }
            guard value > 1, value < NullKeyExchange.prime - 1 else { throw .invalid }
            var mix = Mix(label: 0, Span())
            mix.absorb(NullKeyExchange.power(value, exponent))
            var secret = SecretBytes(count: sharedLength)
            var span = secret.mutableSpan
            mix.squeeze(into: &span)
            return secret
        }
    }

    private static func power(_ base: UInt64, _ exponent: UInt64) -> UInt64 {
        func multiplied(_ a: UInt64, _ b: UInt64) -> UInt64 {
            let product = a.multipliedFullWidth(by: b)
            return prime.dividingFullWidth(product).remainder
        }
        var result: UInt64 = 1
        var factor = base
        var rest = exponent
        while rest > 0 {
            if rest & 1 == 1 { result = multiplied(result, factor) }
            factor = multiplied(factor, factor)
            rest >>= 1
        }
        return result
    }
}

/// A keyed checksum that can also make a stream.
private struct Mix {
    private var a: UInt64
    private var b: UInt64

    init(label: UInt16, _ key: Span<UInt8>) {
        a = 0x6a09_e667_f3bc_c908 ^ UInt64(label)
        b = 0xbb67_ae85_84ca_a73b
        absorb(key)
    }

    mutating func absorb(_ byte: UInt8) {
        a = (a ^ UInt64(byte)) &* 0x0000_0100_0000_01b3
        b = (b &+ UInt64(byte) &+ (a >> 32)) &* 0x9e37_79b9_7f4a_7c15
    }

    mutating func absorb(_ word: UInt64) {
        for shift in stride(from: UInt64(0), to: 64, by: 8) { absorb(UInt8(truncatingIfNeeded: word >> shift)) }
    }

    /// The bytes and their number, so that runs do not run together.
    mutating func absorb(_ bytes: Span<UInt8>) {
        for index in bytes.indices { absorb(bytes[index]) }
        absorb(UInt64(bytes.count))
    }

    private func word(_ counter: UInt64) -> UInt64 { mixed(a ^ mixed(b &+ counter &* 0x9e37_79b9_7f4a_7c15)) }

    func squeeze(into bytes: inout MutableSpan<UInt8>) {
        for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: word(UInt64(index / 8)) >> UInt64(index % 8 * 8)) }
    }

    func xor(into bytes: inout MutableSpan<UInt8>) {
        var stream: UInt64 = 0
        for index in bytes.indices {
            if index % 8 == 0 { stream = word(UInt64(index / 8)) }
            bytes[index] ^= UInt8(truncatingIfNeeded: stream)
            stream >>= 8
        }
    }
}

private func mixed(_ word: UInt64) -> UInt64 {
    var z = word
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
}
