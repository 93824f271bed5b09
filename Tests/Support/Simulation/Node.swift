// One endpoint of a simulation with its place in the network, its clock, its secrets, its data plane and what it reported.

import IKECore
import IKECrypto
import IKEWire

/// What goes wrong on a host. Probabilities in 0...1.
package struct Mishaps: Sendable {
    /// A job takes longer than anybody waits, is never heard of, or fails.
    package var lateJobs = 0.0
    package var lostJobs = 0.0
    package var failedJobs = 0.0
    /// The same of what the data plane is asked to install.
    package var lateInstalls = 0.0
    package var lostInstalls = 0.0
    package var failedInstalls = 0.0
    package init() {}
    package static let none = Mishaps()
}

package final class Node {
    package let name: String
    package private(set) var endpoint: Endpoint
    /// Where IKE is spoken from now.
    package private(set) var local: SocketAddress
    /// The NAT that this node stands behind.
    package private(set) var nat: NAT?
    package var secret: [UInt8]
    package var connections: [Connection]
    /// The secrets of EAP by identity, as the server and as the client.
    /// Whom the directory knows, with their groups.
    package var accounts: [[UInt8]: [String]] = [:]
    package var users: [[UInt8]: [UInt8]] = [Array("carol".utf8): Array("carol's own".utf8), Array("east.example".utf8): Array("east's own".utf8)]
    /// Rounds of the scripted method before its challenge.
    package var eapRounds = 1
    private var eapSteps = 0
    package var limits: Limits
    package var plane = SimulatedPlane()
    package var answers: [RequestID: [Result<String, Failure>]] = [:]
    package var reports: [Report] = []
    /// Whether reports are kept: not in a simulation of weeks.
    package var keepsReports = true
    /// What lends addresses, if this node does; they outlive a restart.
    package let pools: any AddressPools
    /// Inner addresses that this node was lent, with how often each was added.
    package var addresses: [IPAddress: Int] = [:]
    package var nameServers: [NameServers: Int] = [:]
    package var exported: [ExportedKeys] = []
    /// Host names that were to be looked up.
    package var lookedUp: [String] = []
    package var keepalives = 0
    /// When the data plane last told of ESP that no SA takes.
    var toldOfStray: Instant?
    package var isDown = false
    /// Nanoseconds by which this node's clock is ahead of the world's, or behind it. A monotonic clock never goes back: it leaps ahead, or
    /// stands still while the host sleeps.
    private(set) var clockAhead: Int64 = 0
    package internal(set) var isAsleep = false
    /// How long this node has slept in all, and since when it does now.
    package internal(set) var nanosecondsAsleep: UInt64 = 0
    var asleepSince: Instant?
    /// What the host owes itself, and waits until it is awake.
    var dreams: [Event] = []
    /// Milliseconds that a job takes, and the data plane.
    package var jobDelay: ClosedRange<Int64> = 0...4
    package var installDelay: ClosedRange<Int64> = 0...3
    package var mishaps = Mishaps.none
    /// The other end of each connection; without an entry the first other node.
    package var peers: [String: Node] = [:]
    /// Requests to begin again that wait for their time.
    package internal(set) var waitingInitiations: [RequestID] = []
    package internal(set) var index = 0
    private(set) var generation = 0
    private var seed: UInt64

    package init(
        _ name: String, address: IPAddress, publicAddress: IPAddress? = nil, nat: NAT? = nil, secret: [UInt8] = Array("the secret that both have".utf8), connections: [Connection],
        limits: Limits = Limits(), pools: any AddressPools = NoPools(), seed: UInt64
    ) {
        self.name = name
        local = SocketAddress(address: address, port: 500)
        self.nat = nat ?? publicAddress.map { NAT($0) }
        self.secret = secret
        self.connections = connections
        self.limits = limits
        self.pools = pools
        self.seed = seed
        endpoint = Endpoint(shard: 0, crypto: Self.crypto(seed), connections: connections, limits: limits, pools: pools)
    }

    package var isBehindNAT: Bool { nat != nil }
    /// Where the peer finds this node.
    package var publicAddress: SocketAddress { SocketAddress(address: nat?.address ?? local.address, port: local.port) }

    /// Power off and on: every SA is forgotten.
    package func restart() {
        generation += 1
        seed &+= 7919
        plane = SimulatedPlane()
        addresses = [:]
        nameServers = [:]
        waitingInitiations = []
        (pools as? SimulatedPools)?.restart()
        endpoint = Endpoint(shard: 0, crypto: Self.crypto(seed), connections: connections, limits: limits, pools: pools)
        isDown = false
        isAsleep = false
        dreams = []
    }

    /// The NAT gives this node another port from now on.
    package func rebind() { nat?.forget() }

    /// The node has another address from now on, and perhaps stands behind another NAT, or none.
    package func roam(to address: IPAddress, behind nat: NAT? = nil) {
        local.address = address
        self.nat = nat
    }

    /// The clock leaps, as after a sleep.
    package func leap(_ duration: Duration) { clockAhead += Int64(clamping: duration.wholeNanoseconds) }
    func stop(for duration: Duration) { clockAhead -= Int64(clamping: duration.wholeNanoseconds) }

    /// Does a job at once; the world delivers the result later.
    func run(_ job: Job) -> JobResult {
        do throws(CryptoError) {
            switch job {
            case .generateKey(let algorithm): return .keyGenerated(try algorithm.generate())
            case .agree(let key, let peer):
                let secret = try key.agree(peer.span)
                return .agreed(SecretBox(secret))
            case .generateAndAgree(let algorithm, let peer, _):
                let key = try algorithm.generate()
                let secret = try key.agree(peer.span)
                return .generatedAndAgreed(publicValue: key.publicValue, SecretBox(secret))
            case .eap(let step):
                eapSteps += 1
                return ScriptedEAP.run(step, secrets: users, rounds: eapRounds, random: seed &+ UInt64(eapSteps))
            case .lookUp(let user, _):
                guard let groups = accounts[user] else { return .failed(.account(EAPRefusal(.accountRefused, "is refused by the directory: there is no such user"))) }
                return .account(UserAccount(name: user, groups: groups))
            case .sign(let request): return .signed(Authentication(method: .sharedKey, data: try authenticate(request)))
            case .findPaths(let remotes): return .pathsFound(remotes.filter { $0.family == local.address.family }.map { FoundPath(remote: $0, local: local.address) })
            case .verify(let request, let authentication):
                let expected = try authenticate(request)
                return authentication.method == .sharedKey && expected == authentication.data ? .verified : .failed(.rejected)
            }
        } catch { return .failed(.crypto(error)) }
    }

    private static func crypto(_ seed: UInt64) -> Crypto {
        var crypto = Crypto(preferred: NullCrypto.registry(seed: seed))
        crypto.eapMethods = ScriptedEAP.methods
        return crypto
    }

    /// RFC 7296 section 2.15.
    private func authenticate(_ request: AuthenticationRequest) throws(CryptoError) -> [UInt8] {
        let pad = Array("Key Pad for IKEv2".utf8), secret = secret
        let key = try KeySchedule.prf(request.prf, key: secret.span, data: pad.span)
        let octets = request.message + request.nonce + request.macedIdentity
        let mac = try KeySchedule.prf(request.prf, key: key.span, data: octets.span)
        return mac.array
    }

    // MARK: What tests look at

    package var established: [IKESAStatus] { endpoint.status().filter { $0.state == .established || $0.state == .rekeying } }
    package var children: [ChildSAStatus] { established.flatMap(\.children).filter { $0.state == .installed || $0.state == .rekeying } }
    package var failures: [Failure] {
        reports.compactMap { report in
            if case .failed(let failure, _, _) = report { failure } else { nil }
        }
    }
}
