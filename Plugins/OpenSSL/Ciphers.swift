// AES-GCM, ChaCha20-Poly1305 and AES-CBC: the key schedule is made once, a packet sets its IV alone.
// RFC 4106, RFC 5282, RFC 7634, RFC 3602.

import COpenSSL
import PluginABI
import PluginKit

extension Source {
    func aeads() -> [AlgorithmTable] {
        let list: [(String, UInt16, UInt16, Int)] = [("AES-256-GCM", 20, 256, 32), ("AES-128-GCM", 20, 128, 16), ("ChaCha20-Poly1305", 28, 0, 32)]
        return list.compactMap { (name, id, bits, keySize) -> AlgorithmTable? in
            guard let implementation = cipher(name).map(Implementation.init) else { return nil }
            return Algorithm.aead(name, id: id, bits: bits, keySize: keySize) { key, sealing throws(PluginError) in
                try EVPAEAD(implementation, key: key, sealing: sealing)
            }
        }
    }

    func ciphers() -> [AlgorithmTable] {
        let list: [(String, UInt16, Int)] = [("AES-256-CBC", 256, 32), ("AES-128-CBC", 128, 16)]
        return list.compactMap { (name, bits, keySize) -> AlgorithmTable? in
            guard let implementation = cipher(name).map(Implementation.init) else { return nil }
            return Algorithm.cipher(name, id: 12, bits: bits, keySize: keySize) { key, encrypting throws(PluginError) in
                try EVPCipher(implementation, key: key, encrypting: encrypting)
            }
        }
    }
}

private final class EVPAEAD: AEADContext {
    private static let tagSize: Int32 = 16
    private let context: OpaquePointer

    init(_ implementation: Implementation, key: UnsafePointer<UInt8>, sealing: Bool) throws(PluginError) {
        guard let context = EVP_CIPHER_CTX_new() else { throw .memory }
        guard EVP_CipherInit_ex2(context, implementation.pointer, key, nil, sealing ? 1 : 0, nil) == 1 else {
            EVP_CIPHER_CTX_free(context)
            throw PluginError(failed())
        }
        self.context = context
    }

    /// Frees and cleanses the key schedule.
    deinit { EVP_CIPHER_CTX_free(context) }

    override func seal(nonce: UnsafePointer<UInt8>, aad: UnsafePointer<UInt8>?, aadSize: Int, text: UnsafeMutablePointer<UInt8>, textSize: Int, tag: UnsafeMutablePointer<UInt8>) -> martlet_status {
        guard let aadCount = Int32(exactly: aadSize), let textCount = Int32(exactly: textSize) else { return MARTLET_E_INVALID }
        var written: Int32 = 0
        guard EVP_EncryptInit_ex2(context, nil, nil, nonce, nil) == 1,
            aadCount == 0 || EVP_EncryptUpdate(context, nil, &written, aad, aadCount) == 1,
            textCount == 0 || EVP_EncryptUpdate(context, text, &written, text, textCount) == 1,
            EVP_EncryptFinal_ex(context, tag, &written) == 1,
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Self.tagSize, tag) == 1
        else { return failed() }
        return MARTLET_OK
    }

    override func open(nonce: UnsafePointer<UInt8>, aad: UnsafePointer<UInt8>?, aadSize: Int, text: UnsafeMutablePointer<UInt8>, textSize: Int, tag: UnsafePointer<UInt8>) -> martlet_status {
        guard let aadCount = Int32(exactly: aadSize), let textCount = Int32(exactly: textSize) else { return MARTLET_E_INVALID }
        var written: Int32 = 0
        guard EVP_DecryptInit_ex2(context, nil, nil, nonce, nil) == 1,
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Self.tagSize, UnsafeMutableRawPointer(mutating: tag)) == 1,
            aadCount == 0 || EVP_DecryptUpdate(context, nil, &written, aad, aadCount) == 1
        else { return failed() }
        // ChaCha20-Poly1305 and GCM both compare the tag at the end, in constant time; neither writes in the final call.
        guard textCount == 0 || EVP_DecryptUpdate(context, text, &written, text, textCount) == 1 else { return failed(MARTLET_E_REJECTED) }
        guard EVP_DecryptFinal_ex(context, text + textSize, &written) == 1 else { return failed(MARTLET_E_REJECTED) }
        return MARTLET_OK
    }
}

private final class EVPCipher: CipherContext {
    private let context: OpaquePointer

    init(_ implementation: Implementation, key: UnsafePointer<UInt8>, encrypting: Bool) throws(PluginError) {
        guard let context = EVP_CIPHER_CTX_new() else { throw .memory }
        guard EVP_CipherInit_ex2(context, implementation.pointer, key, nil, encrypting ? 1 : 0, nil) == 1,
            EVP_CIPHER_CTX_set_padding(context, 0) == 1
        else {
            EVP_CIPHER_CTX_free(context)
            throw PluginError(failed())
        }
        self.context = context
    }

    deinit { EVP_CIPHER_CTX_free(context) }

    override func process(iv: UnsafePointer<UInt8>, text: UnsafeMutablePointer<UInt8>, textSize: Int) -> martlet_status {
        guard textSize % 16 == 0, let textCount = Int32(exactly: textSize) else { return MARTLET_E_INVALID }
        guard textCount > 0 else { return MARTLET_OK }
        var written: Int32 = 0
        // -1 keeps the direction that the context was made for.
        guard EVP_CipherInit_ex2(context, nil, nil, iv, -1, nil) == 1,
            EVP_CipherUpdate(context, text, &written, text, textCount) == 1, written == textCount
        else { return failed() }
        return MARTLET_OK
    }
}
