// Proposals: strongSwan's `aes256-sha256-modp2048!` and libreswan's `aes256-sha2;modp2048`, to those of Martlet.
// RFC 7296 section 3.3, RFC 5282 section 8 (AEAD beside other ciphers).

import IKEWire

/// What became of `ike` or `esp`.
struct TranslatedProposals {
    /// As Martlet writes them; empty where nothing of the source is there.
    var list: [String] = []
    /// What was left away, each in words.
    var missing: [String] = []
    /// The key exchange groups of all of them, in order.
    var groups: [String] = []

    var text: String { list.joined(separator: ", ") }
}

enum ProposalKind { case ike, esp }

/// The algorithms of one proposal, in words.
private struct Algorithms {
    var encryption: [String] = []
    var integrity: [String] = []
    var prf: [String] = []
    var groups: [String] = []
    var sequence: [String] = []
}

enum Proposals {
    /// What the plugins that come with Martlet serve.
    static let served: Set<Transform> = [
        .aesGCM16(128), .aesGCM16(256), .chaCha20Poly1305, .aesCBC(128), .aesCBC(256), .prfHMACSHA1, .prfHMACSHA256, .prfHMACSHA384, .prfHMACSHA512, .hmacSHA1_96,
        .hmacSHA256_128, .hmacSHA384_192, .hmacSHA512_256, .modp1024, .modp2048, .modp3072, .modp4096, .ecp256, .ecp384, .ecp521, .curve25519, .curve448,
        .noExtendedSequenceNumbers, .extendedSequenceNumbers,
    ]

    /// What libreswan offers where a proposal, or the whole list, leaves it open; as far as it is there.
    static let libreswanGroups = ["modp2048", "modp3072", "modp4096", "ecp256", "ecp384", "ecp521", "x25519"]
    private static let libreswanHashes = ["sha512", "sha256"]
    static let libreswanESP = ["aes256gcm16", "aes128gcm16", "aes256-aes128-sha512-sha256"]

    /// `pfs` are the groups that libreswan adds to an ESP proposal that names none.
    static func translate(_ text: String, _ kind: ProposalKind, _ dialect: Dialect, pfs: [String] = []) -> TranslatedProposals {
        var result = TranslatedProposals()
        let isStrict = text.hasSuffix("!")
        for source in elements(isStrict ? String(text.dropLast()) : text).prefix(64) {
            do throws(Untranslatable) {
                var algorithms = dialect == .strongSwan ? try words(of: source) : try names(of: source, kind)
                if dialect == .libreswan, kind == .esp, algorithms.groups.isEmpty { algorithms.groups = pfs }
                for proposal in try complete(&algorithms, kind, source, &result) where !result.list.contains(proposal) && result.list.count < 30 { result.list.append(proposal) }
                for group in algorithms.groups where !result.groups.contains(group) { result.groups.append(group) }
            } catch {
                result.missing.append("\(source): \(error.reason)")
            }
        }
        // Without the exclamation mark strongSwan also takes what it has by default.
        if dialect == .strongSwan, !isStrict { result.list.append("default") }
        return result
    }

    // MARK: strongSwan

    private static func words(of source: String) throws(Untranslatable) -> Algorithms {
        var algorithms = Algorithms()
        for word in source.lowercased().split(separator: "-", omittingEmptySubsequences: false).prefix(64).map(String.init) {
            guard word.utf8.count <= 32, let transform = Transform(keyword: word) else { throw Untranslatable("there is no algorithm '\(word)'") }
            algorithms.add(word, transform)
        }
        return algorithms
    }

    // MARK: libreswan

    /// Fields with hyphens between them, names with a plus sign within a field; the groups behind a semicolon or in the last field.
    private static func names(of source: String, _ kind: ProposalKind) throws(Untranslatable) -> Algorithms {
        var algorithms = Algorithms()
        let halves = source.lowercased().split(separator: ";", omittingEmptySubsequences: false)
        guard halves.count <= 2 else { throw Untranslatable("there is more than one ';'") }
        var hashes: [[String]] = []
        let fields = halves.flatMap { $0.split(separator: "-") }.map { $0.split(separator: "+").map(String.init) }
        for field in fields.prefix(16) {
            var hash: [String] = []
            for name in field.prefix(32) {
                let bare = name.filter { $0 != "_" }
                if bare == "null", !algorithms.encryption.isEmpty {
                    // An AEAD cipher needs no hash; another would be left without one.
                    hash.append("")
                } else if let words = ciphers[bare] {
                    algorithms.encryption += words
                } else if let word = Self.hashes[bare] {
                    hash.append(word)
                } else if let word = group(bare) {
                    algorithms.groups.append(word)
                } else {
                    throw Untranslatable("there is no algorithm '\(name)'")
                }
            }
            if !hash.isEmpty { hashes.append(hash.filter { !$0.isEmpty }) }
        }
        guard hashes.count <= 2 else { throw Untranslatable("there are more than two fields of hashes") }
        let isAEAD = algorithms.encryption.allSatisfy { Transform(keyword: $0)?.isCombined == true }
        if kind == .ike {
            // One field of hashes serves both ends; of two the first is the PRF's.
            let prf = hashes.first ?? libreswanHashes
            algorithms.prf = prf.map { "prf" + $0 }
            if !isAEAD { algorithms.integrity = hashes.last ?? libreswanHashes }
            if algorithms.groups.isEmpty { algorithms.groups = libreswanGroups }
        } else if !isAEAD {
            algorithms.integrity = hashes.last ?? libreswanHashes
        }
        return algorithms
    }

