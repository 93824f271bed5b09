// ipsec.secrets: forms of a preshared key, what else stands there, and that no text of it shows.

import IPsecConf
import Testing

@Suite struct SecretsTests {
    @Test(arguments: [
        ("@east.example @west.example : PSK \"sixteen bytes, or more\"", "secret = \"sixteen bytes, or more\""),
        ("@east.example @west.example: PSK 'with \"quotes\" and \\'", #"secret = "with \"quotes\" and \\""#),
        ("192.0.2.1 192.0.2.2 : PSK 0x00112233445566778899aabbccddeeff", "secret = 0x00112233445566778899aabbccddeeff"),
        ("%any : PSK 0sAAECAwQFBgcICQoLDA0ODw==", "secret = 0x000102030405060708090a0b0c0d0e0f"),
        (": PSK \"0x is text in quotes\"", "secret = 0x3078206973207465787420696e2071756f746573"), (": PSK bare", "secret = \"bare\""),
        ("@east.example @west.example :\n  PSK \"over three\"\n", "secret = \"over three\""),
        ("@a @b @east.example : psk \"many\" # a comment", "secret = \"many\""), (": PSK \"café and more bytes\"", "secret = 0x636166c3a920616e64206d6f7265206279746573"),
    ]) func forms(line: String, setting: String) {
        let result = importing(conn("leftid=@east.example\nrightid=@west.example"), secrets: line)
        #expect(result.problems == [])
        #expect(result.text?.contains(setting) == true, "\(result.text ?? "")")
        #expect(errors(of: result.text ?? "") == [])
    }

    @Test func otherKindsAreNamed() {
        let result = importing(conn(), secrets: psk + ": RSA me.pem \"passphrase\"\n: ECDSA k.pem\n: P12 a.p12 \"hidden\"\nme : EAP \"hidden\"\nme : XAUTH \"hidden\"\n: PIN %smartcard \"hidden\"\n")
        #expect(result.leftOut.count == 6 && result.secretCount == 1)
        #expect(result.leftOut[0] == "ipsec.secrets:2: the RSA secret is not carried over: private keys are not carried over yet")
        #expect(result.text?.contains("hidden") == false && result.text?.contains("passphrase") == false)
    }

    @Test(arguments: ["\"no separator\"\n", "@a : PSK\n", "@a : PSK \"open\n", ": PSK 0x123\n", ": PSK 0s===\n", "@a @b PSK \"hidden\"\n"]) func whatIsMalformedIsRefusedAndNotShown(line: String) {
        let result = importing(conn(), secrets: line)
        #expect(result.text == nil && result.problems.count == 1)
        #expect(!result.problems.joined().contains("hidden") && !result.problems.joined().contains("open"))
    }

    @Test func withoutTheFileConnectionsAreLeftOut() {
        let result = importing(conn(), secrets: nil)
        #expect(result.leftOut == ["ipsec.conf:1: conn site: no preshared key for @east.example and @west.example: ipsec.secrets: not there (--secrets names another file)"])
    }

    @Test func includes() {
        let result = importing(conn(), secrets: "include more.d/*.secrets\ninclude gone.secrets\n", more: ["more.d/a.secrets": psk, "more.d/b.secrets": "include a.secrets\n"])
        #expect(result.connectionCount == 1 && result.secretCount == 2 && result.notCarried.count == 1)
    }

    @Test func aKeyForAnIdentityThatIsNotThereYet() {
        let result = importing(conn(), secrets: psk + "\"C=CH, CN=me\" : PSK \"hidden\"\n")
        #expect(result.leftOut.count == 1 && result.secretCount == 1 && !result.leftOut[0].contains("hidden"))
    }

    @Test func onATerminalSecretsAreNotShown() {
        var options = ImportOptions()
        options.showsSecrets = false
        options.localAddresses = ["192.0.2.1"]
        let result = Import.run("ipsec.conf", files: MemoryFiles(["ipsec.conf": conn(), "ipsec.secrets": psk]), options: options)
        #expect(result.text?.contains("sixteen bytes") == false)
        // What stands there instead is taken for no secret.
        #expect(errors(of: result.text ?? "").count == 1)
    }
}
