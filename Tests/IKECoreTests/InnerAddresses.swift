// The Configuration payload: a gateway that lends addresses, and clients that ask for them.
// RFC 7296 sections 2.19 and 3.15.

import IKECore
import IKEWire
import Synchronization
import TestSupport
import Testing

/// Lends 10.9.0.1 and what follows, `count` of them, and keeps account.
final class CountingPools: AddressPools {
    private let state = Mutex<(lent: Set<IPAddress>, most: Int)>(([], 0))
    private let count: UInt32
    init(_ count: UInt32, others: [Configuration.Attribute] = [Configuration.Attribute(type: Configuration.internalIP4DNS, value: [10, 9, 0, 53])]) {
        self.count = count
        self.others = others
    }
    var lent: Set<IPAddress> { state.withLock { $0.lent } }

    let takeovers = Mutex<[Bool]>([])

    /// What was asked for, in order.
    let asked = Mutex<[IPAddress?]>([])
    let others: [Configuration.Attribute]

    func lease(_ request: LeaseRequest) -> Lease? {
        guard request.family == .v4 else { return nil }
        takeovers.withLock { $0.append(request.takingOver != .nothing) }
        asked.withLock { $0.append(request.asking) }
        return state.withLock { state in
            for number in 0..<count {
                let address = IPAddress(v4: 0x0a09_0001 + number)
                if state.lent.insert(address).inserted { return Lease(pool: request.pools[0], address: address, identity: request.identity, origin: request.origin) }
            }
            return nil
        }
    }
    func release(_ lease: Lease) {
        let was = state.withLock { $0.lent.remove(lease.address) }
        #expect(was != nil, "\(lease.address) came back twice")
    }
    func moved(_ lease: Lease, to remote: SocketAddress) {}
    func serves(_ family: IPAddress.Family, _ pools: [String]) -> Bool { family == .v4 }
    func attributes(of pools: [String]) -> [Configuration.Attribute] { others }
    func occupancy(_ family: IPAddress.Family, of pools: [String]) -> [PoolOccupancy] {
        [PoolOccupancy(name: pools[0], first: IPAddress(v4: 0x0a09_0001), last: IPAddress(v4: 0x0a09_0000 + count), size: UInt64(count), lent: lent.count)]
    }
}

@Suite struct InnerAddresses {
    private let everywhere = TrafficSelector(everyAddressOf: .v4)

    /// East is the client, west the gateway with so many addresses.
    private func roadWarrior(_ seed: UInt64, addresses: UInt32 = 4, _ change: (inout Connection, _ east: Bool) -> Void = { _, _ in }) -> (World, Node, Node, CountingPools) {
        let world = World(seed: seed, faults: .none), pools = CountingPools(addresses)
        func connection(_ east: Bool) -> Connection {
            var connection = Fixtures.connection(east: east)
            let dynamic = SelectorPattern.dynamic(ipProtocol: 0, startPort: 0, endPort: 65535)
            connection.children[0].localTS = east ? [dynamic] : [.fixed(everywhere)]
            connection.children[0].remoteTS = east ? [.fixed(everywhere)] : [dynamic]
            if east { connection.vips = [IPAddress(v4: 0)] } else { connection.pools = ["rw"] }
            change(&connection, east)
            return connection
        }
        let east = Node("east", address: Fixtures.eastAddress, connections: [connection(true)], seed: seed &* 2)
        let west = Node("west", address: Fixtures.westAddress, connections: [connection(false)], pools: pools, seed: seed &* 2 &+ 1)
        world.add(east)
        world.add(west)
        return (world, east, west, pools)
    }

    @Test func theClientGetsAnAddressForTheLifeOfItsSA() throws {
        let (world, east, west, pools) = roadWarrior(1)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        let lent = IPAddress(v4: 0x0a09_0001)
        #expect(pools.lent == [lent] && east.addresses == [lent: 1])
        #expect(east.children.first?.localTS == [TrafficSelector(host: lent)] && east.children.first?.remoteTS == [everywhere])
        #expect(west.children.first?.remoteTS == [TrafficSelector(host: lent)])
        #expect(east.established.first?.localVirtual == [lent] && west.established.first?.remoteVirtual == [lent])
        #expect(Agreement.differences(east, west) == [])
        // Both rekeys keep it, whoever begins.
        for node in [east, west] {
            world.send(.rekey(.connection("site"), request: nil), to: node)
            world.run(.seconds(20))
            world.send(.rekey(.child("net", connection: nil), request: nil), to: node)
            world.run(.seconds(20))
            #expect(pools.lent == [lent] && east.addresses == [lent: 1])
            #expect(east.children.first?.localTS == [TrafficSelector(host: lent)])
            #expect(Agreement.differences(east, west) == [])
        }
        world.send(.terminate(.connection("site"), request: nil), to: east)
        world.run(.seconds(20))
        #expect(pools.lent.isEmpty && east.addresses[lent] == 0)
    }

