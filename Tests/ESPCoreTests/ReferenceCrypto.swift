// Real algorithms for the tests, straight from libcrypto, and generated input.

import COpenSSL
import ESPCore
import IKECrypto
import IKEWire

/// A generator with a printed seed: splitmix64.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z &>> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z &>> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z &>> 31)
    }
    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

func fromHex(_ text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    var high: UInt8?
    for character in text {
        guard let digit = character.hexDigitValue.map(UInt8.init) else { continue }
        if let first = high {
            bytes.append(first << 4 | digit)
            high = nil
        } else {
            high = digit
        }
    }
    return bytes
}

private func pointer(_ span: Span<UInt8>) -> UnsafePointer<UInt8>? { span.withUnsafeBufferPointer { $0.baseAddress } }
private func pointer(_ span: inout MutableSpan<UInt8>) -> UnsafeMutablePointer<UInt8>? {
    span.withUnsafeMutableBufferPointer { $0.baseAddress }
}

final class ReferenceAEAD: AEADAlgorithm, @unchecked Sendable {
    let transform: Transform
    let keyLength: Int
    let saltLength = 4, ivLength = 8, tagLength = 16
    private let cipher: OpaquePointer

    static let chaCha = ReferenceAEAD(.chaCha20Poly1305, 32, EVP_chacha20_poly1305())
    static let gcm128 = ReferenceAEAD(.aesGCM16(128), 16, EVP_aes_128_gcm())
    static let gcm256 = ReferenceAEAD(.aesGCM16(256), 32, EVP_aes_256_gcm())

    init(_ transform: Transform, _ keyLength: Int, _ cipher: OpaquePointer) {
        self.transform = transform
        self.keyLength = keyLength
        self.cipher = cipher
    }

    func makeContext(key: Span<UInt8>, sealing: Bool) throws(CryptoError) -> any AEADContext {
        guard key.count == keyLength else { throw .invalid }
        return Context(cipher, key, sealing)
    }

    final class Context: AEADContext {
        private let context: OpaquePointer = EVP_CIPHER_CTX_new()
        init(_ cipher: OpaquePointer, _ key: Span<UInt8>, _ sealing: Bool) {
            EVP_CipherInit_ex(context, cipher, nil, pointer(key), nil, sealing ? 1 : 0)
        }
        deinit { EVP_CIPHER_CTX_free(context) }

        func seal(nonce: Span<UInt8>, aad: Span<UInt8>, text: inout MutableSpan<UInt8>, tag: inout MutableSpan<UInt8>) throws(CryptoError) {
            run(nonce, aad, &text)
            var length: Int32 = 0
            var rest: [UInt8] = Array(repeating: 0, count: 16)
            guard EVP_CipherFinal_ex(context, &rest, &length) == 1,
                EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, pointer(&tag)) == 1
            else { throw .failed }
        }

        func open(nonce: Span<UInt8>, aad: Span<UInt8>, text: inout MutableSpan<UInt8>, tag: Span<UInt8>) throws(CryptoError) {
            run(nonce, aad, &text)
            var length: Int32 = 0
            var rest: [UInt8] = Array(repeating: 0, count: 16)
            guard EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16, UnsafeMutablePointer(mutating: pointer(tag))) == 1 else {
                throw .failed
            }
            guard EVP_CipherFinal_ex(context, &rest, &length) == 1 else { throw .rejected }
        }

        private func run(_ nonce: Span<UInt8>, _ aad: Span<UInt8>, _ text: inout MutableSpan<UInt8>) {
            var length: Int32 = 0
            EVP_CipherInit_ex(context, nil, nil, nil, pointer(nonce), -1)
            EVP_CipherUpdate(context, nil, &length, pointer(aad), Int32(aad.count))
            let count = Int32(text.count)
            let place = pointer(&text)
            EVP_CipherUpdate(context, place, &length, place, count)
        }
    }
}

final class ReferenceCBC: CipherAlgorithm, @unchecked Sendable {
    let transform: Transform
    let keyLength: Int
    let blockLength = 16
    private let cipher: OpaquePointer

    static let aes128 = ReferenceCBC(.aesCBC(128), 16, EVP_aes_128_cbc())
    static let aes256 = ReferenceCBC(.aesCBC(256), 32, EVP_aes_256_cbc())

    init(_ transform: Transform, _ keyLength: Int, _ cipher: OpaquePointer) {
        self.transform = transform
        self.keyLength = keyLength
        self.cipher = cipher
    }

    func makeContext(key: Span<UInt8>, encrypting: Bool) throws(CryptoError) -> any CipherContext { Context(cipher, key, encrypting) }

    final class Context: CipherContext {
        private let context: OpaquePointer = EVP_CIPHER_CTX_new()
        init(_ cipher: OpaquePointer, _ key: Span<UInt8>, _ encrypting: Bool) {
            EVP_CipherInit_ex(context, cipher, nil, pointer(key), nil, encrypting ? 1 : 0)
        }
        deinit { EVP_CIPHER_CTX_free(context) }
        func process(iv: Span<UInt8>, text: inout MutableSpan<UInt8>) throws(CryptoError) {
            guard text.count % 16 == 0 else { throw .invalid }
            EVP_CipherInit_ex(context, nil, nil, nil, pointer(iv), -1)
            EVP_CIPHER_CTX_set_padding(context, 0)
            var length: Int32 = 0
            let count = Int32(text.count)
            let place = pointer(&text)
            guard EVP_CipherUpdate(context, place, &length, place, count) == 1, length == count else { throw .failed }
        }
    }
}

