// Times, sizes, identities, addresses, selectors, proposals and secrets, one by one; the defaults beside swanctl.conf(5)'s.

import IKECore
import IKECrypto
import IKEWire
import Testing
@testable import Gateway

@Suite struct ConfigurationValueTests {
    @Test(arguments: [("0", 0), ("90", 90), ("30s", 30), ("2m", 120), ("4h", 14400), ("1D", 86400), ("0x10", 16), ("5 m", 300)] as [(String, Int64)])
    func times(text: String, seconds: Int64) { #expect(timeValue(text) == .seconds(seconds)) }

    @Test(arguments: ["", "s", "-1", "1.5h", "1w", "99999999999999999999", "18446744073709551615d", "4000d", "0x", "m5", "٣s"])
    func noTimes(text: String) { #expect(timeValue(text) == nil) }

    @Test(arguments: [("0", 0), ("1k", 1024), ("3M", 3 << 20), ("2g", 2 << 30), ("17179869183g", 17_179_869_183 << 30)] as [(String, UInt64)])
    func sizes(text: String, bytes: UInt64) { #expect(byteValue(text) == bytes) }

    @Test(arguments: ["17179869184g", "k", "1t", "1 000", "+5"]) func noSizes(text: String) { #expect(byteValue(text) == nil) }

    // RFC 4648 section 10.
    @Test(arguments: [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmE=", "fooba"), ("Zm9vYmFy", "foobar"), ("Zm9vYmE", "fooba")])
    func base64(text: String, plain: String) { #expect(base64Bytes(text.utf8) == Array(plain.utf8)) }

    @Test(arguments: ["Z", "Zm9v!", "Zh==", "Zg==Zg==", "Zg===", "Zm9=v"]) func noBase64(text: String) { #expect(base64Bytes(text.utf8) == nil) }

    @Test func hexadecimal() {
        #expect(hexBytes("00fFa0".utf8) == [0, 255, 160])
        #expect(hexBytes("de:ad".utf8) == [0xde, 0xad])
        #expect(hexBytes("123".utf8) == nil && hexBytes("0g".utf8) == nil)
    }

    @Test(arguments: [("propsals", "proposals"), ("rekey_tiem", "rekey_time"), ("REKEY_TIME", "rekey_time"), ("xyz", nil), ("id", nil)] as [(String, String?)])
    func nearestSpelling(word: String, expected: String?) {
        #expect(nearest(to: word, among: ["proposals", "rekey_time", "remote_addrs", "encap"]) == expected)
    }
}

@Suite struct ConfigurationIdentityTests {
    private static func exact(_ kind: Identification.Kind, _ text: String) -> IdentityPattern { .exactly(Identification(kind: kind, data: Array(text.utf8))) }

    @Test(
        arguments: [
            ("%any", .any), ("192.0.2.1", .exactly(Identification(kind: .ipv4, data: [192, 0, 2, 1]))),
            ("2001:db8::1", .exactly(Identification(kind: .ipv6, data: [0x20, 1, 0xd, 0xb8] + [UInt8](repeating: 0, count: 11) + [1]))),
            ("@gw.example.org", exact(.fqdn, "gw.example.org")), ("gw.example.org", exact(.fqdn, "gw.example.org")), ("carol", exact(.fqdn, "carol")),
            ("carol@example.org", exact(.rfc822, "carol@example.org")), ("@@carol@example.org", exact(.rfc822, "carol@example.org")),
            ("@#00fe", .exactly(Identification(kind: .keyID, data: [0, 0xfe]))), ("keyid:branch 7", exact(.keyID, "branch 7")),
            ("keyid:#0a0b", .exactly(Identification(kind: .keyID, data: [10, 11]))), ("fqdn:192.0.2.1", exact(.fqdn, "192.0.2.1")),
            ("dns:a.example", exact(.fqdn, "a.example")), ("email:x@y", exact(.rfc822, "x@y")), ("rfc822:x", exact(.rfc822, "x")),
            ("userfqdn:x@y", exact(.rfc822, "x@y")), ("ipv4:10.0.0.1", .exactly(Identification(kind: .ipv4, data: [10, 0, 0, 1]))),
            ("ipv4:#0a000001", .exactly(Identification(kind: .ipv4, data: [10, 0, 0, 1]))),
            ("*.example.org", .suffix(.fqdn, Array(".example.org".utf8))), ("*@example.org", .suffix(.rfc822, Array("@example.org".utf8))),
            ("@*.example.org", .suffix(.fqdn, Array(".example.org".utf8))), ("keyid:*", exact(.keyID, "*")),
        ] as [(String, IdentityPattern)]) func identities(text: String, expected: IdentityPattern) throws
    {
        #expect(try IdentityPattern(configured: text) == expected)
    }

    @Test(arguments: [
        "", "@", "@@", "keyid:", "@#", "@#0", "@#xy", "C=CH, X=x", "CN=", "asn1dn:#3000", "asn1dn:#30", "a*.example", "fqdn:*", "ipv6:10.0.0.1", "ipv4:#0a", "fe80::zz", "a b", "a,b",
        "foo:bar",
    ]) func noIdentities(text: String) { #expect(throws: IdentityProblem.self) { try IdentityPattern(configured: text) } }

    @Test func overlaps() throws {
        func pattern(_ text: String) throws -> IdentityPattern { try IdentityPattern(configured: text) }
        #expect(try pattern("%any").overlaps(pattern("a")))
        #expect(try pattern("*.example").overlaps(pattern("GW.example")))
        #expect(try !pattern("*.example").overlaps(pattern("example")))
        #expect(try pattern("*.example").overlaps(pattern("*.a.example")) && pattern("*.a.example").overlaps(pattern("*.example")))
        #expect(try !pattern("*.example").overlaps(pattern("*@b.example")))
        #expect(try !pattern("keyid:a").overlaps(pattern("a")))
    }
}

@Suite struct ConfigurationSelectorTests {
    @Test(arguments: [
        ("10.1.0.0/16", "10.1.0.0/16"), ("10.1.2.3/16", "10.1.0.0/16"), ("192.0.2.7", "192.0.2.7/32"), ("fd01::/64", "fd01::/64"), ("0.0.0.0/0", "0.0.0.0/0"),
        ("10.0.0.1-10.0.0.9", "10.0.0.1..10.0.0.9"), ("10.0.0.0/8[tcp]", "10.0.0.0/8[tcp]"), ("10.0.0.0/8[tcp/22]", "10.0.0.0/8[tcp/22]"),
        ("10.0.0.0/8[icmp/8]", "10.0.0.0/8[icmp/8]"), ("10.0.0.0/8[icmp/3(4)]", "10.0.0.0/8[icmp/3(4)]"),
        ("::/0[ipv6-icmp/128-129]", "::/0[ipv6-icmp/128-129]"), ("10.0.0.0/8[icmp/2048]", "10.0.0.0/8[icmp/8(0)]"), ("10.0.0.0/8[icmp]", "10.0.0.0/8[icmp]"),
        ("10.0.0.0/8[udp/l2tp]", "10.0.0.0/8[udp/1701]"), ("10.0.0.0/8[17/1000-2000]", "10.0.0.0/8[udp/1000-2000]"), ("::/0[ipv6-icmp]", "::/0[ipv6-icmp]"),
        ("10.0.0.0/8[%any/%any]", "10.0.0.0/8"), ("10.0.0.0/8[0]", "10.0.0.0/8"),
    ]) func selectors(text: String, expected: String) throws {
        guard case .fixed(let selector) = try SelectorPattern(configured: text) else {
            Issue.record("\(text) is dynamic")
            return
        }
        #expect(selector.description == expected)
    }

    @Test func dynamicSelectors() throws {
        #expect(try SelectorPattern(configured: "dynamic") == .dynamic(ipProtocol: 0, startPort: 0, endPort: 65535))
        #expect(try SelectorPattern(configured: "dynamic[tcp/443]") == .dynamic(ipProtocol: 6, startPort: 443, endPort: 443))
    }

    @Test func addressPatterns() throws {
        func pattern(_ text: String) throws -> AddressPattern { try AddressPattern(configured: text) }
        let address = IPAddress(v4: 0xc000_0201)
        #expect(try pattern("192.0.2.1") == .range(address, address))
        #expect(try pattern("%any") == .any)
        #expect(try pattern("gw-1.example.org") == .name("gw-1.example.org"))
        #expect(try pattern("192.0.2.0/31") == .range(IPAddress(v4: 0xc000_0200), address))
        #expect(try pattern("%any6").matches(IPAddress(family: .v6, value: 1)) && !pattern("%any6").matches(address))
        for text in ["192.0.2.256", "1.2.3", "host name", "-", "a..b", "x/24", "192.0.2.1/33", "::1-192.0.2.1"] {
            #expect(throws: AddressProblem.self) { try pattern(text) }
        }
    }
}

@Suite struct ConfigurationDefaultTests {
    @Test func mobikeAndItsCheck() throws {
        func loaded(_ text: String) throws -> GatewayConfiguration { try #require(load(text).configuration) }
        #expect(try loaded(site(connection: "mobike = no")).connections.first?.mobike == false)
        #expect(try loaded(site(connection: "mobike = yes")).connections.first?.mobike == true)
        #expect(load(site(connection: "mobike = yes")).diagnostics == [])
        for (value, policy) in [("before", ReturnRoutability.before), ("after", .after), ("No", .no)] {
            #expect(try loaded("gateway { return_routability = \(value) }\n" + site()).gateway.limits.returnRoutability == policy)
        }
        #expect(load("gateway { return_routability = never }\n" + site()).configuration == nil)
    }

    /// swanctl.conf(5) of strongSwan 5.9.8 names these defaults. The replay window is 64 instead of 32.
    @Test func connectionsAndChildrenHaveSwanctlsDefaults() throws {
        let result = load(
            """
            connections { c { local { auth = psk }
            remote { auth = psk }
            children { k { } } } }
            secrets { ike { secret = "sixteen bytes, or more" } }
            """)
        #expect(result.diagnostics == [])
        let connection = try #require(result.configuration?.connection(named: "c"))
        #expect(connection.localAddresses == [.any] && connection.remoteAddresses == [.any])
        #expect(connection.localPort == 500 && connection.remotePort == 500)
        #expect(connection.lifetime == Lifetime(rekeyTime: .seconds(14400), lifeTime: .seconds(15840), randTime: .seconds(1440)))
        #expect(connection.dpdDelay == .zero && connection.keyingTries == 1 && connection.unique == .no && !connection.encap && connection.mobike)
        #expect(connection.local == AuthenticationPolicy(method: "psk", identity: .any) && connection.remote == AuthenticationPolicy(method: "psk", identity: .any))
        #expect(connection.provider == nil)
        let child = try #require(connection.child(named: "k"))
        #expect(child.localTS == [.dynamic(ipProtocol: 0, startPort: 0, endPort: 65535)] && child.remoteTS == child.localTS)
        #expect(child.lifetime == Lifetime(rekeyTime: .seconds(3600), lifeTime: .seconds(3960), randTime: .seconds(360)))
        #expect(child.startAction.isEmpty && child.closeAction.isEmpty && child.dpdAction.isEmpty && child.replayWindow == 64)
        #expect(
            connection.proposals.map(\.description) == [
                "IKE:AES_GCM_16_256/AES_GCM_16_128/CHACHA20_POLY1305/PRF_HMAC_SHA2_256/PRF_HMAC_SHA2_384/PRF_HMAC_SHA2_512/CURVE_25519/ECP_256/ECP_384/ECP_521/MODP_3072/MODP_4096/MODP_2048",
                "IKE:AES_CBC_256/AES_CBC_128/HMAC_SHA2_256_128/HMAC_SHA2_384_192/HMAC_SHA2_512_256/PRF_HMAC_SHA2_256/PRF_HMAC_SHA2_384/PRF_HMAC_SHA2_512/CURVE_25519/ECP_256/ECP_384/ECP_521/MODP_3072/MODP_4096/MODP_2048",
            ])
        #expect(
            child.proposals.map(\.description) == [
                "ESP:AES_GCM_16_256/AES_GCM_16_128/CHACHA20_POLY1305/NO_EXT_SEQ",
                "ESP:AES_CBC_256/AES_CBC_128/HMAC_SHA2_256_128/HMAC_SHA2_384_192/HMAC_SHA2_512_256/NO_EXT_SEQ",
            ])
        #expect(connection.proposals.map(\.number) == [1, 2])
    }

    @Test func lifetimesFollowFromEachOther() throws {
        let result = load(
            site(
                connection: "rekey_time = 100m\nover_time = 1m", child: "rekey_time = 10m\nrekey_bytes = 1000\nrekey_packets = 500\nlife_packets = 600\nrand_packets = 7"))
        let connection = try #require(result.configuration?.connection(named: "site"))
        #expect(connection.lifetime == Lifetime(rekeyTime: .seconds(6000), lifeTime: .seconds(6060), randTime: .seconds(60)))
        let lifetime = try #require(connection.child(named: "net")?.lifetime)
        #expect(lifetime.rekeyTime == .seconds(600) && lifetime.lifeTime == .seconds(660) && lifetime.randTime == .seconds(60))
        #expect(lifetime.rekeyBytes == 1000 && lifetime.lifeBytes == 1100 && lifetime.randBytes == 100)
        #expect(lifetime.rekeyPackets == 500 && lifetime.lifePackets == 600 && lifetime.randPackets == 7)
        let off = load(site(connection: "rekey_time = 0", child: "rekey_time = 0\nrekey_packets = 18446744073709551615"))
        let none = try #require(off.configuration?.connection(named: "site"))
        #expect(none.lifetime == Lifetime(rekeyTime: .zero, lifeTime: .zero, randTime: .zero))
        #expect(none.children[0].lifetime.lifeTime == .zero && none.children[0].lifetime.lifePackets == .max)
    }

    @Test func actionsHaveTwoSetsOfNames() throws {
        let result = load(site(child: "start_action = start|none\nclose_action = restart|trap\ndpd_action = clear"))
        let child = try #require(result.configuration?.connections.first?.children.first)
        #expect(child.startAction == .start && child.closeAction == [.start, .trap] && child.dpdAction.isEmpty)
    }

    @Test func proposalsAreCompleted() throws {
        let result = load(
            site(
                connection: "proposals = aes256gcm16-sha384-ecp384, aes128-sha256-sha512-modp2048",
                child: "esp_proposals = aes256gcm16-esn-noesn-x25519, aes256-sha256, chacha20poly1305"))
        #expect(result.diagnostics == [])
        let connection = try #require(result.configuration?.connections.first)
        #expect(
            connection.proposals.map(\.description) == [
                "IKE:AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384",
                "IKE:AES_CBC_128/HMAC_SHA2_256_128/HMAC_SHA2_512_256/PRF_HMAC_SHA2_256/PRF_HMAC_SHA2_512/MODP_2048",
            ])
        #expect(
            connection.children[0].proposals.map(\.description) == [
                "ESP:AES_GCM_16_256/CURVE_25519/EXT_SEQ/NO_EXT_SEQ", "ESP:AES_CBC_256/HMAC_SHA2_256_128/NO_EXT_SEQ", "ESP:CHACHA20_POLY1305/NO_EXT_SEQ",
            ])
        #expect(connection.children[0].proposals.map(\.number) == [1, 2, 3])
    }

    @Test func defaultsShrinkToWhatIsServed() throws {
        let some: Set<Transform> = [.aesCBC(128), .hmacSHA256_128, .prfHMACSHA256, .modp2048, .noExtendedSequenceNumbers]
        let result = load(MemoryFiles(["m.conf": site()]), serves: some.contains)
        let connection = try #require(result.configuration?.connections.first)
        #expect(connection.proposals.map(\.description) == ["IKE:AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048"])
        let none = load(MemoryFiles(["m.conf": site()]), serves: { _ in false })
        #expect(none.configuration == nil)
        #expect(
            none.errors.map(\.message) == [
                "no default proposal of 'proposals' can be served by a loaded plugin: load a crypto plugin",
                "no default proposal of 'esp_proposals' can be served by a loaded plugin: load a crypto plugin",
            ])
    }

    @Test func aConnectionsProviderIsAskedForItsTransforms() throws {
        let capabilities = Capabilities(
            serves: { transform, provider in provider == nil ? servedTransforms.contains(transform) : transform.type != .keyExchange && servedTransforms.contains(transform) },
            providers: ["small"], methods: ["psk"])
        let files = MemoryFiles(["m.conf": site(connection: "crypto = small\nproposals = aes256gcm16-prfsha256-x25519")])
        let result = ConfigurationLoader.validate(ConfigurationLoader.read(path: "m.conf", reader: files), capabilities)
        #expect(result.errors.map(\.message) == ["'x25519' (CURVE_25519) cannot be served by the crypto provider 'small'"])
    }

    @Test func aMethodThatNoPluginProvidesIsRefused() {
        let result = ConfigurationLoader.load(
            path: "m.conf", reader: MemoryFiles(["m.conf": site()]), serves: servedTransforms.contains, providers: [], methods: [])
        #expect(result.errors.map(\.message) == Array(repeating: "no loaded plugin provides the authentication 'psk'", count: 2))
    }

    /// RFC 7296 section 2.4: the time between two tries grows.
    @Test func retransmissionsGrow() {
        #expect(load("gateway { retransmit_growth = 1 }").configuration == nil)
        #expect(load("gateway { retransmit_growth = 1.5 }").configuration?.gateway.limits.retransmitGrowth == 1.5)
    }

    @Test func gatewaySettingsAreRead() throws {
        let files = MemoryFiles([
            "etc/m.conf": """
            gateway { listen = 192.0.2.1, 2001:db8::1
            port = 1500
            control = run/vici.sock
            shards = 4
            crypto = gcrypt, openssl
            half_open_limit = 100
            half_open_per_address = 7
            half_open_per_prefix = 70
            retransmit_initial = 0.5s
            retransmit_growth = 2
            debug_export_keys = keys
            log { level = debug
            file = /var/log/m.log } }
            plugins { path = plugins
            gcrypt { load = no
            priority = 5 }
            other { server { uri = x } } }
            """
        ])
        let configuration = try #require(load(files, "etc/m.conf").configuration)
        let gateway = configuration.gateway
        #expect(gateway.listen.map(\.description) == ["192.0.2.1", "2001:db8::1"])
        #expect(gateway.port == 1500 && gateway.natPort == 4500 && gateway.shards == 4 && gateway.crypto == ["gcrypt", "openssl"])
        #expect(gateway.control == "etc/run/vici.sock" && gateway.logFile == "/var/log/m.log" && gateway.logLevel == 3)
        #expect(gateway.limits.halfOpen == 100 && gateway.limits.halfOpenPerAddress == 7 && gateway.limits.halfOpenPerPrefix == 70)
        #expect(gateway.limits.retransmitInitial == .milliseconds(500) && gateway.limits.retransmitGrowth == 2)
        #expect(gateway.exportKeysFolder == "etc/keys" && gateway.limits.exportKeys)
        #expect(configuration.plugins.path == ["etc/plugins"])
        #expect(configuration.plugins.plugin("gcrypt")?.isLoaded == false && configuration.plugins.plugin("gcrypt")?.priority == 5)
        #expect(configuration.plugins.settings.sections == ["gcrypt": ["load": "no", "priority": "5"], "other": ["load": "yes", "server.uri": "x"]])
    }
}

@Suite struct ConfigurationSecretTests {
    private func identity(_ text: String) -> Identification {
        if let pattern = try? IdentityPattern(configured: text), case .exactly(let identity) = pattern { return identity }
        return Identification(kind: .keyID, data: [])
    }
    private func secrets(_ text: String) throws -> SharedSecrets { try #require(load("secrets { \(text) }").configuration?.secrets) }
    private func bytes(_ secret: IKESecret?) -> [UInt8]? { secret?.secret.withSecret { secret in secret.span.indices.map { secret.span[$0] } } }

    @Test func secretsAreTextHexadecimalOrBase64() throws {
        let all = try secrets(#"ike-a { secret = 0x000102fF } ike-b { secret = "0sAAEC/w==" } ike-c { secret = "0 text" } ike-d { secret = two  words }"#).all
        #expect(all.map { bytes($0) } == [[0, 1, 2, 255], [0, 1, 2, 255], Array("0 text".utf8), Array("two words".utf8)])
        #expect(all.map(\.name) == ["ike-a", "ike-b", "ike-c", "ike-d"])
    }

    @Test func bothIdentitiesBeatOneBeatsNone() throws {
        let all = try secrets(
            """
            ike-any { secret = "0123456789abcdef" }
            ike-one { id = @west
            secret = "0123456789abcdef" }
            ike-both { id-1 = @west
            id-2 = @east
            secret = "0123456789abcdef" }
            ike-wild { id-1 = *.branch.example
            id-2 = @east
            secret = "0123456789abcdef" }
            ike-exact { id-1 = @a.branch.example
            id-2 = @east
            secret = "0123456789abcdef" }
            """)
        #expect(all.best(local: identity("@east"), remote: identity("@west"))?.name == "ike-both")
        #expect(all.best(local: identity("@north"), remote: identity("@west"))?.name == "ike-one")
        #expect(all.best(local: identity("@north"), remote: identity("@south"))?.name == "ike-any")
        #expect(all.best(local: identity("@east"), remote: identity("@b.branch.example"))?.name == "ike-wild")
        #expect(all.best(local: identity("@east"), remote: identity("@a.branch.example"))?.name == "ike-exact")
        #expect(all.best(local: identity("@EAST"), remote: identity("@West"))?.name == "ike-both")
    }

    /// A peer is known by its own secret, not by one that names only us.
    @Test func thePeersIdentityDecides() throws {
        let all = try secrets(
            """
            ike-branch { id-1 = @gw
            id-2 = @branch
            secret = "0123456789abcdef" }
            ike-admin { id = @admin
            secret = "0123456789abcdef" }
            ike-any { secret = "0123456789abcdef" }
            """)
        #expect(all.best(local: identity("@gw"), remote: identity("@branch"))?.name == "ike-branch")
        #expect(all.best(local: identity("@gw"), remote: identity("@admin"))?.name == "ike-admin")
        #expect(all.best(local: identity("@gw"), remote: identity("@stranger"))?.name == "ike-any")
    }

    @Test func aSecretOfOthersIsNone() throws {
        let all = try secrets("ike { id-1 = @a\nid-2 = @b\nsecret = \"0123456789abcdef\" }")
        #expect(all.best(local: identity("@c"), remote: identity("@d")) == nil)
        #expect(all.best(local: identity("keyid:a"), remote: identity("keyid:b")) == nil)
    }

    @Test(arguments: [
        ("@EAST.example", "%any", true), ("*.example", "@x", true), ("@x", "@y", false), ("%any", "@y", true), ("keyid:east.example", "@y", false),
        ("@y", "a.branch.example", true), ("*.other", "@y", false), ("@x", "C=CH, O=X, CN=*", true), ("@x", "C=ch, O=x, CN=Dave", true), ("@x", "C=CH, O=Y, CN=*", false),
    ]) func theIndexKnowsWhoMayHaveASecret(local: String, remote: String, expected: Bool) throws {
        let index = SecretIndex(try secrets("ike { id-1 = @east.example\nid-2 = *.branch.example\nid-3 = \"C=CH, O=X, CN=dave\"\nsecret = \"0123456789abcdef\" }"))
        #expect(try index.mayServe(local: IdentityPattern(configured: local), remote: IdentityPattern(configured: remote)) == expected)
        #expect(try !SecretIndex(SharedSecrets()).mayServe(local: IdentityPattern(configured: local), remote: IdentityPattern(configured: remote)))
    }

    @Test func manyConnectionsWithASecretEach() {
        let count = 500
        var text = "connections {\n"
        for number in 0..<count {
            text += "c\(number) { remote_addrs = 192.0.2.1\nlocal { auth = psk\nid = @hq }\nremote { auth = psk\nid = @b\(number) }\nchildren { k\(number) { local_ts = 10.0.0.0/8\n} } }\n"
        }
        text += "}\nsecrets {\n"
        for number in 0..<count { text += "ike-\(number) { id = @b\(number)\nsecret = \"0123456789abcdef\" }\n" }
        let result = load(text + "}\n")
        #expect(result.diagnostics == [])
        #expect(result.configuration?.connections.count == count)
    }

    @Test func aBrokenIdentityMakesNoSecretForEverybody() {
        let result = load("secrets { ike { id = \"@#1\"\nsecret = \"0123456789abcdef\" } }")
        #expect(result.configuration == nil)
    }

    @Test func filesWithSecretsThatOthersReadAreNamed() {
        let files = MemoryFiles(
            ["m.conf": "include s.conf\ninclude o.conf\n", "s.conf": "secrets { ike { secret = \"0123456789abcdef\" } }", "o.conf": "gateway { }"],
            readableByOthers: ["m.conf", "s.conf", "o.conf"])
        #expect(load(files).diagnostics.map(\.description) == ["s.conf:1:1: warning: the file holds secrets and everybody on this machine can read it: chmod o-r"])
    }

    @Test func ourAddressStandsInForAMissingIdentity() {
        func result(_ id: String) -> ConfigurationResult {
            load(
                """
                connections { c { local_addrs = 192.0.2.1
                local { auth = psk }
                remote { auth = psk
                id = @peer }
                children { k { } } } }
                secrets { ike { id = \(id)
                secret = "0123456789abcdef" } }
                """)
        }
        #expect(result("192.0.2.1").errors == [])
        #expect(result("192.0.2.7").errors.count == 1)
    }
}

@Suite struct ConfigurationDifferenceTests {
    private let base = site()
    private func configuration(_ text: String) throws -> GatewayConfiguration { try #require(load(text).configuration) }

    @Test func theSameTextIsNoDifference() throws {
        let old = try configuration(base)
        #expect(try old.difference(to: configuration(base)).isEmpty)
        // Neither comments nor lines, nor the spelling of the same value.
        #expect(try old.difference(to: configuration("# moved\n\n" + base.replacing("remote_addrs = 192.0.2.2", with: "remote_addrs = \"192.0.2.2\""))).isEmpty)
        #expect(try old.difference(to: configuration(site(child: "rekey_time = 60m"))).isEmpty)
    }

    @Test func whatDiffersIsNamed() throws {
        let old = try configuration(base)
        let other = "connections { other { local { auth = psk }\nremote { auth = psk }\nchildren { k { } } } }\n"
        let added = try old.difference(to: configuration(base + other))
        #expect(added.addedConnections == ["other"] && added.changedConnections == [] && added.removedConnections == [] && !added.areSecretsChanged)
        #expect(try configuration(base + other).difference(to: old).removedConnections == ["other"])
        #expect(try old.difference(to: configuration(site(connection: "dpd_delay = 5s"))).changedConnections == ["site"])
        #expect(try old.difference(to: configuration(site(child: "replay_window = 128"))).changedConnections == ["site"])
        let rekeyed = try old.difference(to: configuration(base.replacing("sixteen bytes", with: "seventy bytes")))
        #expect(rekeyed.areSecretsChanged && rekeyed.connectionsWithNewSecret == ["site"] && rekeyed.changedConnections == [])
        let unrelated = try old.difference(to: configuration(base + "\nsecrets { ike-x { id = @x\nsecret = \"0123456789abcdef\" } }"))
        #expect(unrelated.areSecretsChanged && unrelated.connectionsWithNewSecret == [])
        #expect(try old.difference(to: configuration(base + "\ngateway { shards = 2\n}")).isGatewayChanged)
        #expect(try old.difference(to: configuration(base + "\nplugins { tun { interface = m1 } }")).arePluginsChanged)
    }
}

@Suite struct ConfigurationTreeTests {
    /// What a vici client would load: no file, lists of its own, the secret apart.
    @Test func aTreeWithoutAFileIsCheckedTheSameWay() throws {
        let place = SourcePosition(file: "vici", line: 1, column: 1)
        func section(_ name: String, _ settings: [(String, ConfigurationValue)], _ inner: [ConfigurationSection] = []) -> ConfigurationSection {
            var section = ConfigurationSection(name: name, position: place)
            for (name, value) in settings { section.set(ConfigurationSetting(name: name, position: place, value: value)) }
            for one in inner { section.extend(with: one) }
            return section
        }
        func text(_ text: String) -> ConfigurationValue { ConfigurationValue(text: text, position: place) }
        func tree(action: String) -> ConfigurationSection {
            let selectors = ConfigurationValue(elements: ["10.1.0.0/16", "fd01::/64"], position: place)
            let child = section("net", [("local_ts", selectors), ("start_action", text(action))])
            let psk = [("auth", text("psk"))]
            let connection = section("c", [], [section("local", psk), section("remote", psk), section("children", [], [child])])
            let secret = ConfigurationValue(secret: SecretBox(SecretBytes(copying: Array("0123456789abcdef".utf8).span)), position: place)
            return section("", [], [section("connections", [], [connection]), section("secrets", [], [section("ike", [("secret", secret)])])])
        }
        func result(_ action: String) -> ConfigurationResult {
            ConfigurationLoader.validate(
                ConfigurationLoader.read(tree: tree(action: action), from: "vici"),
                Capabilities(serves: servedTransforms.contains, providers: [], methods: ["psk"]))
        }
        let child = try #require(result("none").configuration?.connections.first?.children.first)
        #expect(child.localTS.count == 2)
        #expect(
            result("strat").diagnostics.map(\.description) == [
                "vici:1:1: error: 'start_action' is one of none, start, trap, not 'strat'; did you mean 'start'?"
            ])
    }
}
