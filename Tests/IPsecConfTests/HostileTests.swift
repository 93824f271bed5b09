// Any bytes: an import ends, and what it writes is a configuration that the daemon takes.

import IPsecConf
import Testing

@Suite struct HostileTests {
    private static let conf = """
        config setup
          uniqueids=yes # one
        conn %default
          ike=aes256-sha256-modp2048,aes128gcm16-prfsha256-x25519!
          authby=secret
          keyingtries=%forever
        include b.conf
        conn site
          also=base
          left=192.0.2.1
          leftid="@east.example"
          leftsubnet=10.1.0.0/16,10.3.0.0/24[tcp/80-90]
          right=gw.example,192.0.2.0/25
          rightid=*.west.example
          rightsourceip=10.3.0.0/24,fd03::10/64
          rightdns=10.1.0.53
          rightsubnet=10.2.0.0/255.255.0.0,%dynamic
          rekeymargin=5m
          rekeyfuzz=100%
          lifetime=1h
          lifebytes=100000
          dpdaction=restart
          auto=start
        conn base
          rightprotoport=17/%any
          replay_window=1024

        """
    private static let secrets = "@east.example %any : PSK \"sixteen bytes, or more\"\n: RSA x.pem\n@a @b : PSK 0s\n   AAECAwQFBgcICQoLDA0ODw==\n"

    /// splitmix64.
    private struct Random {
        var state: UInt64
        mutating func next(_ bound: Int) -> Int {
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
            return Int((z ^ z >> 31) % UInt64(max(bound, 1)))
        }
    }

    private func check(_ conf: [UInt8], _ secrets: [UInt8], _ what: String) {
        for dialect in Dialect.allCases {
            var options = ImportOptions()
            options.dialect = dialect
            let files = MemoryFiles(bytes: ["a.conf": conf, "b.conf": Array(conf.suffix(60)), "ipsec.secrets": secrets])
            let result = Import.run("a.conf", files: files, options: options)
            guard let text = result.text else {
                #expect(!result.problems.isEmpty)
                continue
            }
            let wrong = errors(of: text)
            #expect(wrong == [], "\(what), \(dialect): \(String(decoding: conf, as: UTF8.self))\n\(text)")
            #expect(result.findings.allSatisfy { $0.origin.line > 0 })
        }
    }

    @Test func cutAnywhere() {
        let conf = Array(Self.conf.utf8)
        let secrets = Array(Self.secrets.utf8)
        for end in 0...conf.count { check(Array(conf[..<end]), secrets, "cut at \(end)") }
        for end in 0...secrets.count { check(conf, Array(secrets[..<end]), "secrets cut at \(end)") }
    }

    @Test func changedAnywhere() {
        let tokens = [
            "=", "\"", "\n", "\n  ", "#", " ", "\\", "%any", "%", "@", "[", "]", "/", "{", "}", ",", "!", ";", "also=site", "conn x\n", ":", "0", "99999999999999999999", "\u{2028}", "é", "left",
            "right", "include b.conf\n", "auto=add\n", "ike=", "esp=aes_gcm;dh31", "id=", "subnet=",
        ]
        for seed in 0..<1500 {
            var random = Random(state: UInt64(seed))
            var conf = Array(Self.conf.utf8)
            var secrets = Array(Self.secrets.utf8)
            for _ in 0...random.next(4) {
                let place = random.next(conf.count)
                switch random.next(4) {
                case 0: conf[place] = UInt8(truncatingIfNeeded: random.next(256))
                case 1: conf.removeSubrange(place..<min(place + random.next(20), conf.count))
                case 2: conf.insert(contentsOf: tokens[random.next(tokens.count)].utf8, at: place)
                default: secrets[random.next(secrets.count)] = UInt8(truncatingIfNeeded: random.next(256))
                }
            }
            check(conf, secrets, "seed \(seed)")
        }
    }

    @Test func noise() {
        for seed in 0..<200 {
            var random = Random(state: UInt64(seed) | 1 << 40)
            let bytes = (0..<random.next(600)).map { _ in UInt8(truncatingIfNeeded: random.next(256)) }
            check(bytes, bytes, "noise \(seed)")
        }
    }

    @Test func muchOfEverything() {
        let many = (0..<3_000).map { "conn c\($0)\n  also=base\n  right=10.0.\($0 / 250).\($0 % 250 + 1)\n  auto=add\n" }.joined()
        let result = Import.run("a.conf", files: MemoryFiles(["a.conf": "conn base\n  left=192.0.2.1\n  authby=secret\n  compress=yes\n" + many, "ipsec.secrets": ": PSK \"sixteen bytes, or more\""]))
        #expect(result.connectionCount == 3_000 && result.notCarried.count == 1)
        let long = "conn a\n  left=\"" + String(repeating: "x", count: 100_000) + "\"\n"
        #expect(Import.run("a.conf", files: MemoryFiles(["a.conf": long])).text == nil)
        let lines = String(repeating: "conn a\n", count: 60_000)
        #expect(Import.run("a.conf", files: MemoryFiles(["a.conf": lines])).problems.count == 1)
    }
}
