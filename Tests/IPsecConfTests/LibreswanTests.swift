// Where libreswan means something else than strongSwan.

import Gateway
import IKECrypto
import IKEWire
import IPsecConf
import Testing

@Suite struct LibreswanTests {
    @Test(arguments: ["salifetime=8h", "phase2alg=aes256-sha2;modp2048", "ike=aes_gcm256-sha2", "ikev2=insist", "leftsubnets={10.1.0.0/16 10.3.0.0/16}\nleftsubnet=", "auto=ondemand"])
    func isRecognised(line: String) {
        let result = importing(conn(line))
        #expect(result.dialect == .libreswan && result.text?.contains("read as libreswan reads it, because of") == true)
        #expect(importing(conn(line), as: .strongSwan).dialect == .strongSwan)
    }

    @Test(arguments: [
        ("ike=aes256-sha2;modp2048", "proposals = aes256-sha256-modp2048"), ("ike=aes_gcm256-sha2_512;dh19", "proposals = aes256gcm16-prfsha512-ecp256"),
        ("ike=aes128+aes256-sha2_256+sha2_512-dh14+dh31", "proposals = aes128-aes256-sha256-sha512-modp2048-x25519"), ("ike=aes_gcm_c_128-sha2-curve25519", "proposals = aes128gcm16-prfsha256-x25519"),
        ("ike=chacha20_poly1305-sha2_256-ecp_384", "proposals = chacha20poly1305-prfsha256-ecp384"), ("ike=aes-sha2;modp3072", "proposals = aes256-aes128-sha256-modp3072"),
        ("pfs=no\nesp=aes_gcm256", "esp_proposals = aes256gcm16"), ("pfs=no\nesp=aes256-sha2_512", "esp_proposals = aes256-sha512"), ("pfs=no\nesp=aes_gcm256-null", "esp_proposals = aes256gcm16"),
        ("esp=aes_gcm256\nike=aes256-sha2;dh19", "esp_proposals = aes256gcm16-ecp256"), ("esp=aes_gcm256;dh20\nike=aes256-sha2;dh19", "esp_proposals = aes256gcm16-ecp384"),
        ("pfs=no\nesp=aes_gcm128\nesn=yes", "esp_proposals = aes128gcm16-esn"),
        ("ikelifetime=1h", "rekey_time = 51m"), ("keyingtries=", "keyingtries = 0"), ("salifetime=1h", "life_time = 1h"), ("dpddelay=15", "dpd_delay = 15s"), ("encapsulation=yes", "encap = yes"),
        ("replay-window=128", "replay_window = 128"),
        ("leftsubnet=10.1.0.0/255.255.0.0", "local_ts = 10.1.0.0/16"), ("leftsubnet=10.1.0.0/16/tcp/22", "local_ts = 10.1.0.0/16[tcp/22]"), ("leftid=@[office]", "id = keyid:office"),
        ("leftid=@me@east.example", "id = me@east.example"), ("left=%defaultroute", "id = @east.example"),
    ]) func carriedOver(lines: String, setting: String) {
        let result = importing(conn(lines), secrets: ": PSK \"sixteen bytes, or more\"", as: .libreswan)
        #expect(result.connectionCount == 1 && result.isComplete, "\(result.findings)")
        #expect(result.has(setting), "\(setting) is not in\n\(result.text ?? "")")
        #expect(errors(of: result.text ?? "") == [])
    }

    @Test func withoutProposalsItHasPerfectForwardSecrecyToo() {
        #expect(importing(conn(), as: .libreswan).text?.contains("esp_proposals = aes256gcm16-modp2048-") == true)
        #expect(importing(conn("pfs=no"), as: .libreswan).text?.contains("esp_proposals") == false)
    }

    @Test func subnetsAreTunnelsOfTheirOwn() {
        let result = importing(conn("leftsubnet=\nleftsubnets=\"10.1.0.0/16, 10.3.0.0/16\"\nrightsubnet=\nrightsubnets={10.2.0.0/16 10.4.0.0/16}"))
        #expect(result.connectionCount == 4 && result.settings.contains("site-2x1 {") && result.isComplete)
        #expect(errors(of: result.text ?? "") == [])
    }

