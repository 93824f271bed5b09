// Every explanation as a person reads it, in one file to be judged: Tests/Vectors/explanations.txt. With MARTLET_WRITE_GOLDEN=1 it is
// written anew.
import Foundation
import IKEWire
import Testing
import TestSupport

@testable import IKECore

@Suite struct ExplanationGallery {
    private static func connection() -> Connection {
        var connection = Fixtures.connection(east: true)
        let file = "/etc/martlet/martlet.conf"
        connection.places.secret = "secrets.ike-site in \(file):40"
        connection.places.entries = [
            "": "\(file):10", "proposals": "\(file):12", "remote_addrs": "\(file):11", "local.id": "\(file):15", "remote": "\(file):18", "remote.id": "\(file):19", "remote.auth": "\(file):20",
            "children.net": "\(file):22", "children.net.local_ts": "\(file):23", "children.net.remote_ts": "\(file):24",
        ]
        return connection
    }

    /// An IKE SA half way, with SPIs that stay.
    private static func sa(_ context: Context, established: Bool = true, remotePort: UInt16 = 500) -> IKESA {
        let sa = IKESA(
            context: context, connection: connection(), isInitiator: true, localSPI: IKESPI(rawValue: 0x0024_e589_1253_fd4b), remoteSPI: established ? IKESPI(rawValue: 0x4972_729b_cf30_cc73) : .none,
            local: SocketAddress(address: Fixtures.eastAddress, port: remotePort), remote: SocketAddress(address: Fixtures.westAddress, port: remotePort), marked: remotePort != 500)
        sa.localIdentity = Fixtures.identity("east.example")
        sa.remoteIdentity = Fixtures.identity("west.example")
        return sa
    }

