// Every message wrong in every way: what `HostileRules` and `HostileContents` generate, sent in every scene and both roles.

@testable import IKECore
import IKEWire
import Testing
import TestSupport

@Suite struct HostileMatrix {
    /// How many cases there are of payloads, of envelopes and of contents: none goes without being missed.
    private static let counts: [Scene: (payloads: Int, envelope: Int, contents: Int)] = [
        .initRequest: (199, 34, 70),
        .initResponse: (199, 35, 66),
        .authRequest: (209, 60, 123),
        .authResponse: (186, 60, 110),
        .newChildRequest: (372, 120, 220),
        .rekeyChildRequest: (414, 120, 244),
        .rekeyIKERequest: (280, 120, 142),
        .deleteChildRequest: (134, 120, 30),
        .deleteIKERequest: (130, 120, 8),
        .livenessRequest: (48, 116, 0),
        .notifyRequest: (230, 120, 0),
        .newChildResponse: (372, 120, 212),
        .rekeyChildResponse: (372, 120, 212),
        .rekeyIKEResponse: (280, 120, 134),
        .deleteChildResponse: (134, 120, 30),
        .deleteIKEResponse: (48, 116, 0),
        .livenessResponse: (48, 116, 0),
        .cookieRequest: (243, 34, 70),
        .authWithMoreRequest: (330, 60, 123),
        .authWithMoreResponse: (307, 60, 110),
        .childWithMoreRequest: (528, 120, 220),
        .configurationRequest: (134, 120, 0),
        .mobikeRequest: (318, 120, 0),
    ]

    @Test(arguments: Scene.allCases) func anHonestMessageIsAccepted(_ scene: Scene) throws {
        for targetInitiates in scene.isEstablished ? [false, true] : [false] {
            let stage = try Stage(scene, targetInitiates: targetInitiates)
            #expect(try stage.send(stage.draft) == .accepted, "the target initiates: \(targetInitiates)")
        }
    }

    private func run(_ scene: Scene, _ generate: (Draft, Scene) -> [HostileCase]) throws -> Int {
        var count = 0
        for targetInitiates in scene.isEstablished ? [false, true] : [false] {
            let control = try Stage(scene, targetInitiates: targetInitiates)
            for one in generate(control.draft, scene.kind) {
                let stage = try Stage(scene, targetInitiates: targetInitiates)
                var draft = stage.draft
                one.change(&draft)
                let (allowed, section) = one.fault.allowed(scene.kind)
                let outcome = try stage.send(draft)
                // One outcome each, written before it was seen.
                #expect(allowed.count == 1, "\(scene), \(one.name): \(allowed)")
                count += 1
                if !allowed.contains(outcome) {
                    Issue.record("\(scene), the target \(targetInitiates ? "initiates" : "responds"), \(one.name): \(outcome), and not \(allowed) (\(section))")
                }
            }
        }
        return count
    }

    @Test(arguments: Scene.allCases) func wrongPayloads(_ scene: Scene) throws {
        let count = try run(scene, HostileCases.payloads)
        #expect(count == Self.counts[scene]?.payloads)
    }

    @Test(arguments: Scene.allCases) func wrongEnvelopes(_ scene: Scene) throws {
        let count = try run(scene, HostileCases.envelope)
        #expect(count == Self.counts[scene]?.envelope)
    }

    @Test(arguments: Scene.allCases) func wrongContents(_ scene: Scene) throws {
        let count = try run(scene, HostileCases.contents)
        #expect(count == Self.counts[scene]?.contents)
    }

    /// Before the peer has proven who it is, nothing but IKE_AUTH counts: whatever the others hold, and however wrong, there is no answer, and IKE_AUTH does what it does.
    /// RFC 7296 section 1.2.
    @Test(arguments: Scene.allCases.filter { $0.isEstablished && $0.isRequest }) func nothingElseCountsBeforeAuthentication(_ scene: Scene) throws {
        let control = try Stage(scene, targetInitiates: false)
        let cases = [HostileCase("as it is", .forged("1.2")) { _ in }] + HostileCases.payloads(control.draft, scene.kind) + HostileCases.contents(control.draft, scene.kind)
        for one in cases {
            for waiting in [Scene.authRequest, .authResponse] {
                let stage = try Stage(waiting, targetInitiates: false)
                let peer = stage.peer
                var draft = Draft(peer.header(.ikeAuth, id: waiting == .authRequest ? 1 : 0, response: false))
                draft.exchange = control.draft.exchange
                draft.inner = control.draft.inner
                one.change(&draft)
                #expect(stage.target.receive(try draft.bytes(peer)) == [], "\(waiting) is due, \(one.name)")
                #expect(try stage.send(stage.draft) == .accepted, "\(waiting) is due, after \(one.name)")
            }
        }
    }
}
