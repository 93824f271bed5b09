// Where an initiation goes from and to: names are looked up, and the source address is the one that the routes would choose.
// Blocks; for the job pool.

import CLinux
import Glibc
import IKECore
import IKEWire

enum Resolution {
    struct Path: Sendable {
        var local: SocketAddress
        var remote: SocketAddress
    }

    /// The first remote address with a local one that reaches it.
    static func resolve(_ connection: Connection, gateway: GatewaySettings) -> Result<Path, Failure> {
        var problems: [String] = []
        var remotes: [IPAddress] = []
        for pattern in connection.remoteAddresses { remotes += addresses(pattern, &problems) }
        guard !remotes.isEmpty else {
            if problems.isEmpty {
                return .failure(
                    Failure(
                        .notConfigured, "The connection \(connection.name) has no address to connect to",
                        evidence: ["it is for peers that call us: \(connection.setting("remote_addrs")) names no single address"],
                        advice: ["Wait for the peer to begin, or write its address or host name there."]))
            }
            return .failure(
                Failure(
                    .noAnswer, "The name of the peer of \(connection.name) leads to no address", evidence: problems,
                    advice: [
                        "Is the name right? It stands in \(connection.setting("remote_addrs")).",
                        "Does this host resolve names (`getent hosts NAME`), and does it not need the tunnel itself for that? An address instead of a name needs no resolution.",
                    ]))
        }
        var locals: [IPAddress]? = []
        for pattern in connection.localAddresses {
            if case .any = pattern { locals = nil } else if locals != nil { locals? += addresses(pattern, &problems) }
        }
        let localPort = connection.localPort == gateway.natPort || connection.localPort == 4500 ? gateway.natPort : gateway.port
        for remote in remotes {
            let destination = SocketAddress(address: remote, port: connection.remotePort)
            if let fixed = locals?.first(where: { $0.family == remote.family }) {
                return .success(Path(local: SocketAddress(address: fixed, port: localPort), remote: destination))
            }
            guard locals?.isEmpty ?? true else { continue }
            var target = martlet_endpoint(destination), source = martlet_endpoint()
            let result = martlet_source_address(&target, SocketSet.mark, &source)
            if result == 0, let address = source.socketAddress {
                return .success(Path(local: SocketAddress(address: address.address, port: localPort), remote: destination))
            }
            problems.append("no route to \(remote): \(errorText(-result))")
        }
        return .failure(
            Failure(
                .noAnswer, "There is no way from here to the peer of \(connection.name)",
                evidence: problems.isEmpty ? ["local_addrs and remote_addrs have no address family in common"] : problems,
                advice: [
                    "Has this host a route to the peer? `ip route get ADDRESS` shows it.",
                    "Do \(connection.setting("local_addrs")) and \(connection.setting("remote_addrs")) have an address family in common?",
                ]))
    }

    private static func addresses(_ pattern: AddressPattern, _ problems: inout [String]) -> [IPAddress] {
        switch pattern {
        case .any: return []
        case .range(let start, let end): return start == end ? [start] : []
        case .name(let name):
            var hints = addrinfo()
            hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
            var list: UnsafeMutablePointer<addrinfo>?
            let code = getaddrinfo(name, nil, &hints, &list)
            guard code == 0 else {
                problems.append("\(name): \(String(cString: gai_strerror(code)))")
                return []
            }
            defer { freeaddrinfo(list) }
            var found: [IPAddress] = []
            var entry = list
            while let current = entry {
                if let address = current.pointee.ai_addr, let parsed = parse(address), !found.contains(parsed) { found.append(parsed) }
                entry = current.pointee.ai_next
            }
            return found
        }
    }

    private static func parse(_ address: UnsafeMutablePointer<sockaddr>) -> IPAddress? {
        switch Int32(address.pointee.sa_family) {
        case AF_INET:
            return address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { IPAddress(v4: UInt32(bigEndian: $0.pointee.sin_addr.s_addr)) }
        case AF_INET6:
            return address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { pointer in
                withUnsafeBytes(of: pointer.pointee.sin6_addr) { IPAddress(bytes: Array($0)) }
            }
        default: return nil
        }
    }
}
