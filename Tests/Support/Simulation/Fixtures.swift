// Connections that many tests use: east and west, one child, a shared key.

import IKECore
import IKEWire

package enum Fixtures {
    package static let eastAddress = IPAddress(v4: 0xc000_0201)
    package static let westAddress = IPAddress(v4: 0xc000_0202)
    package static let natAddress = IPAddress(v4: 0xcb00_7101)

    package static func identity(_ name: String) -> Identification { Identification(kind: .fqdn, data: Array(name.utf8)) }

    package static func ikeProposal(_ methods: [Transform] = [.curve25519]) -> Proposal {
        Proposal(number: 1, protocolID: .ike, transforms: [.aesGCM16(256), .prfHMACSHA256] + methods)
    }
    package static func espProposal(_ methods: [Transform] = []) -> Proposal {
        Proposal(number: 1, protocolID: .esp, transforms: [.aesGCM16(256)] + methods + [.noExtendedSequenceNumbers])
    }
    package static func network(_ third: UInt32) -> TrafficSelector {
        TrafficSelector(start: IPAddress(v4: 0x0a00_0000 | third << 16), end: IPAddress(v4: 0x0a00_ffff | third << 16))
    }

    package static func child(_ name: String = "net", local: UInt32, remote: UInt32, pfs: [Transform] = []) -> ChildPolicy {
        var child = ChildPolicy(name: name, proposals: [espProposal(pfs)])
        child.localTS = [.fixed(network(local))]
        child.remoteTS = [.fixed(network(remote))]
        return child
    }

    /// The connection as east sees it, or as west does.
    package static func connection(east: Bool, methods: [Transform] = [.curve25519], pfs: [Transform] = []) -> Connection {
        var connection = Connection(name: "site", proposals: [ikeProposal(methods)])
        connection.local.identity = .exactly(identity(east ? "east.example" : "west.example"))
        connection.remote.identity = .exactly(identity(east ? "west.example" : "east.example"))
        connection.children = [child(local: east ? 1 : 2, remote: east ? 2 : 1, pfs: pfs)]
        return connection
    }

    /// East and west with a world between them.
    package static func pair(seed: UInt64, faults: Faults = .none, nat: Bool = false, limits: Limits = Limits(), _ change: (inout Connection, _ east: Bool) -> Void = { _, _ in }) -> (
        World, Node, Node
    ) {
        let world = World(seed: seed, faults: faults)
        func node(_ east: Bool) -> Node {
            var connection = connection(east: east)
            change(&connection, east)
            return Node(
                east ? "east" : "west", address: east ? (nat ? IPAddress(v4: 0xac10_0001) : eastAddress) : westAddress, publicAddress: east && nat ? natAddress : nil,
                connections: [connection], limits: limits, seed: seed &* 2 &+ (east ? 1 : 0))
        }
        let east = node(true), west = node(false)
        world.add(east)
        world.add(west)
        return (world, east, west)
    }

    package static func initiate(_ world: World, _ from: Node, _ to: Node, child: String? = "net", request: UInt64 = 1) {
        world.send(.initiate(connection: "site", child: child, packet: nil, local: from.local, remote: to.publicAddress, request: RequestID(rawValue: request)), to: from)
    }
}
