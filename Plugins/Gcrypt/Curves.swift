// Key exchange on curves: x25519 (RFC 8031, RFC 7748) and the ECP groups (RFC 5903: x and y without a prefix, the secret is x).

import CGcrypt
import PluginABI
import PluginKit

func curves() -> [AlgorithmTable] {
    [
        Algorithm.keyExchange(
            "X25519", id: 31, publicSize: 32, sharedSize: 32,
            generate: { publicValue throws(PluginError) in
                let key = try X25519Key(nil)
                guard key.multiply(nil, publicValue) else { throw .failed }
                return key
            },
            importPrivate: { bytes throws(PluginError) in
                guard bytes.count == 32 else { throw .invalid }
                return try X25519Key(bytes)
            })
    ]
        + ([("NIST P-256", 256, 19, 32), ("NIST P-384", 384, 20, 48), ("NIST P-521", 521, 21, 66)] as [(String, Int, UInt16, Int)]).map { curve, bits, id, size in
            Algorithm.keyExchange(
                "ECP-\(bits)", id: id, publicSize: 2 * size, sharedSize: size,
                generate: { publicValue throws(PluginError) in
                    let key = try ECPKey(curve, size, nil)
                    guard key.writePublic(to: publicValue) else { throw .failed }
                    return key
                },
                importPrivate: { bytes throws(PluginError) in try ECPKey(curve, size, bytes) })
        }
}

private final class X25519Key: PrivateKey {
    /// 32 bytes of secure memory.
    private let scalar: UnsafeMutableRawPointer

    /// A fresh key where `bytes` is nil.
    init(_ bytes: UnsafeBufferPointer<UInt8>?) throws(PluginError) {
        guard let memory = gcry_malloc_secure(32) else { throw .memory }
        scalar = memory
        super.init()
        if let base = bytes?.baseAddress { scalar.copyMemory(from: base, byteCount: 32) } else { gcry_randomize(scalar, 32, GCRY_STRONG_RANDOM) }
        // RFC 7748 section 5.
        let octets = scalar.assumingMemoryBound(to: UInt8.self)
        octets[0] &= 248
        octets[31] = octets[31] & 127 | 64
    }

    deinit { gcry_free(scalar) }

    /// With the base point where `point` is nil.
    func multiply(_ point: UnsafePointer<UInt8>?, _ output: UnsafeMutablePointer<UInt8>) -> Bool {
        gcry_ecc_mul_point(Int32(GCRY_ECC_CURVE25519.rawValue), output, scalar.assumingMemoryBound(to: UInt8.self), point) == 0
    }

    override func agree(peer: UnsafeBufferPointer<UInt8>, shared: UnsafeMutablePointer<UInt8>) -> martlet_status {
        guard let point = peer.baseAddress, multiply(point, shared) else { return MARTLET_E_INVALID }
        //= RFC 8031 §2: the all-zero secret is refused, without telling how far the comparison went.
        var bits: UInt8 = 0
        for index in 0..<32 { bits |= shared[index] }
        return bits == 0 ? MARTLET_E_INVALID : MARTLET_OK
    }
}

private final class ECPKey: PrivateKey {
    private let size: Int
    private let curve: gcry_ctx_t
    private let scalar: Number

    init(_ name: String, _ size: Int, _ bytes: UnsafeBufferPointer<UInt8>?) throws(PluginError) {
        var context: gcry_ctx_t?
        guard gcry_mpi_ec_new(&context, nil, name) == 0, let context else { throw .unsupported }
        do throws(PluginError) {
            guard let order = gcry_mpi_ec_get_mpi("n", context, 1).map(Number.init(owning:)) else { throw .failed }
            if let bytes { scalar = try Number(bytes, secret: true) } else { scalar = try Number.random(below: order) }
        } catch {
            gcry_ctx_release(context)
            throw error
        }
        self.size = size
        curve = context
    }

    deinit { gcry_ctx_release(curve) }

    func writePublic(to output: UnsafeMutablePointer<UInt8>) -> Bool {
        guard let base = gcry_mpi_ec_get_point("g", curve, 1) else { return false }
        defer { gcry_mpi_point_release(base) }
        guard let (x, y) = multiplied(base) else { return false }
        return x.write(to: output, size: size) && y.write(to: output + size, size: size)
    }

    override func agree(peer: UnsafeBufferPointer<UInt8>, shared: UnsafeMutablePointer<UInt8>) -> martlet_status {
        do throws(PluginError) {
            let x = try Number(UnsafeBufferPointer(rebasing: peer[..<size]), secret: false), y = try Number(UnsafeBufferPointer(rebasing: peer[size...]), secret: false)
            guard let field = gcry_mpi_ec_get_mpi("p", curve, 1).map(Number.init(owning:)) else { return MARTLET_E_FAILED }
            //= RFC 6989 §2.3: both coordinates are in range and the point is on the curve; these groups have cofactor 1.
            guard gcry_mpi_cmp(x.pointer, field.pointer) < 0, gcry_mpi_cmp(y.pointer, field.pointer) < 0 else { return MARTLET_E_INVALID }
            guard let point = gcry_mpi_point_new(0), let one = gcry_mpi_set_ui(nil, 1) else { return MARTLET_E_MEMORY }
            defer { gcry_mpi_point_release(point) }
            defer { gcry_mpi_release(one) }
            gcry_mpi_point_set(point, x.pointer, y.pointer, one)
            guard gcry_mpi_ec_curve_point(point, curve) != 0, let (secret, _) = multiplied(point) else { return MARTLET_E_INVALID }
            return secret.write(to: shared, size: size) ? MARTLET_OK : MARTLET_E_FAILED
        } catch {
            return error.status
        }
    }

    /// Nil where the product is the point at infinity.
    private func multiplied(_ point: gcry_mpi_point_t) -> (x: Number, y: Number)? {
        guard let product = gcry_mpi_point_new(0) else { return nil }
        defer { gcry_mpi_point_release(product) }
        gcry_mpi_ec_mul(product, scalar.pointer, point, curve)
        let x = Number(secret: true), y = Number(secret: true)
        guard gcry_mpi_ec_get_affine(x.pointer, y.pointer, product, curve) == 0 else { return nil }
        return (x, y)
    }
}
