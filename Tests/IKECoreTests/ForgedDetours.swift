// COOKIE and INVALID_KE_PAYLOAD that nobody signed, before the gateway's own answer, where we prove ourselves by EAP: our AUTH, which shows to which request that
// answer was, comes at the end of the conversation.
// RFC 7296 sections 2.6, 2.7 and 2.16.

import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct ForgedDetours {
    private func start() throws -> (Target, [UInt8]) {
        let target = Target(east: true) { connection in
            connection.local.method = "eap-test"
            connection.local.eapIdentity = .exactly(Fixtures.identity("carol"))
            connection.proposals[0].transforms.append(.ecp256)
        }
        target.handle(.initiate(connection: "site", child: "net", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        return (target, try #require(target.sent.last).bytes)
    }

    private func forge(_ target: Target, _ request: [UInt8], _ notify: Notify) throws {
        let header = Header(initiatorSPI: try Header.parse(request.span).initiatorSPI, responderSPI: .none, exchangeType: .ikeSAInit, flags: .response, messageID: 0)
        target.receive(Message(header: header, payloads: [.notify(notify)]).serialized())
    }

    private func say(_ target: Target, _ peer: HostilePeer, _ payloads: [Payload]) throws {
        let request = try #require(target.sent.last).bytes, id = try Header.parse(request.span).messageID
        target.receive(try peer.seal(.ikeAuth, payloads, id: id, response: true))
    }

    /// The gateway answers `request`, and lets the user in; whether our AUTH is for that request.
    private func logIn(_ target: Target, _ peer: HostilePeer, _ request: [UInt8]) throws -> Bool {
        target.receive(try peer.initResponse(to: request))
        let first = try peer.open(try #require(target.sent.last).bytes)
        guard case .identificationInitiator(let identity)? = first.first(where: { $0.type == .identificationInitiator }) else { throw HostilePeer.Broken(what: "no IDi: \(first)") }
        try say(target, peer, [peer.identity, try peer.authentication(), .eap(EAPPacket(.request, 5, type: 200, data: [1, 9, 9]).bytes)])
        try say(target, peer, [.eap(EAPPacket(.success, 5).bytes)])
        let proof = try peer.open(try #require(target.sent.last).bytes)
        try #require(proof.map(\.type) == [.authentication])
        peer.secret = ScriptedEAP.key([9, 9], Array("carol's own".utf8)).withSecret { $0.array } ?? []
        return proof == [try peer.authentication(of: request, identity)]
    }

    private func expectIn(_ target: Target, _ peer: HostilePeer) throws {
        try say(target, peer, [try peer.authentication()] + peer.child())
        #expect(target.endpoint.status().map(\.state) == [.established] && target.installed.count == 1 && target.failures.isEmpty)
        #expect(target.answers[RequestID(rawValue: 1)]?.count == 1)
        #expect(throws: Never.self) { try target.answers[RequestID(rawValue: 1)]?.first?.get() }
    }

    /// The method of its answer shows which request the gateway has got.
    @Test func aForgedInvalidKEPayloadCostsNothing() throws {
        let (target, request) = try start(), peer = try HostilePeer(isInitiator: false)
        try forge(target, request, Notify(.invalidKEPayload, data: [0, 19]))
        #expect(target.sent.count == 2)
        #expect(try logIn(target, peer, request))
        try expectIn(target, peer)
    }

    /// Nothing shows it where a cookie was forged: our proof is for another request and is refused at the end, and all begins anew, warily.
    @Test func aForgedCookieCostsAnotherLogIn() throws {
        let (target, request) = try start(), peer = try HostilePeer(isInitiator: false)
        try forge(target, request, Notify(.cookie, data: [1, 2, 3]))
        #expect(target.sent.count == 2)
        #expect(try !logIn(target, peer, request))
        try say(target, peer, [.notify(Notify(.authenticationFailed))])
        #expect(target.failures.isEmpty && target.answers[RequestID(rawValue: 1)] == nil && target.endpoint.ikeSACount == 1)
        let again = try #require(target.sent.last).bytes, second = try HostilePeer(isInitiator: false, seed: 7)
        #expect(try Header.parse(again.span).exchangeType == .ikeSAInit)
        #expect(try Header.parse(again.span).initiatorSPI != Header.parse(request.span).initiatorSPI)
        try forge(target, again, Notify(.cookie, data: [1, 2, 3]))
        #expect(target.sent.last?.bytes == again)
        #expect(try logIn(target, second, again))
        try expectIn(target, second)
    }

    /// Whoever is refused without a cookie is refused, and does not try his password a second time.
    @Test func withoutACookieTheRefusalIsBelieved() throws {
        let (target, request) = try start(), peer = try HostilePeer(isInitiator: false)
        #expect(try logIn(target, peer, request))
        try say(target, peer, [.notify(Notify(.authenticationFailed))])
        #expect(target.failures.map(\.code) == [.authenticationFailed] && target.remnants == [])
    }
}