    private static let ciphers: [String: [String]] = {
        var table = ["3des": ["3des"], "chacha20poly1305": ["chacha20poly1305"], "null": ["null"], "aes": ["aes256", "aes128"], "aescbc": ["aes256", "aes128"]]
        for (name, icv) in [
            ("aesgcm", "gcm16"), ("aesgcmc", "gcm16"), ("aesgcm16", "gcm16"), ("aesgcmb", "gcm12"), ("aesgcm12", "gcm12"), ("aesgcma", "gcm8"), ("aesgcm8", "gcm8"), ("aesctr", "ctr"),
            ("aesccm", "ccm16"), ("aesccmc", "ccm16"),
        ] {
            table[name] = ["aes256" + icv, "aes128" + icv]
            for bits in ["128", "192", "256"] { table[name + bits] = ["aes" + bits + icv] }
        }
        for bits in ["128", "192", "256"] {
            table["aes" + bits] = ["aes" + bits]
            table["aescbc" + bits] = ["aes" + bits]
            table["camellia" + bits] = ["camellia" + bits]
        }
        return table
    }()

    /// Without a word: no integrity of its own, as an AEAD has it.
    private static let hashes = [
        "sha2": "sha256", "sha256": "sha256", "sha2256": "sha256", "hmacsha2256": "sha256", "sha384": "sha384", "sha2384": "sha384", "hmacsha2384": "sha384",
        "sha512": "sha512", "sha2512": "sha512", "hmacsha2512": "sha512", "sha": "sha1", "sha1": "sha1", "hmacsha1": "sha1", "md5": "md5", "hmacmd5": "md5",
        "aesxcbc": "aesxcbc", "aescmac": "aescmac", "none": "",
    ]

    private static func group(_ name: String) -> String? {
        if name.hasPrefix("dh"), let id = UInt16(name.dropFirst(2)), id > 0 { return Transform(type: .keyExchange, id: id).keyword }
        let word = name.hasPrefix("secp") ? "ecp" + name.dropFirst(4).prefix { $0.isNumber } : name
        guard let transform = Transform(keyword: word), transform.type == .keyExchange, transform.id != 0 else { return nil }
        return transform.keyword
    }

    /// The PRF of a hash that may go by one of several names.
    private static func prf(_ integrity: String) -> String { "prf" + (Transform(keyword: integrity)?.keyword ?? integrity) }

    // MARK: What Martlet takes

    /// Leaves out what is not served, and writes what remains: AEAD ciphers and others in proposals of their own.
    private static func complete(_ algorithms: inout Algorithms, _ kind: ProposalKind, _ source: String, _ result: inout TranslatedProposals) throws(Untranslatable) -> [String] {
        if kind == .ike, algorithms.prf.isEmpty { algorithms.prf = algorithms.integrity.map(prf) }
        if kind == .esp { algorithms.prf = [] }
        if algorithms.groups.contains(where: { Transform(keyword: $0) == .keyExchangeNone }) {
            guard kind == .esp else { throw Untranslatable("IKE needs a key exchange group") }
            algorithms.groups.removeAll { Transform(keyword: $0) == .keyExchangeNone }
            if !algorithms.groups.isEmpty { result.missing.append("\(source): a key exchange that is left open is not carried over") }
        }
        func complain(_ words: [String]) {
            for word in words where !word.hasPrefix("prf") { result.missing.append("\(source): \(word) is not there") }
        }
        let before = algorithms
        algorithms.keepServed()
        complain(before.encryption.filter { !algorithms.encryption.contains($0) })
        complain(before.integrity.filter { !algorithms.integrity.contains($0) })
        complain(before.groups.filter { !algorithms.groups.contains($0) })
        complain(before.sequence.filter { !algorithms.sequence.contains($0) })
        if kind == .ike, !algorithms.sequence.isEmpty { throw Untranslatable("IKE has no sequence numbers to extend") }
        guard !algorithms.encryption.isEmpty else { throw Untranslatable("no cipher of it is there") }
        if kind == .ike, algorithms.prf.isEmpty { throw Untranslatable("no PRF of it is there") }
        if kind == .ike || !before.groups.isEmpty, algorithms.groups.isEmpty { throw Untranslatable("no key exchange group of it is there") }
        let combined = algorithms.encryption.filter { Transform(keyword: $0)?.isCombined == true }
        let others = algorithms.encryption.filter { !combined.contains($0) }
        var proposals: [String] = []
        if !combined.isEmpty { proposals.append((combined + algorithms.prf + algorithms.groups + algorithms.sequence).joined(separator: "-")) }
        if !others.isEmpty {
            guard !algorithms.integrity.isEmpty else {
                if combined.isEmpty { throw Untranslatable("no integrity algorithm of it is there") }
                return proposals
            }
            // The PRF is of the hash, unless it was named.
            let isUsual = algorithms.prf == algorithms.integrity.map(prf)
            proposals.append((others + algorithms.integrity + (isUsual ? [] : algorithms.prf) + algorithms.groups + algorithms.sequence).joined(separator: "-"))
        }
        return proposals
    }
}

extension Algorithms {
    fileprivate mutating func add(_ word: String, _ transform: Transform) {
        switch transform.type {
        case .encryption: encryption.append(word)
        case .integrity: integrity.append(word)
        case .prf: prf.append(word)
        case .keyExchange: groups.append(word)
        default: sequence.append(word)
        }
    }

    fileprivate mutating func keepServed() {
        func served(_ words: [String]) -> [String] {
            var seen: Set<Transform> = []
            return words.filter { word in Transform(keyword: word).map { Proposals.served.contains($0) && seen.insert($0).inserted } ?? false }
        }
        (encryption, integrity, prf, groups, sequence) = (served(encryption), served(integrity), served(prf), served(groups), served(sequence))
    }
}

extension Transform {
    /// Encryption that also authenticates.
    var isCombined: Bool { type == .encryption && ((14...16).contains(id) || (18...21).contains(id) || (25...33).contains(id)) }
}
