// What every provider's ciphers and MACs must do: Project Wycheproof's vectors, sizes at the edges, contexts that last.

import IKECrypto
import IKEWire
import TestSupport
import Testing

@Suite struct CipherContractTests {
    struct Sealed: Equatable {
        var text: [UInt8]
        var tag: [UInt8]
    }

    static func seal(_ context: any AEADContext, _ nonce: [UInt8], _ aad: [UInt8], _ text: [UInt8]) throws -> Sealed {
        var text = text, tag = [UInt8](repeating: 0, count: 16)
        var textSpan = text.mutableSpan, tagSpan = tag.mutableSpan
        try context.seal(nonce: nonce.span, aad: aad.span, text: &textSpan, tag: &tagSpan)
        return Sealed(text: text, tag: tag)
    }

    static func open(_ context: any AEADContext, _ nonce: [UInt8], _ aad: [UInt8], _ sealed: Sealed) throws -> [UInt8] {
        var text = sealed.text
        var span = text.mutableSpan
        try context.open(nonce: nonce.span, aad: aad.span, text: &span, tag: sealed.tag.span)
        return text
    }

    static func process(_ context: any CipherContext, _ iv: [UInt8], _ text: [UInt8]) throws -> [UInt8] {
        var text = text
        var span = text.mutableSpan
        try context.process(iv: iv.span, text: &span)
        return text
    }

    static func mac(_ context: any MACContext, _ head: [UInt8], _ body: [UInt8], _ size: Int) throws -> [UInt8] {
        var tag = [UInt8](repeating: 0, count: size)
        var span = tag.mutableSpan
        try context.compute(head.span, body.span, into: &span)
        return tag
    }

    static func prf(_ prf: any PRFAlgorithm, _ key: [UInt8], _ data: [UInt8]) throws -> [UInt8] {
        let output = try KeySchedule.prf(prf, key: key.span, data: data.span)
        return output.array
    }

    static let aeads: [Transform] = [.aesGCM16(128), .aesGCM16(256), .chaCha20Poly1305]

    /// A gateway holds contexts of a hundred thousand SAs: no provider may keep them where there is room for a few.
    @Test(arguments: Built.providers) func thousandsAtOnce(_ provider: String) throws {
        let registry = try Built.registry(provider)
        let key = [UInt8](repeating: 7, count: 32)
        let aead = try #require(registry.aead(.aesGCM16(256))), mac = try #require(registry.mac(.hmacSHA256_128)), exchange = try #require(registry.keyExchange(.curve25519))
        var aeads: [any AEADContext] = [], macs: [any MACContext] = [], keys: [any KeyExchangeKey] = []
        for index in 0..<3000 {
            aeads.append(try aead.makeContext(key: key.span, sealing: true))
            macs.append(try mac.makeContext(key: key.span))
            if index % 3 == 0 { keys.append(try exchange.generate()) }
        }
        let first = try #require(keys.first), last = try #require(keys.last)
        #expect(try first.agree(last.publicValue.span).array == last.agree(first.publicValue.span).array)
    }

    @Test(arguments: Built.providers, ["aes_gcm", "chacha20_poly1305"]) func wycheproofAEAD(_ provider: String, _ file: String) throws {
        let registry = try Built.registry(provider)
        var run = 0
        for group in try Wycheproof.file(file).testGroups {
            // IKE and ESP use 96-bit nonces and 128-bit tags alone; AES-192 is not offered.
            guard group.ivSize == 96, group.tagSize == 128, let keySize = group.keySize, keySize != 192 else { continue }
            let algorithm = try #require(registry.aead(file == "aes_gcm" ? .aesGCM16(UInt16(keySize)) : .chaCha20Poly1305))
            for test in group.tests {
                let key = try hex(test.key), iv = try hex(test.iv), aad = try hex(test.aad)
                let sealed = Sealed(text: try hex(test.ct), tag: try hex(test.tag))
                let opener = try algorithm.makeContext(key: key.span, sealing: false)
                if test.result == "valid" {
                    let sealer = try algorithm.makeContext(key: key.span, sealing: true)
                    #expect(try Self.seal(sealer, iv, aad, hex(test.msg)) == sealed, "\(test.tcId) \(test.comment)")
                    #expect(try Self.open(opener, iv, aad, sealed) == hex(test.msg), "\(test.tcId) \(test.comment)")
                } else {
                    #expect(throws: CryptoError.rejected, "\(test.tcId) \(test.comment)") { try Self.open(opener, iv, aad, sealed) }
                }
                run += 1
            }
        }
        #expect(run > 100)
    }

