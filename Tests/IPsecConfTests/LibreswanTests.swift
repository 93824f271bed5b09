// Where libreswan means something else than strongSwan.

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
}
