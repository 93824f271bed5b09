// Where two sides' proposals have nothing in common: the pair that comes closest, in what it differs, and what would have to be added.

import IKECrypto
import IKEWire

struct NearestProposal {
    /// One that we accept, and where it belongs to.
    struct Accepted {
        let proposal: Proposal
        /// The setting with its place.
        let setting: String
    }
    private let theirs: Proposal
    private let ours: Accepted
    private let differing: [TransformType]

    /// Nil where one side has nothing.
    init?(offered: [Proposal], accepted: [Accepted]) {
        var best: (score: Int, nearest: (Proposal, Accepted, [TransformType]))?
        // In IKE_AUTH no ESP proposal has a key exchange.
        let withoutKeyExchange = !offered.contains { $0.transforms.contains { $0.type == .keyExchange } }
        for theirs in offered.prefix(Wording.shown) where theirs.transforms.count <= 2 * Wording.shown {
            for mine in accepted.prefix(Wording.shown) {
                let types = Set((theirs.transforms + mine.proposal.transforms).map(\.type)).filter { !(withoutKeyExchange && $0 == .keyExchange) }
                let differing = types.sorted().filter { type in
                    let a = theirs.transforms.filter { $0.type == type && !$0.hasUnknownAttribute }, b = mine.proposal.transforms.filter { $0.type == type }
                    return !a.contains { b.contains($0) } && !(a.isEmpty && b.contains { $0.id == 0 }) && !(b.isEmpty && a.contains { $0.id == 0 })
                }
                // What is for another protocol is far away, whatever its transforms.
                let score = theirs.protocolID == mine.proposal.protocolID ? types.count - differing.count : -1
                if score > best?.score ?? -2 { best = (score, (theirs, mine, differing)) }
            }
        }
        guard let best else { return nil }
        (theirs, ours, differing) = best.nearest
    }

    /// `the closest pair differs in key exchange (there modp2048, here x25519)`
    var difference: String? {
        guard theirs.protocolID == ours.proposal.protocolID else { return "the peer's proposals are for the protocol \(theirs.protocolID), and ours for \(ours.proposal.protocolID)" }
        guard !differing.isEmpty else { return nil }
        let parts = differing.map { type in
            func words(_ proposal: Proposal) -> String {
                let words = proposal.transforms.filter { $0.type == type && $0.id != 0 }.prefix(Wording.lines).map(Wording.word)
                return words.isEmpty ? "none" : words.joined(separator: " or ")
            }
            return "\(Wording.name(type)) (there \(words(theirs)), here \(words(ours.proposal)))"
        }
        return "the closest pair differs in \(parts.joined(separator: ", "))"
    }

    /// The change on our side that would fix it, and the one at the peer.
    func advice(_ registry: Registry) -> [String] { changes(registry) + (theirs.protocolID == .esp && differing == [.keyExchange] ? [Wording.pfs] : []) }

    private func changes(_ registry: Registry) -> [String] {
        let peer = "have the peer offer \(Wording.proposal(ours.proposal))"
        guard theirs.protocolID == ours.proposal.protocolID, !theirs.transforms.isEmpty else { return ["Nothing in it can be accepted: \(peer)."] }
        //= RFC 7296 §3.3.6: a transform with an attribute that is not understood is not chosen.
        guard !differing.contains(where: { type in theirs.transforms.contains { $0.type == type } && theirs.transforms.allSatisfy { $0.type != type || $0.hasUnknownAttribute } }) else {
            return ["It cannot be accepted with that attribute, which is a fault of the peer's software, or newer than this: \(peer)."]
        }
        let missing = theirs.transforms.filter { differing.contains($0.type) && !registry.serves($0) }
        let transforms = Set(theirs.transforms.map(\.type)).sorted().compactMap { type -> Transform? in
            let offered = theirs.transforms.filter { $0.type == type && registry.serves($0) }
            return offered.first { ours.proposal.transforms.contains($0) } ?? offered.first
        }
        let complete = Set(transforms.map(\.type)) == Set(theirs.transforms.map(\.type))
        guard complete else {
            let words = missing.prefix(Wording.lines).map(Wording.word).joined(separator: ", ")
            return ["It cannot be accepted: no loaded plugin has \(words). So \(peer).", "What is accepted here stands in \(ours.setting)."]
        }
        let addition = Wording.proposal(Proposal(number: 1, protocolID: theirs.protocolID, transforms: transforms))
        if transforms.contains(where: Self.isWeak) {
            return ["Better \(peer): what it offers is weak.", "To accept it nevertheless, add \(addition) to \(ours.setting)."]
        }
        return ["To accept it, add \(addition) to \(ours.setting).", "Or \(peer)."]
    }

    /// What RFC 8247 and RFC 8221 say MUST NOT or SHOULD NOT be used.
    private static func isWeak(_ transform: Transform) -> Bool {
        switch transform.type {
        case .encryption: [1, 2, 3, 4, 5, 6, 7, 8, 9, 11].contains(transform.id)
        case .prf, .integrity: [1, 2, 3].contains(transform.id)
        case .keyExchange: [1, 2, 5, 22, 23, 24].contains(transform.id)
        default: false
        }
    }
}