    @Test(arguments: Built.providers) func wycheproofCBC(_ provider: String) throws {
        let registry = try Built.registry(provider)
        var run = 0
        for group in try Wycheproof.file("aes_cbc_pkcs5").testGroups {
            guard let keySize = group.keySize, keySize != 192 else { continue }
            let algorithm = try #require(registry.cipher(.aesCBC(UInt16(keySize))))
            // The contract's cipher neither pads nor checks padding, so that the invalid cases, all of bad padding, say nothing here.
            for test in group.tests where test.result == "valid" {
                let message = try hex(test.msg), iv = try hex(test.iv), key = try hex(test.key)
                let padding = 16 - message.count % 16
                let padded = message + [UInt8](repeating: UInt8(padding), count: padding)
                #expect(try Self.process(algorithm.makeContext(key: key.span, encrypting: true), iv, padded) == hex(test.ct), "\(test.tcId)")
                #expect(try Self.process(algorithm.makeContext(key: key.span, encrypting: false), iv, hex(test.ct)) == padded, "\(test.tcId)")
                run += 1
            }
        }
        #expect(run > 30)
    }

    @Test(arguments: Built.providers, [("hmac_sha256", 32, 12, 5), ("hmac_sha384", 48, 13, 6), ("hmac_sha512", 64, 14, 7)] as [(String, Int, UInt16, UInt16)])
    func wycheproofHMAC(_ provider: String, _ hash: (file: String, size: Int, integrity: UInt16, prf: UInt16)) throws {
        let registry = try Built.registry(provider)
        let mac = try #require(registry.mac(Transform(type: .integrity, id: hash.integrity)))
        let prf = try #require(registry.prf(Transform(type: .prf, id: hash.prf)))
        var macs = 0, prfs = 0
        for group in try Wycheproof.file(hash.file).testGroups {
            for test in group.tests {
                let key = try hex(test.key), message = try hex(test.msg), tag = try hex(test.tag)
                if tag.count == hash.size {
                    // The PRF takes keys of any size.
                    #expect(try (Self.prf(prf, key, message) == tag) == (test.result == "valid"), "\(test.tcId) \(test.comment)")
                    prfs += 1
                } else if tag.count == hash.size / 2, key.count == hash.size {
                    let context = try mac.makeContext(key: key.span)
                    let cut = message.count / 2
                    #expect(try (Self.mac(context, Array(message[..<cut]), Array(message[cut...]), tag.count) == tag) == (test.result == "valid"), "\(test.tcId) \(test.comment)")
                    macs += 1
                }
            }
        }
        #expect(macs > 20 && prfs > 40)
    }

    /// Empty, one byte, around a block, a full IP packet, 64 KiB and beyond the size of any message.
    @Test(arguments: Built.providers, aeads) func sizesAtTheEdges(_ provider: String, _ transform: Transform) throws {
        let algorithm = try #require(try Built.registry(provider).aead(transform))
        let key = [UInt8](repeating: 7, count: algorithm.keyLength)
        let sealer = try algorithm.makeContext(key: key.span, sealing: true), opener = try algorithm.makeContext(key: key.span, sealing: false)
        for (index, size) in [0, 1, 15, 16, 17, 1499, 65_535, 65_536, 1 << 20].enumerated() {
            let nonce = [UInt8](repeating: UInt8(index), count: 12)
            for aad in [[], [1], [UInt8](repeating: 3, count: 65_536)] as [[UInt8]] {
                let text = [UInt8](repeating: 0xa5, count: size)
                let sealed = try Self.seal(sealer, nonce, aad, text)
                #expect(size == 0 || sealed.text != text)
                let opened = try Self.open(opener, nonce, aad, sealed)
                #expect(opened == text, "\(size)")
                var wrong = sealed
                wrong.tag[15] ^= 0x80
                #expect(throws: CryptoError.rejected) { try Self.open(opener, nonce, aad, wrong) }
            }
        }
    }

    /// One context seals 10,000 messages, and a rejected one in between changes nothing for the next.
    @Test(arguments: Built.providers, aeads) func aContextLasts(_ provider: String, _ transform: Transform) throws {
        let algorithm = try #require(try Built.registry(provider).aead(transform))
        let key = [UInt8](repeating: 9, count: algorithm.keyLength)
        let sealer = try algorithm.makeContext(key: key.span, sealing: true), opener = try algorithm.makeContext(key: key.span, sealing: false)
        var failures = 0
        for round in 0..<10_000 {
            let nonce = (0..<12).map { UInt8(truncatingIfNeeded: round >> ($0 % 4 * 8)) }
            let text = [UInt8](repeating: UInt8(truncatingIfNeeded: round), count: round % 97)
            var sealed = try Self.seal(sealer, nonce, [1, 2, 3], text)
            if round % 10 == 0 {
                sealed.tag[0] ^= 1
                if (try? Self.open(opener, nonce, [1, 2, 3], sealed)) != nil { failures += 1 }
                sealed.tag[0] ^= 1
            }
            if try Self.open(opener, nonce, [1, 2, 3], sealed) != text { failures += 1 }
        }
        #expect(failures == 0)
    }

