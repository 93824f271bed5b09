// One endpoint of a simulation with its secrets, its data plane and what it reported.

import IKECore
import IKECrypto
import IKEWire

package final class Node {
    package let name: String
    package private(set) var endpoint: Endpoint
    package let local: SocketAddress
    /// Where the peer finds this node: another address when it is behind a NAT.
    package var publicAddress: SocketAddress
    package var secret: [UInt8]
    package var connections: [Connection]
    package var limits: Limits
    package var plane = SimulatedPlane()
    package var answers: [RequestID: [Result<String, Failure>]] = [:]
    package var reports: [Report] = []
    /// What lends addresses, if this node does; they outlive a restart.
    package let pools: any AddressPools
    /// Inner addresses that this node was lent, with how often each was added.
    package var addresses: [IPAddress: Int] = [:]
    package var exported: [ExportedKeys] = []
    package var keepalives = 0
    package var isDown = false
    /// Milliseconds that a job takes.
    package var jobDelay: ClosedRange<Int64> = 0...4
    var index = 0
    private(set) var generation = 0
    private var seed: UInt64
    /// What the NAT adds to a port.
    private var portShift: UInt16 = 0

    package init(
        _ name: String, address: IPAddress, publicAddress: IPAddress? = nil, secret: [UInt8] = Array("the secret that both have".utf8), connections: [Connection], limits: Limits = Limits(),
        pools: any AddressPools = NoPools(), seed: UInt64
    ) {
        self.name = name
        local = SocketAddress(address: address, port: 500)
        self.publicAddress = SocketAddress(address: publicAddress ?? address, port: 500)
        self.secret = secret
        self.connections = connections
        self.limits = limits
        self.pools = pools
        self.seed = seed
        endpoint = Endpoint(shard: 0, crypto: Crypto(preferred: NullCrypto.registry(seed: seed)), connections: connections, limits: limits, pools: pools)
    }

    package var isBehindNAT: Bool { publicAddress.address != local.address }

    /// Power off and on: every SA is forgotten.
    package func restart() {
        generation += 1
        seed &+= 7919
        plane = SimulatedPlane()
        endpoint = Endpoint(shard: 0, crypto: Crypto(preferred: NullCrypto.registry(seed: seed)), connections: connections, limits: limits, pools: pools)
        isDown = false
    }

    /// The NAT gives this node another port from now on.
    package func rebind() { portShift &+= 13 }

    func owns(_ address: SocketAddress) -> Bool { address.address == publicAddress.address }
    func outside(_ address: SocketAddress) -> SocketAddress {
        isBehindNAT ? SocketAddress(address: publicAddress.address, port: address.port &+ 20000 &+ portShift) : address
    }
    func inside(_ address: SocketAddress) -> SocketAddress {
        isBehindNAT ? SocketAddress(address: local.address, port: address.port >= 20000 ? address.port &- 20000 &- portShift : address.port) : address
    }

    /// Does a job at once; the world delivers the result later.
    func run(_ job: Job) -> JobResult {
        do throws(CryptoError) {
            switch job {
            case .generateKey(let algorithm): return .keyGenerated(try algorithm.generate())
            case .agree(let key, let peer):
                let secret = try key.agree(peer.span)
                return .agreed(SecretBox(secret))
            case .generateAndAgree(let algorithm, let peer):
                let key = try algorithm.generate()
                let secret = try key.agree(peer.span)
                return .generatedAndAgreed(publicValue: key.publicValue, SecretBox(secret))
            case .sign(let request): return .signed(Authentication(method: .sharedKey, data: try authenticate(request)))
            case .verify(let request, let authentication):
                let expected = try authenticate(request)
                return authentication.method == .sharedKey && expected == authentication.data ? .verified : .failed(.rejected)
            }
        } catch { return .failed(.crypto(error)) }
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

/// A data plane of tables: which SPIs are accepted with which keys, and where traffic goes.
package struct SimulatedPlane {
    private struct Pair {
        let parameters: ChildSAParameters
        let inboundKey: [UInt8]
        let outboundKey: [UInt8]
        var accepts = false
        var sends = false
    }
    private var pairs: [ChildSAID: Pair] = [:]
    private var active: [UInt32: ChildSAID] = [:]
    package var refusal: String?
    package var sent = 0
    package private(set) var unknownSPI = 0
    package private(set) var wrongKey = 0
    package private(set) var lastInbound: [ChildSAID: Instant] = [:]
    package private(set) var moves: [SocketAddress] = []

    package init() {}

    package var count: Int { pairs.count }

    mutating func prepare(_ parameters: ChildSAParameters) {
        func bytes(_ box: SecretBox, _ integrity: SecretBox) -> [UInt8] { (box.take()?.array ?? []) + (integrity.take()?.array ?? []) }
        pairs[parameters.id] = Pair(
            parameters: parameters, inboundKey: bytes(parameters.inboundKey, parameters.inboundIntegrityKey), outboundKey: bytes(parameters.outboundKey, parameters.outboundIntegrityKey))
    }
    mutating func commit(_ id: ChildSAID) {
        pairs[id]?.accepts = true
        pairs[id]?.sends = true
        if pairs[id]?.parameters.activates == true { activate(id) }
    }
    mutating func activate(_ id: ChildSAID) { if let pair = pairs[id] { active[pair.parameters.reqid] = id } }
    mutating func move(_ id: ChildSAID, _ remote: SocketAddress) { moves.append(remote) }
    mutating func remove(_ id: ChildSAID, keepInbound: Bool) {
        guard let pair = pairs[id] else { return }
        if active[pair.parameters.reqid] == id { active[pair.parameters.reqid] = nil }
        if keepInbound { pairs[id]?.sends = false } else { pairs[id] = nil }
    }
    func outbound() -> [(spi: UInt32, key: [UInt8])] {
        active.values.compactMap { id in pairs[id].flatMap { $0.sends ? ($0.parameters.outboundSPI, $0.outboundKey) : nil } }
    }
    mutating func receive(spi: UInt32, key: [UInt8], now: Instant) -> Bool {
        guard let (id, pair) = pairs.first(where: { $0.value.parameters.inboundSPI == spi && $0.value.accepts }) else {
            unknownSPI += 1
            return false
        }
        guard pair.inboundKey == key else {
            wrongKey += 1
            return false
        }
        lastInbound[id] = now
        return true
    }
}
