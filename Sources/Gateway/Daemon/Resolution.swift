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

    /// A remote address with a local one that reaches it: the first such pair, or, after `failed` tries in a row, the next ones in turn.
    //= RFC 4555 §3.1: where there are several, an initiation that was not answered goes to another.
    static func resolve(_ connection: Connection, gateway: GatewaySettings, failed: Int = 0) -> Result<Path, Failure> {
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
        var paths: [Path] = []
        for remote in remotes {
            let destination = SocketAddress(address: remote, port: connection.remotePort)
            let fixed = locals?.filter { $0.family == remote.family } ?? []
            paths += fixed.map { Path(local: SocketAddress(address: $0, port: localPort), remote: destination) }
            guard fixed.isEmpty else { continue }
            guard locals?.isEmpty ?? true else { continue }
            var target = martlet_endpoint(destination), source = martlet_endpoint()
            let result = martlet_source_address(&target, SocketSet.mark, &source)
            if result == 0, let address = source.socketAddress {
                paths.append(Path(local: SocketAddress(address: address.address, port: localPort), remote: destination))
                continue
            }
            problems.append("no route to \(remote): \(errorText(-result))")
        }
        if !paths.isEmpty { return .success(paths[failed % paths.count]) }
        return .failure(
            Failure(
                .noAnswer, "There is no way from here to the peer of \(connection.name)",
                evidence: problems.isEmpty ? ["local_addrs and remote_addrs have no address family in common"] : problems,
                advice: [
                    "Has this host a route to the peer? `ip route get ADDRESS` shows it.",
                    "Do \(connection.setting("local_addrs")) and \(connection.setting("remote_addrs")) have an address family in common?",
                ]))
    }

    /// The address of this host that the routes choose towards `remote`, the tunnel's own routes aside.
    static func source(towards remote: SocketAddress) -> IPAddress? {
        var target = martlet_endpoint(remote), source = martlet_endpoint()
        guard martlet_source_address(&target, SocketSet.mark, &source) == 0 else { return nil }
        return source.socketAddress?.address
    }

    private static func addresses(_ pattern: AddressPattern, _ problems: inout [String]) -> [IPAddress] {
        switch pattern {
        case .any: return []
        case .range(let start, let end): return start == end ? [start] : []
        case .name(let name): return addresses(ofName: name, &problems)
        }
    }

    /// Nil where it could not be looked up.
    static func addresses(ofName name: String) -> [IPAddress]? {
        var problems: [String] = []
        let found = addresses(ofName: name, &problems)
        return problems.isEmpty ? found : nil
    }

    private static func addresses(ofName name: String, _ problems: inout [String]) -> [IPAddress] {
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
