// Numbers of libgcrypt with one owner.

import CGcrypt
import PluginKit

final class Number {
    let pointer: gcry_mpi_t

    /// Zero. A secret number lives in secure memory, where arithmetic takes the paths that leak less.
    init(secret: Bool) { pointer = secret ? gcry_mpi_snew(0) : gcry_mpi_new(0) }
    init(owning pointer: gcry_mpi_t) { self.pointer = pointer }

    /// Big-endian bytes.
    convenience init(_ bytes: UnsafeBufferPointer<UInt8>, secret: Bool) throws(PluginError) {
        self.init(secret: secret)
        // Scanning makes a number of its own kind; the copy keeps the memory of this one.
        var scanned: gcry_mpi_t?
        if secret {
            // In secure memory from the start: the library looks where the bytes are.
            guard let copy = gcry_malloc_secure(max(bytes.count, 1)) else { throw .memory }
            defer { gcry_free(copy) }
            if let base = bytes.baseAddress { copy.copyMemory(from: base, byteCount: bytes.count) }
            guard gcry_mpi_scan(&scanned, GCRYMPI_FMT_USG, copy, bytes.count, nil) == 0 else { throw .invalid }
        } else {
            guard gcry_mpi_scan(&scanned, GCRYMPI_FMT_USG, bytes.baseAddress, bytes.count, nil) == 0 else { throw .invalid }
        }
        gcry_mpi_set(pointer, scanned)
        gcry_mpi_release(scanned)
    }

    convenience init(hexadecimal: String) throws(PluginError) {
        var scanned: gcry_mpi_t?
        guard gcry_mpi_scan(&scanned, GCRYMPI_FMT_HEX, hexadecimal, 0, nil) == 0, let scanned else { throw .invalid }
        self.init(owning: scanned)
    }

    /// Random, uniform from 1 to `limit` - 1: 64 bits more than the limit has make the bias vanish.
    static func random(below limit: Number) throws(PluginError) -> Number {
        let bits = gcry_mpi_get_nbits(limit.pointer) + 64
        let wide = Number(secret: true), range = Number(secret: false), result = Number(secret: true)
        gcry_mpi_randomize(wide.pointer, bits, GCRY_STRONG_RANDOM)
        gcry_mpi_sub_ui(range.pointer, limit.pointer, 1)
        gcry_mpi_mod(result.pointer, wide.pointer, range.pointer)
        gcry_mpi_add_ui(result.pointer, result.pointer, 1)
        return result
    }

    deinit { gcry_mpi_release(pointer) }

    /// Big-endian, zeroes in front up to `size` bytes. False where it does not fit.
    func write(to output: UnsafeMutablePointer<UInt8>, size: Int) -> Bool {
        let needed = (Int(gcry_mpi_get_nbits(pointer)) + 7) / 8
        guard needed <= size else { return false }
        output.update(repeating: 0, count: size - needed)
        guard needed > 0 else { return true }
        var written = 0
        return gcry_mpi_print(GCRYMPI_FMT_USG, output + (size - needed), needed, &written, pointer) == 0 && written == needed
    }
}
