// AES-GCM, ChaCha20-Poly1305 and AES-CBC: one handle a key, a packet sets its IV alone.
// RFC 4106, RFC 5282, RFC 7634, RFC 3602.

import CGcrypt
import PluginABI
import PluginKit

func aeads() -> [AlgorithmTable] {
    let list: [(String, UInt16, UInt16, Int, gcry_cipher_algos, gcry_cipher_modes)] = [
        ("AES-256-GCM", 20, 256, 32, GCRY_CIPHER_AES256, GCRY_CIPHER_MODE_GCM),
        ("AES-128-GCM", 20, 128, 16, GCRY_CIPHER_AES, GCRY_CIPHER_MODE_GCM),
        ("ChaCha20-Poly1305", 28, 0, 32, GCRY_CIPHER_CHACHA20, GCRY_CIPHER_MODE_POLY1305),
    ]
    return list.filter { isOffered($0.4) }.map { name, id, bits, keySize, cipher, mode in
        Algorithm.aead(name, id: id, bits: bits, keySize: keySize) { key, _ throws(PluginError) in
            GcryptAEAD(try Handle(cipher, mode, key, keySize))
        }
    }
}

func ciphers() -> [AlgorithmTable] {
    let list: [(String, UInt16, Int, gcry_cipher_algos)] = [("AES-256-CBC", 256, 32, GCRY_CIPHER_AES256), ("AES-128-CBC", 128, 16, GCRY_CIPHER_AES)]
    return list.filter { isOffered($0.3) }.map { name, bits, keySize, cipher in
        Algorithm.cipher(name, id: 12, bits: bits, keySize: keySize) { key, encrypting throws(PluginError) in
            GcryptCipher(try Handle(cipher, GCRY_CIPHER_MODE_CBC, key, keySize), encrypting: encrypting)
        }
    }
}

private func isOffered(_ cipher: gcry_cipher_algos) -> Bool {
    gcry_cipher_algo_info(Int32(cipher.rawValue), Int32(GCRYCTL_TEST_ALGO.rawValue), nil, nil) == 0
}

/// A keyed handle, which closing wipes. In ordinary memory: there is one or more for every SA, and the library's secure memory is small
/// and searched from its start for every piece.
private final class Handle {
    let pointer: gcry_cipher_hd_t

    init(_ cipher: gcry_cipher_algos, _ mode: gcry_cipher_modes, _ key: UnsafePointer<UInt8>, _ keySize: Int) throws(PluginError) {
        var handle: gcry_cipher_hd_t?
        guard gcry_cipher_open(&handle, Int32(cipher.rawValue), Int32(mode.rawValue), 0) == 0, let handle else { throw .memory }
        guard gcry_cipher_setkey(handle, key, keySize) == 0 else {
            gcry_cipher_close(handle)
            throw .failed
        }
        pointer = handle
    }

    deinit { gcry_cipher_close(pointer) }
}

private final class GcryptAEAD: AEADContext {
    private let owner: Handle
    private let handle: gcry_cipher_hd_t

    init(_ owner: Handle) {
        self.owner = owner
        handle = owner.pointer
    }

    /// Sets the IV, which starts a message anew, and takes the associated data.
    @inline(__always) private func start(_ nonce: UnsafePointer<UInt8>, _ aad: UnsafePointer<UInt8>?, _ aadSize: Int) -> Bool {
        gcry_cipher_setiv(handle, nonce, 12) == 0 && (aadSize == 0 || gcry_cipher_authenticate(handle, aad, aadSize) == 0)
    }

    override func seal(nonce: UnsafePointer<UInt8>, aad: UnsafePointer<UInt8>?, aadSize: Int, text: UnsafeMutablePointer<UInt8>, textSize: Int, tag: UnsafeMutablePointer<UInt8>) -> martlet_status {
        guard start(nonce, aad, aadSize), textSize == 0 || gcry_cipher_encrypt(handle, text, textSize, nil, 0) == 0, gcry_cipher_gettag(handle, tag, 16) == 0 else {
            return MARTLET_E_FAILED
        }
        return MARTLET_OK
    }

    override func open(nonce: UnsafePointer<UInt8>, aad: UnsafePointer<UInt8>?, aadSize: Int, text: UnsafeMutablePointer<UInt8>, textSize: Int, tag: UnsafePointer<UInt8>) -> martlet_status {
        guard start(nonce, aad, aadSize), textSize == 0 || gcry_cipher_decrypt(handle, text, textSize, nil, 0) == 0 else { return MARTLET_E_FAILED }
        return gcry_cipher_checktag(handle, tag, 16) == 0 ? MARTLET_OK : MARTLET_E_REJECTED
    }
}

private final class GcryptCipher: CipherContext {
    private let owner: Handle
    private let handle: gcry_cipher_hd_t
    private let encrypting: Bool

    init(_ owner: Handle, encrypting: Bool) {
        self.owner = owner
        handle = owner.pointer
        self.encrypting = encrypting
    }

    override func process(iv: UnsafePointer<UInt8>, text: UnsafeMutablePointer<UInt8>, textSize: Int) -> martlet_status {
        guard textSize % 16 == 0 else { return MARTLET_E_INVALID }
        guard textSize > 0 else { return MARTLET_OK }
        guard gcry_cipher_setiv(handle, iv, 16) == 0,
            (encrypting ? gcry_cipher_encrypt(handle, text, textSize, nil, 0) : gcry_cipher_decrypt(handle, text, textSize, nil, 0)) == 0
        else { return MARTLET_E_FAILED }
        return MARTLET_OK
    }
}
