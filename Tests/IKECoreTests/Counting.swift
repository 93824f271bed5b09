// What an endpoint counts, of each connection and of all together.

import IKECore
import IKEWire
import Testing
import TestSupport

@Suite struct Counting {
    typealias Kind = MessageCounters.Kind

    private func counted(_ counters: MessageCounters?) -> [Kind: UInt64] {
        Dictionary(uniqueKeysWithValues: Kind.allCases.compactMap { kind in counters.flatMap { $0[kind] == 0 ? nil : (kind, $0[kind]) } })
    }

    @Test func eachMessageOnceAndEachRekey() throws {
        let (world, east, west) = Fixtures.pair(seed: 60)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5)) { east.children.count == 1 && west.children.count == 1 }
        #expect(counted(east.endpoint.messages.connections.first?.value) == [.initRequestOut: 1, .initResponseIn: 1, .authRequestOut: 1, .authResponseIn: 1])
        #expect(counted(west.endpoint.messages.all) == [.initRequestIn: 1, .initResponseOut: 1, .authRequestIn: 1, .authResponseOut: 1])
        // Before the peer has proven itself it is nobody's connection.
        #expect(counted(west.endpoint.messages.connections.first?.value) == [.authResponseOut: 1])

        let name = try #require(east.endpoint.status().first?.connection)
        let child = try #require(east.endpoint.status().first?.children.first?.name)
        world.send(.rekey(.child(child, connection: name), request: nil), to: east)
        world.run(.seconds(5))
        world.send(.rekey(.connection(name), request: nil), to: east)
        world.run(.seconds(5))
        let ours = counted(east.endpoint.messages.all), theirs = counted(west.endpoint.messages.all)
        #expect(ours[.childRekeyed] == 1 && theirs[.childRekeyed] == 1)
        #expect(ours[.ikeRekeyInitiated] == 1 && ours[.ikeRekeyAnswered] == nil)
        #expect(theirs[.ikeRekeyAnswered] == 1 && theirs[.ikeRekeyInitiated] == nil)
        for (out, into) in [
            (Kind.createChildRequestOut, Kind.createChildRequestIn), (.createChildResponseIn, .createChildResponseOut), (.informationalRequestOut, .informationalRequestIn),
            (.informationalResponseIn, .informationalResponseOut),
        ] {
            #expect(ours[out] == theirs[into] && ours[out] == 2, "\(out)")
        }

        world.send(.resetCounters(.all), to: east)
        #expect(counted(east.endpoint.messages.all).isEmpty && !counted(east.endpoint.messages.connections[name]).isEmpty)
        world.send(.resetCounters(.connection(name)), to: east)
        #expect(east.endpoint.messages.connections.isEmpty)
    }

    @Test func whatIsBeingDoneIsShown() throws {
        let (world, east, west) = Fixtures.pair(seed: 62)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5)) { east.children.count == 1 && west.children.count == 1 }
        func tasks() -> SATasks? { east.endpoint.status().first?.tasks }
        #expect(tasks() == SATasks())
        let name = try #require(east.endpoint.status().first?.connection)
        west.isDown = true
        world.send(.rekey(.child("net", connection: name), request: nil), to: east)
        world.send(.rekey(.connection(name), request: nil), to: east)
        world.send(.terminate(.child("net", connection: name), request: nil), to: east)
        #expect(tasks()?.active == [.childRekey])
        #expect(tasks()?.queued == [.ikeRekey, .childDelete])
        #expect(tasks()?.passive == [])
    }

    @Test func whatIsNoMessageAndWhatHasNoSA() {
        let (world, east, _) = Fixtures.pair(seed: 61)
        let datagram = Datagram(local: SocketAddress(address: Fixtures.eastAddress, port: 500), remote: SocketAddress(address: Fixtures.eastAddress, port: 500), marked: false, bytes: [1, 2, 3])
        world.send(.datagramReceived(datagram), to: east)
        let stray = Header(initiatorSPI: IKESPI(rawValue: 7), responderSPI: IKESPI(rawValue: 8), exchangeType: .informational, flags: .initiator, messageID: 0)
        world.send(
            .datagramReceived(
                Datagram(
                    local: SocketAddress(address: Fixtures.eastAddress, port: 500), remote: SocketAddress(address: Fixtures.eastAddress, port: 500), marked: false,
                    bytes: Message(header: stray, payloads: []).serialized())), to: east)
        #expect(counted(east.endpoint.messages.all) == [.invalid: 1, .invalidSPI: 1])
    }
}
