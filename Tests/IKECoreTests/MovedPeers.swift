// A peer that has moved, and what its new address may be sent before it has shown that the peer is there: no more than three times what came from it, and
// as soon as it may.
// RFC 4555 sections 3.5 and 3.7.

import IKECrypto
import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct MovedPeers {
    private let local = Mobike.local, elsewhere = Mobike.elsewhere

    /// Our rekey of the IKE SA is under way when the peer moves, and what has come from its new address is too little for it: the check of the path cannot be sent
    /// before, nor ESP. It goes when the peer repeats its update, and when it asks something else, and is not given up while the peer speaks
    /// (seeds 2223 and 3290 of Roaming).
    @Test(arguments: [true, false]) func whatWasTooMuchGoesWhenMoreHasCome(repeats: Bool) throws {
        let (target, peer) = try Mobike.responder()
        target.handle(.rekey(.connection("site"), request: RequestID(rawValue: 2)))
        let rekey = try peer.lastRequest(of: target).datagram.bytes
        let update = try peer.seal(.informational, [Mobike.update, Mobike.cookie()])
        var came = 0, before = target.sent.count
        func hear(_ bytes: [UInt8]) -> [Datagram] {
            let count = target.sent.count
            came += bytes.count
            target.receive(bytes, from: elsewhere, to: local)
            return Array(target.sent[count...])
        }
        /// Never more than three times as much as came.
        func check() { #expect(target.sent[before...].filter { $0.remote == elsewhere }.map(\.bytes.count).reduce(0, +) <= 3 * came) }
        #expect(hear(update).map(\.remote) == [elsewhere])
        peer.nextID += 1
        check()
        before = target.sent.count
        came = update.count
        target.pass(.seconds(10))
        // Nothing for as long as nothing comes.
        let quiet = target.sent[before...].filter { $0.bytes == rekey }.count
        target.pass(.seconds(30))
        #expect(target.sent[before...].filter { $0.bytes == rekey }.count == quiet)
        var sent: [Datagram] = []
        for _ in 0..<3 where !sent.contains(where: { $0.bytes == rekey }) {
            sent = hear(try repeats ? update : peer.seal(.informational, []))
            if !repeats { peer.nextID += 1 }
            #expect(sent.first.map { try? Header.parse($0.bytes.span).isResponse } == true)
            check()
        }
        #expect(sent.last?.bytes == rekey && sent.last?.remote == elsewhere)
        // What the peer asks shows that it lives: all tries are before it again.
        target.pass(.seconds(40))
        #expect(target.endpoint.status().isEmpty == repeats)
    }

    /// The end that has moved answered the peer's rekey before, and has not heard the end of it: it asks, so that the peer may send more to where it is now.
    @Test func whoHasMovedAsksOnTheReplacedIKESA() throws {
        let (world, east, west) = Fixtures.pair(seed: 5)
        for node in [east, west] { world.send(.localAddressesChanged([node.local.address]), to: node) }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5)) { !east.children.isEmpty && !west.children.isEmpty }
        let before = east.established.map(\.initiatorSPI)
        // The answer to the rekey is lost until it has been sent from the new address twice.
        var answers = 0
        world.filter = { datagram in
            guard let header = try? Header.parse(datagram.bytes.span), header.exchangeType == .createChildSA, header.isResponse else { return true }
            answers += 1
            return answers > 2
        }
        world.send(.rekey(.connection("site"), request: RequestID(rawValue: 2)), to: west)
        world.run(.milliseconds(500))
        #expect(east.established.map(\.initiatorSPI) != before && west.established.map(\.initiatorSPI) == before)
        east.roam(to: IPAddress(v4: 0xc633_6409))
        world.send(.localAddressesChanged([IPAddress(v4: 0xc633_6409)]), to: east)
        world.run(.seconds(8))
        #expect(west.established.map(\.initiatorSPI) != before)
        #expect(west.plane.carrying.map(\.remote.address) == [IPAddress(v4: 0xc633_6409)])
        world.run(.seconds(100))
        #expect(Agreement.differences(east, west) == [] && east.children.count == 1)
        #expect(world.sendTraffic(east) == 1 && world.sendTraffic(west) == 1)
    }
}
