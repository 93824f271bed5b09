// Vendor IDs: what a peer says that it is. Nothing depends on one; an administrator who looks at a log may want to know.
// RFC 7296 section 3.12. We send none: there is no extension of ours that a peer would have to know of, and a name and a version in clear help only
// those who look for a victim.

import IKEWire

enum VendorIDs {
    /// The most that is kept of a message, and the longest, bytes: a stranger chooses them.
    static let limit = 8, longest = 48

    //= RFC 7296 §3.12: an unknown Vendor ID is ignored, as far as the protocol goes.
    static func texts(_ payloads: [Payload]) -> [String] {
        payloads.lazy.compactMap { payload in if case .vendorID(let id) = payload { text(id) } else { nil } }.prefix(limit).map(\.self)
    }

    private static func text(_ id: [UInt8]) -> String {
        let start = id.prefix(longest), rest = id.count > longest ? "..." : ""
        // Printable ASCII as it is; a quotation mark would end the quotation.
        if !start.isEmpty, start.allSatisfy({ (0x20...0x7e).contains($0) && $0 != 0x22 }) { return "\"" + String(decoding: start, as: UTF8.self) + "\"" + rest }
        return start.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined() + rest
    }
}
