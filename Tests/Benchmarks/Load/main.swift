// A load generator: many IKE peers in one process, over real UDP, without a data plane. Each peer is an endpoint of the core with one
// connection and an identity of its own. Takes commands on standard input and answers each with one line:
//
//     setup COUNT INFLIGHT       brings up COUNT more SAs, so many at a time; says how many came up, and the seconds it took
//     liveness COUNT MILLISECONDS   asks one SA after the other whether it lives, COUNT times with a pause; microseconds p50, p99 and worst
//
//     LoadGenerator LOCAL REMOTE: two IPv4 addresses, both on ports 500 and 4500

import BenchmarkSupport
import Glibc
import IKEWire

/// A line, at once.
func say(_ line: String) {
    var line = line + "\n"
    _ = line.withUTF8 { write(1, $0.baseAddress, $0.count) }
}

let arguments = CommandLine.arguments
guard arguments.count == 3, let local = IPAddress(arguments[1]), let remote = IPAddress(arguments[2]), let crypto = Bench.crypto(),
    let wire = Wire(local: local)
else {
    say("LoadGenerator LOCAL REMOTE; it needs the OpenSSL plugin beside it, and ports 500 and 4500")
    exit(2)
}
let fleet = Fleet(crypto: crypto, wire: wire, remote: SocketAddress(address: remote, port: 500))
say("ready")
while let line = readLine() {
    let words = line.split(separator: " ")
    switch words.first {
    case "setup":
        let count = Int(words[1]) ?? 0, began = Bench.nanoseconds()
        let established = fleet.setUp(count, inFlight: Int(words[2]) ?? 1)
        say("established \(established) of \(count) in \(Double(Bench.nanoseconds() - began) / 1e9) s, \(fleet.retransmissions) datagrams sent again")
    case "liveness":
        let times = fleet.liveness(Int(words[1]) ?? 0, pause: Duration.milliseconds(Int(words[2]) ?? 1)).sorted()
        guard !times.isEmpty else {
            say("no answers")
            continue
        }
        func percentile(_ share: Double) -> Double { Double(times[min(times.count - 1, Int(Double(times.count) * share))]) / 1000 }
        say("answers \(times.count) p50 \(percentile(0.5)) p99 \(percentile(0.99)) worst \(percentile(1))")
    default: say("what?")
    }
}
