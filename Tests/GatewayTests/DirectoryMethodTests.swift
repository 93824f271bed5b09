// What a directory can never verify is refused when the configuration is checked, by whichever way it comes; and of several directories the one that is meant.

import IKECore
import IKEWire
import Testing
@testable import Gateway

@Suite struct DirectoryMethodTests {
    static let ldap = "uri = ldaps://a.example\nbase = \"dc=example,dc=org\"\n"
    static let methods = [
        EAPMethod(name: "eap-mschapv2", type: 26, givesKey: true), EAPMethod(name: "eap-md5", type: 4, givesKey: false), EAPMethod(name: "eap-gtc", type: 6, givesKey: false),
        EAPMethod(name: "eap-ttls", type: 21, givesKey: true, proof: .init(server: true)), EAPMethod(name: "eap-peap", type: 25, givesKey: true, proof: .init(server: true)),
        EAPMethod(name: "eap-tls", type: 13, givesKey: true, isMutual: true, proof: .init(server: true, client: true, password: false)),
    ]
    static func capabilities(_ directories: [DirectoryAbilities] = []) -> Capabilities {
        var capabilities = Capabilities(serves: { servedTransforms.contains($0) }, providers: ["openssl"], methods: ["psk", "pubkey"])
        capabilities.eapMethods = methods
        capabilities.directories = directories
        return capabilities
    }
    static func gateway(_ auth: String, remote: String = "", name: String = "rw", user: Bool = false) -> String {
        """
        connections { \(name) {
        local_addrs = 192.0.2.2
        remote_addrs = %any
        local { auth = psk
        id = gw.example }
        remote {
        auth = \(auth)
        id = %any
        eap_id = %any
        \(remote) }
        children { net { local_ts = 10.2.0.0/16 } } } }
        secrets { ike-peer { secret = "sixteen bytes, or more" } \(user ? "eap-one { id = carol\nsecret = abc }" : "") }

        """
    }
    func load(_ text: String, ldap: String? = DirectoryMethodTests.ldap, files: [String: String] = [:]) -> ConfigurationResult {
        let files = MemoryFiles(files.merging(["m.conf": text + (ldap.map { "plugins { ldap {\n\($0)\n} }\n" } ?? "")]) { $1 })
        return ConfigurationLoader.validate(ConfigurationLoader.read(path: "m.conf", reader: files), Self.capabilities(), files: files)
    }

    @Test(arguments: ["ad", "posix"], ["eap-mschapv2", "eap-peap", "eap-md5"]) func whatCanNeverWorkIsRefused(schema: String, method: String) throws {
        let result = load(Self.gateway(method), ldap: Self.ldap + "schema = \(schema)")
        // PEAP wants a certificate of the gateway besides.
        func ofDirectory(_ result: ConfigurationResult) -> [ConfigurationError] { result.errors.filter { !$0.message.contains("has no certificate") } }
        let error = try #require(ofDirectory(result).first, "\(result.diagnostics)")
        #expect(ofDirectory(result).count == 1 && error.position.line == 7 && error.message.contains("the directory 'ldap' cannot verify anybody here: \(method)"), "\(result.errors)")
        #expect(error.message.lowercased().contains("eap-tls") && error.message.lowercased().contains("eap-gtc") && error.message.lowercased().contains("eap-ttls"), "\(error)")
        #expect((method == "eap-md5") == error.message.contains("the users' passwords themselves") && (method != "eap-md5") == error.message.contains("NT hash"), "\(error)")
        // Those of `secrets` can come in, and the others are spoken of.
        let both = load(Self.gateway(method, user: true), ldap: Self.ldap + "schema = \(schema)")
        #expect(ofDirectory(both) == [] && both.warnings.contains { $0.position.line == 7 && $0.message.contains("the users of the directory 'ldap' cannot log in here") }, "\(both.diagnostics)")
    }

    @Test(arguments: ["eap-gtc", "eap-ttls"]) func whatABindVerifiesIsTaken(method: String) {
        let result = load(Self.gateway(method), ldap: Self.ldap + "schema = ad")
        #expect(!result.diagnostics.contains { $0.message.contains("directory") || $0.message.contains("no users") }, "\(result.diagnostics)")
    }

    @Test(arguments: ["samba", "freeipa"]) func whatAHashVerifiesIsTaken(schema: String) {
        #expect(!load(Self.gateway("eap-mschapv2"), ldap: Self.ldap + "schema = \(schema)").diagnostics.contains { $0.message.contains("directory") })
        let result = load(Self.gateway("eap-md5"), ldap: Self.ldap + "schema = \(schema)")
        #expect(result.errors.first?.message.contains("eap-md5 needs the users' passwords themselves, which no directory hands out: write one of eap-tls, eap-mschapv2, eap-gtc, eap-ttls") == true)
    }

