// Traffic both ways while keys change and identities are proven anew, on a network that delays and reorders, and loses messages of IKE: every packet arrives.
// RFC 7296 sections 2.8, 2.8.1 to 2.8.3.

import IKECore
import IKEWire
import TestSupport
import Testing

@Suite struct Lossless {
    static func run(_ seed: UInt64) -> [String] {
        let isSteady = seed % 3 == 0
        let isTransport = seed % 5 == 1
        let (world, east, west) = Fixtures.pair(seed: seed, nat: seed % 4 == 0) { connection, east in
            connection.proposals = [Fixtures.ikeProposal(seed % 7 == 0 && !east ? [.ecp256, .curve25519] : [.curve25519, .ecp256])]
            connection.children = [Fixtures.child(local: east ? 1 : 2, remote: east ? 2 : 1, pfs: seed % 2 == 0 ? [.ecp256] : [])]
            if isTransport {
                connection.children[0].mode = .transport
                connection.children[0].localTS = [.dynamic(ipProtocol: 0, startPort: 0, endPort: 65535)]
                connection.children[0].remoteTS = connection.children[0].localTS
            }
            if seed % 3 == 1 { connection.childless = .prefer }
        }
        let watcher = Watcher(world)
        let delay = world.number(1...40)
        // Where nothing overtakes anything and the responder asks for no new authentication, more of them overlap.
        world.faults.delay = isSteady ? delay...delay : 1...delay
        for node in [east, west] {
            if world.chance(0.5) { node.jobDelay = 0...world.number(1...150) }
            if world.chance(0.5) { node.installDelay = 0...world.number(1...80) }
        }
        Fixtures.initiate(world, east, west)
        world.run(.seconds(10)) { !east.children.isEmpty && !west.children.isEmpty }
        // What is sent as the last message of the first exchanges is on its way has no pair at the other end yet.
        world.run(.seconds(2))
        // Messages of IKE get lost and come twice; packets do not.
        if !isSteady, seed % 4 == 3 {
            world.faults.loss = 0.1
            world.faults.duplication = 0.1
        }
        var isOver = false
        func stream(_ node: Node) {
            guard !isOver else { return }
            world.streamTraffic(node)
            world.schedule(after: world.number(3...15)) { stream(node) }
        }
        for node in [east, west] { stream(node) }
        var request: UInt64 = 100
        for _ in 0..<15 where !watcher.isBroken {
            for node in [east, west] where world.chance(0.7) {
                request += 1
                let id = RequestID(rawValue: request)
                let event: Event =
                    switch world.number(0...6) {
                    case 0, 1: .rekey(.child("net", connection: nil), request: id)
                    case 2, 3: .rekey(.connection("site"), request: id)
                    case 4 where !isSteady || node === east: .reauthenticate(.connection("site"), request: id)
                    default: node.children.first.map { .childSAExpired($0.id, hard: false) } ?? .rekey(.connection("site"), request: id)
                    }
                world.schedule(event, for: node, after: world.number(0...60))
            }
            world.run(.milliseconds(world.chance(0.5) ? world.number(5...150) : world.number(150...1500))) { watcher.isBroken }
        }
        world.run(.seconds(30)) { watcher.isBroken }
        isOver = true
        // An IKE SA that a collision of rekeys left over goes by itself: a minute for the peer's Delete, and one more for its own.
        world.run(.seconds(200)) { watcher.isBroken }
        var wrong = watcher.findings + Agreement.differences(east, west)
        let lost = world.packets.sent - world.packets.arrived
        if lost != 0 { wrong.append("of \(world.packets.sent) packets \(lost) were lost: \(world.packets.refused.prefix(5))") }
        if world.packets.sent < 1000 { wrong.append("\(world.packets.sent) packets are no traffic") }
        for node in [east, west] where node.children.count != 1 || node.established.count != 1 {
            wrong.append("\(node.name) ends with \(node.established.count) IKE SAs and \(node.children.count) children")
        }
        if !watcher.unanswered(east).isEmpty || !watcher.unanswered(west).isEmpty { wrong.append("requests \(watcher.unanswered(east)) and \(watcher.unanswered(west)) were not answered") }
        return wrong + (wrong.isEmpty ? [] : world.log.suffix(Seeds.only == nil ? 12 : 600).map { "    " + $0 })
    }

    @Test func noPacketIsLostWhileKeysChange() async {
        await Seeds.run("Lossless", share: 5, known: [587, 870, 3747, 3771, 3816, 4139, 5227, 5587, 6564, 7515, 7575, 8397, 9894, 10_158, 13_062, 13_194]) { Lossless.run($0) }
    }
}
