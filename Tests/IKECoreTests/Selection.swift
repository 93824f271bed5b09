// Which of several connections a peer means, and why not the others.
// RFC 4301 section 4.4.3.

import IKECrypto
import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct Selection {
    private static func connection(_ name: String, peer: IdentityPattern = .any, own: String = "west.example", method: String = "psk", from: AddressPattern = .any, suite: [Transform] = [.curve25519])
        -> Connection
    {
        var connection = Connection(name: name, proposals: [Fixtures.ikeProposal(suite)])
        connection.remoteAddresses = [from]
        connection.local.identity = .exactly(Fixtures.identity(own))
        connection.remote = AuthenticationPolicy(method: method, identity: peer)
        connection.children = [Fixtures.child(local: 2, remote: 1)]
        connection.places.entries = [
            "": "/etc/m.conf:1", "remote_addrs": "/etc/m.conf:2", "local_addrs": "/etc/m.conf:3", "proposals": "/etc/m.conf:4", "remote.id": "/etc/m.conf:5", "local.id": "/etc/m.conf:6",
            "remote.auth": "/etc/m.conf:7",
        ]
        return connection
    }
    private static func name(_ name: String) -> IdentityPattern { .exactly(Fixtures.identity(name)) }
    private static let here = AddressPattern.range(Fixtures.eastAddress, Fixtures.eastAddress)
    private static let elsewhere = AddressPattern.range(Fixtures.natAddress, Fixtures.natAddress)

    private static func claim(_ identity: String = "east.example", wanted: String? = nil, method: Authentication.Method? = .sharedKey, suite: [Transform] = [.curve25519]) -> ConnectionSelection.Claim
    {
        ConnectionSelection.Claim(
            local: Fixtures.westAddress, remote: Fixtures.eastAddress, transforms: Fixtures.ikeProposal(suite).transforms, identity: Fixtures.identity(identity),
            wanted: wanted.map(Fixtures.identity), method: method)
    }

    @Test func theNearestThatFitsInEverythingIsTaken() {
        let all = [
            Self.connection("anybody"), Self.connection("pattern", peer: .suffix(.fqdn, Array(".example".utf8)), from: Self.here), Self.connection("named", peer: Self.name("east.example")),
            Self.connection("signed", peer: Self.name("east.example"), method: "pubkey", from: Self.here), Self.connection("eap", peer: Self.name("east.example"), method: "eap-tls", from: Self.here),
            Self.connection("north", peer: Self.name("east.example"), own: "north.example", from: Self.here),
        ]
        func chosen(_ claim: ConnectionSelection.Claim) -> String? { ConnectionSelection.choose(all, claim)?.name }
        #expect(chosen(Self.claim(wanted: "west.example")) == "named")
        #expect(chosen(Self.claim("south.example", wanted: "west.example")) == "pattern")
        #expect(chosen(Self.claim("south.test")) == "anybody")
        #expect(chosen(Self.claim(wanted: "north.example")) == "north")
        // The way it proves its identity decides as well.
        #expect(chosen(Self.claim(wanted: "west.example", method: .digitalSignature)) == "signed")
        #expect(chosen(Self.claim(wanted: "west.example", method: .rsaSignature)) == "signed")
        #expect(chosen(Self.claim(wanted: "west.example", method: nil)) == "eap")
        #expect(chosen(Self.claim(wanted: "west.example", method: .null)) == nil)
    }

    /// Of connections that are alike the user's groups choose; who is in none that is taken comes in nowhere.
    @Test func groupsChooseAmongConnectionsThatAreAlike() {
        func eap(_ name: String, groups: [String] = [], user: IdentityPattern? = .any, own: String = "west.example", method: String = "eap-gtc") -> Connection {
            var connection = Self.connection(name, own: own, method: method)
            connection.remote.groups = groups
            connection.remote.eapIdentity = user
            return connection
        }
        let everybody = eap("everybody"), staff = eap("staff", groups: ["Staff", "cn=x,dc=example"]), admins = eap("admins", groups: ["admins"])
        let carol = eap("carol", user: Self.name("carol")), others = [eap("north", groups: ["boss"], own: "north.example"), eap("hashed", groups: ["boss"], method: "eap-mschapv2")]
        func chosen(_ all: [Connection], _ groups: [String]?, user: String = "dave", like current: Connection) -> String? {
            ConnectionSelection.choose(all + others, Self.claim(method: nil), user: Fixtures.identity(user), in: groups, like: current)?.name
        }
        #expect(chosen([everybody, staff, admins], ["staff"], like: everybody) == "staff")
        #expect(chosen([everybody, staff, admins], ["CN=X,dc=example", "admins"], like: admins) == "staff")
        #expect(chosen([everybody, staff, admins], ["boss"], like: staff) == "everybody")
        #expect(chosen([everybody, staff], nil, like: staff) == "everybody")
        // Another server's groups, or another method's, let nobody in here.
        #expect(chosen([staff, admins], ["boss"], like: staff) == nil)
        #expect(chosen([staff, admins], [], like: staff) == nil && chosen([staff, admins], nil, like: admins) == nil)
        // The connection that asked for groups is no more what is configured when the peer has proven who it is: it is not believed without them.
        #expect(chosen([], ["boss"], like: staff) == nil && chosen([], nil, like: staff) == nil)
        // A connection that names the user comes first, whatever the groups.
        #expect(chosen([staff, carol], ["staff"], user: "carol", like: staff) == "carol")
        #expect(chosen([staff, carol], ["staff"], like: staff) == "staff")
        // Where nobody speaks of groups nothing changes.
        #expect(ConnectionSelection.choose([everybody, carol], Self.claim(method: nil), user: Fixtures.identity("dave"), in: nil, like: everybody)?.name == "everybody")
    }

    /// A connection with other algorithms is never switched to, however well it fits otherwise.
    @Test func nothingWeakens() {
        let all = [Self.connection("named", peer: Self.name("east.example"), from: Self.here, suite: [.ecp256]), Self.connection("anybody")]
        #expect(ConnectionSelection.choose(all, Self.claim())?.name == "anybody")
        #expect(ConnectionSelection.choose(all, Self.claim(suite: [.ecp256]))?.name == "named")
        #expect(ConnectionSelection.choose(all, Self.claim(suite: [.modp2048])) == nil)
    }

    @Test func eachLoserHasItsReason() {
        let all = [
            Self.connection("far", from: Self.elsewhere), Self.connection("other", suite: [.ecp256]), Self.connection("south", peer: Self.name("south.example")),
            Self.connection("north", own: "north.example"), Self.connection("signed", method: "pubkey"), Self.connection("winner", peer: Self.name("east.example")), Self.connection("second"),
        ]
        let claim = Self.claim(wanted: "west.example")
        let losers = ConnectionSelection.losers(all, claim, chosen: ConnectionSelection.choose(all, claim)?.name, limit: 8)
        let east = Fixtures.identity("east.example"), west = Fixtures.identity("west.example")
        // Those that came furthest first.
        #expect(losers.map(\.connection.name) == ["second", "signed", "north", "south", "other", "far"])
        #expect(losers.map(\.loss) == [.outranked(by: "winner"), .method(.sharedKey), .localIdentity(west), .remoteIdentity(east), .proposals, .remoteAddress(Fixtures.eastAddress)])
        #expect(ConnectionSelection.losers(all, claim, chosen: "winner", limit: 3).map(\.connection.name) == ["second", "signed", "north"])
        #expect(losers.map { $0.line(Fixtures.westAddress) }.allSatisfy { $0.contains("/etc/m.conf:") || $0.contains("winner comes before it") })
    }

    // MARK: In IKE_AUTH

    private func answer(_ connections: [Connection], secret: String? = nil, _ change: (inout [Payload]) -> Void = { _ in }) throws -> (Target, [Payload]) {
        let target = Target()
        target.handle(.configurationReplaced(connections))
        let peer = try HostilePeer()
        if let secret { peer.secret = Array(secret.utf8) }
        try peer.begin(target)
        var payloads = try peer.authPayloads()
        change(&payloads)
        return (target, try #require(try peer.ask(target, .ikeAuth, payloads)))
    }

    @Test func theLosersAreInTheEvidenceAndNotOnTheWire() throws {
        let all = [Self.connection("far", from: Self.elsewhere), Self.connection("named", peer: Self.name("east.example")), Self.connection("south", peer: Self.name("south.example"))]
        let (target, answer) = try answer(all, secret: "another secret than ours")
        #expect(answer == [.notify(Notify(.authenticationFailed))])
        let failure = try #require(target.failures.last)
        #expect(failure.code == .authenticationFailed)
        #expect(failure.evidence.contains { $0.hasPrefix("connection south expects south.example") && $0.contains("/etc/m.conf:5") })
        #expect(failure.evidence.contains { $0.hasPrefix("connection far is not for the peer's address 192.0.2.1") && $0.contains("/etc/m.conf:2") })
        #expect(target.remnants == [])
    }

    @Test func whereNoneFitsEachSaysWhy() throws {
        let all = [Self.connection("signed", peer: Self.name("east.example"), method: "pubkey"), Self.connection("south", peer: Self.name("south.example"))]
        let (target, answer) = try answer(all)
        #expect(answer == [.notify(Notify(.authenticationFailed))])
        let failure = try #require(target.failures.last)
        #expect(failure.code == .authenticationFailed && failure.summary.contains("a shared secret, which connection signed does not do"))
        #expect(failure.evidence.contains { $0.hasPrefix("connection south expects") })
        #expect(failure.advice.contains { $0.contains("/etc/m.conf:7") })
        let (other, second) = try self.answer([Self.connection("south", peer: Self.name("south.example"))])
        #expect(second == [.notify(Notify(.authenticationFailed))] && other.failures.last?.code == .unknownIdentity)
    }

    /// Hundreds of connections make no hundreds of lines.
    @Test func theReasonsAreBounded() throws {
        let all = (0..<500).map { Self.connection("c\($0)", peer: Self.name("n\($0).example")) }
        let (target, _) = try answer(all)
        let failure = try #require(target.failures.last)
        #expect(failure.evidence.count == 10 && failure.evidence[8] == "and 492 more connections")
    }
}
