// What a seed makes: who is there, what they are configured for, and what goes wrong.

import IKECore
import IKEWire
import TestSupport

/// What goes wrong, or is asked for, in a run.
struct Hazards: OptionSet {
    let rawValue: UInt32
    static let network = Hazards(rawValue: 1), partitions = Hazards(rawValue: 2), restarts = Hazards(rawValue: 4), sleep = Hazards(rawValue: 8), jobs = Hazards(rawValue: 16)
    static let plane = Hazards(rawValue: 32), operators = Hazards(rawValue: 64), reloads = Hazards(rawValue: 128), rebinding = Hazards(rawValue: 256), roaming = Hazards(rawValue: 512)
    static let expiry = Hazards(rawValue: 1024), acquires = Hazards(rawValue: 2048), leaps = Hazards(rawValue: 4096)
    static let names: [(Hazards, String)] = [
        (.network, "network"), (.partitions, "partitions"), (.restarts, "restarts"), (.sleep, "sleep"), (.jobs, "jobs"), (.plane, "plane"), (.operators, "operators"), (.reloads, "reloads"),
        (.rebinding, "rebinding"), (.roaming, "roaming"), (.expiry, "expiry"), (.acquires, "acquires"), (.leaps, "leaps"),
    ]
    var text: String { Hazards.names.filter { contains($0.0) }.map(\.1).joined(separator: " ") }
}

/// A connection between two nodes.
struct Link {
    let name: String
    /// Who begins: the other may not be able to.
    let initiator: Node
    let responder: Node
    /// Whether the responder can begin as well.
    let isSymmetric: Bool
}

enum Topology: Int, CaseIterable {
    /// Two gateways.
    case pair
    /// A client behind a NAT, and a gateway.
    case natted
    /// Two clients behind one NAT, and a gateway that lends them addresses.
    case clients
    /// Three gateways, each with each.
    case mesh
}

final class Scenario {
    let world: World
    let topology: Topology
    let hazards: Hazards
    private(set) var links: [Link] = []
    private(set) var nats: [NAT] = []
    /// Of each node, as they are before anybody changes them.
    private(set) var configurations: [[Connection]] = []
    private let seed: UInt64

    init(seed: UInt64) {
        self.seed = seed
        world = World(seed: seed &* 0x9e37_79b9_7f4a_7c15)
        topology = Topology.allCases[Int(world.number(0...Int64(Topology.allCases.count - 1)))]
        var hazards: Hazards = []
        for (hazard, _) in Hazards.names where world.chance(0.3) { hazards.insert(hazard) }
        if topology == .pair || topology == .mesh { hazards.remove(.rebinding) }
        if topology == .mesh { hazards.remove(.roaming) }
        // Half of the runs have operators who make exchanges cross.
        if world.chance(0.5) { hazards.insert(.operators) }
        self.hazards = hazards
        switch topology {
        case .pair:
            let names = ["east", "west"]
            let nodes = names.indices.map { node(names[$0], address: IPAddress(v4: 0xc000_0201 + UInt32($0)), seed, $0) }
            connect(nodes[0], 1, nodes[1], 2, isSymmetric: true)
        case .natted:
            let nat = nat()
            let client = node("client", address: IPAddress(v4: 0xac10_0001), nat: nat, seed, 0), gateway = node("gateway", address: IPAddress(v4: 0xc000_0201), seed, 1)
            connect(client, 1, gateway, 2, isSymmetric: false)
        case .clients:
            let nat = nat()
            let gateway = node("gateway", address: IPAddress(v4: 0xc000_0201), pools: SimulatedPools(8), seed, 0)
            let clients = (1...2).map { node("client\($0)", address: IPAddress(v4: 0xac10_0000 + UInt32($0)), nat: nat, seed, $0) }
            for client in clients { connect(client, UInt32(client.index), gateway, 9, isSymmetric: false, lends: true) }
        case .mesh:
            let nodes = (0..<3).map { node(["a", "b", "c"][$0], address: IPAddress(v4: 0xc000_0201 + UInt32($0)), seed, $0) }
            for (one, other) in [(0, 1), (1, 2), (2, 0)] { connect(nodes[one], UInt32(one + 1), nodes[other], UInt32(other + 1), isSymmetric: true) }
        }
        configurations = world.nodes.map(\.connections)
    }

    private func nat() -> NAT {
        let nat = NAT(Fixtures.natAddress, mappingTime: world.chance(0.3) ? .seconds(world.number(15...60)) : nil, isSymmetric: world.chance(0.3), isStrict: world.chance(0.5))
        nats.append(nat)
        return nat
    }

    private func node(_ name: String, address: IPAddress, nat: NAT? = nil, pools: any AddressPools = NoPools(), _ seed: UInt64, _ index: Int) -> Node {
        var limits = Limits()
        // What follows IKE_SA_INIT goes in fragments.
        if world.chance(0.1) { limits.fragmentSize = 190 }
        if world.chance(0.1) { limits.cookieThreshold = 0 }
        let node = Node(name, address: address, nat: nat, connections: [], limits: limits, pools: pools, seed: seed &* 4 &+ UInt64(index))
        if world.chance(0.2) { node.jobDelay = 1...200 }
        if world.chance(0.2) { node.installDelay = 0...100 }
        world.add(node)
        return node
    }

