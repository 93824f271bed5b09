// What every provider's key exchanges must do: agree, with themselves and with other providers, and refuse what RFC 6989 and
// RFC 8031 forbid.

import IKECrypto
import IKEWire
import TestSupport
import Testing

@Suite struct KeyExchangeContractTests {
    static let transforms: [Transform] = [.modp1024, .modp2048, .modp3072, .modp4096, .ecp256, .ecp384, .ecp521, .curve25519]

    static func agree(_ key: any KeyExchangeKey, _ peer: [UInt8]) throws -> [UInt8] {
        let secret = try key.agree(peer.span)
        return secret.array
    }

    /// A key of a known private value, which every provider here can make.
    static func key(_ algorithm: any KeyExchangeAlgorithm, _ privateValue: [UInt8]) throws -> any KeyExchangeKey {
        guard let key = try algorithm.makeKey(privateValue: privateValue.span) else { throw CryptoError.failed }
        return key
    }

    static func outcome(_ key: any KeyExchangeKey, _ peer: [UInt8]) -> Result<[UInt8], any Error> {
        do { return .success(try agree(key, peer)) } catch { return .failure(error) }
    }

    @Test(arguments: transforms) func providersAgree(_ transform: Transform) throws {
        let a = try #require(try Built.registry("openssl").keyExchange(transform)), b = try #require(try Built.registry("gcrypt").keyExchange(transform))
        for _ in 0..<4 {
            let x = try a.generate(), y = try b.generate()
            #expect(x.publicValue.count == a.publicLength && y.publicValue.count == a.publicLength)
            let secret = try Self.agree(x, y.publicValue)
            #expect(try Self.agree(y, x.publicValue) == secret)
            #expect(Set(secret).count > 4)
        }
    }

    @Test(arguments: Built.providers, [("ecdh_secp256r1_ecpoint", .ecp256, 32), ("ecdh_secp384r1_ecpoint", .ecp384, 48), ("ecdh_secp521r1_ecpoint", .ecp521, 66)] as [(String, Transform, Int)])
    func wycheproofECDH(_ provider: String, _ curve: (file: String, transform: Transform, size: Int)) throws {
        let algorithm = try #require(try Built.registry(provider).keyExchange(curve.transform))
        var valid = 0, invalid = 0
        for test in try Wycheproof.file(curve.file).testGroups.flatMap(\.tests) {
            let encoded = try hex(test.public)
            // A KE payload holds x and y without a prefix: compressed points and other encodings cannot be said in it.
            guard encoded.first == 4 else { continue }
            var scalar = try hex(test.private)
            while scalar.count > curve.size, scalar.first == 0 { scalar.removeFirst() }
            let key = try Self.key(algorithm, scalar)
            let outcome = Self.outcome(key, Array(encoded.dropFirst()))
            if test.result == "valid" {
                let expected = try hex(test.shared)
                #expect((try? outcome.get()) == expected, "\(test.tcId) \(test.comment)")
                valid += 1
            } else if test.result == "invalid" {
                #expect(throws: CryptoError.invalid, "\(test.tcId) \(test.comment)") { try outcome.get() }
                invalid += 1
            }
        }
        #expect(valid > 100 && invalid > 2)
    }

    /// libgcrypt fails those of x448, and so is not asked to serve it.
    static let montgomery: [(provider: String, file: String, transform: Transform)] =
        Built.providers.map { ($0, "x25519", .curve25519) } + [("openssl", "x448", .curve448)]

    @Test(arguments: montgomery) func wycheproofOfMontgomeryCurves(_ curve: (provider: String, file: String, transform: Transform)) throws {
        let algorithm = try #require(try Built.registry(curve.provider).keyExchange(curve.transform))
        var agreed = 0, refused = 0
        for test in try Wycheproof.file(curve.file).testGroups.flatMap(\.tests) {
            let key = try Self.key(algorithm, hex(test.private))
            let outcome = Self.outcome(key, try hex(test.public))
            let shared = try hex(test.shared)
            if shared.allSatisfy({ $0 == 0 }) {
                #expect(throws: CryptoError.invalid, "\(test.tcId) \(test.comment)") { try outcome.get() }
                refused += 1
            } else {
                #expect((try? outcome.get()) == shared, "\(test.tcId) \(test.comment)")
                agreed += 1
            }
        }
        #expect(agreed > 400 && refused > 5, "\(agreed) agreed, \(refused) were refused")
    }

