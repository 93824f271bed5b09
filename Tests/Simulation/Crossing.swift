// Exchanges of both ends that cross on the wire, over a network that loses, duplicates, reorders and delays.
// RFC 7296 sections 2.8.1, 2.8.2 and 2.25.

import IKECore
import IKEWire
import Testing
import TestSupport

@Suite struct Crossing {
    /// One run; returns what was wrong at its end.
    static func run(_ seed: UInt64, faults: Faults) -> [String] {
        // Every seventh run has room for so little that what follows IKE_SA_INIT goes in fragments.
        var limits = Limits()
        if seed % 7 == 0 { limits.fragmentSize = 190 }
        let world = Fixtures.pair(seed: seed, faults: faults, nat: seed % 5 == 0, limits: limits) { connection, east in
            connection.proposals = [Fixtures.ikeProposal(seed % 3 == 0 && !east ? [.ecp256, .curve25519] : [.curve25519, .ecp256])]
            connection.children = [
                Fixtures.child(local: east ? 1 : 2, remote: east ? 2 : 1, pfs: seed % 2 == 0 ? [.ecp256] : []),
                Fixtures.child("second", local: east ? 3 : 4, remote: east ? 4 : 3),
            ]
            connection.dpdDelay = .seconds(20)
        }
        let (network, east, west) = world
        Fixtures.initiate(network, east, west)
        network.run(.seconds(100)) { !east.children.isEmpty && !west.children.isEmpty }
        var request: UInt64 = 100
        var asked: [UInt64] = []
        for _ in 0..<6 {
            for node in [east, west] {
                // Both ends act within the time of a few round trips, so that exchanges cross.
                request += 1
                let id = RequestID(rawValue: request)
                let peer = node === east ? west : east
                let event: Event? =
                    switch network.number(0...9) {
                    case 0, 1, 2: .rekey(.child("net", connection: nil), request: id)
                    case 3, 4, 5: .rekey(.connection("site"), request: id)
                    case 6: .terminate(.child("second", connection: nil), request: id)
                    case 7, 8: node.isBehindNAT || !peer.isBehindNAT ? .initiate(connection: "site", child: "second", packet: nil, local: node.local, remote: peer.publicAddress, request: id) : nil
                    default: nil
                    }
                if let event {
                    asked.append(request)
                    network.schedule(event, for: node, after: network.number(0...30))
                }
            }
            network.run(.milliseconds(network.number(5...400)))
        }
        network.faults = .none
        network.run(.seconds(400))
        var wrong = Agreement.differences(east, west)
        for node in [east, west] {
            for (id, answers) in node.answers where answers.count != 1 { wrong.append("\(node.name) answered request \(id.rawValue) \(answers.count) times") }
        }
        for id in asked where [east, west].allSatisfy({ $0.answers[RequestID(rawValue: id)] == nil }) { wrong.append("request \(id) was not answered") }
        // What is up carries traffic both ways.
        let up = east.children.count
        if network.sendTraffic(east) < min(up, 1) || network.sendTraffic(west) < min(up, 1) { wrong.append("no traffic passes") }
        return wrong + (wrong.isEmpty ? [] : network.log.suffix(Seeds.only == nil ? 10 : 400).map { "    " + $0 })
    }

    @Test func bothEndsAgreeInTheEnd() async {
        await Seeds.run("Crossing", share: 20) { seed in
            Crossing.run(seed, faults: seed % 4 == 0 ? .none : Faults(loss: 0.05 * Double(seed % 4), duplication: 0.1, corruption: 0.02, delay: 1...60))
        }
    }
}
