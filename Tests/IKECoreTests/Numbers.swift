// Message IDs near their end, and windows that peers announce.
// RFC 7296 sections 2.2 and 2.3.

import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct Numbers {
    private func established(_ target: Target) throws -> Established { try #require(target.endpoint.sas.values.first?.established) }

    @Test func anSANearTheEndOfItsNumbersIsRekeyed() throws {
        for (ours, theirs) in [(UInt32.max - 100, UInt32(2)), (2, UInt32.max - 100)] {
            let (world, east, west) = Fixtures.pair(seed: 21)
            Fixtures.initiate(world, east, west)
            world.run(.seconds(5))
            let before = try #require(east.established.first)
            try #require(east.endpoint.sas.values.first?.established).window = MessageWindow(nextRequest: ours, expected: theirs)
            try #require(west.endpoint.sas.values.first?.established).window = MessageWindow(nextRequest: theirs, expected: ours)
            world.send(.rekey(.child("net", connection: nil), request: RequestID(rawValue: 2)), to: east)
            world.run(.seconds(20))
            let after = try #require(east.established.first)
            #expect(east.established.count == 1 && after.initiatorSPI != before.initiatorSPI)
            #expect(Agreement.differences(east, west) == [], "\(world.log)")
        }
    }

    @Test func theLastNumberEndsTheSA() throws {
        // Ours: the last request has the last number, and then there is none.
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        try established(target).window = MessageWindow(nextRequest: .max, expected: 2)
        try established(target).renumbers = true
        target.handle(.rekey(.child("net", connection: nil), request: nil))
        let last = try #require(target.sent.last)
        #expect(try Header.parse(last.bytes.span).messageID == .max)
        target.receive(try peer.seal(.createChildSA, [.notify(Notify(.noAdditionalSAs))], id: .max, response: true))
        #expect(target.endpoint.status().isEmpty)
        #expect(target.remnants == [])
        // The peer's: its last request is answered, and the SA deleted.
        let other = Target(), second = try HostilePeer()
        try second.connect(other)
        try established(other).window = MessageWindow(nextRequest: 0, expected: .max)
        try established(other).renumbers = true
        second.nextID = .max
        let sent = other.receive(try second.seal(.informational, []))
        #expect(try sent.map(second.open) == [[], [.delete(Delete(protocolID: .ike))]])
        // Zero does not come again.
        #expect(other.receive(try second.seal(.informational, [], id: 0)) == [])
        other.receive(try second.seal(.informational, [], id: 0, response: true))
        #expect(other.endpoint.status().isEmpty)
    }

    @Test func whateverWindowThePeerHasOneRequestIsSentAtATime() throws {
        for data in [[0, 0, 0, 8], [0xff, 0xff, 0xff, 0xff], [0, 0, 0, 0], [1], []] as [[UInt8]] {
            let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
            let peer = try HostilePeer()
            try peer.begin(target)
            _ = try peer.ask(target, .ikeAuth, try peer.authPayloads() + [.notify(Notify(.setWindowSize, data: data))])
            let before = target.sent.count
            target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: nil))
            target.handle(.rekey(.connection("site"), request: nil))
            #expect(target.sent.count == before + 1)
        }
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        #expect(try peer.ask(target, .informational, [.notify(Notify(.setWindowSize, data: [0, 0, 0, 4]))]) == [])
    }
}
