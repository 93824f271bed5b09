// What the explanations are made of: algorithms, identities and selectors as the configuration writes them. How many are shown is
// bounded, for a peer may send hundreds.

import IKECrypto
import IKEWire

enum Wording {
    /// How many of a peer's proposals, transforms or selectors are looked at.
    static let shown = 32
    /// How many proposals or connections are shown, a line each.
    static let lines = 8

    /// Both ends, and the numbers by which the other end's log knows the IKE SA.
    static func ends(_ sa: IKESA) -> String {
        let spis = sa.responderSPI == .none ? "\(sa.initiatorSPI)_i" : "\(sa.initiatorSPI)_i \(sa.responderSPI)_r"
        return "between \(sa.local) here and \(sa.remote) there; the IKE SPIs to look for in the log of the other end: \(spis)"
    }

    static func identity(_ pattern: IdentityPattern) -> String {
        switch pattern {
        case .any: "%any"
        case .exactly(let identity): identity.description
        case .name(let name): name.description
        case .suffix(let kind, let suffix): "*" + Identification(kind: kind, data: suffix).description
        }
    }

    static func selectors(_ selectors: [TrafficSelector]) -> String {
        guard !selectors.isEmpty else { return "no network" }
        // The same one two hundred times is one.
        var different: [String] = []
        for selector in selectors.prefix(shown) where !different.contains(selector.description) { different.append(selector.description) }
        return different.prefix(lines).joined(separator: ", ") + (selectors.count > shown || different.count > lines ? ", ..." : "")
    }

    static func pair(local: [TrafficSelector], remote: [TrafficSelector]) -> String { "\(selectors(local)) here, \(selectors(remote)) there" }

    /// `aes128-sha256-modp2048`, as `proposals` has it; where a transform has no word, its name.
    static func proposal(_ proposal: Proposal) -> String {
        func words(_ type: TransformType) -> [String] { proposal.transforms.filter { $0.type == type }.map(word) }
        let encryption = words(.encryption), integrity = proposal.transforms.filter { $0.type == .integrity && $0.id != 0 }.map(word)
        var prfs = words(.prf)
        // A hash that is there for integrity stands for its PRF as well.
        if !integrity.isEmpty, prfs == integrity.map({ "prf" + $0 }) { prfs = [] }
        let keyExchanges = proposal.transforms.filter { $0.type == .keyExchange && $0.id != 0 }.map(word)
        let sequence = proposal.transforms.filter { $0.type == .extendedSequenceNumbers }.map(\.id)
        let esn = sequence.contains(1) ? (sequence.contains(0) ? ["esn", "noesn"] : ["esn"]) : []
        let known: Set<TransformType> = [.encryption, .integrity, .prf, .keyExchange, .extendedSequenceNumbers]
        let others = proposal.transforms.filter { !known.contains($0.type) && $0.id != 0 }.map { "\($0.type):\($0)" }
        let all = encryption + integrity + prfs + keyExchanges + esn + others
        return all.isEmpty ? "nothing" : all.prefix(shown).joined(separator: "-") + (all.count > shown ? "-..." : "")
    }

    static func word(_ transform: Transform) -> String { transform.hasUnknownAttribute ? transform.description : transform.keyword ?? transform.description }

    static func name(_ type: TransformType) -> String {
        switch type {
        case .encryption: "encryption"
        case .prf: "PRF"
        case .integrity: "integrity"
        case .keyExchange: "key exchange"
        case .extendedSequenceNumbers: "extended sequence numbers"
        default: "transform type \(type.rawValue)"
        }
    }

    /// Why a tunnel came up and its keys cannot be renewed. RFC 7296 section 1.2.
    static let pfs = "The first keys of a tunnel need no key exchange of their own (PFS), later ones do: one that differs shows when keys are renewed, and the tunnel ends with its lifetime."

    /// `once`, `3 times`
    static func times(_ count: Int) -> String { count == 1 ? "once" : "\(count) times" }
}

extension Proposal {
    var hasKeyExchange: Bool { transforms.contains { $0.type == .keyExchange && $0.id != 0 } }
}
