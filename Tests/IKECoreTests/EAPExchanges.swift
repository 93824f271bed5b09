// IKE_AUTH with EAP between two endpoints, with a method that the tests script: both roles, keys and none, identities, connections, losses.
// RFC 7296 section 2.16, RFC 5998.

@testable import IKECore
import IKECrypto
import IKEWire
import Testing
import TestSupport

@Suite struct EAPExchanges {
    /// East is the client.
    static func pair(seed: UInt64, faults: Faults = .none, method: String = "eap-test", limits: Limits = Limits(), _ change: (inout Connection, Bool) -> Void = { _, _ in }) -> (World, Node, Node) {
        Fixtures.pair(seed: seed, faults: faults, limits: limits) { connection, east in
            if east {
                connection.local.method = method
                connection.local.eapIdentity = .exactly(Fixtures.identity("carol"))
            } else {
                connection.remote.method = method
                connection.remote.eapIdentity = .any
            }
            change(&connection, east)
        }
    }

    private func answer(_ world: World, _ east: Node, _ west: Node) throws -> Result<String, Failure> {
        Fixtures.initiate(world, east, west)
        world.run(.seconds(60)) { !east.answers.isEmpty }
        world.run(.seconds(1))
        return try #require(east.answers[RequestID(rawValue: 1)]?.first)
    }

    @Test(arguments: ["eap-test", "eap-plain"]) func aUserComesIn(_ method: String) throws {
        let (world, east, west) = Self.pair(seed: 1, method: method)
        #expect(throws: Never.self) { try answer(world, east, west).get() }
        #expect(Agreement.differences(east, west) == [], "\(world.log)")
        #expect(world.sendTraffic(east) == 1 && world.sendTraffic(west) == 1)
        #expect(west.established.first?.remoteEAPIdentity == Fixtures.identity("carol"))
        #expect(west.established.first?.remoteIdentity == Fixtures.identity("east.example"))
        // IKE_SA_INIT, the first IKE_AUTH, identity, a round, the challenge, AUTH: each a request and its answer.
        #expect(world.wire.count == 12)
        #expect(west.endpoint.halfOpenCount == 0)
    }

    @Test func withoutEAPIdentityThatOfIKEIsTheUser() throws {
        let (world, east, west) = Self.pair(seed: 2) { connection, _ in
            connection.local.eapIdentity = nil
            connection.remote.eapIdentity = nil
        }
        #expect(throws: Never.self) { try answer(world, east, west).get() }
        #expect(west.established.first?.remoteEAPIdentity == nil)
        #expect(world.wire.count == 10)
    }

