// A load generator: many IKE peers in one process, over real UDP, without a data plane. Each peer is an endpoint of the core with one
// connection and an identity of its own. Takes commands on standard input and answers each with one line:
//
//     setup COUNT INFLIGHT       brings up COUNT more SAs, so many at a time; says how many came up, and the seconds it took
//     liveness COUNT MILLISECONDS   asks one SA after the other whether it lives, COUNT times with a pause; microseconds p50, p99 and worst
//
//     LoadGenerator LOCAL REMOTE [FOLDER]: two IPv4 addresses, both on ports 500 and 4500. With a FOLDER that has ca.pem and ca.key every peer has a certificate
//     of that authority, ECDSA P-256, and takes the gateway's; without it a shared key.

import BenchmarkSupport
import Glibc
import IKEWire

/// A line, at once.
func say(_ line: String) {
    var line = line + "\n"
    _ = line.withUTF8 { write(1, $0.baseAddress, $0.count) }
}

let arguments = CommandLine.arguments
guard (3...4).contains(arguments.count), let local = IPAddress(arguments[1]), let remote = IPAddress(arguments[2]), let crypto = Bench.crypto(),
    let wire = Wire(local: local)
else {
    say("LoadGenerator LOCAL REMOTE [FOLDER]; it needs the OpenSSL plugin beside it, and ports 500 and 4500")
    exit(2)
}
let issuer = arguments.count == 4 ? Issuer(folder: arguments[3]) : nil
guard arguments.count == 3 || issuer != nil else {
    say("there is no ca.pem with its ca.key in \(arguments[3])")
    exit(2)
}
let fleet = Fleet(crypto: crypto, wire: wire, remote: SocketAddress(address: remote, port: 500), issuer: issuer)
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