    @Test(arguments: [
        ("leftid=east.example", "looks this name up"), ("left=%eth0", "itself"), ("right=%opportunistic", "opportunistic"), ("rightsubnet=vhost:%priv,%no", "IKEv1"),
        ("ipsec-interface=yes", "interface"), ("phase2=ah", "AH"), ("ikev2=no", "IKEv1"),
        ("authby=null", "without authentication"), ("rightaddresspool=10.9.0.9-10.9.0.1", "no network"), ("leftmodecfgclient=maybe", "not known"), ("sha2-truncbug=yes", "truncation"),
        ("leftprotoport=17/%any", "peer chooses"), ("ike=3des-md5;modp1024", "no"),
    ]) func leftOut(line: String, reason: String) {
        let result = importing(conn(line), as: .libreswan)
        #expect(result.connectionCount == 0 && result.leftOut.contains { $0.contains(reason) }, "\(result.findings)")
    }

    @Test func theSourceAddressIsNotAVirtualOne() {
        let result = importing(conn("leftsourceip=10.1.0.1"), as: .libreswan)
        #expect(result.connectionCount == 1 && result.notCarried.contains { $0.contains("leftsourceip") })
    }

    /// Two identities must both fit; strongSwan takes one that fits as a last resort.
    @Test func whoseSecretItIs() {
        let lines = "rightid=@other.example"
        #expect(importing(conn(lines), as: .strongSwan).connectionCount == 1)
        #expect(importing(conn(lines), as: .libreswan).leftOut.contains { $0.contains("no preshared key for @east.example and @other.example") })
    }

