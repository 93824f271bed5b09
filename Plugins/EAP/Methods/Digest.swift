// Digests, DES and random bytes by OpenSSL.

import CTLS
import PluginKit

enum Digest {
    static func random(_ count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        return RAND_bytes(&bytes, Int32(count)) == 1 ? bytes : nil
    }

    /// Nil where this machine allows no MD5.
    static func md5(_ before: [[UInt8]], _ secret: SecretMemory, _ after: [[UInt8]]) -> [UInt8]? { digest("MD5", 16, before, secret, after) }
    static func sha1(_ parts: [[UInt8]]) -> [UInt8]? { digest("SHA1", 20, parts, nil, []) }
    static func sha1(_ secret: SecretMemory, _ after: [[UInt8]]) -> [UInt8]? { digest("SHA1", 20, [], secret, after) }

    private static func digest(_ name: String, _ size: Int, _ before: [[UInt8]], _ secret: SecretMemory?, _ after: [[UInt8]]) -> [UInt8]? {
        guard let algorithm = EVP_MD_fetch(nil, name, nil), let context = EVP_MD_CTX_new() else { return nil }
        defer {
            EVP_MD_CTX_free(context)
            EVP_MD_free(algorithm)
        }
        guard EVP_DigestInit_ex(context, algorithm, nil) == 1 else { return nil }
        for part in before { guard EVP_DigestUpdate(context, part, part.count) == 1 else { return nil } }
        if let secret { guard EVP_DigestUpdate(context, secret.pointer, secret.count) == 1 else { return nil } }
        for part in after { guard EVP_DigestUpdate(context, part, part.count) == 1 else { return nil } }
        var output = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE)), count: UInt32 = 0
        defer { wipe(&output, output.count) }
        guard EVP_DigestFinal_ex(context, &output, &count) == 1, Int(count) == size else { return nil }
        return Array(output.prefix(size))
    }

    /// One block with single DES, whose key has 7 octets: triple DES with one key three times is that, and needs no legacy provider.
    static func des(key: UnsafeBufferPointer<UInt8>, _ block: [UInt8]) -> [UInt8]? {
        guard key.count == 7, block.count == 8, let cipher = EVP_CIPHER_fetch(nil, "DES-EDE3-ECB", nil), let context = EVP_CIPHER_CTX_new() else { return nil }
        let wide = SecretMemory(count: 24)
        // Seven bits to each octet; the last is a parity that nobody looks at.
        var bits: UInt64 = 0
        for byte in key { bits = bits << 8 | UInt64(byte) }
        for index in 0..<8 {
            let octet = UInt8(truncatingIfNeeded: bits >> UInt64(49 - 7 * index)) << 1
            for copy in 0..<3 { wide.pointer[copy * 8 + index] = octet }
        }
        defer {
            EVP_CIPHER_CTX_free(context)
            EVP_CIPHER_free(cipher)
        }
        var output = [UInt8](repeating: 0, count: 16), count: Int32 = 0
        guard EVP_EncryptInit_ex(context, cipher, nil, wide.pointer, nil) == 1, EVP_CIPHER_CTX_set_padding(context, 0) == 1,
            EVP_EncryptUpdate(context, &output, &count, block, 8) == 1, count == 8
        else { return nil }
        return Array(output.prefix(8))
    }
}
