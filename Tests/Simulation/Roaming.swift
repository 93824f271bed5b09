// A client that moves from network to network, behind NATs and in the open, while both ends rekey and the network loses and
// duplicates: the IKE SA is never made anew, and in the end both ends know where the client is.
// RFC 4555.

import IKECore
import IKEWire
import TestSupport
import Testing

@Suite struct Roaming {
    static func run(_ seed: UInt64) -> [String] {
        var limits = Limits()
        if seed % 7 == 0 { limits.fragmentSize = 190 }
        if seed % 5 == 1 { limits.returnRoutability = .after }
        let faults = seed % 4 == 0 ? Faults.none : Faults(loss: 0.05 * Double(seed % 4), duplication: 0.1, corruption: 0.02, delay: 1...60)
        let (network, client, gateway) = Fixtures.pair(seed: seed, limits: limits) { connection, _ in
            connection.dpdDelay = .seconds(20)
        }
        network.send(.localAddressesChanged([client.local.address]), to: client)
        network.send(.localAddressesChanged([gateway.local.address]), to: gateway)
        Fixtures.initiate(network, client, gateway)
        network.run(.seconds(60)) { !client.children.isEmpty && !gateway.children.isEmpty }
        network.faults = faults
        var places: UInt32 = 10
        for _ in 0..<8 {
            places += 1
            switch network.number(0...9) {
            case 0, 1, 2: move(network, client, IPAddress(v4: 0xc633_6400 + places), nil)
            case 3, 4, 5:
                // As many networks at home: the same private address behind other NATs.
                move(network, client, IPAddress(v4: 0xac10_0001 + UInt32(network.number(0...1))), NAT(IPAddress(v4: 0xcb00_7100 + places), isStrict: seed % 2 == 0))
            case 6: client.rebind()
            case 7:
                // Without a network for a while.
                network.send(.localAddressesChanged([]), to: client)
                network.run(.seconds(network.number(1...8)))
                network.send(.localAddressesChanged([client.local.address]), to: client)
            case 8: network.schedule(.rekey(.connection("site"), request: nil), for: network.chance(0.5) ? client : gateway, after: network.number(0...200))
            default: network.schedule(.rekey(.child("net", connection: nil), request: nil), for: network.chance(0.5) ? client : gateway, after: network.number(0...200))
            }
            network.run(.milliseconds(network.chance(0.5) ? network.number(5...300) : network.number(300...8000)))
            network.sendTraffic(client)
            network.sendTraffic(gateway)
        }
        network.faults = .none
        network.run(.seconds(200))
        var wrong = Agreement.differences(client, gateway)
        for node in [client, gateway] {
            let made = node.reports.count { if case .ikeSAEstablished = $0 { true } else { false } }
            if made != 1 { wrong.append("\(node.name) has made \(made) IKE SAs, not one that moved") }
            if node.children.count != 1 { wrong.append("\(node.name) has \(node.children.count) children") }
            for pair in node.plane.carrying where pair.encapsulated != client.isBehindNAT { wrong.append("\(node.name): ESP in UDP is \(pair.encapsulated), behind a NAT \(client.isBehindNAT)") }
        }
        if gateway.plane.carrying.first?.remote.address != client.publicAddress.address { wrong.append("the gateway sends ESP to \(gateway.plane.carrying.map(\.remote))") }
        if client.plane.carrying.first?.local.address != client.local.address { wrong.append("the client sends ESP from \(client.plane.carrying.map(\.local))") }
        if network.sendTraffic(client) != 1 || network.sendTraffic(gateway) != 1 { wrong.append("no traffic passes") }
        return wrong + (wrong.isEmpty ? [] : network.log.suffix(Seeds.only == nil ? 12 : 400).map { "    " + $0 })
    }

    private static func move(_ network: World, _ client: Node, _ address: IPAddress, _ nat: NAT?) {
        client.roam(to: address, behind: nat)
        network.note(client, "roams to \(address)\(nat.map { " behind \($0.address)" } ?? "")")
        network.send(.localAddressesChanged([address]), to: client)
    }

    @Test func theTunnelGoesWithTheClient() async { await Seeds.run("Roaming", share: 10, known: [3754, 4593]) { Roaming.run($0) } }
}
