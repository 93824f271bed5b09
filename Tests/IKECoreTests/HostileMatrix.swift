// Every message wrong in every way: what `HostileRules` and `HostileContents` generate, sent in every scene and both roles.

@testable import IKECore
import IKEWire
import Testing
import TestSupport

@Suite struct HostileMatrix {
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
            for one in generate(control.draft, scene) {
                let stage = try Stage(scene, targetInitiates: targetInitiates)
                var draft = stage.draft
                one.change(&draft)
                let (allowed, section) = one.fault.allowed(scene)
                let outcome = try stage.send(draft)
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
        print("hostile \(scene), payloads: \(count) cases")
        #expect(count > 20)
    }

    @Test(arguments: Scene.allCases) func wrongEnvelopes(_ scene: Scene) throws {
        let count = try run(scene, HostileCases.envelope)
        print("hostile \(scene), envelope: \(count) cases")
        #expect(count > 20)
    }

    @Test(arguments: Scene.allCases) func wrongContents(_ scene: Scene) throws {
        let count = try run(scene, HostileCases.contents)
        print("hostile \(scene), contents: \(count) cases")
        let hasContents = ![.livenessRequest, .livenessResponse, .deleteIKEResponse, .notifyRequest].contains(scene)
        #expect((count > 0) == hasContents)
    }
}
