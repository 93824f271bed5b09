// The key schedule over real pseudo-random functions against published inputs. RFC 7296 sections 2.13 to 2.18.

import IKECrypto
import IKEWire
import TestSupport
import Testing

@Suite struct KeyDerivationTests {
    struct File: Decodable {
        var vectors: [Vector]
    }

    struct Vector: Decodable {
        var hashAlg, source, nInit, nResp, gir, girNew, spiInit, spiResp: String
        var sKeySeed, derivedKeyingMaterial, derivedKeyingMaterialChild, derivedKeyingMaterialDh, sKeySeedReKey: String
    }

    /// What one vector stands for, and what is computed for it.
    struct Derived: Equatable {
        var seed, keys, child, childWithExchange, rekeyedD: [UInt8]
    }

    @Test(arguments: Built.providers) func theScheduleGivesThePublishedKeys(_ provider: String) throws {
        let registry = try Built.registry(provider)
        let vectors = try Vectors.load(File.self, "ike/kdf.json").vectors
        #expect(vectors.count == 18)
        for vector in vectors {
            let prf = try #require(registry.prf(["SHA2-256": .prfHMACSHA256, "SHA2-384": .prfHMACSHA384, "SHA2-512": .prfHMACSHA512][vector.hashAlg] ?? .integrityNone))
            // With the smaller key the seven keys fit into what the vector gives.
            let aead = try #require(registry.aead(.aesGCM16(128)))
            let suite = IKESuite(encryption: .aead(aead), integrity: nil, prf: prf, keyExchange: try #require(registry.keyExchange(.curve25519)))
            let derived = try derive(vector, suite)
            #expect(derived.keys.count == 3 * prf.outputLength + 40)
            #expect(derived == (try published(vector, suite)), "\(vector.hashAlg), \(vector.source)")
        }
    }

    private func derive(_ vector: Vector, _ suite: IKESuite) throws -> Derived {
        let nonces = (try hex(vector.nInit), try hex(vector.nResp))
        let spis = (try spi(vector.spiInit), try spi(vector.spiResp))
        let seed = try CipherContractTests.prf(suite.prf, nonces.0 + nonces.1, hex(vector.gir))
        let shared = try hex(vector.gir), newShared = try hex(vector.girNew)
        return try Self.derive(seed, suite, shared, newShared, nonces, spis, (vector.derivedKeyingMaterialChild.count / 2, vector.derivedKeyingMaterialDh.count / 2))
    }

    private static func derive(
        _ seed: [UInt8], _ suite: IKESuite, _ shared: [UInt8], _ newShared: [UInt8], _ nonces: ([UInt8], [UInt8]), _ spis: (IKESPI, IKESPI), _ counts: (child: Int, withExchange: Int)
    ) throws -> Derived {
        let secret = SecretBytes(copying: shared.span)
        let keys = try KeySchedule.initial(suite: suite, sharedSecret: secret, initiatorNonce: nonces.0, responderNonce: nonces.1, initiatorSPI: spis.0, responderSPI: spis.1)
        return try derive(from: keys, seed, suite, newShared, nonces, spis, counts)
    }

    private static func derive(
        from keys: borrowing IKEKeys, _ seed: [UInt8], _ suite: IKESuite, _ newShared: [UInt8], _ nonces: ([UInt8], [UInt8]), _ spis: (IKESPI, IKESPI),
        _ counts: (child: Int, withExchange: Int)
    ) throws -> Derived {
        let box = SecretBox(SecretBytes(copying: newShared.span))
        let plain = try child(suite.prf, keys.d, nil, nonces, counts.child), withExchange = try child(suite.prf, keys.d, box, nonces, counts.withExchange)
        let rekeyed = try rekeyedD(suite, keys.d, newShared, nonces, spis)
        return Derived(seed: seed, keys: joined(keys), child: plain, childWithExchange: withExchange, rekeyedD: rekeyed)
    }

    private func published(_ vector: Vector, _ suite: IKESuite) throws -> Derived {
        let size = suite.prf.outputLength
        // The vector ends at the new SKEYSEED; SK_d is the first of what follows from it.
        let seed = try hex(vector.nInit) + hex(vector.nResp) + hex(vector.spiInit) + hex(vector.spiResp)
        return Derived(
            seed: try hex(vector.sKeySeed), keys: Array(try hex(vector.derivedKeyingMaterial).prefix(3 * size + 40)), child: try hex(vector.derivedKeyingMaterialChild),
            childWithExchange: try hex(vector.derivedKeyingMaterialDh), rekeyedD: try Self.prfPlus(suite.prf, hex(vector.sKeySeedReKey), seed, size))
    }

    private static func joined(_ keys: borrowing IKEKeys) -> [UInt8] {
        keys.d.array + keys.ai.array + keys.ar.array + keys.ei.array + keys.er.array + keys.pi.array + keys.pr.array
    }

    private static func child(_ prf: any PRFAlgorithm, _ d: borrowing SecretBytes, _ box: SecretBox?, _ nonces: ([UInt8], [UInt8]), _ count: Int) throws -> [UInt8] {
        let material = try KeySchedule.childKeyMaterial(prf: prf, d: d, sharedSecret: box, initiatorNonce: nonces.0, responderNonce: nonces.1, count: count)
        return material.array
    }

    private static func rekeyedD(_ suite: IKESuite, _ d: borrowing SecretBytes, _ secret: [UInt8], _ nonces: ([UInt8], [UInt8]), _ spis: (IKESPI, IKESPI)) throws -> [UInt8] {
        let secret = SecretBytes(copying: secret.span)
        let keys = try KeySchedule.rekeyed(
            suite: suite, oldPRF: suite.prf, oldD: d, sharedSecret: secret, initiatorNonce: nonces.0, responderNonce: nonces.1, initiatorSPI: spis.0, responderSPI: spis.1)
        return keys.d.array
    }

    private static func prfPlus(_ prf: any PRFAlgorithm, _ key: [UInt8], _ seed: [UInt8], _ count: Int) throws -> [UInt8] {
        let material = try KeySchedule.prfPlus(prf, key: key.span, seed: seed.span, count: count)
        return material.array
    }

    private func spi(_ digits: String) throws -> IKESPI { IKESPI(rawValue: try #require(UInt64(digits, radix: 16))) }
}
