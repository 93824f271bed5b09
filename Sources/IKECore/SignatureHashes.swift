// The hashes that an end takes in signatures, said in IKE_SA_INIT. The plugins that authenticate say which we have; without one that signs, nothing is sent.
// RFC 7427 section 4.

import IKEWire

enum SignatureHashes {
    /// The most that is kept of what a stranger names.
    static let limit = 32

    static func payloads(_ crypto: Crypto) -> [Payload] {
        let hashes = crypto.signatureHashes
        return hashes.isEmpty ? [] : [.notify(Notify(.signatureHashAlgorithms, data: hashes.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xff)] }))]
    }

    /// What the peer named, in its order; nothing where it named none, or half a one.
    static func parse(_ notify: Notify) -> [UInt16] {
        guard notify.data.count % 2 == 0 else { return [] }
        return stride(from: 0, to: min(notify.data.count, 2 * limit), by: 2).map { UInt16(notify.data[$0]) << 8 | UInt16(notify.data[$0 + 1]) }
    }
}
