// What is chosen of an offer, and which answers are taken.
// RFC 7296 sections 2.7 and 3.3.

import IKECore
import IKEWire
import Testing
import TestSupport

@Suite struct NegotiationRules {
    private func esp(_ number: UInt8 = 1, _ transforms: [Transform]) -> Proposal { Proposal(number: number, protocolID: .esp, spi: [0, 0, 1, number], transforms: transforms) }
    private let gcm = Fixtures.espProposal()

    @Test func theAnswerNamesTheOfferedProposal() {
        let offered = [esp(1, [.aesGCM16(128), .noExtendedSequenceNumbers]), esp(2, [.aesGCM16(128), .aesGCM16(256), .extendedSequenceNumbers, .noExtendedSequenceNumbers])]
        let chosen = Negotiation.choose(configured: [gcm], offered: offered, protocolID: .esp)
        #expect(chosen == Proposal(number: 2, protocolID: .esp, spi: [0, 0, 1, 2], transforms: [.aesGCM16(256), .noExtendedSequenceNumbers]))
    }

    @Test func ourOrderDecides() {
        let ours = [Proposal(number: 1, protocolID: .ike, transforms: [.aesGCM16(256), .aesGCM16(128), .prfHMACSHA512, .prfHMACSHA256, .curve25519, .ecp256])]
        let theirs = [Proposal(number: 7, protocolID: .ike, transforms: [.aesGCM16(128), .aesGCM16(256), .prfHMACSHA256, .prfHMACSHA512, .ecp256, .curve25519])]
        #expect(Negotiation.choose(configured: ours, offered: theirs, protocolID: .ike)?.transforms == [.aesGCM16(256), .prfHMACSHA512, .curve25519])
        // Except for the key exchange that already came.
        #expect(Negotiation.choose(configured: ours, offered: theirs, protocolID: .ike, keyExchangeSent: 19)?.transform(.keyExchange) == .ecp256)
        #expect(Negotiation.choose(configured: ours, offered: theirs, protocolID: .ike, keyExchangeSent: 14)?.transform(.keyExchange) == .curve25519)
    }

    @Test func absentMeansNone() {
        #expect(
            Negotiation.choose(configured: [gcm], offered: [esp(1, [.aesGCM16(256), .integrityNone, .noExtendedSequenceNumbers])], protocolID: .esp)?.transforms == [
                .aesGCM16(256), .noExtendedSequenceNumbers,
            ])
        #expect(Negotiation.choose(configured: [gcm], offered: [esp(1, [.aesGCM16(256), .hmacSHA256_128, .noExtendedSequenceNumbers])], protocolID: .esp) == nil)
        #expect(Negotiation.choose(configured: [gcm], offered: [esp(1, [.aesGCM16(256)])], protocolID: .esp)?.transforms == [.aesGCM16(256)])
        #expect(Negotiation.choose(configured: [gcm], offered: [esp(1, [.noExtendedSequenceNumbers])], protocolID: .esp) == nil)
        #expect(Negotiation.choose(configured: [gcm], offered: [esp(1, [])], protocolID: .esp) == nil)
        #expect(Negotiation.choose(configured: [gcm], offered: [], protocolID: .esp) == nil)
        #expect(Negotiation.choose(configured: [gcm], offered: [gcm], protocolID: .ike) == nil)
    }

    @Test func strangeTypesCountOnlyWhereTheyMayBeNone() {
        let extra = TransformType(rawValue: 6)
        func with(_ transforms: [Transform]) -> Proposal { esp(1, gcm.transforms + transforms) }
        #expect(Negotiation.choose(configured: [gcm], offered: [with([Transform(type: extra, id: 0)])], protocolID: .esp) != nil)
        #expect(Negotiation.choose(configured: [gcm], offered: [with([Transform(type: extra, id: 3), Transform(type: extra, id: 0)])], protocolID: .esp) != nil)
        #expect(Negotiation.choose(configured: [gcm], offered: [with([Transform(type: extra, id: 3)])], protocolID: .esp) == nil)
        #expect(Negotiation.choose(configured: [gcm], offered: [with([Transform(type: extra, id: 0, hasUnknownAttribute: true)])], protocolID: .esp) == nil)
        #expect(
            Negotiation.choose(configured: [gcm], offered: [esp(1, [Transform(type: .encryption, id: 20, keyLength: 256, hasUnknownAttribute: true), .noExtendedSequenceNumbers])], protocolID: .esp)
                == nil)
    }

    //= RFC 4303 §2.2.1: whether sequence numbers have 32 or 64 bits is negotiated.
    @Test(arguments: [true, false]) func bothEndsCountAsWasNegotiated(extended: Bool) {
        let (world, east, west) = Fixtures.pair(seed: 4) { connection, _ in
            connection.children[0].proposals = [Proposal(number: 1, protocolID: .esp, transforms: [.aesGCM16(256), extended ? .extendedSequenceNumbers : .noExtendedSequenceNumbers])]
        }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        for node in [east, west] { #expect(node.plane.parameters.map(\.extendedSequenceNumbers) == [extended]) }
    }

    @Test func noKeyExchangeInTheFirstExchange() {
        let pfs = Fixtures.espProposal([.curve25519])
        #expect(Negotiation.choose(configured: [pfs], offered: [esp(1, gcm.transforms)], protocolID: .esp) == nil)
        #expect(Negotiation.choose(configured: [pfs], offered: [esp(1, gcm.transforms)], protocolID: .esp, withoutKeyExchange: true)?.transform(.keyExchange) == nil)
        #expect(Negotiation.offer([pfs, gcm], spi: [1, 2, 3, 4], withoutKeyExchange: true).count == 1)
        #expect(Negotiation.offer([pfs, gcm], spi: [1, 2, 3, 4]).map(\.number) == [1, 2])
    }

    @Test func anAnswerIsMadeOfWhatWasOffered() {
        let offered = Negotiation.offer([Fixtures.ikeProposal([.curve25519, .ecp256])], spi: [])
        func answer(_ transforms: [Transform], number: UInt8 = 1, protocolID: ProtocolID = .ike) -> [Proposal] { [Proposal(number: number, protocolID: protocolID, transforms: transforms)] }
        let right: [Transform] = [.aesGCM16(256), .prfHMACSHA256, .ecp256]
        func takes(_ proposals: [Proposal]) -> Bool { Negotiation.verify(answer: proposals, offered: offered, protocolID: .ike) != nil }
        #expect(takes(answer(right)))
        #expect(takes(answer(right + [.integrityNone])))
        #expect(!takes([]))
        #expect(!takes(answer(right) + answer(right)))
        #expect(!takes(answer(right, number: 2)))
        #expect(!takes(answer(right, protocolID: .esp)))
        #expect(!takes(answer([.aesGCM16(256), .prfHMACSHA256, .curve25519, .ecp256])))
        #expect(!takes(answer([.aesGCM16(128), .prfHMACSHA256, .ecp256])))
        #expect(!takes(answer([.prfHMACSHA256, .ecp256])))
        #expect(!takes(answer([.aesGCM16(256), .prfHMACSHA256])))
        #expect(!takes(answer(right + [.hmacSHA256_128])))
        #expect(!takes(answer([Transform(type: .encryption, id: 20, keyLength: 256, hasUnknownAttribute: true), .prfHMACSHA256, .ecp256])))
    }
}
