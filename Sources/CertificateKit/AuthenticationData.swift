// The data of an AUTH payload that is a signature, for each method.
// RFC 7296 section 3.8 (1), RFC 4754 section 7 (9, 10, 11), RFC 7427 section 3 (14).

import COpenSSLX509

package enum AuthenticationMethod {
    package static let rsa: UInt16 = 1, ecdsa256: UInt16 = 9, ecdsa384: UInt16 = 10, ecdsa521: UInt16 = 11, digitalSignature: UInt16 = 14
    package static let all: [UInt16] = [digitalSignature, rsa, ecdsa256, ecdsa384, ecdsa521]
}

/// A signature as it came, ready to be checked with a key.
package struct ReceivedSignature: Sendable {
    /// More than one where the method leaves the hash open.
    package var schemes: [SignatureScheme]
    package var signature: [UInt8]
    /// The size of key that the method is for, in bits; nil for any.
    package var curve: Int?

    package struct Problem: Error { package let reason: String }

    package init(method: UInt16, data: [UInt8]) throws(Problem) {
        switch method {
        case AuthenticationMethod.rsa:
            // RFC 7296 section 3.8: SHA-1 unless the ends know better; the hash stands inside of the signature.
            (schemes, signature, curve) = ([.init(.rsa, .sha256), .init(.rsa, .sha384), .init(.rsa, .sha512), .init(.rsa, .sha1)], data, nil)
        case AuthenticationMethod.ecdsa256: self = try .init(raw: data, bits: 256, .sha256)
        case AuthenticationMethod.ecdsa384: self = try .init(raw: data, bits: 384, .sha384)
        case AuthenticationMethod.ecdsa521: self = try .init(raw: data, bits: 521, .sha512)
        case AuthenticationMethod.digitalSignature:
            //= RFC 7427 §3: one octet with the length of the AlgorithmIdentifier, that, and the signature.
            guard let length = data.first, length > 0, data.count > 1 + Int(length) else { throw Problem(reason: "its AUTH payload is cut short") }
            guard let scheme = SignatureScheme(algorithmIdentifier: Array(data[1...Int(length)])) else {
                throw Problem(reason: "its signature is of an algorithm that is not known here (" + hexadecimal(data[1...Int(length)].prefix(32)) + ")")
            }
            (schemes, signature, curve) = ([scheme], Array(data.dropFirst(1 + Int(length))), nil)
        default: throw Problem(reason: "it proves itself by AUTH method \(method), which is no signature that is known here")
        }
    }

    //= RFC 4754 §7: r and s, each as long as the curve's order, one after the other.
    private init(raw: [UInt8], bits: Int, _ hash: Hash) throws(Problem) {
        guard raw.count == 2 * ((bits + 7) / 8) else { throw Problem(reason: "its ECDSA signature has \(raw.count) octets, where P-\(bits) has \(2 * ((bits + 7) / 8))") }
        guard let der = encoded({ memory in raw.withUnsafeBufferPointer { martlet_ecdsa_to_der($0.baseAddress, $0.count, memory) } }) else { throw Problem(reason: "its ECDSA signature is malformed") }
        (schemes, signature, curve) = ([.init(.ecdsa, hash)], der, bits)
    }

    /// Whether it is one of `key` over `parts`; returns how it was made.
    package func scheme(of key: PublicKey, over parts: [UnsafeRawBufferPointer]) -> SignatureScheme? {
        guard curve == nil || curve == key.type.bits else { return nil }
        return schemes.first { key.verifies(signature, $0, over: parts) }
    }
}

extension SigningKey {
    /// How we sign for a peer that takes `hashes` (none: it does not know RFC 7427), as `auth` of the connection asks; nil where there is no way.
    package func choose(peerHashes: [UInt16], _ wish: SchemeConstraints) -> (method: UInt16, scheme: SignatureScheme)? {
        let taken = peerHashes.compactMap(Hash.init(rawValue:))
        func first(_ preferred: [Hash]) -> Hash? { preferred.first { taken.contains($0) && wish.takes($0) } }
        switch type {
        case .rsa(let bits):
            let preferred: [Hash] = bits > 7_000 ? [.sha512, .sha384, .sha256] : bits > 3_072 ? [.sha384, .sha256, .sha512] : [.sha256, .sha384, .sha512]
            if let hash = first(preferred) {
                return (AuthenticationMethod.digitalSignature, wish.prefersPSS ? .init(.rsaPSS(mask: hash, salt: hash.size), hash) : .init(.rsa, hash))
            }
            // SHA-1 alone is left for a peer that has named no hashes.
            //= RFC 7427 §3: where both ends have, no other method will do.
            return peerHashes.isEmpty && !wish.prefersPSS && wish.hashes.isEmpty ? (AuthenticationMethod.rsa, .init(.rsa, .sha1)) : nil
        case .rsaPSS:
            return first([.sha256, .sha384, .sha512]).map { (AuthenticationMethod.digitalSignature, .init(.rsaPSS(mask: $0, salt: $0.size), $0)) }
        case .ecdsa(let bits):
            let own: Hash = bits == 256 ? .sha256 : bits == 384 ? .sha384 : .sha512
            if let hash = first([own, .sha512, .sha384, .sha256]) { return (AuthenticationMethod.digitalSignature, .init(.ecdsa, hash)) }
            guard peerHashes.isEmpty, wish.takes(own) else { return nil }
            return (bits == 256 ? AuthenticationMethod.ecdsa256 : bits == 384 ? AuthenticationMethod.ecdsa384 : AuthenticationMethod.ecdsa521, .init(.ecdsa, own))
        //= RFC 8420 §2: where the peer takes the identity hash.
        case .ed25519: return taken.contains(.identity) ? (AuthenticationMethod.digitalSignature, .init(.ed25519, .identity)) : nil
        case .ed448: return taken.contains(.identity) ? (AuthenticationMethod.digitalSignature, .init(.ed448, .identity)) : nil
        }
    }

