// What must hold of nodes when everything has settled.

import IKECore
import IKEWire

package enum Agreement {
    /// What the two ends disagree about; empty when they agree on every SA and neither holds a remnant.
    package static func differences(_ a: Node, _ b: Node) -> [String] { differences([a, b]) }

    package static func differences(_ nodes: [Node]) -> [String] {
        var found: [String] = []
        // Every SA has two ends, and they show one another's SPIs.
        struct End {
            let node: Node
            let sa: IKESAStatus
        }
        let ends = nodes.flatMap { node in node.endpoint.status().map { End(node: node, sa: $0) } }
        var seen: [[UInt64]: [End]] = [:]
        for end in ends { seen[[end.sa.initiatorSPI.rawValue, end.sa.responderSPI.rawValue], default: []].append(end) }
        for (_, pair) in seen.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            guard pair.count == 2, pair[0].sa.isInitiator != pair[1].sa.isInitiator else {
                found.append("IKE SAs differ: \(pair.map { "\($0.node.name) alone has \($0.sa.initiatorSPI)/\($0.sa.responderSPI)" }.joined(separator: ", "))")
                continue
            }
            let spis = pair.map { end in
                Set(end.sa.children.filter { $0.state == .installed || $0.state == .rekeying }.map { end.sa.isInitiator ? [$0.inboundSPI, $0.outboundSPI] : [$0.outboundSPI, $0.inboundSPI] })
            }
            if spis[0] != spis[1] { found.append("child SAs differ: \(describe(pair[0].node)) against \(describe(pair[1].node))") }
        }
        for node in nodes {
            let states = node.endpoint.status().map(\.state)
            if states.contains(where: { $0 != .established }) { found.append("\(node.name) holds SAs that are not established: \(states)") }
            let children = node.endpoint.status().flatMap(\.children)
            if children.contains(where: { $0.state != .installed }) { found.append("\(node.name) holds children that are not installed: \(children.map(\.state))") }
            if node.plane.count != children.count { found.append("\(node.name) has \(children.count) children, its data plane \(node.plane.count)") }
            if node.endpoint.halfOpenCount != 0 { found.append("\(node.name) counts \(node.endpoint.halfOpenCount) half-open SAs") }
            if node.plane.wrongKey > 0 { found.append("\(node.name) received \(node.plane.wrongKey) packets with other keys than its own") }
            found += node.plane.complaints.map { "\(node.name): \($0)" }
        }
        return found
    }

    package static func describe(_ node: Node) -> String {
        node.name + ": "
            + node.endpoint.status().map { sa in
                "\(sa.initiatorSPI)/\(sa.responderSPI) \(sa.state) [" + sa.children.map { "\($0.inboundSPI.hex)/\($0.outboundSPI.hex) \($0.state)" }.joined(separator: ", ") + "]"
            }.joined(separator: "; ")
    }
}
