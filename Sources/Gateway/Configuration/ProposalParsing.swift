// Proposals as swanctl.conf writes them, `aes256gcm16-prfsha256-x25519`, and the default ones.
// RFC 7296 sections 2.7 and 3.3, RFC 5282 section 8 (AEAD beside other ciphers), RFC 8221 section 4.

import IKECore
import IKEWire

/// What the loaded plugins can do, as far as the configuration asks.
package struct Capabilities {
    /// Whether a transform is there, in a provider or, for nil, in any.
    package var serves: (Transform, _ provider: String?) -> Bool
    /// Whether a key exchange that a configuration names passes its known-answer test, which may run now.
    package var passes: (Transform, _ provider: String?) -> Bool = { _, _ in true }
    /// Whether the data plane does ESP with a transform.
    package var carries: (Transform) -> Bool = { _ in true }
    /// Whether it does so with an algorithm of its own, whatever providers serve.
    package var carriesAlone: (Transform) -> Bool = { _ in false }
    /// The names of the crypto providers.
    package var providers: [String]
    /// The names of the authentication methods: "psk".
    package var methods: [String]
    /// The methods of EAP.
    package var eapMethods: [EAPMethod] = []
    /// They know the users that `secrets` does not; the first is asked where nobody names one.
    package var directories: [DirectoryAbilities] = []
    /// Whether those are all that there are: a directory that the configuration has, and that is not among them, is not loaded.
    package var areDirectoriesLoaded = false
    /// Why none is loaded that the configuration has, where that is known.
    package var directoryFailure: String?
    /// Whether the data plane carries transport mode, and its name: nil where none is loaded.
    package var carriesTransport = false
    package var planeName: String?
    /// What else it does.
    package var features: PlaneFeatures = []
    /// Reads certificates and keys; nil where no plugin does.
    package var credentials: (any CredentialReading)?

    package init(serves: @escaping (Transform, String?) -> Bool, providers: [String], methods: [String]) {
        self.serves = serves
        self.providers = providers
        self.methods = methods
    }
    package init(serves: @escaping (Transform) -> Bool, providers: [String], methods: [String]) {
        self.init(serves: { transform, _ in serves(transform) }, providers: providers, methods: methods)
    }
}

struct ProposalParser {
    let protocolID: ProtocolID
    let provider: String?
    let capabilities: Capabilities

    private var isIKE: Bool { protocolID == .ike }
    private func serves(_ transform: Transform) -> Bool {
        if isIKE { return capabilities.serves(transform, provider) }
        return capabilities.carries(transform) && (capabilities.serves(transform, provider) || capabilities.carriesAlone(transform))
    }
    private func server(of transform: Transform) -> String { !isIKE && !capabilities.carries(transform) ? "the data plane" : loaded }
    private var loaded: String { provider.map { "the crypto provider \(quoted($0))" } ?? "a loaded plugin" }

    /// All proposals of a list, numbered from 1. A list that is nil stands for `default`.
    func parse(_ value: ConfigurationValue?, key: String, fallback: SourcePosition, _ diagnostics: inout Diagnostics) -> [Proposal] {
        let elements = value?.elements ?? [ConfigurationValue.Element(text: "default", position: fallback)]
        if elements.isEmpty { diagnostics.error(at: value?.position ?? fallback, "\(quoted(key)) names no proposal") }
        var proposals: [Proposal] = []
        for element in elements.prefix(32) {
            if element.text.lowercased() == "default" {
                let standard = defaults()
                if standard.isEmpty {
                    diagnostics.error(at: element.position, "no default proposal of \(quoted(key)) can be served by \(loaded): load a crypto plugin")
                }
                proposals += standard
            } else if let transforms = parseOne(element, &diagnostics) {
                proposals.append(Proposal(number: 1, protocolID: protocolID, transforms: transforms))
            }
        }
        if elements.count > 32 { diagnostics.error(at: elements[32].position, "\(quoted(key)) has more than 32 proposals") }
        for index in proposals.indices { proposals[index].number = UInt8(clamping: index + 1) }
        return proposals
    }

    private func parseOne(_ element: ConfigurationValue.Element, _ diagnostics: inout Diagnostics) -> [Transform]? {
        var transforms: [Transform] = []
        var place = element.position
        var words: [(text: String, position: SourcePosition)] = []
        for word in element.text.split(separator: "-", omittingEmptySubsequences: false) {
            words.append((String(word), place))
            place.column += word.count + 1
        }
        guard words.count <= 64 else {
            diagnostics.error(at: element.position, "a proposal has at most 64 algorithms")
            return nil
        }
        var isRight = true
        for word in words {
            guard let transform = transform(word.text) else {
                isRight = false
                let text = word.text.isEmpty ? "an algorithm is missing in the proposal \(quoted(element.text))" : "there is no algorithm \(quoted(word.text))"
                diagnostics.error(at: word.position, text + suggestion(word.text.isEmpty ? nil : nearest(to: word.text, among: Self.usualWords)))
                continue
            }
            if !isIKE && transform.type == .prf {
                diagnostics.warning(at: word.position, "\(quoted(word.text)) has no effect: ESP has no PRF of its own")
            } else if isIKE && transform.type == .extendedSequenceNumbers {
                isRight = false
                diagnostics.error(at: word.position, "\(quoted(word.text)) belongs in 'esp_proposals': IKE has no sequence numbers to extend")
            } else if transform.type == .keyExchange && transform.id == 0 {
                if isIKE {
                    isRight = false
                    diagnostics.error(at: word.position, "an IKE proposal must have a key exchange group; \(quoted(word.text)) names none")
                } else {
                    transforms.append(transform)
                }
            } else if !transforms.contains(transform) {
                if !serves(transform) || transform.type == .keyExchange && !capabilities.passes(transform, provider) {
                    isRight = false
                    diagnostics.error(at: word.position, "\(quoted(word.text)) (\(transform)) cannot be served by \(server(of: transform))")
                }
                transforms.append(transform)
                //= RFC 8247 §2.4: group 2 SHOULD NOT be used.
                if transform == .modp1024, isRight {
                    diagnostics.warning(at: word.position, "\(quoted(word.text)) can be broken by an attacker with means: take it only for a peer that has no other")
                }
            }
        }
        return isRight ? complete(transforms, element, &diagnostics) : nil
    }

