// What the LDAP plugin writes into filters and names, and what it makes of an entry: RFC 4515, RFC 4514, times, flags and hashes.

import LDAPSchema
import Testing

@Suite struct FilterTextTests {
    /// RFC 4515 section 4 has these examples.
    @Test func valuesAreEscapedAsTheExamplesAre() {
        #expect("(o=" + FilterText.escaped("Parens R Us (for all your parenthetical needs)".utf8) + ")" == "(o=Parens R Us \\28for all your parenthetical needs\\29)")
        #expect(FilterText.escaped("*".utf8) == "\\2a")
        #expect(FilterText.escaped("C:\\MyFile".utf8) == "C:\\5cMyFile")
        #expect(FilterText.escaped([0, 0, 0, 4]) == "\\00\\00\\00\\04")
        #expect(FilterText.escaped("Lučić".utf8) == "Lu\\c4\\8di\\c4\\87")
    }

    @Test func noNameLeavesItsPlaceInAFilter() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<2000 {
            let name = (0..<Int.random(in: 0...20, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
            let filter = FilterText.filled("(&(a=%u)(b=%d))", user: name, name: "cn=x\\2c (y)*")
            #expect(filter.utf8.count { $0 == UInt8(ascii: "(") } == 3 && FilterText.isBalanced(filter), "\(name)")
            #expect(!filter.contains("*") && filter.utf8.allSatisfy { $0 < 0x7f && $0 >= 0x20 })
        }
    }

    @Test func whatAUserWritesIsNoTemplate() {
        #expect(FilterText.filled("(uid=%u)(dn=%d)100%%", user: Array("%d%u%".utf8), name: "%u") == "(uid=%d%u%)(dn=%u)100%")
    }

    @Test func templatesThatCannotWorkAreFound() {
        #expect(FilterText.complaint(about: "(uid=%u)", needed: "u") == nil)
        #expect(FilterText.complaint(about: "(uid=x)", needed: "u") == "has no %u")
        #expect(FilterText.complaint(about: "(uid=%s)", needed: "u")?.hasPrefix("has %s") == true)
        #expect(FilterText.complaint(about: "(uid=%u)%", needed: "u") == "ends with a single %")
        for wrong in ["", "uid=%u", "(uid=%u", "(uid=%u))", "(a)(b)", ")("] { #expect(!FilterText.isBalanced(wrong), "\(wrong)") }
        #expect(FilterText.isBalanced("(&(a=b)(|(c=d)(e=f)))"))
    }
}

@Suite struct NameTextTests {
    /// RFC 4514 section 4 has the escaped ones.
    @Test func valuesAreEscapedAsTheExamplesAre() {
        #expect(NameText.escaped(Array("James \"Jim\" Smith, III".utf8)) == "James \\\"Jim\\\" Smith\\, III")
        #expect(NameText.escaped(Array("Before\rAfter".utf8)) == "Before\\0dAfter")
        #expect(NameText.escaped(Array("Lučić".utf8)) == "Lu\\c4\\8di\\c4\\87")
        #expect(NameText.escaped(Array(" #a ".utf8)) == "\\20#a\\20")
        #expect(NameText.escaped(Array("#a".utf8)) == "\\23a")
        #expect(NameText.filled("uid=%u,ou=people", user: Array("x,ou=admins".utf8)) == "uid=x\\,ou\\=admins,ou=people")
    }

    @Test(arguments: [
        ("CN=VPN Users,OU=Groups", "VPN Users"), ("cn=James \\\"Jim\\\" Smith\\, III,dc=net", "James \"Jim\" Smith, III"), ("cn=Lu\\c4\\8di\\C4\\87", "Lučić"), ("cn=a+ou=b,c=d", "a"),
        ("cn=#04024869,dc=x", "cn=#04024869,dc=x"), ("cn=\\#a", "#a"), ("cn=\\ff,dc=x", "cn=\\ff,dc=x"), ("nothing", "nothing"), ("cn=", "cn="), ("cn=a\\", "cn=a\\"),
    ]) func theFirstValueOfAName(name: String, value: String) { #expect(NameText.firstValue(of: name) == value) }

    @Test func namesThatNobodyHasAreRefused() {
        #expect(UserName.complaint(about: Array("jürgen(x)* \\".utf8), limit: 256) == nil)
        #expect(UserName.complaint(about: [], limit: 256)?.contains("empty") == true)
        #expect(UserName.complaint(about: [UInt8](repeating: 97, count: 257), limit: 256)?.contains("longer") == true)
        #expect(UserName.complaint(about: [0xff], limit: 256)?.contains("UTF-8") == true)
        for wrong: [UInt8] in [[97, 0], [10], [0x7f], [0xc2, 0x85]] { #expect(UserName.complaint(about: wrong, limit: 256)?.contains("control") == true, "\(wrong)") }
        #expect(UserName.withoutDomain(Array("CORP\\alice".utf8)) == Array("alice".utf8))
        #expect(UserName.withoutDomain(Array("alice@corp".utf8)) == Array("alice@corp".utf8))
    }
}

@Suite struct DirectoryTimeTests {
    @Test func windowsTimes() {
        // MS-DTYP section 2.3.3: 100 ns since 1601-01-01. Midnight of 1970-01-01 is the well-known 116444736000000000.
        #expect(DirectoryTime.parse("116444736000000000", .fileTime) == .at(0))
        #expect(DirectoryTime.parse("132223104000000000", .fileTime) == .at(1_577_836_800))
        for never in ["0", "9223372036854775807", "-1"] { #expect(DirectoryTime.parse(never, .fileTime) == .never) }
        for wrong in ["", "x", "9223372036854775808", "1.5"] { #expect(DirectoryTime.parse(wrong, .fileTime) == nil, "\(wrong)") }
    }

    @Test func generalizedTimes() {
        // RFC 4517 section 3.3.13: both are the same moment.
        #expect(DirectoryTime.parse("199412161032Z", .generalized) == .at(787_573_920))
        #expect(DirectoryTime.parse("199412160532-0500", .generalized) == .at(787_573_920))
        #expect(DirectoryTime.parse("20000229120000.5Z", .generalized) == .at(951_825_600))
        #expect(DirectoryTime.parse("19700101000000Z", .generalized) == .at(0))
        guard case .at(let permanent)? = DirectoryTime.parse("000001010000Z", .generalized) else { return #expect(Bool(false)) }
        #expect(permanent < 0)
        for wrong in ["", "1994", "19941301000000Z", "199412161032", "199412161032z", "19941216103200.Z", "199412162532Z", "199412161032+", "199412161032Zx"] {
            #expect(DirectoryTime.parse(wrong, .generalized) == nil, "\(wrong)")
        }
    }

    @Test func daysAndSeconds() {
        #expect(DirectoryTime.parse("1", .days) == .at(86_400))
        #expect(DirectoryTime.parse("-1", .days) == .never)
        #expect(DirectoryTime.parse("9223372036854775807", .days) == .never)
        #expect(DirectoryTime.parse("2147483647", .seconds) == .never)
        #expect(DirectoryTime.parse("1000000000", .seconds) == .at(1_000_000_000))
    }
}

@Suite struct AccountStateTests {
    static let now: Int64 = 1_700_000_000

    func state(_ preset: DirectorySchema.Preset, _ attributes: [String: String], lockTime: Int64 = 0) -> AccountState {
        var entry = DirectoryEntry(distinguishedName: "uid=a")
        for (name, value) in attributes {
            let isTaken = entry.add(name, Array(value.utf8))
            #expect(isTaken)
        }
        var schema = DirectorySchema(preset)
        schema.lockTime = lockTime
        return AccountState(of: entry, schema, now: Self.now)
    }
    func word(_ state: AccountState) -> String { String("\(state)".prefix { $0 != "(" }) }

    /// The server follows groups of groups itself; what stands in a distinguished name cannot leave its place.
    @Test func activeDirectoryFollowsGroupsByItsMatchingRule() throws {
        let schema = DirectorySchema(.ad)
        let filter = FilterText.filled(try #require(schema.groupFilter), user: [], name: "CN=Smith\\, John (x)*,OU=Staff,DC=corp,DC=example")
        #expect(filter == "(&(objectClass=group)(member:1.2.840.113556.1.4.1941:=CN=Smith\\5c, John \\28x\\29\\2a,OU=Staff,DC=corp,DC=example))")
        #expect(FilterText.isBalanced(filter) && schema.nestedGroupFilter == nil && schema.ntHashAttribute == nil && schema.stripsDomain)
    }

    @Test func activeDirectory() {
        let good = ["userAccountControl": "512", "accountExpires": "9223372036854775807", "lockoutTime": "0", "pwdLastSet": "133000000000000000"]
        func with(_ changes: [String: String], lockTime: Int64 = 0) -> String { word(state(.ad, good.merging(changes) { $1 }, lockTime: lockTime)) }
        #expect(with([:]) == "good")
        #expect(with(["userAccountControl": "514"]) == "disabled")
        #expect(with(["accountExpires": "132223104000000000"]) == "expired")
        #expect(with(["lockoutTime": "132223104000000000"]) == "locked")
        #expect(with(["lockoutTime": "132223104000000000"], lockTime: 1800) == "good")
        // The server's own count wins over the time that stays behind.
        #expect(with(["lockoutTime": "132223104000000000", "msDS-User-Account-Control-Computed": "0"]) == "good")
        #expect(with(["msDS-User-Account-Control-Computed": "16"]) == "locked")
        #expect(with(["msDS-User-Account-Control-Computed": "8388608"]) == "passwordExpired")
        #expect(with(["pwdLastSet": "0"]) == "passwordExpired")
        for name in good.keys { #expect(with([name: "x"]) == "unclear", "\(name)") }
        #expect(word(state(.ad, [:])) == "unclear")
        // The first reason is the one that matters to whoever reads the log.
        #expect(with(["userAccountControl": "514", "accountExpires": "132223104000000000", "pwdLastSet": "0"]) == "disabled")
    }

    @Test func samba() {
        #expect(word(state(.samba, ["sambaAcctFlags": "[U          ]"])) == "good")
        // Whether it is disabled cannot be told.
        #expect(word(state(.samba, [:])) == "unclear")
        #expect(word(state(.samba, ["sambaAcctFlags": "[UD         ]"])) == "disabled")
        #expect(word(state(.samba, ["SAMBAACCTFLAGS": "[UL         ]"])) == "locked")
        #expect(word(state(.samba, ["sambaAcctFlags": "UD"])) == "unclear")
        #expect(word(state(.samba, ["sambaAcctFlags": "[U          ]", "sambaKickoffTime": "1000000000"])) == "expired")
        #expect(word(state(.samba, ["sambaAcctFlags": "[U          ]", "sambaKickoffTime": "2147483647"])) == "good")
        #expect(word(state(.posix, ["pwdAccountLockedTime": "000001010000Z"], lockTime: 60)) == "locked")
        #expect(word(state(.posix, ["pwdAccountLockedTime": "20200101000000Z"])) == "locked")
        #expect(word(state(.posix, ["pwdAccountLockedTime": "20200101000000Z"], lockTime: 60)) == "good")
        #expect(word(state(.posix, ["shadowExpire": "1"])) == "expired")
    }

    @Test func freeIPA() {
        #expect(word(state(.freeipa, ["nsAccountLock": "FALSE", "krbPasswordExpiration": "20991231235959Z"])) == "good")
        #expect(word(state(.freeipa, ["nsaccountlock": "TRUE"])) == "disabled")
        #expect(word(state(.freeipa, ["nsAccountLock": "perhaps"])) == "unclear")
        #expect(word(state(.freeipa, ["krbPrincipalExpiration": "20200101000000Z"])) == "expired")
        #expect(word(state(.freeipa, ["krbPasswordExpiration": "20200101000000Z"])) == "passwordExpired")
    }

    @Test func hashes() {
        let bytes: [UInt8] = [0x88, 0x46, 0xf7, 0xea, 0xee, 0x8f, 0xb1, 0x17, 0xad, 0x06, 0xbd, 0xd8, 0x30, 0xb7, 0x58, 0x6c]
        #expect(ntHash(in: Array("8846F7EAEE8FB117AD06BDD830B7586C".utf8)) == bytes)
        #expect(ntHash(in: Array("8846f7eaee8fb117ad06bdd830b7586c".utf8)) == bytes)
        #expect(ntHash(in: bytes) == bytes)
        // Of the empty password, as digits and as bytes.
        let empty = "31D6CFE0D16AE931B73C59D7E0C089C0"
        #expect(ntHash(in: Array(empty.utf8)) == nil)
        #expect(ntHash(in: stride(from: 0, to: 32, by: 2).compactMap { UInt8(empty.dropFirst($0).prefix(2), radix: 16) }) == nil)
        for wrong in ["", "8846F7EAEE8FB117AD06BDD830B7586", "8846F7EAEE8FB117AD06BDD830B7586CX", "NO PASSWORDXXXXXXXXXXXXXXXXXXXXX"] { #expect(ntHash(in: Array(wrong.utf8)) == nil, "\(wrong)") }
    }

    @Test func anEntryThatIsTooLargeIsRefused() {
        var entry = DirectoryEntry(distinguishedName: "uid=a")
        let isTaken = entry.add("a;lang-de", [1])
        #expect(isTaken && entry.values("A") == [[1]])
        let isTooLarge = !entry.add("b", [UInt8](repeating: 0, count: DirectoryEntry.sizeLimit))
        #expect(isTooLarge)
    }

    @Test func onlyActiveDirectoryNeedsAdvice() {
        #expect(DirectorySchema(.ad).advice.contains("EAP-TLS") && DirectorySchema(.posix).advice.contains("nt_hash_attribute"))
        #expect(DirectorySchema(.samba).advice.isEmpty && DirectorySchema(.freeipa).advice.isEmpty)
        #expect(DirectorySchema(.samba).attributes(withHash: false).contains("sambaNTPassword") == false)
    }
}

@Suite struct CircuitBreakerTests {
    let second: UInt64 = 1_000_000_000

    @Test func aServerThatIsDownRestsLongerEachTime() {
        var breaker = CircuitBreaker()
        var now: UInt64 = 0
        var rests: [UInt64] = []
        for _ in 0..<7 {
            var may = breaker.mayTry(now: now)
            #expect(may)
            breaker.failed(isDown: true, now: now)
            let rest = breaker.rest(now: now) ?? 0
            rests.append(rest / second)
            may = breaker.mayTry(now: now + rest - 1)
            #expect(!may)
            now += rest
        }
        #expect(rests == [2, 4, 8, 16, 30, 30, 30])
        let tries = [breaker.mayTry(now: now), breaker.mayTry(now: now)]
        #expect(tries == [true, false])
        breaker.succeeded()
        let more = [breaker.mayTry(now: now), breaker.mayTry(now: now)]
        #expect(more == [true, true])
    }

    @Test func oneAttemptGoesAloneAfterARest() {
        var breaker = CircuitBreaker()
        breaker.failed(isDown: true, now: 0)
        // One that never comes back keeps the others away no longer than the longest rest.
        let tries = [2 * second, 3 * second, 2 * second + CircuitBreaker.longest].map { breaker.mayTry(now: $0) }
        #expect(tries == [true, false, true])
    }

    @Test func aSlowAnswerIsForgivenTwice() {
        var breaker = CircuitBreaker()
        breaker.failed(isDown: false, now: 0)
        breaker.failed(isDown: false, now: 0)
        let before = breaker.mayTry(now: 0)
        #expect(before)
        breaker.succeeded()
        for _ in 0..<3 { breaker.failed(isDown: false, now: 0) }
        let after = breaker.mayTry(now: 0)
        #expect(!after)
        // Nothing overflows at the end of time.
        breaker.failed(isDown: true, now: .max)
    }

    /// MS-ADTS section 5.1.1.1.1, with the system errors of MS-ERREF section 2.2.
    @Test(
        arguments: [
            ("525", .noSuchUser), ("52e", nil), ("530", .disabled), ("531", .disabled), ("532", .passwordExpired), ("533", .disabled), ("701", .expired), ("773", .passwordExpired), ("775", .locked),
            ("77", nil),
        ] as [(String, WindowsCode.Meaning?)]) func whatActiveDirectorySaysOfARefusal(code: String, meaning: WindowsCode.Meaning?)
    {
        #expect(WindowsCode.meaning(of: "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data \(code), v4563") == meaning)
        #expect(WindowsCode.meaning(of: "invalid credentials \(code)") == nil)
    }
}
