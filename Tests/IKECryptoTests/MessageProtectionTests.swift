// The Encrypted payload over null algorithms: its layout, and that no damaged message opens.
// RFC 7296 section 3.14, RFC 5282.

import IKECrypto
import IKEWire
import TestSupport
import Testing

@Suite struct MessageProtectionTests {
    let registry = NullCrypto.registry(seed: 2)
    let header = Header(
        initiatorSPI: IKESPI(rawValue: 0x0102_0304_0506_0708), responderSPI: IKESPI(rawValue: 0x1112_1314_1516_1718),
        exchangeType: .informational, flags: [.initiator], messageID: 0x0a0b_0c0d)

    static let transforms: [Transform] = [.aesGCM16(128), .aesGCM16(256), .chaCha20Poly1305, .aesCBC(128), .aesCBC(256)]

    func pair(_ transform: Transform, key: UInt8 = 1) throws -> (MessageSealer, MessageOpener) {
        let encryption: IKESuite.Encryption
        var integrity: (any MACAlgorithm)?
        if let aead = registry.aead(transform) {
            encryption = .aead(aead)
        } else {
            encryption = .cipher(try #require(registry.cipher(transform)))
            integrity = registry.mac(.hmacSHA256_128)
        }
        let suite = IKESuite(
            encryption: encryption, integrity: integrity, prf: try #require(registry.prf(.prfHMACSHA256)), keyExchange: try #require(registry.keyExchange(.ecp256)))
        let e = SecretBytes(copying: [UInt8](repeating: key, count: encryption.keyLength).span)
        let a = SecretBytes(copying: [UInt8](repeating: key, count: integrity?.keyLength ?? 0).span)
        return (try MessageSealer(suite: suite, key: e, integrityKey: a, random: registry.random), try MessageOpener(suite: suite, key: e, integrityKey: a))
    }

    func payloads(_ size: Int) -> [Payload] { size == 0 ? [] : [.vendorID([UInt8](repeating: 0x5a, count: size))] }

    @Test(arguments: transforms) func aSealedMessageHasTheRightLengthsAndOpens(_ transform: Transform) throws {
        let (sealer, opener) = try pair(transform)
        for size in [0, 1, 2, 7, 8, 11, 12, 15, 16, 100, 1400] {
            let (first, chain) = Payload.serializeChain(payloads(size))
            let message = try sealer.seal(header: header, payloads: payloads(size))
            #expect(Array(message[..<16]) == [1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18])
            #expect(Array(message[16..<24]) == [46, 0x20, 37, 0x08, 0x0a, 0x0b, 0x0c, 0x0d])
            #expect(Int(message[26]) << 8 | Int(message[27]) == message.count)
            #expect(Int(message[30]) << 8 | Int(message[31]) == message.count - 28)
            let opened = try opener.open(message.span)
            #expect(opened.first == first)
            #expect(opened.chain == chain)
            // As short as can be: what the block asks for, and no more.
            let block = registry.aead(transform) == nil ? 16 : 1
            #expect(opened.padLength == (block - (chain.count + 1) % block) % block)
        }
    }

    @Test(arguments: transforms) func noFlippedBitAndNoTruncationOpens(_ transform: Transform) throws {
        let (sealer, opener) = try pair(transform)
        let message = try sealer.seal(header: header, payloads: payloads(40))
        for bit in 0..<message.count * 8 {
            var damaged = message
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: CryptoError.self, "bit \(bit)") { try opener.open(damaged.span) }
        }
        for count in 0..<message.count {
            #expect(throws: CryptoError.self, "\(count) bytes") { try opener.open(message.span.extracting(0..<count)) }
            // The same with a header that tells the truth about it.
            guard count >= 32 else { continue }
            var shorter = Array(message[..<count])
            for (index, value) in [(26, count >> 8), (27, count & 0xff), (30, (count - 28) >> 8), (31, (count - 28) & 0xff)] { shorter[index] = UInt8(value) }
            #expect(throws: CryptoError.self, "\(count) bytes, lengths corrected") { try opener.open(shorter.span) }
        }
        #expect(throws: CryptoError.self) { try opener.open((message + [0]).span) }
    }

    @Test(arguments: transforms) func anotherKeyOpensNothing(_ transform: Transform) throws {
        let message = try pair(transform, key: 1).0.seal(header: header, payloads: payloads(10))
        #expect(throws: CryptoError.rejected) { try pair(transform, key: 2).1.open(message.span) }
    }

    @Test(arguments: transforms) func noIVComesTwice(_ transform: Transform) throws {
        let (sealer, _) = try pair(transform)
        let size = registry.aead(transform)?.ivLength ?? 16
        var seen: Set<[UInt8]> = []
        for _ in 0..<1000 { seen.insert(Array(try sealer.seal(header: header, payloads: [])[32..<32 + size])) }
        #expect(seen.count == 1000)
    }

    @Test func keysOfAWrongSizeAreRefused() throws {
        let aead = try #require(registry.aead(.aesGCM16(256)))
        let suite = IKESuite(
            encryption: .aead(aead), integrity: nil, prf: try #require(registry.prf(.prfHMACSHA256)), keyExchange: try #require(registry.keyExchange(.ecp256)))
        for size in [0, 32, 35, 37] {
            #expect(throws: CryptoError.invalid) {
                try MessageOpener(suite: suite, key: SecretBytes(count: size), integrityKey: SecretBytes(count: 0))
            }
        }
    }

    @Test func aMessageTooLongForItsLengthFieldIsRefused() throws {
        let (sealer, _) = try pair(.aesGCM16(256))
        let long: [Payload] = [.vendorID(Array(repeating: 0, count: 40_000)), .vendorID(Array(repeating: 0, count: 40_000))]
        // The null codec of a build without IKEWire's bodies would make this an empty chain.
        guard Payload.serializeChain(long).bytes.count > 65_535 else { return }
        #expect(throws: CryptoError.invalid) { try sealer.seal(header: header, payloads: long) }
    }
}
