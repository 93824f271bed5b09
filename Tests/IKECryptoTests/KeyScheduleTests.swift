// The key schedule's form, over null algorithms: lengths, order, and that both ends agree.
// RFC 7296 sections 2.13 to 2.18. The published values are in PluginContractTests, over real algorithms.

import IKECrypto
import IKEWire
import TestSupport
import Testing

@Suite struct KeyScheduleTests {
    let registry = NullCrypto.registry(seed: 1)

    func suite(_ encryption: Transform, integrity: Transform? = nil) throws -> IKESuite {
        let cipher: IKESuite.Encryption
        if let aead = registry.aead(encryption) { cipher = .aead(aead) } else { cipher = .cipher(try #require(registry.cipher(encryption))) }
        return IKESuite(
            encryption: cipher, integrity: integrity.flatMap { registry.mac($0) }, prf: try #require(registry.prf(.prfHMACSHA256)),
            keyExchange: try #require(registry.keyExchange(.curve25519)))
    }

    @Test func roundsOfPRFPlusAreChained() throws {
        let prf = try #require(registry.prf(.prfHMACSHA256))
        let key: [UInt8] = [1, 2, 3]
        let seed: [UInt8] = [4, 5]
        let first = try KeySchedule.prf(prf, key: key.span, data: (seed + [1]).span)
        let firstBytes = first.array
        let second = try KeySchedule.prf(prf, key: key.span, data: (firstBytes + seed + [2]).span)
        let all = try KeySchedule.prfPlus(prf, key: key.span, seed: seed.span, count: 40)
        #expect(all.count == 40)
        #expect(all.array == firstBytes + second.array[..<8])
    }

    @Test func prfPlusEndsAt255Rounds() throws {
        let prf = try #require(registry.prf(.prfHMACSHA256))
        let most = try KeySchedule.prfPlus(prf, key: [1].span, seed: [2].span, count: 255 * 32)
        #expect(most.count == 255 * 32)
        do {
            let more = try KeySchedule.prfPlus(prf, key: [1].span, seed: [2].span, count: 255 * 32 + 1)
            Issue.record("\(more.count) bytes instead of an error")
        } catch { #expect(error == .invalid) }
    }

    @Test func keysAreCutInTheOrderOfSection214() throws {
        let suite = try suite(.aesCBC(256), integrity: .hmacSHA256_128)
        let nonces: [UInt8] = Array(0..<32)
        let secret = SecretBytes(copying: [9, 9, 9].span)
        let spis = (IKESPI(rawValue: 0x0102_0304_0506_0708), IKESPI(rawValue: 0x1112_1314_1516_1718))
        let keys = try KeySchedule.initial(
            suite: suite, sharedSecret: secret, initiatorNonce: Array(nonces[..<16]), responderNonce: Array(nonces[16...]), initiatorSPI: spis.0, responderSPI: spis.1)
        let seed = try KeySchedule.prf(suite.prf, key: nonces.span, data: secret.span)
        let tail: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]
        let material = try KeySchedule.prfPlus(suite.prf, key: seed.span, seed: (nonces + tail).span, count: 7 * 32)
        let bytes = material.array
        let cut = (0..<7).map { Array(bytes[$0 * 32..<$0 * 32 + 32]) }
        #expect(keys.d.array == cut[0])
        #expect(keys.ai.array == cut[1])
        #expect(keys.ar.array == cut[2])
        #expect(keys.ei.array == cut[3])
        #expect(keys.er.array == cut[4])
        #expect(keys.pi.array == cut[5])
        #expect(keys.pr.array == cut[6])
    }

    /// A PRF whose key has a fixed size, as far as its number says.
    private final class FixedPRF: PRFAlgorithm {
        let transform: Transform
        private let inner: any PRFAlgorithm
        var keyLength: Int { inner.keyLength }
        var outputLength: Int { inner.outputLength }
        init(_ id: UInt16, _ inner: any PRFAlgorithm) {
            transform = Transform(type: .prf, id: id)
            self.inner = inner
        }
        func compute(key: Span<UInt8>, data: Span<UInt8>, into output: inout MutableSpan<UInt8>) throws(CryptoError) { try inner.compute(key: key, data: data, into: &output) }
    }

    /// RFC 7296 section 2.14: half of such a key is from either nonce; what is expanded from SKEYSEED takes them whole.
    @Test(arguments: [4, 8] as [UInt16]) func aPRFWithAFixedKeyTakesTheFirst64BitsOfEachNonce(id: UInt16) throws {
        let before = try suite(.aesGCM16(256)), prf = FixedPRF(id, before.prf)
        let suite = IKESuite(encryption: before.encryption, integrity: nil, prf: prf, keyExchange: before.keyExchange)
        let nonces: [UInt8] = Array(0..<36), secret = SecretBytes(copying: [9, 9].span)
        let keys = try KeySchedule.initial(
            suite: suite, sharedSecret: secret, initiatorNonce: Array(nonces[..<20]), responderNonce: Array(nonces[20...]), initiatorSPI: IKESPI(rawValue: 1), responderSPI: IKESPI(rawValue: 2))
        let seed = try KeySchedule.prf(prf, key: [UInt8](nonces[..<8] + nonces[20..<28]).span, data: secret.span)
        let tail: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]
        let material = try KeySchedule.prfPlus(prf, key: seed.span, seed: (nonces + tail).span, count: 32)
        #expect(keys.d.array == material.array)
    }

    /// RFC 7296 section 2.18: SKEYSEED is the old PRF's work, and what is expanded from it the new one's.
    @Test func aRekeyToAnotherPRFExpandsWithTheNewOne() throws {
        let old = try #require(registry.prf(.prfHMACSHA256)), new = try #require(registry.prf(.prfHMACSHA384))
        let before = try suite(.aesGCM16(256))
        let suite = IKESuite(encryption: before.encryption, integrity: nil, prf: new, keyExchange: before.keyExchange)
        let d = SecretBytes(copying: [UInt8](repeating: 7, count: 32).span), secret = SecretBytes(copying: [9, 9].span)
        let keys = try KeySchedule.rekeyed(
            suite: suite, oldPRF: old, oldD: d, sharedSecret: secret, initiatorNonce: [1], responderNonce: [2], initiatorSPI: IKESPI(rawValue: 1), responderSPI: IKESPI(rawValue: 2))
        let seed = try KeySchedule.prf(old, key: d.span, data: ([9, 9, 1, 2] as [UInt8]).span)
        let tail: [UInt8] = [1, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]
        let material = try KeySchedule.prfPlus(new, key: seed.span, seed: tail.span, count: 3 * 48 + 2 * 36)
        let bytes = material.array
        #expect(keys.d.array == Array(bytes[..<48]))
        #expect(keys.ei.array == Array(bytes[48..<84]) && keys.er.array == Array(bytes[84..<120]))
        #expect(keys.pi.array == Array(bytes[120..<168]) && keys.pr.array == Array(bytes[168..<216]))
    }

    @Test func anAEADHasASaltAndNoIntegrityKey() throws {
        let secret = SecretBytes(copying: [9].span)
        let keys = try KeySchedule.initial(
            suite: try suite(.aesGCM16(256)), sharedSecret: secret, initiatorNonce: [1], responderNonce: [2], initiatorSPI: IKESPI(rawValue: 1), responderSPI: IKESPI(rawValue: 2))
        #expect(keys.ai.count == 0 && keys.ar.count == 0)
        #expect(keys.ei.count == 36 && keys.er.count == 36)
    }

    @Test func aChildWithItsOwnExchangeHasOtherKeys() throws {
        let prf = try #require(registry.prf(.prfHMACSHA256))
        let d = SecretBytes(count: 32)
        let box = SecretBox(SecretBytes(copying: [7, 7].span))
        let plain = try KeySchedule.childKeyMaterial(prf: prf, d: d, sharedSecret: nil, initiatorNonce: [1], responderNonce: [2], count: 72)
        let fresh = try KeySchedule.childKeyMaterial(prf: prf, d: d, sharedSecret: box, initiatorNonce: [1], responderNonce: [2], count: 72)
        let again = try KeySchedule.childKeyMaterial(prf: prf, d: d, sharedSecret: box, initiatorNonce: [1], responderNonce: [2], count: 72)
        #expect(plain.array != fresh.array)
        #expect(fresh.array == again.array)
        _ = box.take()
        #expect(throws: CryptoError.invalid) {
            let keys = try KeySchedule.childKeyMaterial(prf: prf, d: d, sharedSecret: box, initiatorNonce: [1], responderNonce: [2], count: 72)
            #expect(keys.count == 0)
        }
    }

    @Test func nullKeyExchangesAgreeAndRefuseBadValues() throws {
        for algorithm in registry.keyExchanges {
            let a = try algorithm.generate()
            let b = try algorithm.generate()
            #expect(a.publicValue.count == algorithm.publicLength)
            let left = try a.agree(b.publicValue.span)
            let right = try b.agree(a.publicValue.span)
            #expect(left.array == right.array)
            for bad in [[], Array(repeating: 0, count: algorithm.publicLength), Array(repeating: 0xff, count: algorithm.publicLength)] as [[UInt8]] {
                #expect(throws: CryptoError.invalid) {
                    let secret = try a.agree(bad.span)
                    #expect(secret.count == 0)
                }
            }
        }
    }
}