    /// The AUTH payload's data. Nil where the library cannot make it.
    package func authenticationData(_ method: UInt16, _ scheme: SignatureScheme, over parts: [UnsafeRawBufferPointer]) -> [UInt8]? {
        guard let signature = sign(scheme, over: parts) else { return nil }
        switch method {
        case AuthenticationMethod.digitalSignature:
            guard let identifier = scheme.algorithmIdentifier, identifier.count < 256 else { return nil }
            return [UInt8(identifier.count)] + identifier + signature
        case AuthenticationMethod.rsa: return signature
        default:
            let half = (type.bits + 7) / 8
            var raw = [UInt8](repeating: 0, count: 2 * half)
            guard martlet_ecdsa_from_der(signature, signature.count, &raw, Int32(half)) == 1 else {
                forgetErrors()
                return nil
            }
            return raw
        }
    }
}

/// What `auth = pubkey-...` asks of keys and signatures: kinds of key with their least sizes, hashes, PSS.
/// Source of the syntax: swanctl.conf(5), `local<suffix>.auth`.
package struct SchemeConstraints: Hashable, Sendable {
    /// Least bits, by `rsa`, `ecdsa`, `ed25519`, `ed448`; empty for any kind.
    package var keys: [String: Int] = [:]
    package var hashes: Set<UInt16> = []
    package var prefersPSS = false
    /// `ike:`: the hashes are about the signature in IKE, and not about those of certificates.
    package var isForProofAlone = false

    package init() {}

    /// Nil with words that are not known.
    package init?(_ auth: String) {
        var text = Substring(auth.lowercased()), last: String?
        if text.hasPrefix("ike:") {
            text = text.dropFirst(4)
            isForProofAlone = true
        }
        for word in text.split(separator: "-") {
            switch word {
            case "pubkey": continue
            case "rsa/pss":
                prefersPSS = true
                (keys["rsa"], last) = (0, "rsa")
            case "rsa", "ecdsa", "ed25519", "ed448": (keys[String(word)], last) = (0, String(word))
            case "sha256", "sha2_256": hashes.insert(Hash.sha256.rawValue)
            case "sha384", "sha2_384": hashes.insert(Hash.sha384.rawValue)
            case "sha512", "sha2_512": hashes.insert(Hash.sha512.rawValue)
            case "identity": hashes.insert(Hash.identity.rawValue)
            default:
                guard let bits = Int(word), let kind = last, (1...16_384).contains(bits) else { return nil }
                keys[kind] = bits
            }
        }
    }

    func takes(_ hash: Hash) -> Bool { hashes.isEmpty || hashes.contains(hash.rawValue) }

    /// Why some certificate of a path is not what was asked for; the same of every key and signature in it but the trusted one's own signature.
    package func objection(_ path: [X509Certificate]) -> String? {
        for (depth, member) in path.enumerated() {
            guard let key = member.key else { continue }
            let who = depth == 0 ? "its certificate" : "the certificate of the authority \"\(member.subjectText)\""
            if !keys.isEmpty {
                guard let least = keys[key.type.name.lowercased()] else {
                    return "\(who) has a key of the kind \(key.type.name), and the connection asks for \(keys.keys.sorted().joined(separator: " or "))"
                }
                if key.type.bits < least { return "\(who) has a key with \(key.type.bits) bits, and the connection asks for \(least)" }
            }
            if !hashes.isEmpty, !isForProofAlone, depth < path.count - 1, let hash = member.signature.flatMap({ Hash(number: $0.hash) }), !takes(hash) {
                return "\(who) is signed with \(hash.name), which the connection does not take"
            }
        }
        return nil
    }

    /// Why a proof is not what was asked for; nil where it is.
    package func objection(_ key: KeyType, _ scheme: SignatureScheme) -> String? {
        let word = key.name.lowercased()
        if !keys.isEmpty {
            guard let least = keys[word] else { return "its key is of the kind \(key.name), and the connection asks for \(keys.keys.sorted().joined(separator: " or "))" }
            if key.bits < least { return "its \(key.name) key has \(key.bits) bits, and the connection asks for \(least)" }
        }
        if scheme.hash != .identity, !takes(scheme.hash) { return "it signs with \(scheme.hash.name), which the connection does not take" }
        if prefersPSS, scheme.kind == .rsa { return "it signs with PKCS#1 v1.5, and the connection asks for PSS" }
        return nil
    }
}
