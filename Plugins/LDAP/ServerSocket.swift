// A connected socket to a server: look-up and connect, with a deadline that the library would not keep.

import CLDAP
import Glibc

/// Why there is no answer from a server.
enum Failure: Error {
    /// Cannot be reached, or does not let us in.
    case down(String)
    /// Reached, and no answer in time.
    case slow(String)
    /// Its answer makes no sense or is too much.
    case lying(String)
    /// A connection that was good before has ended: another may be.
    case lost(String)

    var text: String {
        switch self {
        case .down(let text), .slow(let text), .lying(let text), .lost(let text): text
        }
    }
}

enum ServerSocket {
    /// A socket that does not block. `opened` is told of it before anything waits on it, and of -1 when it is closed again.
    static func connect(to server: Server, deadline: UInt64, clock: () -> UInt64, opened: (Int32) -> Void) throws(Failure) -> Int32 {
        if case .local = server.transport { return try connectLocally(server, opened) }
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        // May block for as long as the resolver likes: who waits for it is given up on by the directory's clock.
        let result = getaddrinfo(server.host, String(server.port), &hints, &list)
        guard result == 0, let list else { throw .down("the name \(server.host) has no address: \(String(cString: gai_strerror(result)))") }
        defer { freeaddrinfo(list) }
        var reason = "the name \(server.host) has no address"
        var candidate: UnsafeMutablePointer<addrinfo>? = list
        var left = 0
        while let one = candidate {
            left += 1
            candidate = one.pointee.ai_next
        }
        candidate = list
        while let address = candidate?.pointee {
            candidate = address.ai_next
            let now = clock()
            guard now < deadline else { throw .down("\(server.uri) did not accept a connection in time") }
            // What is left of the time is shared among the addresses that are left.
            let until = now + (deadline - now) / UInt64(max(left, 1))
            left -= 1
            let descriptor = socket(address.ai_family, address.ai_socktype | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), address.ai_protocol)
            guard descriptor >= 0 else {
                reason = "there is no socket: \(words(errno))"
                continue
            }
            opened(descriptor)
            var error: Int32 = 0
            if Glibc.connect(descriptor, address.ai_addr, address.ai_addrlen) != 0 { error = errno }
            if error == EINPROGRESS { error = waitForConnection(descriptor, until, clock) }
            if error == 0 {
                var on: Int32 = 1
                setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
                setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, socklen_t(MemoryLayout<Int32>.size))
                return descriptor
            }
            // The directory's clock shuts the socket when the time is over, which looks like the server's doing.
            reason = error == ETIMEDOUT || clock() >= deadline ? "\(server.uri) did not accept a connection in time" : "\(server.uri) cannot be reached: \(words(error))"
            opened(-1)
            close(descriptor)
        }
        throw .down(reason)
    }

    private static func connectLocally(_ server: Server, _ opened: (Int32) -> Void) throws(Failure) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let path = Array(server.host.utf8)
        guard path.count < MemoryLayout.size(ofValue: address.sun_path) else { throw .down("the path of \(server.uri) is too long") }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .down("there is no socket: \(words(errno))") }
        opened(descriptor)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        guard result == 0 else {
            let error = errno
            opened(-1)
            close(descriptor)
            throw .down("\(server.uri) cannot be reached: \(words(error))")
        }
        return descriptor
    }

    private static func waitForConnection(_ descriptor: Int32, _ until: UInt64, _ clock: () -> UInt64) -> Int32 {
        while true {
            let now = clock()
            guard now < until else { return ETIMEDOUT }
            var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            let ready = poll(&entry, 1, Int32(clamping: (until - now) / 1_000_000 + 1))
            if ready < 0, errno == EINTR { continue }
            guard ready > 0 else { return ready == 0 ? ETIMEDOUT : errno }
            var error: Int32 = 0
            var size = socklen_t(MemoryLayout<Int32>.size)
            getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size)
            return error
        }
    }

    static func words(_ error: Int32) -> String { String(cString: strerror(error)) }
}
