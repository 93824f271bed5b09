// What the import does not carry over is what the daemon does not take. When one of these fails because the daemon has learned
// something, the import can carry it over now: translate the parameter, and take its line out here.

import Gateway
import IKEWire
import IPsecConf
import Testing

@Suite struct DriftTests {
    /// A line of ipsec.conf, and swanctl.conf's words for it: of the connection, the local side, the remote side or the child.
    @Test(arguments: [
        ("ikedscp=101110", "connection", "dscp = 101110"),
        ("mediation=yes", "connection", "mediation = yes"), ("compress=yes", "child", "ipcomp = yes"), ("inactivity=5m", "child", "inactivity = 5m"),
        ("reqid=7", "child", "reqid = 7"),
        ("type=passthrough", "child", "mode = pass"), ("type=drop", "child", "mode = drop"), ("ah=sha256!", "child", "ah_proposals = sha256"), ("tfc=%mtu", "child", "tfc_padding = mtu"),
        ("sha256_96=yes", "child", "sha256_96 = yes"), ("installpolicy=no", "child", "policies = no"), ("leftupdown=/etc/fw.sh", "child", "updown = /etc/fw.sh"),
        ("leftcert=a.pem", "local", "certs = a.pem"), ("rightca=%same", "remote", "cacerts = a.pem"), ("rightgroups=staff", "remote", "groups = staff"),
        ("authby=pubkey", "local", "auth = pubkey"), ("leftauth=eap-mschapv2", "local", "auth = eap-mschapv2"), ("leftauth2=psk", "connection", "local-2 { auth = psk }"),
    ]) func theDaemonDoesNotTakeItEither(line: String, place: String, setting: String) {
        let result = importing(conn(line), as: .strongSwan)
        #expect(!result.isComplete, "\(line) is carried over: take it out of this list")
        func slot(_ name: String) -> String { name == place ? setting : "" }
        let text = """
            connections { a {
            remote_addrs = 192.0.2.2
            \(slot("connection"))
            local { auth = psk
            id = @east.example
            \(slot("local")) }
            remote { auth = psk
            id = @west.example
            \(slot("remote")) }
            children { b {
            local_ts = 10.1.0.0/16
            remote_ts = 10.2.0.0/16
            \(slot("child")) } } } }
            secrets { ike { secret = "sixteen bytes, or more" } }
            """
        #expect(!diagnostics(of: text).isEmpty, "the daemon takes '\(setting)': the import can carry over '\(line)'")
    }
}
