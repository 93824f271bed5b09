// How a signature is made: the kind of key, the hash, the padding; and its name in an AUTH payload.
// RFC 7427 section 3 and appendix A, RFC 8420, RFC 4055 section 3.1 (PSS), RFC 4754.

import COpenSSLX509

package struct SignatureScheme: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case rsa
        /// With the hash of the mask and the length of the salt.
        case rsaPSS(mask: Hash, salt: Int)
        case ecdsa, ed25519, ed448
    }
    package var kind: Kind
    package var hash: Hash

    package init(_ kind: Kind, _ hash: Hash) { (self.kind, self.hash) = (kind, hash) }

    func fits(_ key: KeyType) -> Bool {
        switch (kind, key) {
        case (.rsa, .rsa), (.rsaPSS, .rsa), (.rsaPSS, .rsaPSS), (.ecdsa, .ecdsa), (.ed25519, .ed25519), (.ed448, .ed448): true
        default: false
        }
    }

    /// Sets the padding of a signature that is being made or checked.
    func configure(_ context: OpaquePointer?) -> Bool {
        switch kind {
        case .rsa: martlet_set_rsa_padding(context, 0, 0, nil) > 0
        case .rsaPSS(let mask, let salt): martlet_set_rsa_padding(context, 1, Int32(clamping: salt), mask.implementation) > 0
        case .ecdsa, .ed25519, .ed448: true
        }
    }

    /// Why a signature like that is not taken; nil where it is.
    package var weakness: String? {
        if hash == .sha1 { return "it is made with SHA-1" }
        if case .rsaPSS(let mask, let salt) = kind {
            if mask != hash { return "its PSS parameters mix \(hash.name) with a mask of \(mask.name)" }
            if salt > 128 { return "its PSS parameters ask for a salt of \(salt) octets" }
        }
        return nil
    }

    package var description: String {
        switch kind {
        case .rsa: "RSA (PKCS#1 v1.5) with \(hash.name)"
        case .rsaPSS: "RSA (PSS) with \(hash.name)"
        case .ecdsa: "ECDSA with \(hash.name)"
        case .ed25519: "Ed25519"
        case .ed448: "Ed448"
        }
    }

    // MARK: AlgorithmIdentifier, DER

    /// What stands before the signature. RFC 7427 appendix A has these octets.
    package var algorithmIdentifier: [UInt8]? {
        switch (kind, hash) {
        case (.rsa, .sha1): Self.object([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05], null: true)
        case (.rsa, .sha256): Self.object([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b], null: true)
        case (.rsa, .sha384): Self.object([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c], null: true)
        case (.rsa, .sha512): Self.object([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d], null: true)
        case (.ecdsa, .sha256): Self.object([0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02])
        case (.ecdsa, .sha384): Self.object([0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03])
        case (.ecdsa, .sha512): Self.object([0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04])
        case (.ed25519, _): Self.object([0x2b, 0x65, 0x70])
        case (.ed448, _): Self.object([0x2b, 0x65, 0x71])
        case (.rsaPSS(let mask, let salt), let hash):
            Self.pss(hash, mask: mask, salt: salt)
        default: nil
        }
    }

    private static func object(_ identifier: [UInt8], null: Bool = false) -> [UInt8] { sequence([0x06, UInt8(identifier.count)] + identifier + (null ? [0x05, 0x00] : [])) }
    /// All of these are short.
    private static func sequence(_ body: [UInt8]) -> [UInt8] { [0x30, UInt8(clamping: body.count)] + body }
    private static func tagged(_ tag: UInt8, _ body: [UInt8]) -> [UInt8] { [0xa0 | tag, UInt8(clamping: body.count)] + body }

    private static func pss(_ hash: Hash, mask: Hash, salt: Int) -> [UInt8]? {
        func algorithm(_ hash: Hash) -> [UInt8]? {
            let last: UInt8
            switch hash {
            case .sha256: last = 1
            case .sha384: last = 2
            case .sha512: last = 3
            case .sha1, .identity: return nil
            }
            return object([0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last], null: true)
        }
        guard let own = algorithm(hash), let masked = algorithm(mask), (0...127).contains(salt) else { return nil }
        let generator = sequence([0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08] + masked)
        let parameters = sequence(tagged(0, own) + tagged(1, generator) + tagged(2, [0x02, 1, UInt8(salt)]))
        return sequence([0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a] + parameters)
    }

    /// Nil where the octets are no algorithm that is known here.
    package init?(algorithmIdentifier bytes: [UInt8]) {
        defer { forgetErrors() }
        let algorithm = bytes.withUnsafeBufferPointer { bytes -> UnsafeMutablePointer<X509_ALGOR>? in
            var next = bytes.baseAddress
            let algorithm = d2i_X509_ALGOR(nil, &next, bytes.count)
            guard next == bytes.baseAddress.map({ $0 + bytes.count }) else {
                X509_ALGOR_free(algorithm)
                return nil
            }
            return algorithm
        }
        guard let algorithm else { return nil }
        defer { X509_ALGOR_free(algorithm) }
        var object: OpaquePointer?, type: Int32 = 0
        X509_ALGOR_get0(&object, &type, nil, algorithm)
        let number = OBJ_obj2nid(object)
        if number == NID_rsassaPss {
            var hash: Int32 = 0, mask: Int32 = 0, salt = 0
            guard martlet_pss_parameters(algorithm, &hash, &mask, &salt) == 1, let own = Hash(number: hash), let masked = Hash(number: mask), (0...512).contains(salt) else { return nil }
            self.init(.rsaPSS(mask: masked, salt: salt), own)
            return
        }
        // Parameters are absent, or NULL for RSA: RFC 4055 section 5 has both taken.
        guard type == V_ASN1_UNDEF || type == V_ASN1_NULL else { return nil }
        switch number {
        case NID_sha1WithRSAEncryption: self.init(.rsa, .sha1)
        case NID_sha256WithRSAEncryption: self.init(.rsa, .sha256)
        case NID_sha384WithRSAEncryption: self.init(.rsa, .sha384)
        case NID_sha512WithRSAEncryption: self.init(.rsa, .sha512)
        case NID_ecdsa_with_SHA1: self.init(.ecdsa, .sha1)
        case NID_ecdsa_with_SHA256: self.init(.ecdsa, .sha256)
        case NID_ecdsa_with_SHA384: self.init(.ecdsa, .sha384)
        case NID_ecdsa_with_SHA512: self.init(.ecdsa, .sha512)
        case NID_ED25519: self.init(.ed25519, .identity)
        case NID_ED448: self.init(.ed448, .identity)
        default: return nil
        }
    }
}
