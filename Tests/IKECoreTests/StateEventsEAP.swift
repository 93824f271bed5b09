// The states in which one end proves itself by EAP, and the events that are of EAP alone, for StateEvents.swift.
// RFC 7296 section 2.16.

import IKEWire
@testable import TestSupport
import Testing

@testable import IKECore

extension Situation {
    static var eap: [Situation] {
        [
            Situation(name: "answeringEAP, checking the gateway's proof", isEast: true, hasEAP: true, like: "authSent") { lab in try lab.answerWithEAP() },
            Situation(name: "answeringEAP, an answer is out", isEast: true, hasEAP: true, like: "authSent") { lab in
                try lab.answerWithEAP()
                lab.work()
                lab.due = [lab.eap(.request, 8, type: 200, data: [1] + Lab.challenge)]
            },
            Situation(name: "answeringEAP, the method is at work", isEast: true, hasEAP: true, like: "authSent") { lab in
                try lab.answerWithEAP()
                lab.work()
                try lab.respond(.ikeAuth, [lab.eap(.request, 8, type: 200, data: [1] + Lab.challenge)])
            },
            Situation(name: "answeringEAP, our AUTH is out", isEast: true, hasEAP: true, like: "authSent") { lab in
                try lab.answerWithEAP()
                lab.work()
                try lab.respond(.ikeAuth, [lab.eap(.request, 8, type: 200, data: [1] + Lab.challenge)])
                lab.work()
                try lab.respond(.ikeAuth, [lab.eap(.success, 8)])
                lab.due = [try lab.proof(Lab.challenge)] + lab.peer.child()
            },
            Situation(name: "authenticatingPeer, making our proof", isEast: false, hasEAP: true, like: "awaitingAuth") { lab in try lab.beginEAP() },
            Situation(name: "authenticatingPeer, a request is out", isEast: false, hasEAP: true, like: "awaitingAuth") { lab in
                try lab.beginEAP()
                let request = try lab.workForEAP()
                lab.due = [lab.eap(.response, request.identifier, type: 1, data: Array("carol".utf8))]
            },
            Situation(name: "authenticatingPeer, the method is at work", isEast: false, hasEAP: true, like: "awaitingAuth") { lab in
                try lab.beginEAP()
                let request = try lab.workForEAP()
                try lab.ask(.ikeAuth, [lab.eap(.response, request.identifier, type: 1, data: Array("carol".utf8))])
            },
            Situation(name: "authenticatingPeer, EAP has succeeded", isEast: false, hasEAP: true, like: "awaitingAuth") { lab in
                try lab.beginEAP()
                let first = try lab.workForEAP()
                try lab.ask(.ikeAuth, [lab.eap(.response, first.identifier, type: 1, data: Array("carol".utf8))])
                let second = try lab.workForEAP(), challenge = Array(second.data.dropFirst())
                try lab.ask(.ikeAuth, [lab.eap(.response, second.identifier, type: 200, data: ScriptedEAP.answer(challenge, Array("carol's own".utf8)))])
                lab.work()
                lab.due = [try lab.proof(challenge)]
            },
        ]
    }
}

extension Stimulus {
    /// None of them comes where nobody proves itself by EAP.
    static var eap: [Stimulus] {
        func request(_ name: String, _ payloads: @escaping (Lab) -> [Payload]?) -> Stimulus {
            Stimulus(name: "request IKE_AUTH " + name) { lab in
                guard lab.hasEAP, lab.peer.isInitiator, let payloads = payloads(lab) else { return nil }
                return lab.datagram(try lab.peer.seal(.ikeAuth, payloads))
            }
        }
        func response(_ name: String, _ payloads: @escaping (Lab) -> [Payload]?) -> Stimulus {
            Stimulus(name: "response IKE_AUTH " + name) { lab in
                guard lab.hasEAP, !lab.peer.isInitiator, let asked = lab.lastRequest, let payloads = payloads(lab) else { return nil }
                return lab.datagram(try lab.peer.seal(.ikeAuth, payloads, id: asked.messageID, response: true))
            }
        }
        return [
            request("that is due") { $0.due.isEmpty ? nil : $0.due },
            request("with EAP of another identifier") { [$0.eap(.response, 0xff, type: 200, data: [0])] },
            request("with two messages of EAP") { [$0.eap(.response, 0, type: 1, data: [0x61]), $0.eap(.response, 0, type: 1, data: [0x61])] },
            request("with what is no EAP") { _ in [.eap([2, 0])] },
            request("with nothing") { _ in [] },
            response("that is due") { $0.due.isEmpty ? nil : $0.due },
            response("with EAP Failure") { [$0.eap(.failure, 8)] },
            response("with EAP Success") { [$0.eap(.success, 8)] },
            response("with EAP of a method that we have not") { [$0.eap(.request, 9, type: 99, data: [0])] },
            response("with what is no EAP") { _ in [.eap([1, 0])] },
            response("with nothing") { _ in [] },
        ]
    }
}

extension Lab {
    static let challenge = [UInt8](1...8)

    func eap(_ code: EAPPacket.Code, _ identifier: UInt8, type: UInt8 = 0, data: [UInt8] = []) -> Payload { .eap(EAPPacket(code, identifier, type: type, data: data).bytes) }

    /// The peer's AUTH, made with the method's key.
    func proof(_ challenge: [UInt8]) throws -> Payload {
        let before = peer.secret
        defer { peer.secret = before }
        peer.secret = ScriptedEAP.key(challenge, Array("carol's own".utf8)).withSecret { $0.array } ?? []
        return try peer.authentication()
    }

    /// The gateway's answer to our IKE_AUTH without AUTH: its own proof, and a request for our identity.
    func answerWithEAP() throws {
        try answerInit()
        work()
        try respond(.ikeAuth, [peer.identity, try peer.authentication(), eap(.request, 7, type: 1)])
    }

    /// The client's IKE_AUTH without AUTH.
    func beginEAP() throws {
        try begin()
        try ask(.ikeAuth, [peer.identity] + peer.child())
    }

    /// Does the first job; returns the request of EAP that goes out for it.
    func workForEAP() throws -> EAPPacket {
        let (id, job) = try #require(jobs.first)
        var packet: EAPPacket?
        for case .transmit(let datagram) in handle(.jobFinished(id, node.run(job))) { packet = try peer.open(datagram.bytes).eapMessage.flatMap { EAPPacket($0) } }
        return try #require(packet)
    }
}
