// What becomes of each parameter, and that nothing which restricts is left away.

import IPsecConf
import Testing

@Suite struct TranslationTests {
    /// A line, and the settings that it gives.
    @Test(arguments: [
        ("auto=start", ["start_action = start"]), ("auto=route\ncloseaction=hold\ndpdaction=hold", ["start_action = trap", "close_action = trap", "dpd_action = trap"]),
        ("dpdaction=restart", ["dpd_delay = 30s", "dpd_action = restart"]),
        ("dpdaction=clear\ndpddelay=2m", ["dpd_delay = 2m"]), ("closeaction=restart", ["close_action = start"]),
        ("ike=aes256gcm16-prfsha384-ecp384,aes256-sha256-modp2048!", ["proposals = aes256gcm16-prfsha384-ecp384, aes256-sha256-modp2048"]),
        ("ike=aes256-sha2_256-modp2048,aes128-sha-modp1024!", ["proposals = aes256-sha2_256-modp2048, aes128-sha-modp1024"]),
        ("ike=aes256-sha256-modp2048", ["proposals = aes256-sha256-modp2048, default"]), ("esp=aes128gcm16-x25519!", ["esp_proposals = aes128gcm16-x25519"]),
        ("esp=aes256gcm16-aes256-sha256!", ["esp_proposals = aes256gcm16, aes256-sha256"]),
        ("ike=aes256gcm16-aes128-sha256-x25519!", ["proposals = aes256gcm16-prfsha256-x25519, aes128-sha256-x25519"]),
        ("keyingtries=%forever", ["keyingtries = 0"]), ("keyingtries=5", ["keyingtries = 5"]), ("forceencaps=yes", ["encap = yes"]), ("mobike=no", ["mobike = no"]), ("mobike=yes", ["mobike = yes"]),
        ("fragmentation=no", ["fragmentation = no"]), ("fragmentation=force", ["fragmentation = force"]), ("replay_window=1024", ["replay_window = 1024"]),
        ("ikelifetime=28800s\nmargintime=5m\nrekeyfuzz=50%", ["rekey_time = 475m", "over_time = 5m", "rand_time = 150s"]),
        ("lifetime=8h", ["rekey_time = 471m", "life_time = 8h", "rand_time = 9m"]), ("keylife=1d", ["life_time = 1d"]), ("lifetime=5m", ["rekey_time = 270s", "life_time = 5m", "rand_time = 30s"]),
        ("rekey=no", ["rekey_time = 0s", "life_time = 0s"]), ("lifebytes=1000000\nmarginbytes=100000", ["rekey_bytes = 900000", "life_bytes = 1000000", "rand_bytes = 100000"]),
        ("leftsubnet=10.1.0.0/16,10.9.0.0/24[tcp/80],fd01::/64", ["local_ts = 10.1.0.0/16, 10.9.0.0/24[tcp/80], fd01::/64"]),
        ("rightsubnet=\nrightprotoport=17/1701", ["remote_ts = dynamic[17/1701]"]),
        ("leftprotoport=tcp", ["local_ts = 10.1.0.0/16[tcp]"]), ("right=%any", ["id = @west.example"]), ("right=gw.example", ["remote_addrs = gw.example"]),
        ("right=%gw.example", ["remote_addrs = gw.example, %any"]), ("right=192.0.2.2,192.0.2.128/25", ["remote_addrs = 192.0.2.2, 192.0.2.128/25"]), ("rightikeport=4500", ["remote_port = 4500"]),
        ("authby=\nleftauth=psk\nrightauth=secret", ["auth = psk"]), ("leftid=keyid:east\nrightid=%west.example", ["id = keyid:east", "id = west.example"]),
        ("compress=no\ntype=tunnel\nreqid=0\nkeyexchange=ikev2", []),
    ]) func carriedOver(lines: String, settings: [String]) {
        let result = importing(conn(lines), secrets: ": PSK \"sixteen bytes, or more\"")
        #expect(result.isComplete && result.connectionCount == 1, "\(result.findings)")
        for setting in settings { #expect(result.has(setting), "\(setting) is not in\n\(result.text ?? "")") }
        #expect(errors(of: result.text ?? "") == [])
    }

    /// Lines that take their connection out, and a word of the reason.
    @Test(arguments: [
        ("keyexchange=ikev1", "IKEv1"), ("type=beet", "tunnel and transport mode"), ("type=passthrough", "shunts"), ("type=drop", "firewall"), ("type=tunel", "no such type"), ("ah=sha256!", "AH"),
        ("mark=red", "no mark"), ("mark=1/", "no mark"), ("mark=%unique\nauto=route", "waits for traffic"), ("reqid=7", "chosen"), ("installpolicy=no", "enforced"), ("sha256_96=yes", "truncation"),
        ("tfc=%mtu", "padding"),
        ("authby=pubkey", "certificates"), ("authby=rsasig", "certificates"), ("authby=xauthpsk", "XAUTH"), ("authby=never", "no tunnel"), ("authby=", "certificates"),
        ("leftauth=pubkey", "certificates"),
        ("rightauth=eap-mschapv2", "EAP"), ("leftcert=a.pem", "certificates"), ("rightca=\"C=CH, CN=ca\"", "certificates"), ("rightgroups=admins", "group"), ("leftauth2=psk", "second"),
        ("leftsourceip=%dhcp", "each family"), ("leftsourceip=10.3.0.1,10.3.0.2", "second"), ("rightsourceip=%dhcp", "another plugin"), ("rightsourceip=10.3.0.0/40", "no network"),
        ("rightsourceip=10.3.0.0/24\nrightdns=ns.example", "no address"), ("leftupdown=/etc/fw.sh", "scripts"), ("rightid=\"C=CH, CN=west\"", "certificates"),
        ("leftid=*@east.example", "pattern"),
        ("rightid=ipv4:1.2.3.4", "this type"), ("ike=3des-md5-modp768!", "no cipher"), ("esp=null-sha256!", "no cipher"), ("ike=aes256-sha256!", "no key exchange"),
        ("esp=aes256-sha256-modp768!", "no key exchange"),
        ("ike=nonsense!", "no algorithm"), ("dpdaction=clear\ndpddelay=soon", "no time"), ("lifetime=1y", "no time"), ("rekeyfuzz=50", "percentage"), ("keyingtries=many", "number"),
        ("replay_window=wide", "number"),
        ("leftsubnet=10.1.0.0/33", "no network"), ("leftsubnet=10.1.0.0/16[tcp", "']'"), ("leftprotoport=6/%opaque", "OPAQUE"), ("leftprotoport=6/0", "port 0"), ("leftprotoport=warp", "number"),
        ("right=300.1.1.1", "neither"),
        ("right=192.0.2.0/24\nrightid=", "rightid"), ("leftikeport=501", "ports"), ("mediation=yes", "mediation"), ("frobnicate=yes", "does not know"),
        ("rightid=@nobody.example\nleftid=@someone.example", "no preshared key"), ("auto=maybe", "not known"), ("failureshunt=drop", "unprotected"),
    ]) func leftOut(lines: String, reason: String) {
        let result = importing(conn(lines, name: "bad") + conn(name: "good"), as: .strongSwan)
        #expect(result.connectionCount == 1 && !result.isComplete)
        #expect(result.leftOut.contains { $0.contains("conn bad") && $0.contains(reason) }, "\(result.findings)")
        #expect(!result.settings.contains("bad {") && result.settings.contains("good {"))
        #expect(errors(of: result.text ?? "") == [])
    }

    /// Lines without which the connection is no weaker.
    @Test(arguments: [
        ("compress=yes", "compressed"), ("inactivity=5m", "idle"), ("leftfirewall=yes", "firewall"), ("leftupdown=\"ipsec _updown iptables\"", "firewall"),
        ("right=%any\nauto=start", "no single address"), ("esp=aes256-sha256,3des-md5!", "3des"),
        ("replay_window=8192", "4096"), ("authby=secret|rsasig", "only the preshared"),
    ]) func notCarried(line: String, reason: String) {
        let result = importing(conn(line))
        #expect(result.connectionCount == 1 && !result.isComplete && result.leftOut == [])
        #expect(result.notCarried.contains { $0.contains(reason) }, "\(result.findings)")
        #expect(errors(of: result.text ?? "") == [])
    }

    @Test(arguments: ["dpdtimeout=120s", "aggressive=no", "leftsendcert=never", "pfs=yes", "leftnexthop=%defaultroute", "x-mine=1", "eap_identity=me", "keyexchange=ike"]) func withoutEffect(
        line: String
    ) {
        let result = importing(conn(line))
        #expect(result.isComplete && result.connectionCount == 1, "\(result.findings)")
    }

    /// What an interface chooses among the traffic, narrower selectors can: the rest of the connection is there to be taken.
    @Test(arguments: ["vti-interface=vti0", "ipsec-interface=1\nvti-interface=vti0"]) func aConnectionToDecideAboutIsAComment(lines: String) throws {
        let result = importing(conn("leftsubnet=0.0.0.0/0\nrightsubnet=0.0.0.0/0\nauto=start\n" + lines, name: "aws") + conn(name: "good"))
        let text = try #require(result.text)
        #expect(result.connectionCount == 1 && !result.isComplete && !result.settings.contains("aws {") && errors(of: text) == [])
        #expect(text.contains("    # Left out because of "))
        // As a person would go on.
        let begin = try #require(text.range(of: "    # aws {"))
        let end = try #require(text.range(of: "\n    # }\n", range: begin.lowerBound..<text.endIndex))
        let block = text[begin.lowerBound..<end.upperBound].split(separator: "\n").map { "    " + $0.dropFirst(6) + "\n" }.joined()
        #expect(block.contains("start_action = none") && !block.contains("start_action = start"))
        let taken = text.replacing(text[begin.lowerBound..<end.upperBound], with: block).replacing("_ts = 0.0.0.0/0", with: "_ts = 10.8.0.0/16")
        #expect(errors(of: taken) == [])
        // Not where anything else is in the way.
        #expect(importing(conn("type=beet\n" + lines, name: "bad")).text?.contains("bad {") == false)
    }

    /// How packets are carried. What the data plane of one machine cannot do is said when the result is checked there.
    @Test(arguments: [
        ("mark=100", ["mark_in = 100", "mark_out = 100"]), ("mark_in=1/0xff\nmark_out=%unique-dir", ["mark_in = 1/0xff", "mark_out = %unique-dir"]),
        ("mark=5\nmark_out=6", ["mark_in = 5", "mark_out = 6"]), ("vti-routing=no\nmark=-1/0xffffff", ["mark_in = %unique/0xffffff", "mark_out = %unique/0xffffff"]),
        ("type=transport\nleftsubnet=\nrightsubnet=", ["mode = transport"]), ("nic-offload=yes", ["hw_offload = auto"]), ("nic-offload=packet", ["hw_offload = packet"]),
        ("nopmtudisc=yes", ["copy_df = no"]), ("decap-dscp=yes", ["copy_dscp = yes"]), ("decap-dscp=yes\nencap-dscp=no", ["copy_dscp = in"]), ("encap-dscp=no", ["copy_dscp = no"]),
        ("nopmtudisc=no\ndecap-dscp=no\nencap-dscp=yes", []),
    ]) func carriage(lines: String, settings: [String]) throws {
        let result = importing(conn(lines))
        #expect(result.leftOut.isEmpty && result.notCarried.isEmpty && result.connectionCount == 1, "\(result.findings)")
        for setting in settings { #expect(result.has(setting), "\(setting) is not in\n\(result.text ?? "")") }
        if settings.isEmpty { #expect(!result.settings.contains("copy_")) }
        #expect(errorsWithKernel(of: result.text ?? "") == [])
    }

    @Test func theSides() {
        let swapped = importing(conn(), local: ["192.0.2.2"])
        #expect(swapped.has("local_addrs = 192.0.2.2") && swapped.has("local_ts = 10.2.0.0/16") && swapped.notes.contains { $0.contains("exchanged") })
        let neither = importing(conn(), local: [])
        #expect(neither.has("local_addrs = 192.0.2.1") && neither.notes.contains { $0.contains("neither side") && $0.contains("as strongSwan does") })
        let both = importing(conn(), local: ["192.0.2.1", "192.0.2.2"])
        #expect(both.has("local_addrs = 192.0.2.2"))
        #expect(importing(conn(), as: .libreswan, local: ["192.0.2.1", "192.0.2.2"]).leftOut.contains { $0.contains("libreswan refuses") })
        // %defaultroute is a side of ours for libreswan alone.
        #expect(importing(conn("right=%defaultroute\nleft=192.0.2.9"), as: .libreswan).has("local_ts = 10.2.0.0/16"))
        #expect(importing(conn("right=%defaultroute\nleft=192.0.2.9"), as: .strongSwan).has("local_ts = 10.1.0.0/16"))
    }

    @Test func innerAddresses() {
        let client = importing(conn("leftsubnet=\nleftsourceip=%config,%config6\nleftdns=%config"))
        #expect(client.has("vips = 0.0.0.0, ::") && client.leftOut == [] && !client.settings.contains { $0.hasPrefix("local_ts") })
        #expect(importing(conn("leftsubnet=\nleft=2001:db8::1\nleftsourceip=%config")).has("vips = ::"))
        #expect(importing(conn("leftsubnet=\nleftmodecfgclient=yes\nrightmodecfgserver=yes"), as: .libreswan).has("vips = 0.0.0.0"))

        let lending = "right=%any\nrightid=%any\nrightsubnet=\nrightsourceip=10.3.0.0/24,fd03::/64\nrightdns=10.1.0.53"
        let gateway = importing(conn(lending, name: "a") + conn(lending + "\nkeyingtries=9", name: "b") + conn(lending + "\nkeyingtries=8\nrightdns=10.1.0.54", name: "c"))
        #expect(gateway.has("pools = pool-10-3-0-0-24, pool-fd03---64") && gateway.settings.filter { $0 == "pool-10-3-0-0-24 {" }.count == 1)
        #expect(gateway.has("addrs = 10.3.0.0/24") && gateway.has("dns = 10.1.0.53") && !gateway.has("dns = 10.1.0.54"))
        #expect(gateway.leftOut.count == 1 && gateway.leftOut.first?.contains("conn c: its addresses are lent by another connection too") == true)
        // From an address of the network on, as there.
        #expect(importing(conn("rightsubnet=\nrightsourceip=10.3.0.100/24")).has("addrs = 10.3.0.100-10.3.0.254"))
        let pool = importing(
            conn(
                "right=%any\nrightid=%any\nrightsubnet=\nrightaddresspool=10.3.0.10-10.3.0.99\nleftmodecfgserver=yes\nrightmodecfgclient=yes\nmodecfgdns=10.1.0.53\nmodecfgdomains=\"corp.example, lab.example\""
            ), as: .libreswan)
        #expect(pool.has("addrs = 10.3.0.10-10.3.0.99") && pool.has("dns = 10.1.0.53") && pool.has("dns_domain = corp.example, lab.example") && pool.leftOut == [])
        for result in [client, gateway, pool] { #expect(errors(of: result.text ?? "") == []) }
    }

    @Test func connectionsOfOnePeerShareAnIKESA() {
        let result = importing(conn(name: "a") + conn("leftsubnet=10.5.0.0/16", name: "b") + conn("right=192.0.2.3", name: "c"))
        #expect(result.connectionCount == 3 && result.settings.filter { $0 == "children {" }.count == 2)
        #expect(result.notes.contains { $0.contains("conn b: it shares the IKE SA of conn a, as in strongSwan") })
        #expect(errors(of: result.text ?? "") == [])
    }

    @Test func setup() {
        let result = importing("config setup\n  uniqueids=never\n  charondebug=\"ike 2\"\n  listen=192.0.2.1\n  unheard=of\nca top\n  cacert=a.pem\n" + conn())
        #expect(result.has("unique = never") && result.notes.count == 1 && result.notCarried.count == 3)
        #expect(result.notCarried.contains("ipsec.conf:6: ca top: certificates are not translated yet"))
    }

    @Test func whatIsNotLoadedThereIsNotLoadedHere() {
        let result = importing(conn("auto=ignore", name: "a") + conn("auto=", name: "b") + "conn base\n  mark=5\n  leftcert=a\n")
        #expect(result.connectionCount == 0 && result.isComplete && result.notes.count == 2)
    }
}
