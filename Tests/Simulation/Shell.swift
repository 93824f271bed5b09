// What the gateway around the core does, as far as the protocol shows it: it begins what is to be up, ends what another IKE SA replaces, and
// reads its configuration again.

import IKEWire
import TestSupport

@testable import IKECore

final class Shell {
    private let world: World
    private var identities: [Int: IdentityIndex] = [:]

    init(_ world: World) {
        self.world = world
        world.onReport = { [unowned self] node, report in noted(report, node) }
    }

    /// The daemon starts.
    func boot(_ node: Node) {
        identities[node.index] = IdentityIndex()
        world.send(.configurationReplaced(node.connections), to: node)
        world.send(.localAddressesChanged([node.local.address]), to: node)
        initiateStarting(node, node.connections)
    }

    private func initiateStarting(_ node: Node, _ connections: [Connection]) {
        for connection in connections { for child in connection.children where child.startAction.contains(.start) { initiate(node, connection.name, child.name, nil) } }
    }

    func initiate(_ node: Node, _ connection: String, _ child: String, _ request: RequestID?, packet: TriggeringPacket? = nil) {
        guard let peer = node.peers[connection] else { return }
        world.schedule(
            .initiate(connection: connection, child: child, packet: packet, local: node.local, remote: peer.publicAddress, request: request), for: node, after: world.number(0...20))
    }

    /// Another configuration. What is gone ends, what is new or has changed begins.
    func reload(_ node: Node, _ connections: [Connection]) {
        let old = node.connections
        node.connections = connections
        for connection in old where !connections.contains(where: { $0.name == connection.name }) { world.send(.terminate(.connection(connection.name), request: nil), to: node) }
        world.send(.configurationReplaced(connections), to: node)
        initiateStarting(node, connections.filter { !old.contains($0) })
    }

    private func noted(_ report: Report, _ node: Node) {
        switch report {
        case .ikeSAEstablished(let sa):
            for verdict in identities[node.index]?.established(sa, shard: 0) ?? [] {
                switch verdict {
                case .terminate(let member): world.schedule(.replaced(member.sa), for: node, after: 0)
                case .terminateSoon(let succession):
                    let index = identities[node.index]
                    world.schedule(after: 4000) { [unowned self] in
                        if let index, index === identities[node.index], let member = index.due(succession) { world.schedule(.replaced(member.sa), for: node, after: 0) }
                    }
                case .forget(let member): world.schedule(.forget(member.sa), for: node, after: 0)
                }
            }
        case .ikeSARekeyed(let previous, let current): identities[node.index]?.rekeyed(previous.id, current, shard: 0)
        case .ikeSAClosed(let sa, _): identities[node.index]?.closed(sa.id)
        default: break
        }
    }
}
