// The command line, and what `unique` and INITIAL_CONTACT do over all shards.

@testable import IKECore
import IKEWire
import Testing

@testable import Gateway

@Suite struct DaemonOptionsTests {
    @Test func optionsAreTaken() {
        var expected = DaemonOptions()
        expected.configuration = "/x"
        expected.plugins = ["/a", "/b"]
        #expect(DaemonOptions.parse(["--config", "/x", "--foreground", "--plugins=/a", "--plugins", "/b"]) == .run(expected))
        expected = DaemonOptions()
        expected.isCheck = true
        #expect(DaemonOptions.parse(["--check"]) == .run(expected))
        #expect(DaemonOptions.parse(["--help"]) == .help)
        #expect(DaemonOptions.parse(["--version"]) == .version)
    }

    @Test(arguments: [["--config"], ["--plugins"], ["--config="], ["--colour"], ["file"], ["--foreground=yes"], ["--check=1"], [""]])
    func wrongUsageIsSaid(_ arguments: [String]) {
        guard case .wrong = DaemonOptions.parse(arguments) else {
            Issue.record("taken: \(arguments)")
            return
        }
    }
}

@Suite struct IdentityIndexTests {
    private func sa(_ id: UInt64, unique: UniquePolicy = .no, contact: Int64? = nil, established: Int64? = nil, remote: String = "peer", connection: String = "site") -> IKESAStatus {
        let address = SocketAddress(address: IPAddress(v4: 1), port: 500)
        return IKESAStatus(
            id: IKESAID(rawValue: id), connection: connection, state: .established, local: address, remote: SocketAddress(address: IPAddress(v4: UInt32(id)), port: 500),
            localIdentity: Identification(kind: .fqdn, data: Array("us".utf8)), remoteIdentity: Identification(kind: .fqdn, data: Array(remote.utf8)), isInitiator: false,
            initiatorSPI: IKESPI(rawValue: 1), responderSPI: IKESPI(rawValue: 2), localBehindNAT: false, remoteBehindNAT: false, transforms: [], provider: nil, unique: unique,
            initialContact: contact.map(second), established: established.map(second), rekeyAt: nil, expiresAt: nil, children: [])
    }
    private func second(_ number: Int64) -> Instant { Instant(nanoseconds: 0) + .seconds(number) }
    private func member(_ id: UInt64, _ shard: Int) -> IdentityIndex.Member { IdentityIndex.Member(sa: IKESAID(rawValue: id), shard: shard) }

    @Test func replaceEndsTheOlderOneInItsShard() {
        let index = IdentityIndex()
        #expect(index.established(sa(1, unique: .replace), shard: 0).isEmpty)
        #expect(index.established(sa(2, unique: .replace, remote: "somebody else"), shard: 1).isEmpty)
        #expect(index.established(sa(3, unique: .replace), shard: 1) == [.terminate(member(1, 0))])
    }

    /// A peer that has moved and authenticates anew comes from where it is now: the old SA goes when its children have moved.
    @Test func whoMovedIsStillThere() {
        let index = IdentityIndex()
        #expect(index.established(sa(1, unique: .replace), shard: 0).isEmpty)
        let new = sa(2, unique: .replace)
        index.moved(IKESAID(rawValue: 1), to: new.remote)
        guard case .terminateSoon(let succession)? = index.established(new, shard: 1).first else {
            Issue.record("the old one does not go soon")
            return
        }
        #expect(index.due(succession) == member(1, 0))
    }

    @Test func namesAreTheSameInEitherCase() {
        let index = IdentityIndex()
        #expect(index.established(sa(1, unique: .replace, remote: "peer.example"), shard: 0).isEmpty)
        #expect(index.established(sa(2, unique: .replace, remote: "Peer.EXAMPLE"), shard: 1) == [.terminate(member(1, 0))])
    }

    @Test func keepEndsTheNewOne() {
        let index = IdentityIndex()
        #expect(index.established(sa(1, unique: .keep), shard: 0).isEmpty)
        #expect(index.established(sa(2, unique: .keep), shard: 1) == [.terminate(member(2, 1))])
    }

    @Test func initialContactForgetsUnlessItIsIgnored() {
        let index = IdentityIndex()
        #expect(index.established(sa(1), shard: 0).isEmpty)
        #expect(index.established(sa(2), shard: 1).isEmpty)
        #expect(index.established(sa(3, contact: 9), shard: 0) == [.forget(member(1, 0)), .forget(member(2, 1))])
        let never = IdentityIndex()
        _ = never.established(sa(1, unique: .never), shard: 0)
        #expect(never.established(sa(2, unique: .never, contact: 9), shard: 0).isEmpty)
    }

