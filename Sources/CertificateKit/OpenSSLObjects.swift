// The few things that all of CertificateKit needs of OpenSSL: its errors, hashes, and memory that is freed with its owner.

import COpenSSLX509

/// Empties the thread's queue of errors, so that the next failure is not explained by an earlier one.
func forgetErrors() { ERR_clear_error() }

/// The reason of the last failure in OpenSSL's words, without anything of the data that failed.
func lastReason() -> String {
    let error = ERR_peek_last_error()
    defer { ERR_clear_error() }
    return ERR_reason_error_string(error).map { String(cString: $0) } ?? "no reason is known"
}

/// Calls an `i2d_` function and returns what it wrote.
func encoded(_ encode: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>) -> Int32) -> [UInt8]? {
    var memory: UnsafeMutablePointer<UInt8>?
    let size = encode(&memory)
    defer { martlet_free(memory) }
    guard size >= 0, let memory else {
        forgetErrors()
        return nil
    }
    return Array(UnsafeBufferPointer(start: memory, count: Int(size)))
}

/// IANA "IKEv2 Hash Algorithms". RFC 7427 section 7, RFC 8420.
package enum Hash: UInt16, Sendable, CaseIterable {
    case sha1 = 1, sha256, sha384, sha512
    /// Not a hash: for signatures that take the message itself.
    case identity

    var implementation: OpaquePointer? {
        switch self {
        case .sha1: EVP_sha1()
        case .sha256: EVP_sha256()
        case .sha384: EVP_sha384()
        case .sha512: EVP_sha512()
        case .identity: nil
        }
    }
    init?(number: Int32) {
        switch number {
        case NID_sha1: self = .sha1
        case NID_sha256: self = .sha256
        case NID_sha384: self = .sha384
        case NID_sha512: self = .sha512
        default: return nil
        }
    }
    var size: Int {
        switch self {
        case .sha1: 20
        case .sha256: 32
        case .sha384: 48
        case .sha512: 64
        case .identity: 0
        }
    }
    package var name: String {
        switch self {
        case .sha1: "SHA-1"
        case .sha256: "SHA-256"
        case .sha384: "SHA-384"
        case .sha512: "SHA-512"
        case .identity: "no hash"
        }
    }
}

package func sha1(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 20)
    _ = EVP_Digest(bytes.baseAddress, bytes.count, &digest, nil, EVP_sha1(), nil)
    return digest
}

/// Before anything else here. The library must not be torn down by exit(3) while other threads still use it.
package func prepareOpenSSL() -> Bool { OPENSSL_init_crypto(UInt64(OPENSSL_INIT_NO_ATEXIT), nil) == 1 }

package func sha256(_ bytes: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    _ = EVP_Digest(bytes, bytes.count, &digest, nil, EVP_sha256(), nil)
    return digest
}