    private static func gallery() -> [(title: String, failure: Failure)] {
        let context = Context(shard: 0, crypto: Crypto(preferred: NullCrypto.registry(seed: 1)), limits: Limits(), pools: NoPools())
        context.connections = [connection()]
        let fresh = sa(context, established: false), met = sa(context)
        let floated = sa(context, remotePort: 4500)
        floated.nat.localBehindNAT = true
        let offered = Negotiation.offer(fresh.connection.proposals, spi: [])
        let policy = fresh.connection.children[0]
        let child = ChildOffer(policy, sa: met, withoutKeyExchange: true)
        func reported(_ reason: Unreachable, _ reporter: IPAddress?) -> IKESA {
            let other = sa(context, established: false)
            other.unreachable = UnreachableReport(reason: reason, reporter: reporter)
            return other
        }
        let router = IPAddress(v4: 0xc633_6401)
        let weak = Proposal(number: 1, protocolID: .ike, transforms: [Transform(type: .encryption, id: 3), Transform(type: .integrity, id: 2), Transform(type: .prf, id: 2), .modp2048])
        let other = Proposal(number: 1, protocolID: .ike, transforms: [.aesGCM16(256), .prfHMACSHA256, .ecp256])
        let odd = Proposal(number: 1, protocolID: .ike, transforms: [Transform(type: .encryption, id: 20, keyLength: 256, hasUnknownAttribute: true), .prfHMACSHA256, .curve25519])
        let pfs = Proposal(number: 1, protocolID: .esp, transforms: [.aesGCM16(256), .ecp256, .noExtendedSequenceNumbers])
        let cbc = Proposal(number: 1, protocolID: .esp, transforms: [.aesCBC(128), .hmacSHA256_128, .noExtendedSequenceNumbers])
        func loser(_ loss: ConnectionSelection.Loss, _ name: String = "site") -> ConnectionSelection.Loser {
            var connection = connection()
            connection.name = name
            return ConnectionSelection.Loser(connection: connection, loss: loss)
        }
        func claim(_ method: Authentication.Method?) -> ConnectionSelection.Claim {
            ConnectionSelection.Claim(local: Fixtures.eastAddress, remote: Fixtures.westAddress, transforms: met.transforms, identity: Fixtures.identity("west.example"), method: method)
        }
        let losing = [
            loser(.method(.digitalSignature)), loser(.remoteIdentity(Fixtures.identity("west.example")), "south"), loser(.localIdentity(Fixtures.identity("north.example")), "north"),
            loser(.proposals, "old"), loser(.remoteAddress(Fixtures.westAddress), "far"), loser(.localAddress(Fixtures.eastAddress), "inner"),
        ]
        let crowded = Context(shard: 0, crypto: Crypto(preferred: NullCrypto.registry(seed: 1)), limits: Limits(), pools: NoPools())
        crowded.connections = [connection(), loser(.proposals, "same").connection, loser(.proposals, "other").connection]
        crowded.connections[2].remote.identity = .exactly(Fixtures.identity("south.example"))
        let several = sa(crowded)
        several.transforms = Fixtures.ikeProposal().transforms
        let shown: [Payload] = [.identificationInitiator(Fixtures.identity("west.example")), .authentication(Authentication(method: .sharedKey, data: []))]
        let carried = ChildSA(
            id: ChildSAID(rawValue: 1), policy: policy, instance: crowded.instance(connection: "site", child: "net", localTS: [], remoteTS: []), carriage: Carriage(), inboundSPI: 1, outboundSPI: 2,
            transforms: [],
            localTS: [Fixtures.network(1)], remoteTS: [Fixtures.network(2)], originals: nil,
            path: several.espPath, installed: Instant(nanoseconds: 0))
        return [
            ("Nobody answers IKE_SA_INIT", .noAnswer(exchange: "IKE_SA_INIT", sent: 6, fresh)),
            ("The peer's host is up, its daemon is not", .noAnswer(exchange: "IKE_SA_INIT", sent: 6, reported(.port, Fixtures.westAddress))),
            ("The peer's host is off, on our own link", .noAnswer(exchange: "IKE_SA_INIT", sent: 6, reported(.host, Fixtures.eastAddress))),
            ("The peer's host is off, behind a router", .noAnswer(exchange: "IKE_SA_INIT", sent: 6, reported(.host, router))),
            ("There is no route", .noAnswer(exchange: "IKE_SA_INIT", sent: 6, reported(.network, Fixtures.eastAddress))),
            ("A firewall on the way rejects", .noAnswer(exchange: "IKE_SA_INIT", sent: 6, reported(.prohibited, router))),
            ("Our own firewall rejects", .noAnswer(exchange: "IKE_SA_INIT", sent: 6, reported(.prohibited, Fixtures.eastAddress))),
            ("Port 500 passes and port 4500 does not", .noAnswer(exchange: "IKE_AUTH", sent: 6, floated)),
            ("IKE_AUTH is lost without a NAT", .noAnswer(exchange: "IKE_AUTH", sent: 6, met)),
            ("The peer accepts no IKE proposal", .refusedInit(Notify(.noProposalChosen), offered: offered, fresh)),
            ("The peer wants another group", .refusedInit(Notify(.invalidKEPayload, data: [0, 14]), offered: offered, fresh)),
            ("The peer refuses to begin", .refusedInit(Notify(.invalidSyntax), offered: offered, fresh)),
            ("The peer does not believe us", .refusedAuth(Notify(.authenticationFailed), met)),
            ("The peer is somebody else", .wrongPeerIdentity(Fixtures.identity("south.example"), met)),
            ("The peer accepts no ESP proposal", .refusedChild(Notify(.noProposalChosen), child, met)),
            ("The peer does not allow the networks", .refusedChild(Notify(.tsUnacceptable), child, met)),
            ("The peer has enough children", .refusedChild(Notify(.noAdditionalSAs), child, met)),
            ("The peer renews no keys", .renewsNoKeys("net", met)),
            ("We: no connection for the peer", .noConnection(met)),
            ("We: another group", .noCommonIKEProposal(offered: [other], connections: [met.connection], met)),
            ("We: algorithms that no plugin has", .noCommonIKEProposal(offered: [weak], connections: [met.connection], met)),
            ("We: a proposal without transforms", .noCommonIKEProposal(offered: [Proposal(number: 1, protocolID: .ike, transforms: [])], connections: [met.connection], met)),
            (
                "We: a proposal of another protocol",
                .noCommonIKEProposal(offered: [Proposal(number: 1, protocolID: .none, transforms: Fixtures.ikeProposal().transforms)], connections: [met.connection], met)
            ),
            ("We: an attribute that nobody knows", .noCommonIKEProposal(offered: [odd], connections: [met.connection], met)),
            ("We: other ESP algorithms", .noCommonESPProposal(offered: [cbc], policies: [policy], met)),
            ("We: other PFS", .noCommonESPProposal(offered: [pfs], policies: [Fixtures.child(local: 1, remote: 2, pfs: [.curve25519])], met)),
            (
                "We: the peer's identity",
                .unknownIdentity(Fixtures.identity("south.example"), wanted: Fixtures.identity("east.example"), losers: [loser(.remoteIdentity(Fixtures.identity("south.example")))], met)
            ),
            ("We: an identity without octets", .unknownIdentity(Fixtures.identity(""), wanted: nil, losers: [loser(.remoteIdentity(Fixtures.identity("")))], met)),
            (
                "We: our identity",
                .unknownIdentity(Fixtures.identity("west.example"), wanted: Fixtures.identity("north.example"), losers: [loser(.localIdentity(Fixtures.identity("north.example")))], met)
            ),
            ("We: the secret", .job(.failed(.rejected), "checking", met)),
            ("We: no secret", .job(.failed(.noSecret), "signing", met)),
            ("We: EAP", .noConnectionFits(claim(nil), [loser(.method(nil))], met)),
            ("We: a signature, of a peer that another connection would take", .noConnectionFits(claim(.digitalSignature), losing, met)),
            ("We: the identity, where several connections come near", .unknownIdentity(Fixtures.identity("south.example"), wanted: nil, losers: Array(losing.dropFirst()), met)),
            ("We: the secret, of one of several connections", .job(.failed(.rejected), "checking", several).passingOver(shown, several)),
            ("We: a tunnel where transport mode is wanted", .tunnelRefused(policy, met)),
            ("We: a rekey for less", .narrowedRekey(local: [Fixtures.network(1)], remote: [TrafficSelector(host: Fixtures.westAddress)], carried, met)),
            ("The peer makes a tunnel of transport mode", .transportDeclined(policy, met)),
            ("The peer takes pairs of hosts alone", .refusedChild(Notify(.singlePairRequired), child, met)),
            ("We: other networks", .selectorsUnacceptable(theirs: [Fixtures.network(7)], ours: [Fixtures.network(1)], policies: [policy], transport: false, met)),
            ("We: no networks", .selectorsUnacceptable(theirs: [], ours: [Fixtures.network(1)], policies: [policy], transport: false, met)),
            ("We: transport mode", .selectorsUnacceptable(theirs: [], ours: [], policies: [policy], transport: true, met)),
            ("The peer breaks the protocol", .badAnswer("its answer to IKE_AUTH has no identity or no AUTH payload", met)),
        ]
    }

