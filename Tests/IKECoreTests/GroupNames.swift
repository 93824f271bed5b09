// How the groups of a connection and those of a directory are compared: names by their letters, distinguished names by value (RFC 4514).

import IKECore
import Testing

@Suite struct GroupNames {
    @Test(
        arguments: [
            ("VPN Users", "vpn users"), ("CN=VPN Users,OU=Groups,DC=example", "cn=vpn users, ou=groups ,dc=EXAMPLE"),
            // The three ways to write a comma: RFC 4514 section 2.4.
            ("cn=VPN\\, Users,dc=example", "cn=VPN\\2C Users,dc=example"), ("cn=VPN\\, Users,dc=example", "cn=VPN\\2c  Users;dc=example"),
            ("cn=J\\C3\\BCrgen,dc=x", "cn=jürgen,dc=x"), ("cn=a+uid=b,dc=x", "uid=b+cn=a,dc=x"), ("cn=a\\+b,dc=x", "cn=a\\2Bb,dc=x"), ("cn=\\ a,dc=x", "cn=\\20a,dc=x"), ("cn=C++,dc=x", "cn=c++,dc=x"),
        ]) func oneGroupIsWrittenInManyWays(one: String, other: String)
    {
        #expect(GroupName.compared(one) == GroupName.compared(other))
    }

    @Test(
        arguments: [
            ("VPN Users", "VPNUsers"), ("cn=a,dc=x", "cn=a"), ("cn=a,dc=x", "dc=x,cn=a"), ("cn=a\\,dc=x", "cn=a,dc=x"), ("cn=a", "a"), ("cn=a\\+uid=b,dc=x", "cn=a+uid=b,dc=x"),
            ("cn=\\ a,dc=x", "cn=a,dc=x"),
            ("cn=VPN\\, Users,dc=x", "cn=VPN,dc=x"), ("cn=a=3:dc,dc=x", "cn=a,dc=x"), ("cn=a,", "cn=a"), ("cn=a\\", "cn=a"), ("=a", "a"),
        ]) func othersAreOthers(one: String, other: String)
    {
        #expect(GroupName.compared(one) != GroupName.compared(other))
    }
}
