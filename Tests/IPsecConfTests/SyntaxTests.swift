// How ipsec.conf is read: sections, comments, quotes, include, also.

import IPsecConf
import Testing

@Suite struct SyntaxTests {
    @Test func aPlainConnection() {
        let result = importing(conn())
        #expect(result.problems == [] && result.findings == [])
        #expect(result.isComplete && result.connectionCount == 1 && result.secretCount == 1)
        for setting in ["local_addrs = 192.0.2.1", "remote_addrs = 192.0.2.2", "id = @east.example", "local_ts = 10.1.0.0/16", "remote_ts = 10.2.0.0/16", "auth = psk"] {
            #expect(result.has(setting), "\(setting)")
        }
        #expect(errors(of: result.text ?? "") == [])
    }

    @Test func everyValueNamesItsLine() {
        let text = importing(conn()).text ?? ""
        #expect(text.split(separator: "\n").contains { $0.contains("remote_addrs = 192.0.2.2 ") && $0.hasSuffix("# line 5") })
        #expect(text.contains("site {  # conn site, ipsec.conf:1"))
    }

    @Test func commentsQuotesAndBlanks() {
        let result = importing(
            """
            # a comment
            version 2.0

            config setup   # another
            conn site\t# and one
            \t# one within
            \tleft = 192.0.2.1
            \tleftid = "@east.example" # quoted
                right=192.0.2.2

             rightid=@west.example
            \tauthby = secret
            \tauto= add
            """)
        #expect(result.problems == [])
        #expect(result.has("id = @east.example") && result.has("id = @west.example") && result.connectionCount == 1)
    }

    @Test func whatIsNoSyntaxIsRefusedWithItsLine() {
        for (text, problem) in [
            ("conn a\nleft=192.0.2.1\n", "ipsec.conf:2: 'left' begins no section: 'config setup', 'conn NAME' and 'ca NAME' do, and a parameter is indented"),
            ("  left=192.0.2.1\n", "ipsec.conf:1: this parameter stands before every section"),
            ("conn a\n  left\n", "ipsec.conf:2: 'parameter=value' is expected"),
            ("conn\n", "ipsec.conf:1: 'conn' needs one name"),
            ("conn a b\n", "ipsec.conf:1: 'conn' needs one name"),
            ("conn a\n  left=\"192.0.2.1\n", "ipsec.conf:2: the string that begins here has no closing '\"'"),
            ("config start\n", "ipsec.conf:1: 'config setup' is expected, not 'config start'"),
            ("include\n", "ipsec.conf:1: 'include' begins no section: 'config setup', 'conn NAME' and 'ca NAME' do, and a parameter is indented"),
            ("include ipsec.conf\n", "ipsec.conf:1: ipsec.conf includes itself, or files include each other too deep"),
        ] {
            let result = importing(text)
            #expect(result.problems == [problem] && result.text == nil)
        }
    }

    @Test func alsoAndDefault() {
        let result = importing(
            conn("also=late\nalso=early", name: "a") + """
                conn late
                  dpdaction=clear
                  dpddelay=20s
                  lifetime=30m
                conn early
                  also=earlier
                  lifetime=40m
                conn earlier
                  ike=aes256-sha256-modp2048!
                  lifetime=50m
                conn %default
                  ike=aes128-sha256-modp2048!
                  keyingtries=7

                """)
        #expect(result.findings == [])
        // The later `also` wins, what it takes over as well, and everything over the defaults.
        #expect(result.has("life_time = 40m") && result.has("dpd_delay = 20s") && result.has("proposals = aes256-sha256-modp2048") && result.has("keyingtries = 7"))
    }

    @Test func alsoInTheDefaultsLeavesConnectionsOut() {
        let result = importing(conn(name: "a") + conn(name: "b") + "conn %default\n  also=base\nconn base\n  rightgroups=admins\n")
        #expect(result.connectionCount == 0 && result.leftOut.count == 1)
        #expect(result.leftOut.first?.hasPrefix("ipsec.conf:20: conns a, b, base: also=base: whether %default takes over a section differs") == true, "\(result.leftOut)")
    }

    @Test func anEmptyValueClearsWhatIsInherited() {
        let result = importing(conn("keyingtries=\nreqid=", name: "a") + "conn %default\n  keyingtries=7\n  reqid=5\n" + conn(name: "b"))
        #expect(result.has("keyingtries = 3") && result.leftOut.count == 1)
        #expect(result.leftOut.first?.hasPrefix("ipsec.conf:14: conn b: reqid=5: it cannot be chosen yet") == true, "\(result.leftOut)")
    }

    @Test func circlesAreRefused() {
        let result = importing(conn("also=b", name: "a") + "conn b\n  also=c\nconn c\n  also=a\n" + conn("also=nowhere", name: "d"))
        #expect(result.connectionCount == 0)
        #expect(result.leftOut.contains { $0.contains("conn a") && $0.contains("in a circle: a -> b -> c -> a") })
        #expect(result.leftOut.contains { $0.contains("conn d: also=nowhere: there is no conn of that name") })
    }

    @Test func alsoHasADepth() {
        let chain = (0..<200).map { "conn c\($0)\n  also=c\($0 + 1)\n" }.joined()
        #expect(importing(conn("also=c0") + chain).leftOut.contains { $0.contains("deep") })
    }

    @Test func includes() {
        let result = importing(
            "include sub/*.conf\ninclude gone.conf\ninclude gone/*.conf\n" + conn("also=base"),
            more: ["sub/a.conf": "include b.inc\n", "sub/b.inc": "conn base\n  keyingtries=9\n", "sub/.hidden.conf": "nonsense\n"])
        #expect(result.problems == [] && result.has("keyingtries = 9"))
        #expect(result.notCarried == ["ipsec.conf:2: gone.conf is not there; what stood in it is missing here too"])
        #expect(result.text?.contains("# sub/b.inc:2\n") == true)
    }

    @Test func sectionsOfANameAreOne() {
        let result = importing(conn() + conn("keyingtries=5"))
        #expect(result.connectionCount == 1 && result.has("keyingtries = 5"))
    }

    @Test func namesThatASectionMayNotHave() {
        let result = importing(conn(name: "vpn.example{1}") + conn("right=192.0.2.9\nrightid=@east.example", name: "vpn-example-1-") + conn("left=192.0.2.77", name: "include"), local: [])
        #expect(result.connectionCount == 3 && errors(of: result.text ?? "") == [])
        #expect(result.settings.contains("vpn-example-1- {") && result.settings.contains("vpn-example-1--2 {") && result.settings.contains("include-conn {"))
    }

    @Test func commentsOfTheResultStayComments() {
        let result = importing(conn("x_y=1\nleftcert=\"a\nconnections { evil { } }\"\ndpddelay=\"1s\\n}\"", name: "a") + conn(name: "b"))
        #expect(result.connectionCount == 1 && errors(of: result.text ?? "") == [])
        #expect(result.text?.split(separator: "\n").contains { $0.contains("evil") && !$0.hasPrefix("#") } == false)
    }
}
