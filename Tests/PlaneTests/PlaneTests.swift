// The TUN plane as its host and the network see it.

import Foundation
import Testing

@Suite(.serialized, .enabled(if: Laboratory.isAvailable)) struct PlaneTests {
    /// A ping goes both ways, inside both families, with counters on both sides that say it went through the tunnel.
    @Test(arguments: [false, true], [false, true])
    func carriesBothFamilies(outerIPv6: Bool, udp: Bool) throws {
        let hosts = try TwoHosts()
        let suites = [
            "", "encryption=20 bits=128 key=\(String(repeating: "22", count: 20))", "encryption=28 bits=0 flags=1 window=1024",
            "encryption=12 bits=256 integrity=12 key=\(String(repeating: "33", count: 32)) integrity_key=\(String(repeating: "44", count: 32)) flags=1", "flags=14",
        ]
        for (index, suite) in suites.enumerated() {
            let tunnel = TwoHosts.Tunnel(
                child: UInt64(index + 1), policy: UInt64(index + 1), spi: 0xc000_0001 + UInt32(index) * 16, udp: udp, outerIPv6: outerIPv6, suite: suite)
            hosts.add(tunnel)
            #expect(hosts.a.run("ping -c 2 -i 0.1 -W 2 10.2.0.1").status == 0, "\(suite)")
            #expect(hosts.b.run("ping -c 2 -i 0.1 -W 2 fd00:1::1").status == 0, "\(suite)")
            #expect(hosts.a.run("ping -c 1 -W 2 -s 4000 10.2.0.1").status == 0, "\(suite)")
            for (plane, own) in [(hosts.a, tunnel.spi), (hosts.b, tunnel.spi + 1)] {
                let inbound = plane.counters(own, inbound: true, child: tunnel.child)
                let outbound = plane.counters(own == tunnel.spi ? own + 1 : own - 1, inbound: false, child: tunnel.child)
                // Two pings each way and four thousand bytes in three fragments.
                #expect(inbound["packets"] == 7 && inbound["sequence"] == 7 && inbound["used"] == 1)
                #expect(outbound["packets"] == 7 && outbound["sequence"] == 7)
                #expect(plane.drops.isEmpty)
            }
            hosts.remove(tunnel)
        }
    }

    /// RFC 7296 section 2.23: the kind of an SA says how it sends. Here each end sends what the other does not.
    @Test(arguments: [true, false]) func takesBothKindsOfPacketAtAnyTime(udp: Bool) throws {
        let hosts = try TwoHosts()
        let tunnel = TwoHosts.Tunnel(udp: udp, extraOfA: "encapsulation=\(udp ? 0 : 1)")
        hosts.add(tunnel)
        // Who is sent ESP in UDP, while it sends bare ESP itself.
        let receiver = udp ? hosts.a : hosts.b
        receiver.send("record veth0 udp")
        #expect(receiver.readLine() == "ok recording")
        #expect(hosts.a.run("ping -c 1 -W 2 10.2.0.1").status == 0)
        #expect(receiver.readLine().hasPrefix(udp ? "ok c0000001" : "ok c0000002"))
        #expect(hosts.a.counters(tunnel.spi, inbound: true, child: 1)["packets"] == 1)
        #expect(hosts.b.counters(tunnel.spi + 1, inbound: true, child: 1)["packets"] == 1)
        #expect(hosts.a.drops.isEmpty && hosts.b.drops.isEmpty)
    }

    @Test func severalWorkersAndChildren() throws {
        let hosts = try TwoHosts(workers: 2)
        for number in 1...6 {
            for (plane, side) in [(hosts.a, 1), (hosts.b, 2)] { plane.run("ip addr add 10.\(side).\(number).1/24 dev lo") }
            hosts.add(
                TwoHosts.Tunnel(
                    child: UInt64(number), policy: UInt64(number), spi: 0xc000_0001 + UInt32(number) * 3, udp: number % 2 == 0,
                    localTS: "10.1.\(number).0/24", remoteTS: "10.2.\(number).0/24"))
        }
        for number in 1...6 { #expect(hosts.a.run("ping -c 2 -i 0.1 -W 2 10.2.\(number).1").status == 0) }
        for number in 1...6 {
            let spi = 0xc000_0001 + UInt32(number) * 3
            #expect(hosts.a.counters(spi, inbound: true, child: UInt64(number))["packets"] == 2)
        }
        #expect(hosts.a.drops.isEmpty && hosts.b.drops.isEmpty)
    }

    @Test func refusesReplaysForgeriesAndStrangers() throws {
        let hosts = try TwoHosts()
        hosts.add(TwoHosts.Tunnel())
        hosts.b.send("record veth0 udp")
        #expect(hosts.b.readLine() == "ok recording")
        #expect(hosts.a.run("ping -c 1 -W 2 10.2.0.1").status == 0)
        let packet = String(hosts.b.readLine().dropFirst(3))
        #expect(packet.hasPrefix("c000000200000001"))
        func inject(_ hex: String) { #expect(hosts.a.command("inject udp 192.0.2.1@4500 192.0.2.2@4500 \(hex)") == "ok") }

        inject(packet)
        // A higher sequence number makes it new, and wrong.
        inject(String(packet.prefix(8)) + "00001000" + packet.dropFirst(16))
        // The last bit of the ICV.
        inject(String(packet.prefix(8)) + "00000002" + packet.dropFirst(16).dropLast(2) + "00")
        inject("c00000ff" + packet.dropFirst(8))
        inject("c0000002000000")
        inject("c00000020000000300")
        #expect(hosts.a.run("ping -c 1 -W 2 10.2.0.1").status == 0)
        #expect(hosts.b.drops == ["replay": 1, "icv": 2, "unknown_spi": 1, "malformed": 2])
        let counters = hosts.b.counters(0xc000_0002, inbound: true, child: 1)
        #expect(counters["replayed"] == 1 && counters["rejected_icv"] == 2 && counters["malformed"] == 1)
        // The forged sequence number did not move the window.
        #expect(counters["sequence"] == 2)
    }

    /// The core hears of a packet that no SA takes, with where it came from; of a flood of them, one a second and thread.
    @Test func tellsOfPacketsThatNoSATakes() throws {
        let hosts = try TwoHosts()
        hosts.add(TwoHosts.Tunnel())
        let body = String(repeating: "00", count: 60)
        /// Until the plane has told of one: it tells of one a second.
        func told(_ inject: String, _ spi: String) -> String {
            for _ in 0..<200 {
                #expect(hosts.a.command(inject) == "ok")
                for event in hosts.b.events.dropFirst(3).split(separator: ";") where event.hasPrefix("stray spi=\(spi)") { return String(event) }
                Thread.sleep(forTimeInterval: 0.1)
            }
            return "nothing"
        }
        #expect(
            told("inject udp 192.0.2.1@4500 192.0.2.2@4500 c00000ff\(body)", "c00000ff")
                == "stray spi=c00000ff length=64 udp=1 local=0.0.0.0@4500 remote=192.0.2.1@4500")
        #expect(told("inject esp 192.0.2.1 192.0.2.2 c00000fe\(body)", "c00000fe") == "stray spi=c00000fe length=64 udp=0 local=192.0.2.2@0 remote=192.0.2.1@0")
        let before = hosts.b.drops["unknown_spi"] ?? 0
        _ = hosts.b.events
        for _ in 0..<200 { #expect(hosts.a.command("inject udp 192.0.2.1@4500 192.0.2.2@4500 c00000ff\(body)") == "ok") }
        for _ in 0..<100 where (hosts.b.drops["unknown_spi"] ?? 0) < before + 200 { Thread.sleep(forTimeInterval: 0.05) }
        // All are counted; told of are few, however slow this machine is.
        #expect((hosts.b.drops["unknown_spi"] ?? 0) == before + 200)
        #expect(hosts.b.events.split(separator: ";").filter { $0.contains("stray") }.count < 100)
    }

    /// A router on the way marks what is sent: the receiver inside hears of it, and a packet whose sender would not is dropped. RFC 6040 section 4.2.
    @Test(.enabled(if: Laboratory.hasFilter, "nft is missing")) func marksOfCongestionReachTheReceiver() throws {
        let hosts = try TwoHosts()
        hosts.add(TwoHosts.Tunnel())
        for rule in ["add table ip marks", "add chain ip marks out '{ type filter hook output priority 0; }'", "add rule ip marks out udp dport 4500 ip ecn set ce"] {
            #expect(hosts.a.run("nft \(rule)").status == 0)
        }
        for rule in ["add table ip heard", "add chain ip heard in '{ type filter hook input priority 0; }'", "add rule ip heard in iifname martlet0 ip ecn ce counter"] {
            #expect(hosts.b.run("nft \(rule)").status == 0)
        }
        #expect(hosts.a.run("ping -c 2 -i 0.1 -W 2 -Q 2 10.2.0.1").status == 0)
        #expect(hosts.b.run("nft list chain ip heard in").output.contains("counter packets 2 "))
        #expect(hosts.b.drops.isEmpty)
        #expect(hosts.a.run("ping -c 1 -W 1 -Q 0 10.2.0.1").status != 0)
        #expect(hosts.b.drops == ["ecn": 1])
    }

    @Test func enforcesSelectorsBothWays() throws {
        let hosts = try TwoHosts()
        hosts.a.run("ip addr add 10.1.9.1/24 dev lo")
        // A may send from two networks, B was told of one; B takes ICMP and TCP to one port alone.
        hosts.add(
            TwoHosts.Tunnel(
                localTS: "10.1.0.0/16", remoteTS: "10.2.0.0/24", localTSOfB: "10.2.0.0/24:1:0:65535,10.2.0.0/24:6:5001:5001", remoteTSOfB: "10.1.0.0/24"))
        // B's answers match, its selectors being ICMP as well.
        #expect(hosts.a.run("ping -c 1 -W 2 -I 10.1.0.1 10.2.0.1").status == 0)
        #expect(hosts.a.run("ping -c 2 -i 0.1 -W 1 -I 10.1.9.1 10.2.0.1").status != 0)
        #expect(hosts.b.drops["selector"] == 2)
        #expect(hosts.b.counters(0xc000_0002, inbound: true, child: 1)["rejected_selector"] == 2)
        // UDP is outside B's selectors, and its later fragments show no ports.
        hosts.a.run("sh -c 'echo x | timeout 2 bash -c \"cat > /dev/udp/10.2.0.1/9\"'")
        #expect(hosts.b.drops["selector"] == 3)
        // From A's side: an address that no policy has, through a route that somebody added by hand.
        hosts.a.run("ip route add 10.77.0.0/24 dev martlet0 src 10.1.0.1")
        #expect(hosts.a.run("ping -c 2 -i 0.1 -W 1 10.77.0.1").status != 0)
        #expect(hosts.a.drops["no_policy"] == 2)
    }

    @Test func cleansUpAfterACrash() throws {
        let hosts = try TwoHosts()
        hosts.add(TwoHosts.Tunnel(localTS: "10.1.0.0/24", remoteTS: "10.0.0.0/8"))
        // Our own network inside the peer's stays out of the tunnel.
        #expect(hosts.a.run("ip route show table 52100").output.contains("throw 10.1.0.0/24"))
        hosts.a.kill()
        #expect(hosts.a.run("ip rule").output.contains("52100"))
        #expect(hosts.a.run("ip route show table 52100").output.contains("throw"))
        let next = try PlaneProcess(namespace: hosts.a.namespace)
        #expect(next.command("start 1 4500 4242") == "ok")
        #expect(!next.run("ip rule").output.contains("52100"))
        #expect(!next.run("ip route show table 52100").output.contains("throw"))
        #expect(next.logged.contains("removed 1 routes and 6 rules left in table 52100"))
        next.quit()
    }

    /// Everything goes into the tunnel but the outer packets and the local networks.
    @Test func aDefaultRouteDoesNotLoop() throws {
        let hosts = try TwoHosts()
        for plane in [hosts.a, hosts.b] { plane.run("ip route add default via 192.0.2.\(plane === hosts.a ? 2 : 1)") }
        hosts.b.run("ip addr add 198.51.100.7/32 dev lo")
        hosts.add(TwoHosts.Tunnel(localTS: "10.1.0.0/24", remoteTS: "0.0.0.0/0"))
        #expect(hosts.a.run("ip route get 198.51.100.7").output.contains("martlet0"))
        #expect(hosts.a.run("ip route get 192.0.2.2 mark 4242").output.contains("veth0"))
        #expect(hosts.a.run("ip route get 203.0.113.5 mark 4242").output.contains("veth0"))
        #expect(hosts.a.run("ip route get 192.0.2.99").output.contains("veth0"))
        #expect(hosts.a.run("ping -c 3 -i 0.1 -W 2 198.51.100.7").status == 0)
        #expect(hosts.a.counters(0xc000_0001, inbound: true, child: 1)["packets"] == 3)
        #expect(hosts.a.counters(0xc000_0002, inbound: false, child: 1)["packets"] == 3)
        #expect(hosts.a.drops.isEmpty && hosts.b.drops.isEmpty)
    }

    /// Ten rekeys under traffic: nothing lost, nothing dropped.
    @Test(arguments: [1, 2]) func rekeysLoseNothing(workers: Int) throws {
        let hosts = try TwoHosts(workers: workers)
        var current = TwoHosts.Tunnel()
        hosts.add(current)
        let ping = Process()
        ping.executableURL = URL(filePath: "/usr/bin/env")
        ping.arguments = ["ip", "netns", "exec", hosts.a.namespace, "ping", "-q", "-i", "0.002", "-c", "1000", "-s", "1200", "-W", "2", "10.2.0.1"]
        let output = Pipe()
        ping.standardOutput = output
        try ping.run()
        for number in 2...11 {
            usleep(150_000)
            var next = current
            next.child = UInt64(number)
            next.spi += 7
            next.key = String(repeating: String(number + 10), count: 36)
            hosts.add(next)
            // The peer's Delete takes a moment: packets on the old SA are still under way.
            usleep(20_000)
            hosts.remove(current)
            current = next
        }
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        ping.waitUntilExit()
        #expect(text.contains("1000 packets transmitted, 1000 received"), "\(text)")
        #expect(hosts.a.drops.isEmpty && hosts.b.drops.isEmpty)
    }

    /// Once everything has been used, packets go through in memory that is there already.
    @Test(arguments: ["", "encryption=28 bits=0 flags=1"]) func allocatesNothingForAPacket(suite: String) throws {
        let hosts = try TwoHosts()
        hosts.add(TwoHosts.Tunnel(suite: suite))
        func traffic(_ count: Int) {
            #expect(hosts.a.run("ping -q -c \(count) -i 0.002 -s 1000 -W 2 10.2.0.1").status == 0)
            #expect(hosts.a.run("ping -q -c \(count) -i 0.002 -W 2 fd00:2::1").status == 0)
        }
        traffic(50)
        let before = (hosts.a.allocations, hosts.b.allocations)
        traffic(250)
        #expect(hosts.a.allocations == before.0)
        #expect(hosts.b.allocations == before.1)
        #expect(hosts.a.counters(0xc000_0001, inbound: true, child: 1)["packets"] == 600)
    }

    @Test func limitsAreToldAndKept() throws {
        let hosts = try TwoHosts()
        hosts.add(TwoHosts.Tunnel(extraOfA: "soft_packets=5 hard_packets=8"))
        hosts.a.run("ping -c 6 -i 0.05 -W 1 10.2.0.1")
        // Six each way: both SAs are past five, and each said so once.
        let soft = hosts.a.events
        #expect(soft.contains("expired child=1 spi=c0000002 direction=1 hard=0") && soft.contains("expired child=1 spi=c0000001 direction=0 hard=0"))
        #expect(!soft.contains("hard=1"))
        hosts.a.run("ping -c 4 -i 0.05 -W 1 10.2.0.1")
        let hard = hosts.a.events
        #expect(hard.contains("expired child=1 spi=c0000002 direction=1 hard=1") && hard.contains("expired child=1 spi=c0000001 direction=0 hard=1"))
        #expect(!hard.contains("hard=0"))
        #expect(hosts.a.drops == ["expired": 2])
        #expect(hosts.a.counters(0xc000_0002, inbound: false, child: 1)["packets"] == 8)
    }

    @Test func aTrapReportsThePacketAndGivesWayToTheSA() throws {
        let hosts = try TwoHosts()
        #expect(hosts.a.command("policy 7 1 10.1.0.0/24,fd00:1::/64 10.2.0.0/24,fd00:2::/64") == "ok")
        hosts.a.run("ping -c 3 -i 0.05 -W 1 10.2.0.1")
        #expect(hosts.a.events == "ok acquire policy=7 10.1.0.1>10.2.0.1 proto=1 ports=0-65535;")
        #expect(hosts.a.drops == ["no_sa": 3])
        hosts.add(TwoHosts.Tunnel())
        #expect(hosts.a.run("ping -c 3 -i 0.05 -W 1 10.2.0.1").status == 0)
        #expect(hosts.a.events == "ok ")
        // The trap outlives the SA, with its routes.
        hosts.remove(TwoHosts.Tunnel())
        hosts.a.run("ping -c 1 -W 1 fd00:2::1")
        #expect(hosts.a.events == "ok acquire policy=7 fd00:1::1>fd00:2::1 proto=58 ports=0-65535;")
        #expect(hosts.a.command("unpolicy 7") == "ok")
        #expect(hosts.a.command("unpolicy 7") != "ok")
        #expect(!hosts.a.run("ip route show table 52100").output.contains("10.2.0.0"))
        #expect(hosts.a.command("policy 7 2 10.1.0.0/24 10.2.0.0/24") != "ok")
    }

    /// While it is heard for a moment still. RFC 7296 section 1.4.1.
    @Test func aClosedChildLeavesItsPacketsToAWiderOne() throws {
        let hosts = try TwoHosts()
        var wide = TwoHosts.Tunnel(localTS: "10.1.0.0/16", remoteTS: "10.2.0.0/16")
        (wide.child, wide.policy) = (7, 7)
        wide.spi += 64
        hosts.add(wide)
        hosts.add(TwoHosts.Tunnel())
        #expect(hosts.a.run("ping -c 1 -W 2 10.2.0.1").status == 0)
        #expect(hosts.a.command("remove c0000002 1 1") == "ok" && hosts.b.command("remove c0000001 1 1") == "ok")
        #expect(hosts.a.run("ping -c 2 -i 0.1 -W 2 10.2.0.1").status == 0)
        #expect(hosts.a.counters(wide.spi, inbound: true, child: 7)["packets"] == 2 && hosts.a.drops.isEmpty && hosts.b.drops.isEmpty)
        // Without one they end here, and not on the network in clear; nobody is asked for an SA: that is a trap's.
        hosts.remove(wide)
        hosts.a.run("ping -c 2 -i 0.1 -W 1 10.2.0.1")
        #expect(hosts.a.drops == ["no_policy": 2] && hosts.a.events == "ok ")
        // The inbound half still works on its own.
        #expect(hosts.a.counters(0xc000_0001, inbound: true, child: 1)["packets"] == 1)
    }

    /// What is dropped, what passes by, and in which order of two that match.
    @Test func policiesDropAndPass() throws {
        let hosts = try TwoHosts()
        func table() -> String { hosts.a.run("ip route show table 52100").output }
        hosts.add(TwoHosts.Tunnel(localTS: "10.1.0.0/24", remoteTS: "10.2.0.0/16"))
        #expect(hosts.a.run("ping -c 2 -i 0.1 -W 2 10.2.0.1").status == 0)
        // The narrower of two decides.
        #expect(hosts.a.command("policy 1 3 0.0.0.0/0 10.2.0.0/24") == "ok")
        #expect(hosts.a.run("ping -c 2 -i 0.1 -W 1 10.2.0.1").status != 0)
        #expect(hosts.a.drops == ["policy": 2])
        // From the peer as well; it hears nothing.
        #expect(hosts.b.run("ping -c 2 -i 0.1 -W 1 10.1.0.1").status != 0)
        #expect(hosts.a.drops == ["policy": 4])
        #expect(hosts.a.command("unpolicy 1") == "ok")
        #expect(hosts.a.run("ping -c 2 -i 0.1 -W 2 10.2.0.1").status == 0)
        #expect(hosts.b.run("ping -c 2 -i 0.1 -W 2 10.1.0.1").status == 0)
        // Of two alike, an SA comes before what is dropped, and what passes before an SA.
        #expect(hosts.a.command("policy 2 3 10.1.0.0/24 10.2.0.0/16") == "ok")
        #expect(hosts.a.run("ping -c 2 -i 0.1 -W 2 10.2.0.1").status == 0)
        #expect(hosts.a.command("policy 3 2 0.0.0.0/0 10.2.0.0/16") == "ok")
        #expect(table().contains("throw 10.2.0.0/16") && !table().contains("10.2.0.0/16 dev"))
        #expect(hosts.a.command("policy 4 2 0.0.0.0/0 10.2.7.0/24") == "ok")
        #expect(table().contains("throw 10.2.7.0/24"))
        // The tunnel has its route again when nothing passes any more.
        #expect(hosts.a.command("unpolicy 3") == "ok" && hosts.a.command("unpolicy 4") == "ok")
        #expect(table().contains("10.2.0.0/16 dev martlet0") && !table().contains("throw"))
        #expect(hosts.a.run("ping -c 2 -i 0.1 -W 2 10.2.0.1").status == 0)
        #expect(hosts.a.command("unpolicy 2") == "ok")
        #expect(table().contains("10.2.0.0/16 dev martlet0"))
        // Routes know no ports and no senders: what would let more pass than is written is refused.
        for selectors in ["10.1.0.0/24 198.51.100.0/24", "0.0.0.0/0 fd00:9::/64", "198.51.0.0/16 198.51.100.0/24", "0.0.0.0/1 10.2.0.0/16"] {
            #expect(hosts.a.command("policy 5 2 \(selectors)") == "error -2", "\(selectors)")
        }
        #expect(hosts.a.command("policy 5 2 0.0.0.0/0 198.51.100.0/24") == "ok")
        #expect(hosts.a.command("policy 6 4 0.0.0.0/0 198.51.100.0/24") != "ok")
    }

    /// Two children of one policy, as after both ends connected at once: when the newer one goes, the older one carries on.
    @Test func anOlderChildTakesOver() throws {
        let hosts = try TwoHosts()
        let first = TwoHosts.Tunnel()
        hosts.add(first)
        var second = first
        second.child = 2
        second.spi += 16
        hosts.add(second)
        #expect(hosts.a.run("ping -c 1 -W 2 10.2.0.1").status == 0)
        #expect(hosts.b.counters(second.spi + 1, inbound: true, child: 2)["packets"] == 1)
        hosts.remove(second)
        #expect(hosts.a.run("ping -c 1 -W 2 10.2.0.1").status == 0)
        #expect(hosts.b.counters(first.spi + 1, inbound: true, child: 1)["packets"] == 1)
        #expect(hosts.a.events == "ok " && hosts.a.drops.isEmpty && hosts.b.drops.isEmpty)
    }

    /// Of many policies those that change close together are published together, and soon.
    @Test func manyPoliciesArePublishedTogether() throws {
        let hosts = try TwoHosts()
        func tunnel(_ number: Int) -> TwoHosts.Tunnel {
            TwoHosts.Tunnel(
                child: UInt64(number), policy: UInt64(number), spi: 0xc000_0000 + UInt32(number) * 2, localTS: "10.1.0.0/24", remoteTS: "10.2.\(number / 200).\(number % 200 + 1)/32")
        }
        for number in 1...300 { hosts.add(tunnel(number), activate: false) }
        hosts.b.run("ip addr add 10.2.1.101/32 dev lo")
        for plane in [hosts.b, hosts.a] {
            for number in 1...255 { #expect(plane.command("activate \(number)") == "ok") }
            #expect(plane.timers == 0)
            for number in 256...300 { plane.send("activate \(number)") }
            for _ in 256...300 { #expect(plane.readLine() == "ok") }
            #expect((1...10).contains(plane.timers))
        }
        // The last of them carries packets, as soon as both ends have it in their tables.
        var isCarried = false
        for _ in 0..<50 where !isCarried { isCarried = hosts.a.run("ping -c 1 -W 1 10.2.1.101").status == 0 }
        #expect(isCarried && (hosts.b.counters(0xc000_0000 + 601, inbound: true, child: 300)["packets"] ?? 0) > 0)
        // What replaces an SA, and what ends one, waits for no timer: when the call returns, the one before is used no more.
        let timers = hosts.a.timers
        var second = tunnel(300)
        second.child = 1300
        second.spi += 0x1_0000
        hosts.add(second)
        #expect(hosts.a.run("ping -c 1 -W 2 10.2.1.101").status == 0)
        #expect(hosts.b.counters(second.spi + 1, inbound: true, child: 1300)["packets"] == 1)
        hosts.remove(second)
        #expect(hosts.a.run("ping -c 1 -W 2 10.2.1.101").status == 0)
        hosts.remove(tunnel(300))
        #expect(hosts.a.run("ping -c 1 -W 1 10.2.1.101").status != 0)
        #expect(hosts.a.timers == timers)
    }

    @Test func followsAPeerThatMoves() throws {
        let hosts = try TwoHosts()
        hosts.a.run("ip addr add 192.0.2.11/24 dev veth0")
        hosts.add(TwoHosts.Tunnel())
        #expect(hosts.a.run("ping -c 1 -W 2 10.2.0.1").status == 0)
        #expect(hosts.b.events == "ok ")
        #expect(hosts.a.command("update 1 192.0.2.11@4500 192.0.2.2@4500 1") == "ok")
        // B still answers to the old address, which is A's as well.
        #expect(hosts.a.run("ping -c 1 -W 2 10.2.0.1").status == 0)
        // Once, or once a second, and that the packets between come from where B knows the peer to be, or from a third place, changes nothing.
        hosts.a.run("ip addr add 192.0.2.12/24 dev veth0")
        for last in Array(repeating: [1, 12, 11], count: 8).joined() {
            #expect(hosts.a.command("update 1 192.0.2.\(last)@4500 192.0.2.2@4500 1") == "ok")
            #expect(hosts.a.run("ping -c 1 -W 2 10.2.0.1").status == 0)
        }
        let moves = hosts.b.events.dropFirst(3).split(separator: ";"), moved = "moved child=1 spi=c0000002 remote=192.0.2."
        #expect(moves.first == "\(moved)11 port=4500" && moves.allSatisfy { $0 == "\(moved)11 port=4500" || $0 == "\(moved)12 port=4500" })
        #expect(moves.count < 12, "\(moves.count) reports of 17 packets from elsewhere")
        hosts.a.run("ip addr del 192.0.2.1/24 dev veth0; ip netns exec \(hosts.a.namespace) ip addr add 192.0.2.11/24 dev veth0")
        #expect(hosts.b.command("update 1 192.0.2.2@4500 192.0.2.11@4500 1") == "ok")
        #expect(hosts.a.run("ping -c 2 -i 0.1 -W 2 10.2.0.1").status == 0)
        #expect(hosts.b.events == "ok ")
        // A change of encapsulation, and of the outer family.
        for (plane, me, peer) in [(hosts.a, 1, 2), (hosts.b, 2, 1)] {
            #expect(plane.command("update 1 2001:db8::\(me)@4500 2001:db8::\(peer)@4500 0") == "ok")
        }
        #expect(hosts.a.run("ping -c 2 -i 0.1 -W 2 fd00:2::1").status == 0)
        #expect(hosts.a.drops.isEmpty && hosts.b.drops.isEmpty)
    }

    /// RFC 4555 section 3.12: bare ESP from another address is told of, and is no sign that the way to the peer works.
    @Test func barePacketsFromElsewhereAreNoSignOfLife() throws {
        let hosts = try TwoHosts()
        hosts.a.run("ip addr add 192.0.2.11/24 dev veth0")
        var tunnel = TwoHosts.Tunnel()
        tunnel.udp = false
        hosts.add(tunnel)
        #expect(hosts.a.run("ping -c 1 -W 2 10.2.0.1").status == 0)
        let before = hosts.b.counters(tunnel.spi + 1, inbound: true, child: 1)
        #expect(hosts.b.events == "ok " && (before["last_use"] ?? 0) > 0)
        #expect(hosts.a.command("update 1 192.0.2.11@4500 192.0.2.2@4500 0") == "ok")
        #expect(hosts.a.run("ping -c 20 -i 0.02 -W 2 10.2.0.1").status == 0)
        let after = hosts.b.counters(tunnel.spi + 1, inbound: true, child: 1)
        #expect(after["packets"] == 21 && after["last_use"] == before["last_use"])
        // Once, or once a second.
        let events = hosts.b.events, moved = "moved child=1 spi=c0000002 remote=192.0.2.11 port=4500;"
        #expect(events.hasPrefix("ok " + moved) && events.replacingOccurrences(of: moved, with: "") == "ok ")
        #expect(events.components(separatedBy: moved).count - 1 < 10)
    }

    /// With an interface that is told to be larger than the tunnel: senders learn the size, and TCP never needs to.
    @Test func tellsSendersWhatFits() throws {
        let hosts = try TwoHosts(settings: ["mtu=1500"])
        hosts.add(TwoHosts.Tunnel())
        let four = hosts.a.run("ping -c 1 -W 2 -M do -s 1450 10.2.0.1").output
        #expect(four.contains("mtu = 1438") || four.contains("mtu=1438"), "\(four)")
        let six = hosts.a.run("ping -c 1 -W 2 -M do -s 1430 fd00:2::1").output
        #expect(six.contains("mtu = 1438") || six.contains("mtu=1438"), "\(six)")
        #expect(hosts.a.drops == ["too_big": 2])
        // Without DF the outer packet goes in fragments.
        hosts.a.run("ip route flush cache")
        #expect(hosts.a.run("ping -c 1 -W 2 -M dont -s 1450 10.2.0.1").status == 0)
        #expect(hosts.a.run("ping -c 1 -W 2 -M do -s 1410 10.2.0.1").status == 0)
    }

    /// The link carries less than the configuration says. With Don't Fragment copied, the first packet that is too large goes out in
    /// fragments and teaches the size; without it, fragments are all there is.
    @Test func learnsWhatThePathCarries() throws {
        let hosts = try TwoHosts()
        for plane in [hosts.a, hosts.b] { plane.run("ip link set veth0 mtu 1400") }
        hosts.add(TwoHosts.Tunnel(suite: "flags=2"))
        let marked = hosts.a.run("ping -c 3 -i 0.1 -W 2 -M do -s 1380 10.2.0.1").output
        #expect(marked.contains("mtu = 1338") || marked.contains("mtu=1338"), "\(marked)")
        #expect(marked.contains(" 1 received"), "\(marked)")
        #expect(hosts.a.run("ping -c 2 -i 0.1 -W 2 -M dont -s 1380 10.2.0.1").status == 0)
        #expect(hosts.a.drops == ["too_big": 1])

        let plain = try TwoHosts()
        for plane in [plain.a, plain.b] { plane.run("ip link set veth0 mtu 1400") }
        plain.add(TwoHosts.Tunnel())
        #expect(plain.a.run("ping -c 3 -i 0.1 -W 2 -M do -s 1380 10.2.0.1").output.contains(" 3 received"))
        #expect(plain.a.drops.isEmpty)
    }

    @Test(.enabled(if: Laboratory.hasIperf, "iperf3 is not installed (make deps)")) func transfersWithClampedSegments() throws {
        let hosts = try TwoHosts(workers: 2, settings: ["mtu=1500"])
        hosts.add(TwoHosts.Tunnel())
        let server = Process()
        server.executableURL = URL(filePath: "/usr/bin/env")
        server.arguments = ["ip", "netns", "exec", hosts.b.namespace, "iperf3", "-s", "-1"]
        server.standardOutput = FileHandle.nullDevice
        try server.run()
        usleep(500_000)
        let report = hosts.a.run("iperf3 -c 10.2.0.1 -n 20M -J").output
        server.waitUntilExit()
        let parsed = try #require(try JSONSerialization.jsonObject(with: Data(report.utf8)) as? [String: Any])
        let start = try #require(parsed["start"] as? [String: Any])
        let mss = try #require(start["tcp_mss_default"] as? Int)
        // 1438 less both headers, less the timestamps where they are counted.
        #expect((1386...1398).contains(mss))
        #expect(hosts.b.counters(0xc000_0002, inbound: true, child: 1)["bytes"] ?? 0 > 15_000_000)
        #expect(hosts.a.drops.isEmpty && hosts.b.drops.isEmpty)
    }

    @Test func refusesWrongSettingsAndSAs() throws {
        let hosts = try TwoHosts()
        for (setting, word) in [
            ("mtu=100", "mtu = 100"), ("table=254", "table = 254"), ("interface=a/b", "interface = a/b"), ("clamp_mss=maybe", "clamp_mss = maybe"),
            ("rule_priority=x", "rule_priority = x"),
        ] {
            let plane = try PlaneProcess(namespace: hosts.a.namespace, settings: [setting])
            #expect(plane.greeting == "error -3")
            #expect(plane.logged.contains(word))
        }
        // A second plane on the same interface.
        let second = try PlaneProcess(namespace: hosts.a.namespace)
        #expect(second.command("start 1 4500 4242") == "error -8")
        #expect(second.logged.contains("martlet0"))
        let good = "child=1 policy=1 local=192.0.2.1@4500 remote=192.0.2.2@4500 encapsulation=1 local_ts=10.1.0.0/24 remote_ts=10.2.0.0/24"
        let key = "key=\(TwoHosts.key)"
        #expect(hosts.a.command("sa spi=c0000001 direction=0 \(good) key=\(String(repeating: "11", count: 32))") == "error -3")
        #expect(hosts.a.command("sa spi=c0000001 direction=0 \(good) \(key) encryption=99") == "error -2")
        #expect(hosts.a.command("sa spi=ff direction=0 \(good) \(key)") == "error -3")
        #expect(hosts.a.command("sa spi=c0000001 direction=0 \(good) \(key) remote=2001:db8::2@4500") == "error -3")
        #expect(hosts.a.command("sa spi=c0000001 direction=0 \(good) \(key)") == "ok")
        for rest in ["", " child=2 policy=2"] { #expect(hosts.a.command("sa spi=c0000001 direction=0 \(good) \(key)\(rest)") == "error -3") }
        #expect(hosts.a.command("activate 1") == "error -6")
    }
}
