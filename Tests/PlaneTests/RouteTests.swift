// Routes, rules and addresses of the plane's interface: when they come and go, and what becomes of those that others take away.

import Foundation
import Testing

extension PlaneTests {
    @Test func routesComeAndGo() throws {
        let hosts = try TwoHosts()
        func table(_ plane: PlaneProcess) -> String { plane.run("ip route show table 52100").output + plane.run("ip -6 route show table 52100").output }
        func rules(_ plane: PlaneProcess) -> Int { plane.run("ip rule").output.components(separatedBy: "521").count - 1 }
        #expect(rules(hosts.a) == 0)
        let tunnel = TwoHosts.Tunnel()
        hosts.add(tunnel)
        #expect(table(hosts.a).contains("10.2.0.0/24 dev martlet0 proto 77 scope link src 10.1.0.1"))
        #expect(table(hosts.a).contains("fd00:2::/64 dev martlet0 proto 77 src fd00:1::1"))
        #expect(hosts.a.run("ip rule").output.contains("not from all fwmark 0x1092 lookup 52100"))
        // A second child of the policy keeps them, and so does one of another policy.
        var rekeyed = tunnel
        rekeyed.child = 2
        rekeyed.spi += 16
        hosts.add(rekeyed)
        var other = tunnel
        other.child = 3
        other.policy = 2
        other.spi += 32
        hosts.add(other)
        hosts.remove(tunnel)
        hosts.remove(rekeyed)
        #expect(table(hosts.a).contains("10.2.0.0/24"))
        #expect(hosts.a.run("ping -c 1 -W 2 10.2.0.1").status == 0)
        hosts.remove(other)
        #expect(!table(hosts.a).contains("/"))
        #expect(rules(hosts.a) == 0 && rules(hosts.b) == 0)
        #expect(hosts.a.command("counters c0000001 0 1") == "error -6")
        #expect(hosts.a.command("activate 1") == "error -6")
        #expect(hosts.a.command("remove c0000001 0 1") == "error -6")

        hosts.add(tunnel)
        #expect(hosts.a.command("stop") == "ok")
        #expect(!table(hosts.a).contains("/") && rules(hosts.a) == 0)
        #expect(!hosts.a.run("ip link").output.contains("martlet0"))
        #expect(hosts.a.command("start 1 4500 4242") == "ok")
    }

    /// A network manager that starts anew, or somebody who tidies up: without routes what a tunnel carries would leave in clear.
    @Test(
        arguments: [
            "ip route flush table 52100", "ip -6 route flush table 52100", "ip rule del prio 5210; ip rule del prio 5212; ip -6 rule del prio 5210", "ip link set martlet0 down",
            "ip addr flush dev martlet0",
        ]) func whatOthersTakeAwayIsPutBack(command: String) throws
    {
        let hosts = try TwoHosts()
        // Everything else would go there.
        hosts.a.run("ip route add default via 192.0.2.2")
        hosts.a.run("ip -6 route add default via 2001:db8::2")
        #expect(hosts.a.command("lend 10.3.0.1") == "ok")
        hosts.add(TwoHosts.Tunnel())
        func way(_ there: String, _ here: String) -> String { hosts.a.run("ip route get \(there) from \(here)").output }
        func isWhole() -> Bool {
            way("10.2.0.1", "10.1.0.1").contains("martlet0") && way("fd00:2::1", "fd00:1::1").contains("martlet0") && hosts.a.run("ip addr show dev martlet0").output.contains("10.3.0.1")
        }
        #expect(isWhole())
        hosts.a.run(command)
        var tries = 0
        while !isWhole(), tries < 200 {
            Thread.sleep(forTimeInterval: 0.05)
            tries += 1
        }
        #expect(isWhole(), "\(hosts.a.run("ip rule; ip route show table 52100; ip -6 route show table 52100; ip addr show dev martlet0").output)")
        #expect(hosts.a.run("ping -c 1 -W 2 10.2.0.1").status == 0 && hosts.a.run("ping -c 1 -W 2 fd00:2::1").status == 0)
        #expect(hosts.a.logged.contains("somebody has taken"), "\(hosts.a.logged)")
    }

    @Test func withoutTheInterfaceNothingLeavesInClear() throws {
        let hosts = try TwoHosts()
        hosts.a.run("ip route add default via 192.0.2.2")
        hosts.add(TwoHosts.Tunnel())
        hosts.a.run("ip link del martlet0")
        func way() -> Outcome { hosts.a.run("ip route get 10.2.0.1 from 10.1.0.1") }
        var tries = 0
        while way().status == 0, tries < 200 {
            Thread.sleep(forTimeInterval: 0.05)
            tries += 1
        }
        #expect(way().status != 0, "\(way().output)")
        func isHole() -> Bool { hosts.a.run("ip route show table 52100").output.contains("blackhole 10.2.0.0/24") }
        #expect(isHole())
        hosts.a.run("ip route flush table 52100")
        while !isHole(), tries < 400 {
            Thread.sleep(forTimeInterval: 0.05)
            tries += 1
        }
        #expect(isHole())
        #expect(hosts.a.command("stop") == "ok" && hosts.a.run("ip route show table 52100").output.contains("/") == false)
    }

    /// The kernel takes an interface's IPv4 routes along with its last address, and every route that names an address with that one.
    @Test func whatIsLentTakesNoRouteAlongWhenItGoes() throws {
        let hosts = try TwoHosts()
        hosts.add(TwoHosts.Tunnel())
        func routes() -> [String] {
            (hosts.a.run("ip route show table 52100").output + hosts.a.run("ip -6 route show table 52100").output).split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }.sorted()
        }
        let before = routes()
        #expect(before.count == 2)
        for address in ["10.3.0.1", "fd03::1"] {
            #expect(hosts.a.command("lend \(address)") == "ok")
            // A route for this address alone, beside the other tunnel's.
            var lent = TwoHosts.Tunnel(localTS: address.contains(":") ? "fd03::1/128" : "10.3.0.1/32", remoteTS: address.contains(":") ? "fd09::/64" : "10.9.0.0/16")
            (lent.child, lent.policy) = (7, 7)
            lent.spi += 64
            hosts.add(lent)
            #expect(routes().count == 3 && routes().contains { $0.contains("src \(address)") })
            #expect(hosts.a.command("unlend \(address)") == "ok")
            #expect(routes().count == 3 && Set(routes()).isSuperset(of: before) && !routes().contains { $0.contains("src \(address)") }, "\(routes())")
            hosts.remove(lent)
            #expect(routes() == before)
        }
        #expect(hosts.a.run("ping -c 1 -W 2 10.2.0.1").status == 0)
        #expect(!hosts.a.logged.contains("routes back"), "the routes were gone for a moment: \(hosts.a.logged)")
    }
}