    /// A client that has begun anew gets its old address, unless its old SA is to stay beside the new one.
    @Test func theAddressIsTakenOverWhereTheOldSAGoes() {
        for (unique, takesOver) in [(UniquePolicy.no, true), (.never, false), (.replace, true)] {
            let (world, east, west, pools) = roadWarrior(7) { connection, east in if !east { connection.unique = unique } }
            Fixtures.initiate(world, east, west)
            world.run(.seconds(5))
            #expect(east.children.count == 1 && pools.takeovers.withLock { $0 } == [takesOver], "\(unique)")
        }
    }

    @Test func anotherChildUsesTheSameAddress() {
        let (world, east, west, pools) = roadWarrior(2) { connection, _ in
            var second = connection.children[0]
            second.name = "second"
            connection.children.append(second)
        }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        Fixtures.initiate(world, east, west, child: "second", request: 2)
        world.run(.seconds(5))
        #expect(east.children.count == 2 && pools.lent.count == 1)
        #expect(Set(east.children.map(\.localTS)) == [[TrafficSelector(host: IPAddress(v4: 0x0a09_0001))]])
    }

    @Test func aDeadPeersAddressComesBack() {
        let (world, east, west, pools) = roadWarrior(3) { connection, east in if !east { connection.dpdDelay = .seconds(10) } }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(5))
        east.isDown = true
        world.run(.seconds(400))
        #expect(pools.lent.isEmpty && west.established.isEmpty)
    }

    @Test func anEmptyPoolIsSaidAndNothingStays() throws {
        let (world, east, west, pools) = roadWarrior(4, addresses: 0)
        Fixtures.initiate(world, east, west)
        world.run(.seconds(20))
        guard case .failure(let failure)? = east.answers[RequestID(rawValue: 1)]?.first else {
            Issue.record("the request was not refused")
            return
        }
        #expect(failure.code == .address && failure.summary.contains("INTERNAL_ADDRESS_FAILURE"), "\(failure)")
        #expect(east.established.isEmpty && east.addresses.isEmpty && pools.lent.isEmpty && west.children.isEmpty)
    }

    @Test func aClientThatAsksForNoneIsToldThatItMust() {
        let (world, east, west, pools) = roadWarrior(5) { connection, east in if east { connection.vips = [] } }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(20))
        #expect(east.children.isEmpty && west.children.isEmpty && pools.lent.isEmpty)
        #expect(west.failures.contains { $0.summary.contains("asks for no inner address") })
        // And another try on an IKE SA that stands does not get around it.
        Fixtures.initiate(world, east, west, request: 2)
        world.run(.seconds(20))
        #expect(west.children.isEmpty)
    }

    @Test func aGatewayThatLendsNoneIsNamed() {
        let (world, east, west, _) = roadWarrior(6) { connection, east in if !east { connection.pools = [] } }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(20))
        #expect(east.children.isEmpty && east.addresses.isEmpty)
        #expect(east.failures.contains { $0.summary.contains("gave us no inner address") })
    }

    /// Exchanges that cross, with loss: every address lent comes back, and the client has each as often as it should.
    @Test(arguments: 1...60) func addressesAreNeverLost(_ seed: UInt64) {
        let world = World(seed: seed, faults: Faults(loss: 0.1, duplication: 0.1)), pools = CountingPools(3)
        func connection(_ east: Bool) -> Connection {
            var connection = Fixtures.connection(east: east)
            let dynamic = SelectorPattern.dynamic(ipProtocol: 0, startPort: 0, endPort: 65535)
            connection.children[0].localTS = east ? [dynamic] : [.fixed(everywhere)]
            connection.children[0].remoteTS = east ? [.fixed(everywhere)] : [dynamic]
            if east { connection.vips = [IPAddress(v4: 0)] } else { connection.pools = ["rw"] }
            connection.dpdDelay = .seconds(20)
            return connection
        }
        let east = Node("east", address: Fixtures.eastAddress, connections: [connection(true)], seed: seed &* 2)
        let west = Node("west", address: Fixtures.westAddress, connections: [connection(false)], pools: pools, seed: seed &* 2 &+ 1)
        world.add(east)
        world.add(west)
        let random = NullRandom(seed: seed)
        for round in 0..<12 as Range<UInt64> {
            Fixtures.initiate(world, east, west, request: 10 + round)
            for _ in 0..<3 {
                let node = random.next() % 2 == 0 ? east : west
                switch random.next() % 4 {
                case 0: world.send(.terminate(.connection("site"), request: nil), to: node)
                case 1, 2: world.send(.rekey(.connection("site"), request: nil), to: node)
                default: world.send(.rekey(.child("net", connection: nil), request: nil), to: node)
                }
            }
            world.run(.milliseconds(Int64(random.next() % 4000)))
        }
        for node in [east, west] { world.send(.terminate(.connection("site"), request: nil), to: node) }
        world.run(.seconds(900))
        for node in [east, west] { world.send(.terminate(.connection("site"), request: nil), to: node) }
        world.run(.seconds(900))
        #expect(pools.lent.isEmpty, "seed \(seed): \(world.log.suffix(20))")
        #expect(east.addresses.values.allSatisfy { $0 == 0 }, "seed \(seed): \(east.addresses)")
    }
}
