// What must hold of two nodes when everything has settled.

import IKECore
import IKEWire

package enum Agreement {
    /// What the two ends disagree about; empty when they agree on every SA and neither holds a remnant.
    package static func differences(_ a: Node, _ b: Node) -> [String] {
        var found: [String] = []
        func ikes(_ node: Node) -> Set<[UInt64]> { Set(node.endpoint.status().map { [$0.initiatorSPI.rawValue, $0.responderSPI.rawValue] }) }
        func pairs(_ node: Node, swapped: Bool) -> Set<[UInt32]> { Set(node.children.map { swapped ? [$0.outboundSPI, $0.inboundSPI] : [$0.inboundSPI, $0.outboundSPI] }) }
        if ikes(a) != ikes(b) { found.append("IKE SAs differ: \(describe(a)) against \(describe(b))") }
        if pairs(a, swapped: false) != pairs(b, swapped: true) { found.append("child SAs differ: \(describe(a)) against \(describe(b))") }
        for node in [a, b] {
            let states = node.endpoint.status().map(\.state)
            if states.contains(where: { $0 != .established }) { found.append("\(node.name) holds SAs that are not established: \(states)") }
            let children = node.endpoint.status().flatMap(\.children)
            if children.contains(where: { $0.state != .installed }) { found.append("\(node.name) holds children that are not installed: \(children.map(\.state))") }
            if node.plane.count != children.count { found.append("\(node.name) has \(children.count) children, its data plane \(node.plane.count)") }
            if node.endpoint.halfOpenCount != 0 { found.append("\(node.name) counts \(node.endpoint.halfOpenCount) half-open SAs") }
            if node.plane.wrongKey > 0 { found.append("\(node.name) received \(node.plane.wrongKey) packets with other keys than its own") }
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
