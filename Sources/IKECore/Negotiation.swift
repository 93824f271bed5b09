// The choice of one proposal and one transform of each type.
// RFC 7296 sections 2.7 and 3.3.

import IKEWire

package enum Negotiation {
    /// The responder's choice: the first configured proposal that some offered one meets, with one transform of each type, our order
    /// first. A key exchange method that the peer already sent a value for is preferred, since it saves a round trip. The answer
    /// carries the number and SPI of the offered proposal.
    package static func choose(configured: [Proposal], offered: [Proposal], protocolID: ProtocolID, keyExchangeSent: UInt16? = nil, withoutKeyExchange: Bool = false) -> Proposal? {
        for ours in configured where ours.protocolID == protocolID {
            for theirs in offered where theirs.protocolID == protocolID {
                if let transforms = match(ours, theirs, keyExchangeSent: keyExchangeSent, withoutKeyExchange: withoutKeyExchange) {
                    return Proposal(number: theirs.number, protocolID: protocolID, spi: theirs.spi, transforms: transforms)
                }
            }
        }
        return nil
    }

    private static func match(_ ours: Proposal, _ theirs: Proposal, keyExchangeSent: UInt16?, withoutKeyExchange: Bool) -> [Transform]? {
        func skipped(_ type: TransformType) -> Bool { withoutKeyExchange && type == .keyExchange }
        var chosen: [Transform] = []
        //= RFC 7296 §3.3.3: a type that one side leaves out counts as offering "none".
        // In one pass: a stranger may offer hundreds of types.
        let types = Set(ours.transforms.map(\.type))
        var foreign: Set<TransformType> = [], dispensable: Set<TransformType> = []
        for transform in theirs.transforms where !types.contains(transform.type) && !skipped(transform.type) {
            foreign.insert(transform.type)
            if transform.id == 0, !transform.hasUnknownAttribute { dispensable.insert(transform.type) }
        }
        guard foreign.count == dispensable.count else { return nil }
        for type in types.sorted() where !skipped(type) {
            let mine = ours.transforms.filter { $0.type == type }
            let offer = theirs.transforms.filter { $0.type == type && !$0.hasUnknownAttribute }
            let offersType = theirs.transforms.contains { $0.type == type }
            let common = mine.filter { offer.contains($0) }
            if type == .keyExchange, let sent = keyExchangeSent, let transform = common.first(where: { $0.id == sent }) {
                chosen.append(transform)
            } else if let transform = common.first {
                chosen.append(transform)
            } else if !offersType {
                guard mine.contains(where: { $0.id == 0 }) else { return nil }
            } else {
                return nil
            }
        }
        // "None" needs no mention in the answer, except for ESN, which is mandatory there.
        return chosen.filter { $0.id != 0 || $0.type == .extendedSequenceNumbers }
    }

    /// The initiator's check of an answer: one proposal, made only of what was offered. RFC 7296 section 2.7.
    package static func verify(answer: [Proposal], offered: [Proposal], protocolID: ProtocolID) -> Proposal? {
        guard answer.count == 1, let chosen = answer.first, chosen.protocolID == protocolID,
            let offer = offered.first(where: { $0.number == chosen.number && $0.protocolID == protocolID })
        else { return nil }
        for type in Set((chosen.transforms + offer.transforms).map(\.type)) {
            let picked = chosen.transforms.filter { $0.type == type }
            let proposed = offer.transforms.filter { $0.type == type }
            guard picked.count <= 1 else { return nil }
            if let transform = picked.first {
                guard proposed.contains(transform) || (proposed.isEmpty && transform.id == 0) else { return nil }
            } else {
                guard proposed.contains(where: { $0.id == 0 }) else { return nil }
            }
        }
        return chosen
    }

    /// `proposals` numbered from 1, with `spi`, and without key exchange where asked.
    package static func offer(_ proposals: [Proposal], spi: [UInt8], withoutKeyExchange: Bool = false) -> [Proposal] {
        var numbered: [Proposal] = []
        for proposal in proposals.prefix(255) {
            let transforms = withoutKeyExchange ? proposal.transforms.filter { $0.type != .keyExchange } : proposal.transforms
            let candidate = Proposal(number: UInt8(numbered.count + 1), protocolID: proposal.protocolID, spi: spi, transforms: transforms)
            if !numbered.contains(where: { $0.transforms == transforms }) { numbered.append(candidate) }
        }
        return numbered
    }
}

extension [Proposal] {
    /// The key exchange methods, in order, each once.
    package var keyExchangeMethods: [Transform] {
        var methods: [Transform] = []
        for proposal in self { for transform in proposal.transforms where transform.type == .keyExchange && transform.id != 0 && !methods.contains(transform) { methods.append(transform) } }
        return methods
    }
}

extension Proposal {
    package func transform(_ type: TransformType) -> Transform? { transforms.first { $0.type == type } }
}
