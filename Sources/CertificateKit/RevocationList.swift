// A certificate revocation list.
// RFC 5280 section 5.

import COpenSSLX509
import Synchronization

package final class RevocationList: @unchecked Sendable {
    /// An X509_CRL.
    let pointer: OpaquePointer
    package let der: [UInt8]
    /// An entry has a critical extension that is not known here. Looked for once: lists are long.
    let hasUnknownCriticalEntry: Bool
    /// By their SubjectPublicKeyInfo: whether the key has signed it.
    let signers = Mutex<[[UInt8]: Bool]>([:])
    static let signerLimit = 8

    /// The longest that is taken.
    package static let limit = 16 << 20

    /// Nil where it is no CRL, whole and alone.
    package init?(der: [UInt8]) {
        guard der.count <= Self.limit else { return nil }
        let list = der.withUnsafeBufferPointer { bytes -> OpaquePointer? in
            var next = bytes.baseAddress
            guard let list = d2i_X509_CRL(nil, &next, bytes.count) else { return nil }
            guard next == bytes.baseAddress.map({ $0 + bytes.count }) else {
                X509_CRL_free(list)
                return nil
            }
            return list
        }
        guard let list else {
            forgetErrors()
            return nil
        }
        (pointer, self.der) = (list, der)
        hasUnknownCriticalEntry = martlet_crl_entry_is_unknown(list) == 1
    }

    deinit { X509_CRL_free(pointer) }

    package var issuer: [UInt8] { encoded { i2d_X509_NAME(X509_CRL_get_issuer(pointer), $0) } ?? [] }
    package var issuerText: String { nameText(X509_CRL_get_issuer(pointer)) }
    package var thisUpdate: Int64 { seconds(X509_CRL_get0_lastUpdate(pointer)) ?? 0 }
    /// Nil where it says nothing: then it is never out of date, and never fresh.
    package var nextUpdate: Int64? { seconds(X509_CRL_get0_nextUpdate(pointer)) }
}
