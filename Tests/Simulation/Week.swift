// A week in the life of a client and its gateway: keys are renewed by time, identities proven anew each day, the client moves from network to
// network and is without one for a while, and at the end there is one IKE SA with one child, and nothing has been noticed.
// RFC 7296 sections 2.4, 2.8 and 2.8.3, RFC 4478, RFC 4555.

import IKECore
import IKEWire
import TestSupport
import Testing

@Suite struct Week {
    static func run(_ seed: UInt64) -> [String] {
        var limits = Limits()
        // A keepalive each 20 seconds would be most of the week.
        limits.keepalive = .seconds(300)
        let (world, client, gateway) = Fixtures.pair(seed: seed, limits: limits) { connection, east in
            connection.children[0].lifetime = Lifetime(rekeyTime: .seconds(3600), lifeTime: .seconds(3960), randTime: .seconds(360))
            connection.lifetime = Lifetime(rekeyTime: .seconds(14_400), lifeTime: .seconds(15_840), randTime: .seconds(1440))
            connection.children[0].proposals = [Fixtures.espProposal([.curve25519])]
            connection.dpdDelay = .seconds(600)
            // One of the two ends asks for it: the gateway, by AUTH_LIFETIME.
            if east == (seed % 2 == 0) { connection.reauthTime = .seconds(86_400) }
        }
        world.keepsLog = Seeds.only != nil
        world.faults = Faults(loss: 0.02, duplication: 0.02, delay: 5...60)
        for node in [client, gateway] { node.keepsReports = false }
        let watcher = Watcher(world)
        var made = 0, rekeyed = 0, childrenRekeyed = 0, failures: [String] = []
        world.onReport = { node, report in
            switch report {
            case .ikeSAEstablished: if node === client { made += 1 }
            case .ikeSARekeyed: if node === client { rekeyed += 1 }
            case .childSARekeyed: if node === client { childrenRekeyed += 1 }
            case .failed(let failure, _, _): failures.append("\(world.milliseconds / 1000) s, \(node.name): \(failure.summary)")
            default: break
            }
        }
        for node in [client, gateway] { world.send(.localAddressesChanged([node.local.address]), to: node) }
        Fixtures.initiate(world, client, gateway)
        world.run(.seconds(60)) { !client.children.isEmpty && !gateway.children.isEmpty }
        var place: UInt32 = 0, left = 604_800
        while left > 0, !watcher.isBroken {
            let pause = Int(world.number(600...14_400))
            left -= pause
            world.run(.seconds(pause)) { watcher.isBroken }
            place += 1
            if world.chance(0.3) { world.send(.localAddressesChanged([]), to: client) }
            world.run(.seconds(world.number(0...20))) { watcher.isBroken }
            let address = IPAddress(v4: 0xc633_6400 + place)
            client.roam(to: address, behind: world.chance(0.5) ? NAT(IPAddress(v4: 0xcb00_7200 + place), isStrict: true) : nil)
            world.send(.localAddressesChanged([address]), to: client)
            for node in [client, gateway] { world.streamTraffic(node) }
        }
        world.faults = .none
        world.run(.seconds(400)) { watcher.isBroken }
        var wrong = watcher.findings + Agreement.differences(client, gateway) + failures.prefix(5)
        // Seven days, the first authentication, and some room for how early each was due.
        if !(7...10).contains(made) { wrong.append("\(made) IKE SAs were authenticated in a week") }
        if rekeyed < 28 || childrenRekeyed < 150 { wrong.append("keys were renewed \(rekeyed) times, those of children \(childrenRekeyed) times") }
        for node in [client, gateway] where node.children.count != 1 || node.established.count != 1 {
            wrong.append("\(node.name) ends with \(node.established.count) IKE SAs and \(node.children.count) children")
        }
        if world.sendTraffic(client) != 1 || world.sendTraffic(gateway) != 1 { wrong.append("no traffic passes") }
        return wrong + (wrong.isEmpty ? [] : ["\(world.steps) steps"] + world.log.suffix(400).map { "    " + $0 })
    }

    @Test func nothingIsNoticed() async { await Seeds.run("Week", share: 0) { Week.run($0) } }
}