final class ReferenceHMAC: MACAlgorithm, @unchecked Sendable {
    let transform: Transform
    let keyLength: Int
    let tagLength: Int
    private let digest: String

    static let sha256 = ReferenceHMAC(.hmacSHA256_128, 32, 16, "SHA256")
    static let sha512 = ReferenceHMAC(.hmacSHA512_256, 64, 32, "SHA512")

    init(_ transform: Transform, _ keyLength: Int, _ tagLength: Int, _ digest: String) {
        self.transform = transform
        self.keyLength = keyLength
        self.tagLength = tagLength
        self.digest = digest
    }

    func makeContext(key: Span<UInt8>) throws(CryptoError) -> any MACContext { Context(digest, key, tagLength) }

    final class Context: MACContext {
        private let digest: String
        private let key: [UInt8]
        private let tagLength: Int
        init(_ digest: String, _ key: Span<UInt8>, _ tagLength: Int) {
            self.digest = digest
            self.key = key.indices.map { key[$0] }
            self.tagLength = tagLength
        }
        func compute(_ head: Span<UInt8>, _ body: Span<UInt8>, into tag: inout MutableSpan<UInt8>) throws(CryptoError) {
            let data = head.indices.map { head[$0] } + body.indices.map { body[$0] }
            var full = [UInt8](repeating: 0, count: 64)
            var length = 0
            guard EVP_Q_mac(nil, "HMAC", nil, digest, nil, key, key.count, data, data.count, &full, full.count, &length) != nil, tag.count == tagLength else { throw .failed }
            for index in 0..<tagLength { tag[index] = full[index] }
        }
    }
}

final class ReferenceRandom: RandomSource, @unchecked Sendable {
    func fill(_ bytes: inout MutableSpan<UInt8>) {
        let count = Int32(bytes.count)
        RAND_bytes(pointer(&bytes), count)
    }
}

/// A suite with both halves under one key.
enum ReferenceSuite: CaseIterable {
    case gcm128, gcm256, chaCha, cbc128sha256, cbc256sha512

    func pair(
        key: [UInt8], spi: UInt32 = 0xc000_0001, extended: Bool = false, window: Int = 64, highest: UInt64 = 0
    ) throws -> (Sealer, Opener) {
        let replay = ReplayWindow(size: window, extended: extended, highest: highest)
        switch self {
        case .gcm128: return try aead(.gcm128, key, spi, extended, replay)
        case .gcm256: return try aead(.gcm256, key, spi, extended, replay)
        case .chaCha: return try aead(.chaCha, key, spi, extended, replay)
        case .cbc128sha256: return try cbc(.aes128, .sha256, key, spi, extended, replay)
        case .cbc256sha512: return try cbc(.aes256, .sha512, key, spi, extended, replay)
        }
    }

    private func aead(_ algorithm: ReferenceAEAD, _ key: [UInt8], _ spi: UInt32, _ extended: Bool, _ replay: ReplayWindow) throws -> (Sealer, Opener) {
        let material = Array(key.prefix(algorithm.keyLength + 4))
        return (
            try Sealer(spi: spi, extended: extended, aead: algorithm, keyMaterial: material.span),
            try Opener(window: replay, aead: algorithm, keyMaterial: material.span)
        )
    }

    private func cbc(
        _ cipher: ReferenceCBC, _ mac: ReferenceHMAC, _ key: [UInt8], _ spi: UInt32, _ extended: Bool, _ replay: ReplayWindow
    ) throws -> (Sealer, Opener) {
        let encryption = Array(key.prefix(cipher.keyLength)), integrity = Array(key.suffix(mac.keyLength))
        return (
            try Sealer(
                spi: spi, extended: extended, cipher: cipher, key: encryption.span, mac: mac, integrityKey: integrity.span,
                random: ReferenceRandom()),
            try Opener(window: replay, cipher: cipher, key: encryption.span, mac: mac, integrityKey: integrity.span)
        )
    }
}

/// The packet around `payload`, as bytes.
func sealed(_ sealer: Sealer, _ payload: [UInt8], nextHeader: UInt8 = NextHeader.ipv4, sequence: UInt64) throws -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: sealer.layout.headroom) + payload + [UInt8](repeating: 0, count: sealer.layout.maximumTailroom)
    let payloadRange = sealer.layout.headroom..<(sealer.layout.headroom + payload.count)
    var span = buffer.mutableSpan
    let range = try sealer.seal(&span, payload: payloadRange, nextHeader: nextHeader, sequence: sequence)
    return Array(buffer[range])
}

/// What a packet holds, with its next header.
func opened(_ opener: Opener, _ packet: [UInt8]) throws -> (payload: [UInt8], nextHeader: UInt8, sequence: UInt64) {
    var buffer = packet
    var span = buffer.mutableSpan
    let result = try opener.open(&span)
    return (Array(buffer[result.payload]), result.nextHeader, result.sequence)
}