    /// Adds what is understood, takes out what goes without saying, and checks that nothing is missing.
    private func complete(_ given: [Transform], _ element: ConfigurationValue.Element, _ diagnostics: inout Diagnostics) -> [Transform]? {
        var transforms = given
        func has(_ type: TransformType) -> Bool { transforms.contains { $0.type == type } }
        func refuse(_ reason: String) -> [Transform]? {
            diagnostics.error(at: element.position, "the proposal \(quoted(element.text)) \(reason)")
            return nil
        }
        let ciphers = transforms.filter { $0.type == .encryption }
        guard !ciphers.isEmpty else { return refuse("names no encryption algorithm, such as aes256gcm16") }
        let isAEAD = ciphers.contains(where: \.isAEAD)
        //= RFC 5282 §8
        if isAEAD, !ciphers.allSatisfy(\.isAEAD) {
            return refuse("mixes AEAD and other ciphers, which no peer could choose from safely: write two proposals with a comma between them")
        }
        if isIKE && !has(.prf) {
            // As swanctl does: the hash of the integrity algorithm is the one of the PRF.
            for integrity in transforms.filter({ $0.type == .integrity }) {
                guard let prf = integrity.prfOfSameHash else { continue }
                if !serves(prf) { return refuse("needs \(prf), which cannot be served by \(loaded)") }
                transforms.append(prf)
            }
            if !has(.prf) { return refuse("names no PRF: add one such as prfsha256") }
        }
        if !isIKE, ciphers.contains(where: { $0.id == 11 }) {
            diagnostics.warning(at: element.position, "'null' encrypts nothing: everybody on the way can read what the tunnel carries")
        }
        if isAEAD {
            //= RFC 7296 §3.3
            transforms.removeAll { $0.type == .integrity }
        } else if !has(.integrity) {
            return refuse("names no integrity algorithm, such as sha256; encryption without integrity is not safe")
        }
        if isIKE && !has(.keyExchange) { return refuse("names no key exchange group, such as x25519") }
        if !isIKE && !has(.extendedSequenceNumbers) { transforms.append(.noExtendedSequenceNumbers) }
        // A stable order of types; within a type the author's order counts.
        return [.encryption, .integrity, .prf, .keyExchange, .extendedSequenceNumbers].flatMap { type in transforms.filter { $0.type == type } }
    }

    /// `default`: strong algorithms that every current peer has, AEAD ones first, as far as plugins serve them and, like what the
    /// configuration names itself, pass their known-answer tests.
    private func defaults() -> [Proposal] {
        let prfs: [Transform] = isIKE ? [.prfHMACSHA256, .prfHMACSHA384, .prfHMACSHA512] : []
        let groups: [Transform] = isIKE ? [.curve25519, .ecp256, .ecp384, .ecp521, .modp3072, .modp4096, .modp2048] : []
        let sequence: [Transform] = isIKE ? [] : [.noExtendedSequenceNumbers]
        let ciphers: [[Transform]] = [
            [.aesGCM16(256), .aesGCM16(128), .chaCha20Poly1305],
            [.aesCBC(256), .aesCBC(128), .hmacSHA256_128, .hmacSHA384_192, .hmacSHA512_256],
        ]
        let needed: [[TransformType]] = [[.encryption], [.encryption, .integrity]]
        return zip(ciphers, needed).compactMap { algorithms, types in
            let transforms = (algorithms + prfs).filter(serves) + groups.filter { serves($0) && capabilities.passes($0, provider) } + sequence
            let complete = (types + (isIKE ? [.prf, .keyExchange] : [])).allSatisfy { type in transforms.contains { $0.type == type } }
            return complete ? Proposal(number: 1, protocolID: protocolID, transforms: transforms) : nil
        }
    }

    private func transform(_ word: String) -> Transform? { word.utf8.count <= 64 ? Transform(keyword: word) : nil }

    /// For the nearest spelling.
    private static let usualWords = [
        "aes128", "aes192", "aes256", "aes128gcm16", "aes192gcm16", "aes256gcm16", "chacha20poly1305", "sha256", "sha384", "sha512", "prfsha256",
        "prfsha384", "prfsha512", "x25519", "x448", "ecp256", "ecp384", "ecp521", "modp2048", "modp3072", "modp4096", "esn", "noesn", "default",
    ]
}

extension Transform {
    /// Encryption that also authenticates. RFC 4106, RFC 4309, RFC 5529, RFC 7634, RFC 8750.
    var isAEAD: Bool { type == .encryption && ((14...16).contains(id) || (18...21).contains(id) || (25...33).contains(id)) }

    /// The PRF that uses the hash of an integrity transform. RFC 4868.
    var prfOfSameHash: Transform? {
        guard type == .integrity else { return nil }
        switch id {
        case 1, 6: return Transform(type: .prf, id: 1)
        case 2, 7: return Transform(type: .prf, id: 2)
        case 5: return Transform(type: .prf, id: 4)
        case 8: return Transform(type: .prf, id: 8)
        case 12: return .prfHMACSHA256
        case 13: return .prfHMACSHA384
        case 14: return .prfHMACSHA512
        default: return nil
        }
    }
}