    /// INITIAL_CONTACT speaks of the identities, `unique` of one connection; either of the peer's families alone.
    @Test func initialContactIsOfEveryConnection() {
        let index = IdentityIndex()
        #expect(index.established(sa(1), shard: 0).isEmpty)
        #expect(index.established(sa(2, remote: "somebody else", connection: "other"), shard: 1).isEmpty)
        var six = sa(3)
        six.remote = SocketAddress(address: IPAddress(family: .v6, value: 1), port: 500)
        #expect(index.established(six, shard: 1).isEmpty)
        #expect(index.established(sa(4, unique: .replace, connection: "other"), shard: 1).isEmpty)
        #expect(index.established(sa(5, unique: .keep, connection: "third"), shard: 1).isEmpty)
        #expect(index.established(sa(6, contact: 9, connection: "third"), shard: 0) == [.forget(member(1, 0)), .forget(member(4, 1)), .forget(member(5, 1))])
    }

    /// Both ends began at the same time: neither SA is a leftover.
    @Test func initialContactSparesWhatCameUpMeanwhile() {
        let index = IdentityIndex()
        #expect(index.established(sa(1, established: 3), shard: 0).isEmpty)
        #expect(index.established(sa(2, established: 6), shard: 1).isEmpty)
        #expect(index.established(sa(3, contact: 5, established: 7), shard: 0) == [.forget(member(1, 0))])
    }

    @Test func shardsOfAConnectionAreKnown() {
        let index = IdentityIndex()
        _ = index.established(sa(1), shard: 0)
        _ = index.established(sa(2, remote: "somebody else"), shard: 1)
        _ = index.established(sa(3, remote: "a third"), shard: 1)
        _ = index.established(sa(4, connection: "other"), shard: 2)
        #expect(index.shards(ofConnection: "site") == [0, 1])
        index.rekeyed(IKESAID(rawValue: 1), sa(5), shard: 0)
        index.closed(IKESAID(rawValue: 2))
        #expect(index.shards(ofConnection: "site") == [0, 1])
        index.closed(IKESAID(rawValue: 3))
        index.closed(IKESAID(rawValue: 5))
        #expect(index.shards(ofConnection: "site").isEmpty)
    }

    @Test func closedAndRekeyedSAsAreFollowed() {
        let index = IdentityIndex()
        _ = index.established(sa(1, unique: .replace), shard: 0)
        #expect(index.shard(ofConnection: "site") == 0)
        index.rekeyed(IKESAID(rawValue: 1), sa(5, unique: .replace), shard: 0)
        index.closed(IKESAID(rawValue: 1))
        #expect(index.established(sa(6, unique: .replace), shard: 1) == [.terminate(member(5, 0))])
        index.closed(IKESAID(rawValue: 5))
        index.closed(IKESAID(rawValue: 6))
        #expect(index.shard(ofConnection: "site") == nil)
        #expect(index.established(sa(7, unique: .replace), shard: 1).isEmpty)
    }
}

@Suite struct TrapPoliciesTests {
    @Test func theTrapsOfOneConnectionAreFoundWithoutTheOthers() {
        func name(_ connection: String, _ child: String) -> TrapPolicies.Name { TrapPolicies.Name(connection: connection, child: child) }
        var traps = TrapPolicies()
        let numbers = [traps.number(for: name("a", "x"), isConfigured: true), traps.number(for: name("a", "y"), isConfigured: false), traps.number(for: name("b", "x"), isConfigured: true)]
        #expect(Set(numbers).count == 3 && traps.number(for: name("a", "x"), isConfigured: true) == numbers[0])
        #expect(Set(traps.wanted(of: "a")) == [name("a", "x"), name("a", "y")] && traps.wanted(of: "c").isEmpty)
        traps.installed(name("a", "x"), InstalledPolicy(connection: "a", child: "x", mode: .tunnel, localTS: [], remoteTS: []))
        #expect(traps.isInstalled(name("a", "x")) && !traps.isInstalled(name("b", "x")))
        #expect(traps.remove(name("a", "x")) == numbers[0] && traps.remove(name("a", "x")) == nil)
        #expect(traps.wanted(of: "a") == [name("a", "y")] && Set(traps.wanted) == [name("a", "y"), name("b", "x")])
        _ = traps.remove(name("a", "y"))
        #expect(traps.wanted(of: "a").isEmpty && traps.wanted(of: "b") == [name("b", "x")])
    }
}