    @Test func readsAsItWasJudged() throws {
        let text = Self.gallery().map { entry in
            let failure = entry.failure
            return (["# " + entry.title, "\(failure.summary) (\(failure.code.rawValue))"] + failure.evidence.map { "  " + $0 } + failure.advice.map { "  -> " + $0 }).joined(separator: "\n") + "\n"
        }.joined(separator: "\n")
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Vectors/explanations.txt")
        if ProcessInfo.processInfo.environment["MARTLET_WRITE_GOLDEN"] == "1" { try text.write(to: file, atomically: true, encoding: .utf8) }
        #expect(text == (try String(contentsOf: file, encoding: .utf8)))
    }

    /// Whatever a peer sends, an explanation stays a text that a person reads.
    @Test func staysShort() {
        let context = Context(shard: 0, crypto: Crypto(preferred: NullCrypto.registry(seed: 1)), limits: Limits(), pools: NoPools())
        let sa = Self.sa(context)
        let many = (0..<200).map { Proposal(number: UInt8($0), protocolID: .esp, transforms: (0..<100).map { Transform(type: .encryption, id: $0, keyLength: 128) }) }
        let networks = (0..<250).map { Fixtures.network($0) }
        let failures: [Failure] = [
            .noCommonESPProposal(offered: many, policies: sa.connection.children, sa), .selectorsUnacceptable(theirs: networks, ours: networks, policies: sa.connection.children, transport: false, sa),
        ]
        for failure in failures {
            #expect(failure.evidence.count <= 20 && failure.advice.count <= 4)
            for line in [failure.summary] + failure.evidence + failure.advice { #expect(line.utf8.count < 1_500, "\(line)") }
        }
    }
}