    @Test(arguments: Built.providers) func aMACContextLasts(_ provider: String) throws {
        let registry = try Built.registry(provider)
        for algorithm in registry.macs {
            let key = [UInt8](repeating: 5, count: algorithm.keyLength)
            let context = try algorithm.makeContext(key: key.span)
            let first = try Self.mac(context, [1], [2], algorithm.tagLength)
            for round in 0..<10_000 { _ = try Self.mac(context, [UInt8(truncatingIfNeeded: round)], [], algorithm.tagLength) }
            #expect(try Self.mac(context, [1, 2], [], algorithm.tagLength) == first)
        }
    }

    @Test(arguments: Built.providers) func wrongSizesAreRefusedAndNotRead(_ provider: String) throws {
        let registry = try Built.registry(provider)
        for algorithm in registry.aeads {
            let long = [UInt8](repeating: 0, count: algorithm.keyLength + 1)
            for size in [0, algorithm.keyLength - 1, algorithm.keyLength + 1] {
                #expect(throws: CryptoError.invalid) { _ = try algorithm.makeContext(key: long.span.extracting(0..<size), sealing: true) }
            }
            let sealer = try algorithm.makeContext(key: long.span.extracting(0..<algorithm.keyLength), sealing: true)
            for size in [0, 11, 13] { #expect(throws: CryptoError.invalid) { try Self.seal(sealer, [UInt8](repeating: 0, count: size), [], []) } }
            // A context works in its own direction alone.
            #expect(throws: CryptoError.invalid) { try Self.open(sealer, [UInt8](repeating: 0, count: 12), [], Sealed(text: [], tag: [UInt8](repeating: 0, count: 16))) }
        }
        for algorithm in registry.ciphers {
            let key = [UInt8](repeating: 0, count: algorithm.keyLength), iv = [UInt8](repeating: 0, count: 16)
            let context = try algorithm.makeContext(key: key.span, encrypting: true)
            for size in [1, 15, 17] { #expect(throws: CryptoError.invalid) { try Self.process(context, iv, [UInt8](repeating: 0, count: size)) } }
            #expect(throws: CryptoError.invalid) { try Self.process(context, [], [UInt8](repeating: 0, count: 16)) }
            #expect(try Self.process(context, iv, []).isEmpty)
        }
    }

    /// Two gateways with different providers understand each other.
    @Test func providersAgreeOnEveryTransform() throws {
        let a = try Built.registry("openssl"), b = try Built.registry("gcrypt")
        let text = (0..<1000).map { UInt8(truncatingIfNeeded: $0) }, iv16 = [UInt8](repeating: 4, count: 16), nonce = [UInt8](repeating: 4, count: 12)
        for x in a.aeads {
            let y = try #require(b.aead(x.transform)), key = (0..<x.keyLength).map { UInt8($0) }
            let sealed = try Self.seal(x.makeContext(key: key.span, sealing: true), nonce, [8], text)
            #expect(try Self.seal(y.makeContext(key: key.span, sealing: true), nonce, [8], text) == sealed)
            #expect(try Self.open(y.makeContext(key: key.span, sealing: false), nonce, [8], sealed) == text)
        }
        for x in a.ciphers {
            let y = try #require(b.cipher(x.transform)), key = (0..<x.keyLength).map { UInt8($0) }
            let encrypted = try Self.process(x.makeContext(key: key.span, encrypting: true), iv16, Array(text[..<992]))
            #expect(try Self.process(y.makeContext(key: key.span, encrypting: false), iv16, encrypted) == Array(text[..<992]))
        }
        for x in a.macs {
            let y = try #require(b.mac(x.transform)), key = (0..<x.keyLength).map { UInt8($0) }
            #expect(try Self.mac(x.makeContext(key: key.span), text, [], x.tagLength) == Self.mac(y.makeContext(key: key.span), [], text, x.tagLength))
        }
        for x in a.prfs {
            let y = try #require(b.prf(x.transform))
            for size in [1, 32, 64, 65, 128, 129, 500] { #expect(try Self.prf(x, Array(text[..<size]), text) == Self.prf(y, Array(text[..<size]), text), "\(size)") }
        }
    }
}