    /// RFC 6989 section 2.1: 1 < r < p - 1.
    @Test(arguments: Built.providers, [.modp1024, .modp2048, .modp3072, .modp4096] as [Transform]) func badMODPValuesAreRefused(_ provider: String, _ transform: Transform) throws {
        let algorithm = try #require(try Built.registry(provider).keyExchange(transform))
        let key = try algorithm.generate()
        let size = algorithm.publicLength
        let prime = try Self.prime(transform)
        func number(_ value: UInt8) -> [UInt8] { [UInt8](repeating: 0, count: size - 1) + [value] }
        // The prime is odd and ends in 64 ones.
        let last = Array(prime.dropLast()) + [0xfe], next = Array(prime.dropLast(9)) + [prime[size - 9] &+ 1] + [UInt8](repeating: 0, count: 8)
        for bad in [number(0), number(1), last, prime, next, [UInt8](repeating: 0xff, count: size), number(2).dropFirst() + [], [0] + number(2), []] {
            #expect(throws: CryptoError.invalid) { try Self.agree(key, bad) }
        }
        // The smallest that is allowed. The largest, p - 2, is outside the subgroup that 2 makes: a provider may refuse it.
        _ = try Self.agree(key, number(2))
    }

    /// RFC 6989 section 2.3: the size, the range, the curve.
    @Test(arguments: Built.providers, [(.ecp256, 32), (.ecp384, 48), (.ecp521, 66)] as [(Transform, Int)]) func badPointsAreRefused(_ provider: String, _ curve: (transform: Transform, size: Int))
        throws
    {
        let algorithm = try #require(try Built.registry(provider).keyExchange(curve.transform))
        let key = try algorithm.generate()
        let good = try algorithm.generate().publicValue
        var offCurve = good, swapped = good, tooLarge = good
        offCurve[2 * curve.size - 1] ^= 1
        swapped.replaceSubrange(0..<curve.size, with: good[curve.size...])
        for index in 0..<curve.size { tooLarge[index] = 0xff }
        for bad in [offCurve, swapped, tooLarge, [UInt8](repeating: 0, count: good.count), Array(good.dropLast()), good + [0], [4] + good, Array(good.prefix(curve.size)), []] {
            #expect(throws: CryptoError.invalid) { try Self.agree(key, bad) }
        }
        _ = try Self.agree(key, good)
    }

    @Test(arguments: montgomery) func valuesOfAnotherSizeAreRefused(_ curve: (provider: String, file: String, transform: Transform)) throws {
        let algorithm = try #require(try Built.registry(curve.provider).keyExchange(curve.transform))
        let key = try algorithm.generate(), other = try algorithm.generate()
        #expect(try Self.agree(key, other.publicValue) == Self.agree(other, key.publicValue))
        for size in [0, algorithm.publicLength - 1, algorithm.publicLength + 1, 64] { #expect(throws: CryptoError.invalid) { try Self.agree(key, [UInt8](repeating: 9, count: size)) } }
    }

    /// Secrets and public values with zeroes in front keep their size (RFC 7296 section 2.14, RFC 5903 section 7).
    @Test(arguments: Built.providers) func secretsKeepTheirLeadingZeroes(_ provider: String) throws {
        let algorithm = try #require(try Built.registry(provider).keyExchange(.modp2048))
        // 2^7 is one byte, so 255 zeroes precede it.
        let seven = try Self.key(algorithm, [7])
        let two = [UInt8](repeating: 0, count: 255) + [2]
        #expect(try Self.agree(seven, two) == [UInt8](repeating: 0, count: 255) + [128])
    }

    /// RFC 2409 and RFC 3526 give each prime as 2^n - 2^(n-64) - 1 + 2^64 ([2^(n-130) pi] + k); the digits are in the data file.
    private static func prime(_ transform: Transform) throws -> [UInt8] {
        let primes = try Vectors.load([String: String].self, "ike/modp.json")
        return try hex(primes["\(transform.id)"])
    }
}
