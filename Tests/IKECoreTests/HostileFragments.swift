// Messages in fragments, each fragment authentic and the whole of them wrong: numbers that lie, pieces that come twice, late, or never.
// RFC 7383 sections 2.5, 2.6 and 5.

@testable import IKECore
import IKECrypto
import IKEWire
import Testing
import TestSupport

@Suite struct HostileFragments {
    private static let scenes: [Scene] = [.authRequest, .authResponse, .newChildRequest, .newChildResponse, .rekeyIKERequest]

    /// The message in `count` fragments.
    private static func pieces(_ draft: Draft, _ count: Int) -> [Draft] {
        let chain = Raw.chain(draft.inner ?? [], last: draft.innerLast), room = (chain.count + count - 1) / count
        return (0..<count).map { index in
            var piece = draft
            piece.innerFirst = index == 0 ? draft.inner?.first?.type ?? 0 : 0
            piece.innerBytes = Array(chain[min(index * room, chain.count)..<min((index + 1) * room, chain.count)])
            piece.fragment = (UInt16(index + 1), UInt16(count))
            return piece
        }
    }

    private static func changed(_ draft: Draft, _ change: (inout Draft) -> Void) -> Draft {
        var other = draft
        change(&other)
        return other
    }

    private static func cases(_ honest: Draft, _ scene: Scene) -> [(String, Fault, [Draft])] {
        let three = pieces(honest, 3), taken = Fault.harmless("RFC 7383 2.6")
        func between(_ stray: Draft) -> [Draft] { [three[0], stray, three[1], three[2]] }
        func stray(_ number: UInt16, _ total: UInt16) -> Draft { changed(three[1]) { $0.fragment = (number, total) } }
        let wrong = changed(honest) { $0.inner?[0].lengthDelta = 1 }
        let critical = changed(honest) { $0.inner?.insert(Raw(200, [1], flags: 0x80), at: 0) }
        func inClear(_ flags: UInt8, before index: Int) -> [Draft] {
            three.enumerated().map { $0 == index ? changed($1) { $0.clear = [Raw(200, [1], flags: flags)] } : $1 }
        }
        return [
            ("critical and unknown in clear before the first", .critical, inClear(0x80, before: 0)), ("and before the last", .critical, inClear(0x80, before: 2)),
            ("unknown in clear before the first", taken, inClear(0, before: 0)),
            ("three", taken, three), ("three, the last one first", taken, three.reversed()), ("one of one", taken, pieces(honest, 1)), ("as many as fit", taken, pieces(honest, 30)),
            ("each twice", taken, [three[0], three[0], three[1], three[1], three[2]]),
            ("number 0 among them", taken, between(stray(0, 3))), ("number 0 of 0 among them", taken, between(stray(0, 0))),
            ("a number above the total among them", taken, between(stray(4, 3))), ("the highest number of all among them", taken, between(stray(.max, 3))),
            ("a smaller total among them", taken, between(stray(2, 2))),
            ("an ICV that is wrong among them", taken, between(changed(three[1]) { $0.breaksICV = true })),
            ("another message's among them", taken, between(changed(three[1]) { $0.id &+= 7 })),
            ("a Next Payload in all of them", taken, three.enumerated().map { index, piece in index == 0 ? piece : changed(piece) { $0.innerFirst = 44 } }),
            ("one with a payload behind it", taken, between(changed(three[1]) { $0.afterEncrypted = [0, 0, 0, 8, 1, 2, 3, 4] })),
            ("padding in each", taken, three.map { piece in changed(piece) { $0.padding = [1, 2, 3, 4] } }),
            ("the whole message after one", taken, [three[0], honest]),
            (
                "an empty one among four", taken,
                { () -> [Draft] in
                    var four = pieces(honest, 3).map { piece in changed(piece) { $0.fragment?.total = 4 } }
                    four.append(
                        changed(four[2]) {
                            $0.innerBytes = []; $0.innerFirst = 0; $0.fragment = (4, 4)
                        })
                    return four
                }()
            ),
            ("one missing", .forged("RFC 7383 2.6: it waits"), [three[0], three[2]]),
            ("only number 0", .forged("RFC 7383 2.6"), [stray(0, 1)]), ("only a number above the total", .forged("RFC 7383 2.6"), [stray(2, 1)]),
            ("a larger total, and then the rest of the smaller", .forged("RFC 7383 2.6.1: what was there is dropped"), [three[0], stray(1, 9), three[1], three[2]]),
            ("not the first by its Next Payload", .malformed("RFC 7383 2.5: the first names what is inside"), [changed(three[0]) { $0.innerFirst = 0 }, three[1], three[2]]),
            ("a Payload Length that lies", .malformed("3.2"), pieces(wrong, 3)), ("a critical unknown payload", .critical, pieces(critical, 3)),
            ("a last one of nonsense", .malformed("3.2"), [three[0], three[1], changed(three[2]) { $0.innerBytes = [1, 2, 3] }]),
            ("SK inside a fragment", .malformed("3.14"), pieces(changed(honest) { $0.inner?.append(Raw(46, Array(repeating: 7, count: 60))) }, 3)),
            ("more than anybody sends", .malformed("RFC 7383 5: a limit of our own, in a message that is authentic"), [stray(1, 500)]),
            ("the most there can be", .malformed("RFC 7383 5"), [stray(1, .max)]),
            ("Pad Length beyond a fragment", .malformed("3.14"), [three[0], changed(three[1]) { $0.padLength = 250 }]),
        ]
    }

    @Test(arguments: scenes) func wrongFragments(_ scene: Scene) throws {
        var count = 0
        for targetInitiates in scene.isEstablished ? [false, true] : [false] {
            let control = try Stage(scene, targetInitiates: targetInitiates, fragments: true)
            for index in Self.cases(control.draft, scene).indices {
                let stage = try Stage(scene, targetInitiates: targetInitiates, fragments: true)
                let (name, fault, pieces) = Self.cases(stage.draft, scene)[index]
                let (allowed, section) = fault.allowed(scene)
                let outcome = try stage.send(pieces: pieces)
                count += 1
                #expect(allowed.contains(outcome), "\(scene), \(targetInitiates), \(name): \(outcome), and not \(allowed) (\(section))")
            }
        }
        print("hostile \(scene), fragments: \(count) cases")
    }
}