    /// By a client too, where the plugin runs.
    @Test func aClientsConnectionIsCheckedTheSame() throws {
        let ad = DirectoryAbilities(name: "ldap", verifiesPasswords: true, hasNTHashes: false, advice: "use EAP-TLS")
        func check(_ users: String) throws -> ConfigurationResult {
            let running = try #require(GatewayTests.load("secrets { \(users) }").configuration)
            let read = ConfigurationLoader.read(path: "m.conf", reader: MemoryFiles(["m.conf": Self.gateway("eap-mschapv2")]))
            return ConfigurationLoader.validate(read, Self.capabilities([ad]), joining: running)
        }
        #expect(try check("ike-peer { secret = abcdefgh }").errors.contains { $0.message.contains("cannot verify anybody here: eap-mschapv2") })
        let mixed = try check("eap-one { id = carol\nsecret = abc }")
        #expect(mixed.errors == [] && mixed.warnings.contains { $0.message.contains("cannot log in here") }, "\(mixed.diagnostics)")
    }

    @Test(arguments: ["eap-dynamic", "eap"]) func whatTheDirectoryCannotVerifyIsNotOffered(auth: String) throws {
        func offered(_ schema: String, user: Bool) throws -> [String] {
            let result = load(Self.gateway(auth, user: user), ldap: Self.ldap + "schema = \(schema)")
            return try #require(result.configuration?.connections.first, "\(result.errors)").remote.eapMethods(Self.methods, asServer: true).map(\.name)
        }
        #expect(try offered("ad", user: false) == ["eap-gtc", "eap-ttls", "eap-tls"])
        // Users of `secrets` may need them: last.
        #expect(try offered("ad", user: true) == ["eap-gtc", "eap-ttls", "eap-tls", "eap-mschapv2", "eap-md5", "eap-peap"])
        #expect(try offered("samba", user: false) == ["eap-mschapv2", "eap-gtc", "eap-ttls", "eap-peap", "eap-tls"])
        let without = load(Self.gateway(auth, user: true), ldap: nil)
        #expect(try #require(without.configuration?.connections.first).remote.eapMethods(Self.methods, asServer: true).map(\.name) == Self.methods.map(\.name))
    }

    static let two = ldap + "directories = corp, partner\ncorp { schema = ad }\npartner { schema = samba }"

    @Test func ofSeveralDirectoriesOneIsChosen() throws {
        let result = load(Self.gateway("eap-mschapv2", remote: "directory = partner\ngroups = staff"), ldap: Self.two)
        #expect(result.diagnostics == [] && result.configuration?.connections.first?.remote.directory == "partner", "\(result.diagnostics)")
        // What each can verify counts for its own users.
        #expect(load(Self.gateway("eap-mschapv2", remote: "directory = corp"), ldap: Self.two).errors.first?.message.contains("the directory 'corp' cannot verify anybody here") == true)
        let first = load(Self.gateway("eap-gtc"), ldap: Self.two)
        #expect(
            first.errors == [] && first.warnings.contains { $0.message.contains("users are looked for in the directory 'corp' alone, the first of 2: write directory = corp or directory = partner") })
        let unknown = load(Self.gateway("eap-gtc", remote: "directory = partne"), ldap: Self.two)
        #expect(unknown.errors.first?.message.contains("there is no directory 'partne' (there is 'corp', 'partner')") == true && unknown.errors.first?.position.line == 10, "\(unknown.errors)")
        #expect(unknown.errors.first?.message.contains("did you mean 'partner'") == true)
        #expect(load(Self.gateway("eap-gtc", remote: "directory = corp"), ldap: nil).errors.contains { $0.message.contains("there is no directory 'corp' (none is loaded)") })
        #expect(load(Self.gateway("eap-gtc", remote: "directory = ldap")).errors == [])
    }

    /// One mistake, one error, where it stands; that users are missing is none.
    @Test(arguments: [
        ("uri = ldaps://a.example", "has no 'base'"), ("base = \"dc=x\"\nuri = http://x", "'http://x' is none"),
        (ldap + "bind_dn = cn=x\nbind_password_file = nowhere", "'bind_password_file' cannot be read: nowhere"),
        (ldap + "bind_dn = cn=x\nbind_password_file = empty", "no password in its first line"), (ldap + "ca_file = nowhere.pem", "'ca_file' cannot be read: nowhere.pem"),
        (ldap + "user_filter = (uid=%u", "'user_filter' is a filter in parentheses that match"), (ldap + "schema = activedirectory", "'schema' is one of"),
        ("uri = ldap://a\nbase = people", "'base' is a distinguished name"),
    ]) func aMistakeIsOneError(ldap: String, words: String) {
        let result = load(Self.gateway("eap-gtc", remote: "groups = staff"), ldap: ldap, files: ["empty": "\n"])
        #expect(result.errors.count == 1 && result.errors[0].message.contains(words) && result.errors[0].position.line >= 13, "\(result.errors)")
    }

    @Test func aDoorBehindAnotherIsSaid() {
        func two(_ second: String) -> ConfigurationResult {
            load(Self.gateway("eap-gtc", name: "first") + Self.gateway("eap-mschapv2", name: "second").replacing("gw.example", with: second), ldap: Self.ldap + "schema = samba")
        }
        #expect(two("gw.example").warnings.contains { $0.message.contains("nobody comes to 'second': 'first' takes the same peers and asks them for eap-gtc") }, "\(two("gw.example").diagnostics)")
        #expect(!two("other.example").warnings.contains { $0.message.contains("nobody comes to") })
    }
}
