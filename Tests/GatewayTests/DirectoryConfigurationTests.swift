// The section of the directory plugin: what can never work is found where it stands, and what a directory can verify is known without one.

import Testing
@testable import Gateway

@Suite struct DirectoryConfigurationTests {
    func load(ldap: String) -> ConfigurationResult { GatewayTests.load(site() + "\nplugins { ldap {\n\(ldap)\n} }\n") }
    static let good = "uri = ldaps://a.example, ldap://b.example:1389\nbase = \"dc=example,dc=org\"\n"

    func directories(_ ldap: String) throws -> [DirectoryConfiguration] {
        let result = load(ldap: ldap)
        return DirectoryConfiguration.all(in: try #require(result.configuration, "\(result.errors)").plugins)
    }

    @Test func aSectionThatIsRightIsTaken() throws {
        // The password's file is there, for everything else is in memory.
        let text =
            site() + "\nplugins { ldap {\n" + Self.good + "schema = ad\nbind_dn = \"cn=x,dc=example\"\nbind_password_file = secrets/ldap\nuser_filter = \"(&(a=b)(uid=%u))\"\ntimeout = 5s\n} }\n"
        let result = GatewayTests.load(MemoryFiles(["m.conf": text, "secrets/ldap": "words"]))
        #expect(result.diagnostics == [])
        let plugin = try #require(result.configuration?.plugins.plugin("ldap"))
        // Relative to the file that names it.
        #expect(plugin.option("bind_password_file") == "secrets/ldap" && plugin.option("base") == "dc=example,dc=org")
        #expect(plugin.option("uri")?.contains("ldap://b.example:1389") == true)
    }

    @Test func whatADirectoryCanVerifyIsKnown() throws {
        let ad = try #require(try directories(Self.good + "schema = ad").first)
        #expect(ad.name == "ldap" && !ad.hasNTHashes && ad.advice.contains("EAP-TLS"))
        #expect(try directories(Self.good + "schema = samba").map(\.hasNTHashes) == [true])
        #expect(try directories(Self.good + "schema = freeipa\nnt_hash_attribute = no").map(\.hasNTHashes) == [false])
        #expect(try directories(Self.good).map(\.hasNTHashes) == [false])
        #expect(try directories(Self.good + "nt_hash_attribute = sambaNTPassword").map(\.hasNTHashes) == [true])
        let several = try directories(Self.good + "directories = corp, partner\npartner { schema = samba }")
        #expect(several.map(\.name) == ["corp", "partner"] && several.map(\.hasNTHashes) == [false, true])
        #expect(DirectoryConfiguration.all(in: PluginConfiguration()).isEmpty)
        #expect(try directories(Self.good + "load = no").isEmpty)
    }

    @Test(arguments: [
        ("base = \"dc=x\"", "the directory has no 'uri'"), ("uri = ldap://a", "the directory has no 'base'"), (good + "shema = ad", "did you mean 'schema'"),
        (good + "schema = activedirectory", "'schema' is one of posix, samba, freeipa, ad"), ("base = \"dc=x\"\nuri = http://a.example", "'http://a.example' is none"),
        (good + "bind_dn = cn=x", "'bind_dn' needs a password"), (good + "bind_password = a\nbind_password_file = b\nbind_dn = c", "not both"),
        (good + "user_filter = (uid=x)", "'user_filter' needs %u"), (good + "group_filter = (member=x)", "'group_filter' needs %d"), (good + "timeout = soon", "'timeout' is a time"),
        ("base = \"dc=x\"\ndirectories = a, b\na { uri = ldap://a }", "the directory 'b' has no 'uri'"), (good + "corp { uri_ = x }", "a directory has no key 'uri_'"),
    ]) func whatCannotWorkIsAnError(ldap: String, words: String) {
        let result = load(ldap: ldap)
        #expect(result.configuration == nil && result.errors.contains { $0.message.contains(words) && $0.position.line > 10 }, "\(result.diagnostics)")
    }

    @Test func whatIsUnsafeIsAWarning() {
        #expect(load(ldap: Self.good + "verify = no").warnings.contains { $0.message.contains("whatever its certificate says") })
        #expect(load(ldap: Self.good + "start_tls = no").warnings.contains { $0.message.contains("in clear") })
    }

    @Test(arguments: ["uri = ldaps://u:hunter2@directory.example", "uri = http://u:hunter2@directory.example"]) func aURIHasNoPassword(line: String) {
        let result = load(ldap: Self.good + line)
        #expect(result.errors.contains { $0.message.contains("takes no user and no password") } && !result.diagnostics.contains { $0.message.contains("hunter2") }, "\(result.diagnostics)")
    }

    @Test(arguments: ["timeout = 0s", "connect_timeout = 0", "timeout = 1h"]) func aTimeIsOneThatServes(line: String) {
        #expect(load(ldap: Self.good + line).errors.contains { $0.message.contains("takes 1s to 300s") })
    }

    @Test func aPasswordIsNotShown() {
        let result = load(ldap: Self.good + "bind_dn = cn=x\nbind_password = hunter2 timeout = 3s")
        #expect(!result.diagnostics.contains { $0.message.contains("hunter2") })
    }

    @Test(
        arguments: [
            ("staff, admins", ["staff", "admins"]), ("cn=VPN Users,ou=groups,dc=example", ["cn=VPN Users,ou=groups,dc=example"]),
            ("staff, cn=a, dc=x; cn=b,dc=x , ops", ["staff", "cn=a,dc=x", "cn=b,dc=x", "ops"]), ("cn=Smith\\, John,dc=x", ["cn=Smith\\, John,dc=x"]), (" , ;; ", []), ("", []),
            ("Domain Users;cn=a,dc=x", ["Domain Users", "cn=a,dc=x"]), ("VPN\\, Users, ops", ["VPN, Users", "ops"]),
        ] as [(String, [String])]) func distinguishedNamesKeepTheirCommas(text: String, groups: [String])
    {
        #expect(ConfigurationValue(text: text, position: SourcePosition(file: "x", line: 1, column: 1)).groupNames == groups)
        // As swanctl sends it.
        let cut = text.split(separator: ",", omittingEmptySubsequences: false).map { String($0.drop { $0 == " " }) }
        #expect(ConfigurationValue(elements: cut, position: SourcePosition(file: "x", line: 1, column: 1)).groupNames == groups)
        // A program that means a list sends whole names.
        #expect(ConfigurationValue(elements: [text + ",dc=y", "b"], position: SourcePosition(file: "x", line: 1, column: 1)).groupNames == [text + ",dc=y", "b"])
    }

    @Test(arguments: ["remote { groups = staff", "remote { user_lookup = yes", "sessions_per_user = 2\nremote {"]) func whatIsAboutUsersIsRefusedOfWhoSharesAKey(text: String) {
        let result = GatewayTests.load(
            "connections { a { local_addrs = 192.0.2.1\nremote_addrs = %any\nlocal { auth = psk }\n\(text)\nauth = psk }\nchildren { c { } } } }\nsecrets { ike-a { secret = abcdefgh } }\nplugins { ldap {\n\(Self.good)\n} }\n"
        )
        #expect(result.configuration == nil && result.errors.contains { $0.message.contains("is refused: it is about users") }, "\(result.diagnostics)")
    }
}
