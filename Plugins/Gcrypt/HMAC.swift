// HMAC with SHA-2, and with SHA-1 for old peers: integrity transforms and pseudo-random functions.
// RFC 2104, RFC 2404, RFC 4868.

import CGcrypt
import PluginABI
import PluginKit

func hashed() -> [AlgorithmTable] {
    let list: [(String, UInt16, UInt16, Int, Int, gcry_mac_algos)] = [
        ("SHA2-256", 12, 5, 32, 16, GCRY_MAC_HMAC_SHA256), ("SHA2-384", 13, 6, 48, 24, GCRY_MAC_HMAC_SHA384), ("SHA2-512", 14, 7, 64, 32, GCRY_MAC_HMAC_SHA512),
        ("SHA1", 2, 2, 20, 12, GCRY_MAC_HMAC_SHA1),
    ]
    return list.flatMap { digest, integrity, prf, size, tagSize, mac in
        [
            Algorithm.mac("HMAC-\(digest)-\(tagSize * 8)", id: integrity, keySize: size, tagSize: tagSize) { key throws(PluginError) in
                try GcryptMAC(mac, UnsafeBufferPointer(start: key, count: size), tagSize: tagSize)
            },
            Algorithm.prf("PRF-HMAC-\(digest)", id: prf, size: size) { key, parts, output in
                do throws(PluginError) { return try GcryptMAC(mac, key, tagSize: size).compute(parts: parts, tag: output) } catch { return error.status }
            },
        ]
    }
}

/// In ordinary memory, as ciphers are; closing wipes it.
private final class GcryptMAC: MACContext {
    private let handle: gcry_mac_hd_t
    private let tagSize: Int

    init(_ mac: gcry_mac_algos, _ key: UnsafeBufferPointer<UInt8>, tagSize: Int) throws(PluginError) {
        var handle: gcry_mac_hd_t?
        guard gcry_mac_open(&handle, Int32(mac.rawValue), 0, nil) == 0, let handle else { throw .memory }
        // A key of no bytes is a key too, which a null pointer is not.
        var empty: UInt8 = 0
        guard (key.isEmpty ? gcry_mac_setkey(handle, &empty, 0) : gcry_mac_setkey(handle, key.baseAddress, key.count)) == 0 else {
            gcry_mac_close(handle)
            throw .failed
        }
        self.handle = handle
        self.tagSize = tagSize
    }

    deinit { gcry_mac_close(handle) }

    override func compute(parts: UnsafeBufferPointer<martlet_bytes>, tag: UnsafeMutablePointer<UInt8>) -> martlet_status {
        guard martlet_gcrypt_mac_restart(handle) == 0 else { return MARTLET_E_FAILED }
        for part in parts where part.size > 0 {
            guard gcry_mac_write(handle, part.data, part.size) == 0 else { return MARTLET_E_FAILED }
        }
        // The library cuts the digest to the size asked for.
        var size = tagSize
        guard gcry_mac_read(handle, tag, &size) == 0, size == tagSize else { return MARTLET_E_FAILED }
        return MARTLET_OK
    }
}