    private func connect(_ initiator: Node, _ net: UInt32, _ responder: Node, _ otherNet: UInt32, isSymmetric: Bool, lends: Bool = false) {
        let name = "\(initiator.name)-\(responder.name)"
        let pfs: [Transform] = world.chance(0.5) ? [.ecp256] : []
        let methods: [Transform] = world.chance(0.3) ? [.ecp256, .curve25519] : [.curve25519, .ecp256]
        let lifetimes = (0..<4).map { _ in world.chance(0.4) ? world.number(15...90) : 3600 }
        let ikeLifetimes = (0..<2).map { _ in world.chance(0.4) ? world.number(20...120) : 14_400 }
        // In transport mode the selectors are the two ends' addresses, which must stay.
        let isTransport = (topology == .pair || topology == .mesh) && !hazards.contains(.roaming) && world.chance(0.25)
        let childless = [(Childless.allow, Childless.allow), (.allow, .allow), (.prefer, .allow), (.prefer, .force), (.allow, .never), (.prefer, .never)][Int(world.number(0...5))]
        let reauth = (0..<2).map { _ in world.chance(0.2) ? world.number(30...120) : 0 }
        let unique = [UniquePolicy.no, .no, .replace, .keep, .never][Int(world.number(0...4))]
        // A client proves itself by EAP in every other run: with a key, without one, and without the gateway's own proof. Decided without the world's random
        // numbers, so that a seed is what it was for all others.
        let eap = lends || topology == .natted ? EAPLogin(seed, initiator, responder) : nil
        func connection(_ begins: Bool) -> Connection {
            var connection = Connection(name: name, proposals: [Fixtures.ikeProposal(begins ? methods : [.curve25519, .ecp256])])
            connection.local.identity = .exactly(Fixtures.identity("\(begins ? initiator.name : responder.name).example"))
            connection.remote.identity = .exactly(Fixtures.identity("\(begins ? responder.name : initiator.name).example"))
            connection.children = [
                Fixtures.child("net", local: begins ? net : otherNet, remote: begins ? otherNet : net, pfs: pfs),
                Fixtures.child("second", local: 20 + (begins ? net : otherNet), remote: 20 + (begins ? otherNet : net)),
            ]
            eap?.configure(&connection, begins)
            if lends {
                let dynamic = SelectorPattern.dynamic(ipProtocol: 0, startPort: 0, endPort: 65535)
                for index in connection.children.indices { if begins { connection.children[index].localTS = [dynamic] } else { connection.children[index].remoteTS = [dynamic] } }
                if begins { connection.vips = [IPAddress(v4: 0)] } else { connection.pools = ["rw"] }
            }
            if isTransport {
                for (index, ipProtocol) in [(0, UInt8(6)), (1, 17)] {
                    connection.children[index].mode = .transport
                    connection.children[index].localTS = [.dynamic(ipProtocol: ipProtocol, startPort: 0, endPort: 65535)]
                    connection.children[index].remoteTS = connection.children[index].localTS
                }
            }
            connection.childless = begins ? childless.0 : childless.1
            connection.reauthTime = .seconds(reauth[begins ? 0 : 1])
            connection.overTime = .seconds(60)
            for index in connection.children.indices {
                let time = lifetimes[index * 2 + (begins ? 0 : 1)]
                connection.children[index].lifetime = Lifetime(rekeyTime: .seconds(time), lifeTime: .seconds(time + time / 5 + 2), randTime: .seconds(time / 5))
            }
            let time = ikeLifetimes[begins ? 0 : 1]
            connection.lifetime = Lifetime(rekeyTime: .seconds(time), lifeTime: .seconds(time + time / 5 + 5), randTime: .seconds(time / 5))
            connection.dpdDelay = .seconds(10)
            connection.unique = unique
            // Policies without SAs.
            for (name, mode) in [("bypass", ChildMode.pass), ("block", .drop)] {
                var shunt = Fixtures.child(name, local: begins ? net : otherNet, remote: begins ? otherNet : net)
                shunt.mode = mode
                shunt.startAction = .trap
                connection.children.append(shunt)
            }
            if begins {
                connection.keyingTries = 0
                connection.children[0].startAction = .start
                connection.children[0].closeAction = .start
                connection.children[0].dpdAction = .start
            }
            return connection
        }
        initiator.connections.append(connection(true))
        responder.connections.append(connection(false))
        initiator.peers[name] = responder
        responder.peers[name] = initiator
        links.append(Link(name: name, initiator: initiator, responder: responder, isSymmetric: isSymmetric))
    }
}

/// How a client logs in by EAP.
private struct EAPLogin {
    private let method: String
    /// The client's name in EAP, where it is asked for.
    private let identity: Identification?
    /// The method alone proves both ends. RFC 5998.
    private let isAlone: Bool

    /// Nil where it does not. RFC 7296 section 2.16.
    init?(_ seed: UInt64, _ client: Node, _ gateway: Node) {
        // Two clients of one gateway log in each in its own way.
        let number = (seed >> 3) &+ UInt64(client.index)
        guard number % 2 == 0 else { return nil }
        let kind = number / 2 % 4
        method = kind == 2 ? "eap-plain" : "eap-test"
        identity = kind == 1 ? nil : Fixtures.identity("\(client.name).user")
        isAlone = kind == 3
        let name = identity ?? Fixtures.identity("\(client.name).example")
        for node in [client, gateway] { node.users[name.data] = Array("the secret of \(client.name)".utf8) }
        gateway.eapRounds = Int(number / 8 % 4)
    }

    func configure(_ connection: inout Connection, _ begins: Bool) {
        if begins {
            connection.local.method = method
            connection.local.eapIdentity = identity.map { .exactly($0) }
            if isAlone { connection.remote.method = "eap" }
        } else {
            connection.remote.method = method
            connection.remote.eapIdentity = identity.map { _ in .any }
            if isAlone { connection.local.method = method }
        }
    }
}
