// Key pairs of EVP: making them, taking them from bytes, and the agreement between two.

import COpenSSL
import PluginABI
import PluginKit

/// A reference to an EVP_PKEY.
final class PKey {
    let pointer: OpaquePointer
    init(_ pointer: OpaquePointer) { self.pointer = pointer }
    deinit { EVP_PKEY_free(pointer) }
}

/// A private number in memory that is wiped.
final class PrivateNumber {
    let pointer: OpaquePointer
    init(_ bytes: UnsafeBufferPointer<UInt8>) throws(PluginError) {
        guard !bytes.isEmpty, bytes.count <= 1024, let number = BN_secure_new() else { throw .invalid }
        guard BN_bin2bn(bytes.baseAddress, Int32(bytes.count), number) != nil else {
            BN_clear_free(number)
            throw PluginError(failed(MARTLET_E_MEMORY))
        }
        pointer = number
    }
    deinit { BN_clear_free(pointer) }
}

func generated(_ type: String, group: String?, _ properties: String?) throws(PluginError) -> PKey {
    guard let context = EVP_PKEY_CTX_new_from_name(nil, type, properties) else { throw PluginError(failed()) }
    defer { EVP_PKEY_CTX_free(context) }
    var key: OpaquePointer?
    guard EVP_PKEY_keygen_init(context) == 1, group.map({ EVP_PKEY_CTX_set_group_name(context, $0) == 1 }) ?? true,
        EVP_PKEY_generate(context, &key) == 1, let key
    else { throw PluginError(failed()) }
    return PKey(key)
}

/// A key pair of the group that `parameters` is of.
func generated(like parameters: PKey, _ properties: String?) throws(PluginError) -> PKey {
    guard let context = EVP_PKEY_CTX_new_from_pkey(nil, parameters.pointer, properties) else { throw PluginError(failed()) }
    defer { EVP_PKEY_CTX_free(context) }
    var key: OpaquePointer?
    guard EVP_PKEY_keygen_init(context) == 1, EVP_PKEY_generate(context, &key) == 1, let key else { throw PluginError(failed()) }
    return PKey(key)
}

/// A key from parameters; `.invalid` where they do not make one, such as a point that is off its curve.
func imported(_ type: String, _ selection: Int32, _ parameters: Parameters, _ properties: String?) throws(PluginError) -> PKey {
    guard let context = EVP_PKEY_CTX_new_from_name(nil, type, properties) else { throw PluginError(failed()) }
    defer { EVP_PKEY_CTX_free(context) }
    var key: OpaquePointer?
    guard EVP_PKEY_fromdata_init(context) == 1, EVP_PKEY_fromdata(context, &key, selection, parameters.list) == 1, let key else {
        throw PluginError(failed(MARTLET_E_INVALID))
    }
    return PKey(key)
}

/// Writes exactly `size` bytes of shared secret. `MARTLET_E_INVALID` where the library refuses the peer's value.
func derive(_ key: PKey, _ peer: PKey, _ properties: String?, _ shared: UnsafeMutablePointer<UInt8>, _ size: Int, padded: Bool = false) -> martlet_status {
    guard let context = EVP_PKEY_CTX_new_from_pkey(nil, key.pointer, properties) else { return failed(MARTLET_E_MEMORY) }
    defer { EVP_PKEY_CTX_free(context) }
    guard EVP_PKEY_derive_init(context) == 1 else { return failed() }
    if padded { guard EVP_PKEY_CTX_set_dh_pad(context, 1) == 1 else { return failed() } }
    guard EVP_PKEY_derive_set_peer(context, peer.pointer) == 1 else { return failed(MARTLET_E_INVALID) }
    var written = size
    guard EVP_PKEY_derive(context, shared, &written) == 1, written == size else {
        wipe(shared, size)
        return failed(MARTLET_E_INVALID)
    }
    return MARTLET_OK
}
