// Key exchange in the MODP groups. RFC 2409, RFC 3526; values and secrets are padded to the size of the modulus (RFC 7296 section 2.14).

import CGcrypt
import PluginABI
import PluginKit

func modp() -> [AlgorithmTable] {
    groups.compactMap { group in
        guard let prime = try? Number(hexadecimal: group.prime) else { return nil }
        nonisolated(unsafe) let modulus = prime
        let size = group.bits / 8, exponentBits = group.exponentBits
        return Algorithm.keyExchange(
            "MODP-\(group.bits)", id: group.id, publicSize: size, sharedSize: size,
            generate: { publicValue throws(PluginError) in
                let exponent = Number(secret: true)
                gcry_mpi_randomize(exponent.pointer, exponentBits, GCRY_STRONG_RANDOM)
                // Its full length, so that its size is no secret.
                gcry_mpi_set_bit(exponent.pointer, exponentBits - 1)
                let key = MODPKey(modulus, exponent, size)
                let two = Number(secret: false)
                gcry_mpi_set_ui(two.pointer, 2)
                guard key.power(of: two).write(to: publicValue, size: size) else { throw .failed }
                return key
            },
            importPrivate: { bytes throws(PluginError) in MODPKey(modulus, try Number(bytes, secret: true), size) })
    }
}

private final class MODPKey: PrivateKey {
    private let modulus: Number
    private let exponent: Number
    private let size: Int

    init(_ modulus: Number, _ exponent: Number, _ size: Int) {
        self.modulus = modulus
        self.exponent = exponent
        self.size = size
    }

    func power(of base: Number) -> Number {
        let result = Number(secret: true)
        gcry_mpi_powm(result.pointer, base.pointer, exponent.pointer, modulus.pointer)
        return result
    }

    override func agree(peer: UnsafeBufferPointer<UInt8>, shared: UnsafeMutablePointer<UInt8>) -> martlet_status {
        do throws(PluginError) {
            let value = try Number(peer, secret: false), last = Number(secret: false)
            gcry_mpi_sub_ui(last.pointer, modulus.pointer, 1)
            //= RFC 6989 §2.1: 1 < r < p - 1, which is all that a group with a safe prime needs.
            guard gcry_mpi_cmp_ui(value.pointer, 1) > 0, gcry_mpi_cmp(value.pointer, last.pointer) < 0 else { return MARTLET_E_INVALID }
            return power(of: value).write(to: shared, size: size) ? MARTLET_OK : MARTLET_E_FAILED
        } catch {
            return error.status
        }
    }
}

private struct Group: Sendable {
    let bits: Int
    let id: UInt16
    /// The longer of the two estimates in RFC 3526 section 8, twice the strength, a multiple of 32.
    let exponentBits: UInt32
    let prime: String
}

/// RFC 2409 section 6.2, RFC 3526 sections 3 to 5.
private let groups = [
    Group(
        bits: 1024, id: 2, exponentBits: 256,
        prime: """
            FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
            4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF
            """),
    Group(
        bits: 2048, id: 14, exponentBits: 320,
        prime: """
            FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
            4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
            98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
            E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF
            """),
    Group(
        bits: 3072, id: 15, exponentBits: 416,
        prime: """
            FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
            4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
            98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
            E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33\
            A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864\
            D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF
            """),
    Group(
        bits: 4096, id: 16, exponentBits: 480,
        prime: """
            FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
            4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
            98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
            E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33\
            A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864\
            D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D7\
            88719A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8DBBBC2DB04DE8EF92E8EFC141FBECAA6287C59474E6BC05D99B2964FA090C3A2\
            233BA186515BE7ED1F612970CEE2D7AFB81BDD762170481CD0069127D5B05AA993B4EA988D8FDDC186FFB7DC90A6C08F4DF435C934063199FFFFFFFFFFFFFFFF
            """),
]