    @Test func aWrongSecretIsRefusedAndOnlyOurLogSaysWhy() throws {
        let (world, east, west) = Self.pair(seed: 3)
        east.users[Array("carol".utf8)] = Array("something else".utf8)
        let result = try answer(world, east, west)
        guard case .failure(let failure) = result else { return #expect(Bool(false), "it came in") }
        #expect(failure.code == .authenticationFailed)
        #expect(west.failures.first?.code == .authenticationFailed)
        #expect(west.failures.first?.summary.contains("carol") == true && west.failures.first?.summary.contains("gave a wrong answer") == true, "\(west.failures)")
        #expect(!"\(east.failures)".contains("gave a wrong answer"))
        #expect(west.established.isEmpty && east.established.isEmpty)
    }

    @Test func anUnknownUserIsRefusedAlike() throws {
        let (world, east, west) = Self.pair(seed: 4)
        west.users = [:]
        guard case .failure = try answer(world, east, west) else { return #expect(Bool(false), "it came in") }
        #expect(west.failures.first?.code == .unknownIdentity)
        #expect(west.failures.first?.summary.contains("carol") == true)
    }

    @Test func theGatewayProvesItselfFirst() throws {
        let (world, east, west) = Self.pair(seed: 5)
        west.secret = Array("not the one that east has".utf8)
        guard case .failure(let failure) = try answer(world, east, west) else { return #expect(Bool(false), "it came in") }
        #expect(failure.code == .authenticationFailed)
        // Nothing of EAP was answered: IKE_SA_INIT, IKE_AUTH with EAP's first request, and the Delete.
        #expect(world.wire.count == 6 || world.wire.count == 5, "\(world.wire.count)")
        #expect(west.established.isEmpty)
        // The gateway takes the client's word for it that there is no log-in any more, and says why that may be.
        #expect(west.failures.map(\.code) == [.peerRefused], "\(west.failures)")
        #expect(!west.endpoint.status().contains { $0.state == .connecting })
    }

    @Test func aMutualMethodAloneIsEnoughWhereBothSaySo() throws {
        let (world, east, west) = Self.pair(seed: 6) { connection, east in
            if east { connection.remote.method = "eap" } else { connection.local.method = "eap-test" }
        }
        east.secret = Array("nobody has".utf8)
        #expect(throws: Never.self) { try answer(world, east, west).get() }
        #expect(Agreement.differences(east, west) == [], "\(world.log)")
    }

    @Test(arguments: [true, false]) func aMethodThatIsNotMutualAloneIsNot(_ gatewayAllows: Bool) throws {
        let (world, east, west) = Self.pair(seed: 7, method: "eap-plain") { connection, east in
            if east { connection.remote.method = "eap" } else if gatewayAllows { connection.local.method = "eap-plain" }
        }
        guard case .failure = try answer(world, east, west) else { return #expect(Bool(false), "it came in") }
        #expect(west.established.isEmpty && east.established.isEmpty)
    }

    @Test func aClientThatWantsAProofGetsOneOrGoes() throws {
        let (world, east, west) = Self.pair(seed: 8) { connection, east in if !east { connection.local.method = "eap-test" } }
        guard case .failure = try answer(world, east, west) else { return #expect(Bool(false), "it came in") }
        #expect(west.failures.first?.summary.contains("EAP alone") == true, "\(west.failures)")
    }

    @Test func theEAPIdentityChoosesTheConnection() throws {
        let (world, east, west) = Self.pair(seed: 9) { connection, east in
            if !east { connection.remote.eapIdentity = .exactly(Fixtures.identity("dave")) }
        }
        var second = west.connections[0]
        second.name = "carols"
        second.remote.eapIdentity = .exactly(Fixtures.identity("carol"))
        var third = west.connections[0]
        third.name = "anybody"
        third.remote.eapIdentity = .any
        world.send(.configurationReplaced([west.connections[0], third, second]), to: west)
        #expect(throws: Never.self) { try answer(world, east, west).get() }
        #expect(west.established.first?.connection == "carols")
    }

    @Test func anIdentityThatFitsNoConnectionIsRefused() throws {
        let (world, east, west) = Self.pair(seed: 10) { connection, east in
            if !east { connection.remote.eapIdentity = .suffix(.rfc822, Array("@example.org".utf8)) }
        }
        guard case .failure = try answer(world, east, west) else { return #expect(Bool(false), "it came in") }
        #expect(west.failures.first?.summary.contains("eap_id") == true)
    }

    @Test func theMethodThatThePeerWantsIsTaken() throws {
        // The gateway offers eap-test first, and the client does the other alone.
        let (world, east, west) = Self.pair(seed: 11, method: "eap-plain") { connection, east in if !east { connection.remote.method = "eap-dynamic" } }
        #expect(throws: Never.self) { try answer(world, east, west).get() }
        #expect(Agreement.differences(east, west) == [])
    }

    @Test func noMethodInCommonIsSaidWhereItIsKnown() throws {
        let (world, east, west) = Self.pair(seed: 12) { connection, east in if !east { connection.remote.method = "eap-plain" } }
        guard case .failure = try answer(world, east, west) else { return #expect(Bool(false), "it came in") }
        #expect(west.failures.first?.summary.contains("does not take eap-plain") == true, "\(west.failures)")
    }

    @Test func aPeerThatProvesItselfByASecretIsNotLetInWhereEAPIsAskedFor() throws {
        let (world, east, west) = Self.pair(seed: 13) { connection, east in if east { connection.local.method = "psk" } }
        guard case .failure = try answer(world, east, west) else { return #expect(Bool(false), "it came in") }
        #expect(west.established.isEmpty)
        #expect(west.failures.first?.summary.contains("a shared secret") == true, "\(west.failures)")
    }

    @Test func aPeerThatWantsEAPIsNotLetInWhereASecretIsAskedFor() throws {
        let (world, east, west) = Self.pair(seed: 14) { connection, east in if !east { connection.remote.method = "psk" } }
        guard case .failure = try answer(world, east, west) else { return #expect(Bool(false), "it came in") }
        #expect(west.established.isEmpty)
    }

    @Test func tooManyWrongTriesHaveToWait() throws {
        let (world, east, west) = Self.pair(seed: 15)
        east.users[Array("carol".utf8)] = Array("a guess".utf8)
        for request in 1...8 {
            Fixtures.initiate(world, east, west, request: UInt64(request))
            world.run(.milliseconds(200))
        }
        let codes = west.failures.map(\.code)
        #expect(codes.prefix(5).allSatisfy { $0 == .authenticationFailed })
        #expect(codes.dropFirst(5).allSatisfy { $0 == .limit } && codes.count == 8, "\(codes)")
        // After the wait the right one comes in.
        world.run(.seconds(60))
        east.users[Array("carol".utf8)] = Array("carol's own".utf8)
        Fixtures.initiate(world, east, west, request: 20)
        world.run(.seconds(5))
        #expect(throws: Never.self) { try east.answers[RequestID(rawValue: 20)]?.first?.get() }
        #expect(east.established.count == 1)
    }

    @Test func failuresCountAndTriesUnderWayHaveTheirLimit() {
        let book = OwnUserBook(Limits())
        let here = Fixtures.eastAddress, there = Fixtures.westAddress, carol = Fixtures.identity("carol"), now = Instant(nanoseconds: 1_000_000_000_000)
        // Many users behind one NAT log in at once, and nobody has failed.
        var flights = (0..<64).compactMap { Flight(book, Fixtures.identity("user\($0)"), here) }
        #expect(flights.count == 64)
        #expect(Flight(book, carol, here) == nil && Flight(book, carol, there) != nil)
        flights.removeLast()
        #expect(Flight(book, carol, here) != nil, "a try that is over still counts")
        func wait(_ user: Identification, _ address: IPAddress, _ now: Instant) -> Duration? { book.change { $0.guesses.wait(user, address, now: now) } }
        func fail(_ name: String, account: String? = nil) {
            book.change { $0.guesses.failed(Identification(eap: Array(name.utf8)), here, account: account.map { Identification(eap: Array($0.utf8)) }, now: now) }
        }
        #expect(wait(carol, here, now) == nil)
        // However the name is written, it is one user's.
        for name in ["carol", "Carol", "CORP\\carol", "other\\CAROL", "carol"] { fail(name) }
        #expect(wait(carol, here, now) != nil && wait(carol, there, now) == nil)
        // What the directory calls the user counts for all ways to write it.
        for number in 0..<5 { fail("dave.\(number)@corp.example", account: "dave") }
        #expect(wait(Fixtures.identity("DAVE"), here, now) != nil && wait(Identification(eap: Array("dave.5@corp.example".utf8)), here, now) == nil)
        // One's own success does not pay for guesses at others.
        for number in 0..<11 {
            fail("other\(number)")
            book.change { $0.guesses.succeeded(Fixtures.identity("mine"), here) }
        }
        #expect(wait(Fixtures.identity("anybody"), here, now) != nil)
        #expect(wait(Fixtures.identity("anybody"), here, now + .seconds(3600)) == nil)
    }

    @Test func aFloodOfFailuresIsForgottenOldestFirst() {
        let book = OwnUserBook(Limits())
        let now = Instant(nanoseconds: 1_000_000_000_000), mine = Fixtures.identity("mine")
        for _ in 0..<5 { book.change { $0.guesses.failed(mine, Fixtures.eastAddress, now: now + .seconds(60)) } }
        for number in 0..<20_000 {
            book.change { $0.guesses.failed(Fixtures.identity("u\(number)"), IPAddress(v4: UInt32(number)), now: now + .milliseconds(Int64(number))) }
            guard book.change({ $0.guesses.held }) <= 8192 else { return #expect(Bool(false), "it grows without end") }
        }
        #expect(book.change { $0.guesses.wait(mine, Fixtures.eastAddress, now: now + .milliseconds(60_500)) } != nil, "a younger failure went before older ones")
    }

    @Test func aNameOfTheDirectoryIsWhoTheUserIs() throws {
        ScriptedEAP.accounts.withLock { $0["CORP\\Carol"] = "carol" }
        let (world, east, west) = Self.pair(seed: 44) { connection, isEast in
            if isEast { connection.local.eapIdentity = .exactly(Identification(eap: Array("CORP\\Carol".utf8))) }
        }
        for node in [east, west] { node.users[Array("CORP\\Carol".utf8)] = Array("carol's own".utf8) }
        #expect(throws: Never.self) { try answer(world, east, west).get() }
        #expect(west.established.first?.user == Fixtures.identity("carol"))
        #expect(west.established.first?.remoteEAPIdentity == Identification(eap: Array("CORP\\Carol".utf8)))
        #expect(west.endpoint.context.users.change { $0.sessions.count(Array("carol".utf8)) } == 1)
        // New keys keep it.
        world.send(.rekey(.connection("site"), request: nil), to: west)
        world.run(.seconds(5))
        #expect(west.established.first?.user == Fixtures.identity("carol"))
        #expect(west.endpoint.context.users.change { $0.sessions.held } == 1)
        world.send(.terminate(.connection("site"), request: nil), to: east)
        world.run(.seconds(3))
        #expect(west.endpoint.context.users.change { $0.sessions.held } == 0, "a session outlives its SA")
    }

    @Test func aUserHasNoMoreSessionsThanAllowed() throws {
        let (world, east, west) = Self.pair(seed: 45) { connection, isEast in
            guard !isEast else { return }
            connection.sessionsPerUser = 1
            // Else the client's INITIAL_CONTACT takes the other's place.
            connection.unique = .never
        }
        let elsewhere = SocketAddress(address: IPAddress(v4: 0xc633_6407), port: 4500)
        let claim = UserSessions.Claim(sa: IKESAID(rawValue: 1000), shard: 0, remote: elsewhere, connection: "site")
        let other = try #require(west.endpoint.context.users.change { $0.sessions.begin(Array("carol".utf8), claim, now: Instant(nanoseconds: 0)) })
        guard case .failure = try answer(world, east, west) else { return #expect(Bool(false), "there are two") }
        let failure = try #require(west.failures.first)
        #expect(failure.code == .limit && failure.summary.contains("has 1 session already"), "\(failure)")
        west.endpoint.context.users.change { $0.sessions.end(Array("carol".utf8), other) }
        Fixtures.initiate(world, east, west, request: 2)
        world.run(.seconds(60)) { east.answers[RequestID(rawValue: 2)] != nil }
        #expect(throws: Never.self) { try east.answers[RequestID(rawValue: 2)]?.first?.get() }
        #expect(west.established.count == 1)
    }

    /// Each IKE SA is a session, also beside another of the same device. One that authenticates anew takes the place of the older one.
    @Test func sessionsAreCounted() throws {
        var sessions = UserSessions()
        let user = Array("carol".utf8), here = SocketAddress(address: IPAddress(v4: 1), port: 4500), there = SocketAddress(address: IPAddress(v4: 2), port: 4500)
        let six = SocketAddress(address: IPAddress(family: .v6, value: 1), port: 4500), inner = IPAddress(v4: 0x0a03_0001)
        var serial: UInt64 = 0, established: [UInt64] = []
        /// Of a user who may have two.
        func begin(_ remote: SocketAddress, _ connection: String = "site", at second: Int64 = 100, _ change: (inout UserSessions.Claim) -> Void = { $0.asks = true }) -> UInt64? {
            serial += 1
            var claim = UserSessions.Claim(sa: IKESAID(rawValue: serial), shard: 0, remote: remote, connection: connection)
            change(&claim)
            guard let number = sessions.begin(user, claim, limit: 2, now: Instant(nanoseconds: 0) + .seconds(second)) else { return nil }
            established.append(number)
            return sessions.established(user, number) ? number : nil
        }
        let first = try #require(begin(here)), second = try #require(begin(here))
        sessions.lent(user, first, [inner])
        // From there or from elsewhere, with any address or with another one, a third is one too many.
        for remote in [here, there, six] {
            #expect(begin(remote) == nil)
            #expect(begin(remote) { ($0.asks, $0.wishes) = (true, [IPAddress(v4: 0x0a03_0002)]) } == nil)
        }
        #expect(begin(there) { ($0.asks, $0.wishes) = (true, [inner]) } == nil, "an address is asked for from elsewhere")
        // Who has an address and wants it again is the same device, once.
        let third = try #require(begin(here) { ($0.asks, $0.wishes) = (true, [inner]) })
        #expect(sessions.count(user) == 2 && sessions.leaving(user, for: third).map(\.sa.rawValue) == [1] && sessions.leaving(user, for: second).isEmpty)
        sessions.lent(user, third, [inner])
        #expect(begin(here) { ($0.asks, $0.wishes) = (true, [inner]) } == nil, "there are more and more about to go")
        sessions.end(user, first)
        #expect(sessions.leaving(user, for: third).isEmpty && sessions.count(user) == 2)
        // A new one that ends before the older one gives its place back.
        let fourth = try #require(begin(here) { ($0.asks, $0.wishes) = (true, [inner]) })
        sessions.end(user, fourth)
        #expect(sessions.count(user) == 2)
        // INITIAL_CONTACT is a word about what was there before, in one family of addresses; from the same place it holds whatever `unique` says.
        #expect(begin(there) { $0.contact = Instant(nanoseconds: 0) + .seconds(100) } == nil)
        #expect(begin(six) { $0.contact = Instant(nanoseconds: 0) + .seconds(200) } == nil)
        let fifth = try #require(begin(there) { $0.contact = Instant(nanoseconds: 0) + .seconds(200) })
        let oldest = sessions.leaving(user, for: fifth).map(\.sa.rawValue)
        #expect(sessions.count(user) == 2 && oldest == [2])
        sessions.end(user, second)
        let sixth = try #require(begin(there) { $0.isFirst = true })
        #expect(sessions.leaving(user, for: sixth).count == 1 && sessions.count(user) == 2)
        sessions.end(user, fifth)
        // `unique = replace`: from anywhere, of the same connection.
        #expect(begin(six, "other") { $0.replaces = true } == nil)
        #expect(begin(six) { $0.replaces = true } != nil)
        for number in established { sessions.end(user, number) }
        #expect(sessions.held == 0)
    }

    /// Whoever prepares many log-ins, each of which would be in the place of the one before, has no more of them for it.
    @Test func manyAtOnceAreNoMoreThanAllowed() {
        for order in [Array(0..<8), Array((0..<8).reversed())] {
            var sessions = UserSessions()
            let user = Array("carol".utf8), here = SocketAddress(address: IPAddress(v4: 1), port: 4500)
            let numbers = (0..<8).map { index -> UInt64? in
                var claim = UserSessions.Claim(sa: IKESAID(rawValue: UInt64(index + 1)), shard: 0, remote: here, connection: "site")
                (claim.isFirst, claim.contact) = (true, Instant(nanoseconds: 0) + .seconds(Int64(index)))
                return sessions.begin(user, claim, limit: 1, now: Instant(nanoseconds: 0) + .seconds(Int64(index)))
            }
            let isIn = order.filter { index in numbers[index].map { sessions.established(user, $0) } ?? false }
            #expect(isIn == [7] && sessions.count(user) == 1)
            // The last one goes before it is in: its place falls to nobody else's.
            for number in numbers.reversed() { if let number { sessions.end(user, number) } }
            #expect(sessions.held == 0)
        }
    }

    @Test(arguments: 0..<40) func lossesAreMadeGood(_ seed: Int) throws {
        var faults = Faults.none
        faults.loss = 0.2
        faults.duplication = 0.2
        let (world, east, west) = Self.pair(seed: UInt64(1000 + seed), faults: faults)
        east.eapRounds = 6
        west.eapRounds = 6
        Fixtures.initiate(world, east, west)
        world.run(.seconds(200)) { !east.answers.isEmpty }
        world.faults = .none
        world.run(.seconds(200))
        #expect(!east.answers.isEmpty)
        #expect(Agreement.differences(east, west) == [], "seed \(seed): \(world.log)")
        #expect(west.endpoint.halfOpenCount == 0)
    }
}
