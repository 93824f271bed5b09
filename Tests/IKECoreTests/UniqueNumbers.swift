// `%unique` and `%unique-dir` of marks and interfaces: who has which number, and for how long. swanctl.conf(5), `if_id_in` and `mark_in`.

import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct UniqueNumbers {
    private func pair(_ number: Carriage.Number) -> (World, Node, Node) {
        Fixtures.pair(seed: 401) { connection, east in
            connection.children.append(Fixtures.child("second", local: east ? 3 : 4, remote: east ? 4 : 3))
            guard east else { return }
            for index in connection.children.indices {
                connection.children[index].carriage.inbound.interfaceID = number
                connection.children[index].carriage.outbound.interfaceID = number
            }
        }
    }

    /// What the data plane was told of each child, in and out.
    private func numbers(_ node: Node) -> [String: [UInt32]] {
        Dictionary(
            node.plane.parameters.map { child in
                (child.name, [true, false].map { child.carriage.direction(isInbound: $0).interfaceID?.value(of: child.reqid, isInbound: $0) ?? 0 })
            }, uniquingKeysWith: { first, second in first == second ? first : [] })
    }

    private func begin(_ world: World, _ east: Node, _ west: Node) {
        for child in ["net", "second"] { Fixtures.initiate(world, east, west, child: child) }
        world.run(.seconds(10)) { east.children.count == 2 && west.children.count == 2 }
    }

    /// All children of an IKE SA have its number, which no rekey changes; the next IKE SA has another.
    @Test(arguments: [Carriage.Number.uniqueOfIKESA, .uniqueOfIKESAInEachDirection]) func anIKESAHasANumberForItsChildren(_ kind: Carriage.Number) throws {
        let (world, east, west) = pair(kind)
        begin(world, east, west)
        let first = try #require(numbers(east)["net"])
        #expect(numbers(east) == ["net": first, "second": first] && !first.contains(0))
        #expect((first[0] == first[1]) == (kind == .uniqueOfIKESA))
        for what in [SASelection.child("net", connection: "site"), .connection("site")] {
            world.send(.rekey(what, request: nil), to: east)
            world.run(.seconds(20))
        }
        world.send(.rekey(.child("second", connection: "site"), request: nil), to: east)
        world.run(.seconds(20))
        #expect(numbers(east) == ["net": first, "second": first])
        world.send(.terminate(.connection("site"), request: nil), to: east)
        world.run(.seconds(20))
        begin(world, east, west)
        let second = try #require(numbers(east)["net"])
        #expect(Set(first).isDisjoint(with: second) && numbers(east)["second"] == second)
    }

    /// A number of the child's own is each child's.
    @Test func aChildHasANumberOfItsOwn() throws {
        let (world, east, west) = pair(.unique)
        begin(world, east, west)
        let first = numbers(east)
        #expect(first.count == 2 && Set(first.values).count == 2)
        world.send(.rekey(.child("net", connection: "site"), request: nil), to: east)
        world.run(.seconds(20))
        #expect(numbers(east) == first)
    }

    /// A number that the configuration gives is nobody's choice, whichever of the ways to choose one it would be met on, and whatever masks leave of it.
    @Test func whatIsGivenIsNeverChosen() {
        func mark(_ number: Carriage.Number, _ mask: UInt32) -> Carriage.Mark { Carriage.Mark(number: number, mask: mask) }
        func connection(_ name: String, _ change: (inout Carriage) -> Void) -> Connection {
            var connection = Fixtures.connection(east: true)
            connection.name = name
            change(&connection.children[0].carriage)
            return connection
        }
        let context = Context(shard: 0, crypto: Crypto(preferred: NullCrypto.registry(seed: 1)), limits: Limits(), pools: NoPools())
        #expect((1...3).map { _ in context.newUniqueNumber() } == [1, 2, 3])
        let interfaces = connection("a") { ($0.inbound.interfaceID, $0.outbound.interfaceID) = (.fixed(4), .fixed(5)) }
        // The second of these is the outgoing number of 7 where each direction has one.
        let marks = connection("b") { ($0.inbound.mark, $0.outbound.setMark) = (mark(.fixed(6), .max), mark(.fixed(0x8000_000f), .max)) }
        let unique = connection("c") { ($0.inbound.interfaceID, $0.outbound.mark) = (.unique, mark(.unique, .max)) }
        context.connections = [interfaces, marks]
        #expect(context.newUniqueNumber() == 4, "there is nothing unique to keep apart")
        context.connections = [interfaces, marks, unique]
        #expect((1...3).map { _ in context.newUniqueNumber() } == [8, 9, 10])
        // What is compared are the bits that both look at: of 13 these are the same on the way out, where it has one of its own.
        context.connectionChanged("b", connection("b") { $0.inbound.mark = mark(.fixed(0xb), 0xf) })
        #expect((1...2).map { _ in context.newUniqueNumber() } == [12, 14])
        let narrow = FixedNumbers([interfaces, connection("c") { $0.inbound.mark = mark(.unique, 0xff) }])
        #expect(narrow.meet(0x104) && !narrow.meet(0x106))
    }

    /// Two peers with the same selectors are told apart where numbers are unique, and share a policy where they are not.
    @Test func thePoliciesOfTwoPeersAreTheirOwn() {
        let context = Context(shard: 0, crypto: Crypto(preferred: NullCrypto.registry(seed: 1)), limits: Limits(), pools: NoPools())
        func instance(isShared: Bool) -> PolicyInstance {
            context.instance(connection: "site", child: "net", localTS: [Fixtures.network(1)], remoteTS: [Fixtures.network(2)], isShared: isShared)
        }
        let all = [true, true, false, false].map { instance(isShared: $0) }
        #expect(all[0] === all[1] && Set(all.map(\.number)).count == 3)
        #expect(context.held.reqids == 3)
        for instance in all { context.release(instance) }
        #expect(context.held.reqids == 0)
    }
}
