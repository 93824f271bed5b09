// Exchanges between two endpoints in one thread, without sockets, for instruction counts: run twice under callgrind, with other counts,
// the difference is what the exchanges cost at both ends together. OpenSSL through the plugin contract, jobs done on the spot.
//
//     ExchangeBenchmark setup|ike-rekey|child-rekey|liveness COUNT

import BenchmarkSupport
import Glibc
import IKECore
import IKECrypto
import IKEWire

final class Pair {
    private let ends: [Endpoint]
    private let addresses = [SocketAddress(address: IPAddress(v4: 0xc000_0201), port: 500), SocketAddress(address: IPAddress(v4: 0xc000_0202), port: 500)]
    private var queue: [(end: Int, event: Event)] = []
    private(set) var now = Instant(nanoseconds: 1_000_000_000)
    private(set) var done = 0

    /// With so many connections, each a peer of its own.
    init(crypto: Crypto, connections count: Int, liveness: Duration = .zero) {
        let networks = (0..<2).map { TrafficSelector(start: IPAddress(v4: 0x0a01_0000 + UInt32($0) << 16), end: IPAddress(v4: 0x0a01_ffff + UInt32($0) << 16)) }
        ends = (0..<2).map { end in
            let connections = (0..<(end == 0 ? count : 1)).map { number in
                var one = Bench.connection(
                    "peer-\(number)", local: end == 0 ? "peer-\(number).bench" : "gateway.bench", remote: "gateway.bench", localTS: networks[end], remoteTS: networks[1 - end],
                    pfs: [.curve25519])
                if end == 1 { one.remote.identity = .any }
                if end == 0 { one.dpdDelay = liveness }
                return one
            }
            return Endpoint(shard: UInt8(end), crypto: crypto, connections: connections, limits: Limits())
        }
    }

    func handle(_ event: Event, at end: Int = 0) {
        queue.append((end, event))
        while !queue.isEmpty {
            let (end, event) = queue.removeFirst()
            for action in ends[end].handle(event, now: now) {
                switch action {
                case .transmit(let datagram): queue.append((1 - end, .datagramReceived(Datagram(local: datagram.remote, remote: datagram.local, marked: false, bytes: datagram.bytes))))
                case .run(let id, let job): queue.append((end, .jobFinished(id, Bench.run(job))))
                case .installChildSA(let parameters): queue.append((end, .childSAInstalled(parameters.id, failure: nil)))
                case .queryUse(let id): queue.append((end, .useReported(id, lastInbound: nil)))
                case .report(.childSAUp) where end == 0, .report(.childSARekeyed) where end == 0, .report(.ikeSARekeyed) where end == 0: done += 1
                case .report(.failed(let failure, _, _)): print("failed: \(failure.summary)")
                default: break
                }
            }
        }
    }

    func setUp(_ number: Int) { handle(.initiate(connection: "peer-\(number)", child: nil, packet: nil, local: addresses[0], remote: addresses[1], request: nil)) }

    /// Lets time pass: what is due by then happens, at both ends.
    func pass(_ duration: Duration) {
        now = now + duration
        for end in ends.indices { while let deadline = ends[end].nextDeadline, deadline <= now { handle(.deadlineReached, at: end) } }
    }

    var informational: UInt64 { ends[1].messages.all[.informationalRequestIn] }
}

guard CommandLine.arguments.count == 3, let count = Int(CommandLine.arguments[2]), let crypto = Bench.crypto() else {
    print("ExchangeBenchmark setup|ike-rekey|child-rekey|liveness COUNT")
    exit(2)
}
let mode = CommandLine.arguments[1]
let pair = Pair(crypto: crypto, connections: mode == "setup" ? max(count, 1) : 1, liveness: mode == "liveness" ? .seconds(10) : .zero)
pair.setUp(0)
switch mode {
case "setup": for number in 1..<max(count, 1) { pair.setUp(number) }
case "ike-rekey":
    for _ in 0..<count {
        pair.handle(.rekey(.connection("peer-0"), request: nil))
        pair.pass(.seconds(35))
    }
case "child-rekey":
    for _ in 0..<count {
        pair.handle(.rekey(.child("net", connection: nil), request: nil))
        pair.pass(.seconds(6))
    }
case "liveness":
    for _ in 0..<count {
        pair.pass(.seconds(10))
        pair.pass(.seconds(1))
    }
default: exit(2)
}
// What was done, so that a count of nothing is seen.
print("\(mode): \(pair.done) done, \(pair.informational) INFORMATIONAL requests")
