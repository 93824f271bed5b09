// The peers: an endpoint each, found by the SPI that it chose, and driven by the datagrams that come.

import BenchmarkSupport
import IKECore
import IKECrypto
import IKEWire

final class Fleet {
    private let crypto: Crypto
    private let wire: Wire
    private let remote: SocketAddress
    private var peers: [Peer] = []
    private var bySPI: [UInt64: Int] = [:]
    private var established = 0
    /// Peers that have begun and are not done.
    private var underWay: Set<Int> = []
    private var asked: (peer: Int, at: UInt64)?
    private var answeredAfter: UInt64?
    private(set) var retransmissions = 0

    private final class Peer {
        let endpoint: Endpoint
        /// With a certificate until it is established; nil where it has the shared key.
        var certified: CertifiedPeer?
        /// How far this peer's clock is ahead.
        var ahead = Duration.zero
        init(_ endpoint: Endpoint) { self.endpoint = endpoint }
    }

    private let issuer: Issuer?

    /// `issuer`: of certificates, for peers that prove themselves with one, to a gateway that does.
    init(crypto: Crypto, wire: Wire, remote: SocketAddress, issuer: Issuer?) {
        self.crypto = crypto
        self.issuer = issuer
        self.wire = wire
        self.remote = remote
    }

    /// Brings up `count` more SAs with one child each; how many came up.
    func setUp(_ count: Int, inFlight: Int) -> Int {
        let before = established
        var left = count
        while left > 0 || !underWay.isEmpty {
            while left > 0, underWay.count < inFlight {
                left -= 1
                begin()
            }
            turn(milliseconds: 100)
        }
        return established - before
    }

    private func begin() {
        let number = peers.count
        // Every peer has an address of its own behind it.
        let inner = IPAddress(v4: 0x0a00_0000 + UInt32(truncatingIfNeeded: number) + 1)
        var connection = Bench.connection(
            "gateway", local: "peer-\(number).bench", remote: "gateway.bench", localTS: TrafficSelector(start: inner, end: inner),
            remoteTS: TrafficSelector(start: IPAddress(v4: 0xac10_0000), end: IPAddress(v4: 0xac10_ffff)))
        connection.dpdDelay = Self.silence
        if issuer != nil { (connection.local.method, connection.remote.method, connection.sendCertificate) = ("pubkey", "pubkey", .always) }
        let peer = Peer(Endpoint(shard: 0, crypto: crypto, connections: [connection], limits: Limits()))
        peer.certified = issuer?.issue("peer-\(number).bench")
        peers.append(peer)
        underWay.insert(number)
        handle(.initiate(connection: "gateway", child: nil, packet: nil, local: wire.local, remote: remote, request: nil), number)
    }

    /// Takes what came, and what is due of those that wait.
    private func turn(milliseconds: Int32) {
        wire.flush()
        var came = 0
        wire.receive(milliseconds: milliseconds) { bytes, marked in
            came += 1
            guard bytes.count >= 16, let number = bySPI[bytes[0..<8].reduce(0) { $0 << 8 | UInt64($1) }] else { return }
            if let asked, asked.peer == number { answeredAfter = Bench.nanoseconds() - asked.at }
            let port: UInt16 = marked ? 4500 : 500
            handle(
                .datagramReceived(
                    Datagram(
                        local: SocketAddress(address: wire.local.address, port: port), remote: SocketAddress(address: remote.address, port: port), marked: marked, bytes: bytes)), number)
        }
        if came == 0 {
            let now = Instant.now()
            for number in underWay where peers[number].endpoint.nextDeadline.map({ $0 <= now }) == true {
                retransmissions += 1
                handle(.deadlineReached, number)
            }
        }
        wire.flush()
    }

    private func handle(_ event: Event, _ number: Int) {
        var events = [event]
        let endpoint = peers[number].endpoint
        while let next = events.popLast() {
            for action in endpoint.handle(next, now: Instant.now() + peers[number].ahead) {
                switch action {
                case .transmit(let datagram):
                    if underWay.contains(number) { bySPI[datagram.bytes[0..<8].reduce(0) { $0 << 8 | UInt64($1) }] = number }
                    wire.send(datagram)
                case .run(let id, let job): events.append(.jobFinished(id, peers[number].certified?.run(job) ?? Bench.run(job)))
                case .installChildSA(let parameters): events.append(.childSAInstalled(parameters.id, failure: nil))
                case .queryUse(let id): events.append(.useReported(id, lastInbound: nil))
                case .report(.childSAUp):
                    established += 1
                    peers[number].certified = nil
                    underWay.remove(number)
                case .report(.failed(let failure, _, _)):
                    if underWay.remove(number) != nil { print("failed: \(failure.summary)") }
                default: break
                }
            }
        }
    }

    /// Liveness exchanges of the first SAs, one at a time; nanoseconds from each request to its answer.
    func liveness(_ count: Int, pause: Duration) -> [UInt64] {
        var times: [UInt64] = []
        let peers = min(peers.count, 50)
        guard peers > 0 else { return [] }
        for round in 0..<count {
            let number = round % peers
            answeredAfter = nil
            asked = (number, Bench.nanoseconds())
            ask(number)
            wire.flush()
            let until = Instant.now() + .seconds(1)
            while answeredAfter == nil, Instant.now() < until { turn(milliseconds: 100) }
            if let answeredAfter { times.append(answeredAfter) }
            asked = nil
            let next = Instant.now() + pause
            while Instant.now() < next { turn(milliseconds: 1) }
        }
        return times
    }

    /// The core asks by itself after a silence, the data plane first: this peer's clock is set forward over both waits.
    private func ask(_ number: Int) {
        for _ in 0..<2 {
            peers[number].ahead += Self.silence + Self.silence
            handle(.deadlineReached, number)
        }
    }
    private static let silence = Duration.seconds(1)
}
