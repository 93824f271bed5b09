// Transforms and proposals as people write and read them.
// swanctl.conf documentation (keywords); RFC 9370 section 3.1 (additional key exchanges).

extension Transform {
    /// Reads one word of a proposal: `aes256gcm16`, `sha256`, `prfsha384`, `x25519`, `noesn`. A hash is an integrity
    /// transform here; the configuration makes the PRF from it where one is needed. Case does not matter.
    /// nil for a word that names nothing, also if the registry has the codepoint under another word.
    package init?(keyword: String) {
        let keyword = keyword.lowercased()
        if let alias = Self.aliases[keyword] {
            self = alias
            return
        }
        for entry in TransformEntry.all {
            for candidate in entry.keywords {
                if entry.keyLengths.isEmpty {
                    guard candidate == keyword else { continue }
                    self.init(type: entry.type, id: entry.id)
                    return
                }
                guard let bits = entry.keyLengths.first(where: { candidate.withKeyLength($0) == keyword }) else { continue }
                self.init(type: entry.type, id: entry.id, keyLength: bits)
                return
            }
        }
        return nil
    }

    /// The word for this transform in a proposal, nil if there is none.
    package var keyword: String? {
        if let alias = Self.aliases.first(where: { $0.value == self && keyLength != nil && entry?.keyLengths.isEmpty == true }) {
            return alias.key
        }
        guard !type.isAdditionalKeyExchange, let entry, let word = entry.keywords.first else { return nil }
        if entry.keyLengths.isEmpty { return keyLength == nil ? word : nil }
        guard let keyLength, entry.keyLengths.contains(keyLength) else { return nil }
        return word.withKeyLength(keyLength)
    }

    /// The registry's name without the key length: `AES_GCM_16`; `ENCR(1027)` for a codepoint without one.
    package var name: String { entry?.name ?? "\(type)(\(id))" }

    private var entry: TransformEntry? { TransformEntry.find(type, id) }

    /// Words for a transform that has another word too, or a key length that its word does not show.
    private static let aliases: [String: Transform] = [
        "aes": .aesCBC(128),
        "blowfish": Transform(type: .encryption, id: 7, keyLength: 128),
        "camellia": Transform(type: .encryption, id: 23, keyLength: 128),
        // Some peers send a key length with ChaCha20-Poly1305, against RFC 7634 section 4.
        "chacha20poly1305compat": Transform(type: .encryption, id: 28, keyLength: 256),
    ]
}

extension Transform: CustomStringConvertible {
    /// As strongSwan's log writes it: `AES_GCM_16_256`, `HMAC_SHA2_256_128`, `PRF_HMAC_SHA2_256`, `CURVE_25519`, `EXT_SEQ`.
    package var description: String {
        let text = keyLength.map { "\(name)_\($0)" } ?? name
        return hasUnknownAttribute ? text + "(unknown attribute)" : text
    }
}

extension Proposal: CustomStringConvertible {
    /// `ESP:AES_GCM_16_256/CURVE_25519/NO_EXT_SEQ`
    package var description: String { "\(protocolID):" + transforms.map(\.description).joined(separator: "/") }
}

extension TransformType: CustomStringConvertible {
    /// The registry's short name: `ENCR`, `PRF`, `INTEG`, `KE`, `ESN`, `ADDKE1`.
    package var description: String {
        switch rawValue {
        case 1: "ENCR"
        case 2: "PRF"
        case 3: "INTEG"
        case 4: "KE"
        case 5: "ESN"
        case 6...12: "ADDKE\(rawValue - 5)"
        case 13: "KWA"
        default: "TRANSFORM(\(rawValue))"
        }
    }

    /// Types 6 to 12 take the identifiers of type 4. RFC 9370 section 3.1.
    var isAdditionalKeyExchange: Bool { (6...12).contains(rawValue) }
}

extension String {
    fileprivate func withKeyLength(_ bits: UInt16) -> String {
        guard let mark = firstIndex(of: "#") else { return self }
        return self[..<mark] + String(bits) + self[index(after: mark)...]
    }
}