    /// Whom a key lets in, as the daemon chooses it from the result.
    private func secret(_ result: ImportResult, _ local: String, _ remote: String) throws -> String? {
        let loaded = ConfigurationLoader.load(path: "m.conf", reader: MemoryFiles(["m.conf": result.text ?? ""]), serves: { _ in true }, providers: [], methods: ["psk"])
        func identity(_ name: String) -> Identification { IPAddress(name).map { Identification(kind: .ipv4, data: $0.bytes) } ?? Identification(kind: .fqdn, data: Array(name.utf8)) }
        return try #require(loaded.configuration).secrets.best(local: identity(local), remote: identity(remote))?.secret.withSecret { secret in
            (0..<secret.count).map { String(UnicodeScalar(secret.span[$0])) }.joined()
        }
    }

    private static let anybody = "leftid=@gw\nright=%any\nrightid=\nrightsubnet="

    @Test func aKeyOfTwoLetsInNobodyElse() throws {
        let keys = "@gw @branch : PSK \"sixteen bytes for branch\"\n"
        let result = importing(conn(Self.anybody), secrets: keys, as: .libreswan)
        #expect(result.connectionCount == 1 && result.leftOut == [] && errors(of: result.text ?? "") == [])
        #expect(result.notes == ["ipsec.secrets:1: the preshared key is written without our own identity @gw, so that it stays its peer's alone"])
        #expect(try secret(result, "gw", "branch") == "sixteen bytes for branch" && secret(result, "gw", "admin") == nil)
        // With peers that are named nothing has to go.
        let named = importing(conn("leftid=@gw\nrightid=@branch"), secrets: keys, as: .libreswan)
        #expect(named.isComplete && named.notes == [] && named.has("id-1 = @gw") && named.has("id-2 = @branch"))
        // strongSwan takes the key for any peer too.
        #expect(importing(conn(Self.anybody), secrets: keys, as: .strongSwan).has("id-1 = @gw"))
    }

    @Test func manyPeersKeepTheirKeys() throws {
        let keys = "@gw @a : PSK \"sixteen bytes for a\"\n@gw @b @c: PSK \"sixteen bytes for b, c\"\n@gw @d : PSK \"sixteen bytes for d\"\n: PSK \"sixteen bytes for all\"\n"
        let result = importing(conn(Self.anybody, name: "rw") + conn("leftid=@gw\nrightid=@d", name: "d"), secrets: keys, as: .libreswan)
        #expect(result.connectionCount == 2 && result.leftOut == [] && errors(of: result.text ?? "") == [])
        for (peer, key) in [("a", "a"), ("b", "b, c"), ("c", "b, c"), ("d", "d"), ("e", "all")] { #expect(try secret(result, "gw", peer) == "sixteen bytes for \(key)") }
    }

    @Test(arguments: [
        // The key of another gateway's peer would do for this one.
        "@gw @branch : PSK \"sixteen bytes for branch\"\n@other @branch : PSK \"sixteen bytes for another\"\n",
        "@other @branch : PSK \"sixteen bytes for another\"\n@gw : PSK \"sixteen bytes for all\"\n",
    ]) func otherwiseTheConnectionIsLeftOut(keys: String) {
        let other = conn(Self.anybody.replacing("@gw", with: "@other"), name: "b")
        let result = importing(conn(Self.anybody, name: "a") + other, secrets: keys, as: .libreswan)
        #expect(result.leftOut.contains { $0.contains("a preshared key for other peers would let them in here") }, "\(result.findings)")
        #expect(errors(of: result.text ?? "") == [] && result.connectionCount < 2)
    }

    @Test func ourOwnAddressMayBeUnknown() throws {
        let keys = "192.0.2.1 192.0.2.2 : PSK \"sixteen bytes for one\"\n192.0.2.1 192.0.2.3 : PSK \"sixteen bytes for two\"\n"
        let one = conn("left=%defaultroute\nleftid=\nrightid=", name: "one"), two = conn("left=%defaultroute\nleftid=\nright=192.0.2.3\nrightid=", name: "two")
        let result = importing(one + two, secrets: keys, as: .libreswan)
        #expect(result.connectionCount == 2 && result.leftOut == [])
        #expect(try secret(result, "192.0.2.1", "192.0.2.2") == "sixteen bytes for one" && secret(result, "192.0.2.1", "192.0.2.3") == "sixteen bytes for two")
    }

    /// Every arrangement of few identities: nobody comes in with another key than libreswan wants.
    @Test func noArrangementLetsInMore() throws {
        let lists = ["", "@gw", "@a", "@gw @a", "@gw @b", "@a @b", "@gw @a @b", "@gw %any", "@a %any", "@gw2 @a"]
        func there(_ keys: [String], _ local: String, _ remote: String) -> Int? {
            var best: (Int, Int)?
            for (index, key) in keys.enumerated() {
                let names = key.split(separator: " ").map(String.init)
                let ours = names.contains(local), theirs = names.contains(remote), any = names.contains("%any")
                let rank = ours && theirs && !any ? 5 : ours && any && !theirs ? 4 : ours && names.count == 1 ? 3 : theirs && any && !ours ? 2 : any && !ours && !theirs ? 1 : names.isEmpty ? 0 : -1
                if rank >= 0, rank > best?.1 ?? -1 { best = (index, rank) }
            }
            return best?.0
        }
        for first in lists {
            for second in lists {
                for third in ["", "@gw2 @b", "@gw @a"] {
                    let keys = [first, second, third]
                    let secrets = keys.enumerated().map { "\($0.element) : PSK \"sixteen bytes, key \($0.offset)\"\n" }.joined()
                    let result = importing(
                        conn(Self.anybody, name: "a") + conn(Self.anybody.replacing("@gw", with: "@gw2"), name: "b") + conn("leftid=@gw\nrightid=@b", name: "c"), secrets: secrets, as: .libreswan)
                    for (name, local, peers) in [("a", "@gw", ["@a", "@b", "@x"]), ("b", "@gw2", ["@a", "@b", "@x"]), ("c", "@gw", ["@b"])] where result.settings.contains("\(name) {") {
                        for peer in peers {
                            guard let here = try secret(result, String(local.dropFirst()), String(peer.dropFirst())) else { continue }
                            #expect(there(keys, local, peer).map { "sixteen bytes, key \($0)" } == here, "\(keys), \(local), \(peer)\n\(result.text ?? "")")
                        }
                    }
                }
            }
        }
    }
}
