// The control socket's server: accepts clients and moves their bytes.
// Driven by whatever loop owns the control thread: it asks `fds`, reports readiness, and calls `expire` when `nextDeadline` has passed.
import Glibc
import IKECore
import ViciWire

/// What a descriptor waits for.
package struct ControlInterest: OptionSet, Sendable, Hashable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let read = ControlInterest(rawValue: 1)
    package static let write = ControlInterest(rawValue: 2)
}

/// Serves vici on an AF_UNIX socket.
///
/// `@unchecked Sendable` because the backend's completions carry it: every function must be called on the control loop's thread, and
/// `dispatchPrecondition` has no counterpart for a thread of our own.
package final class ControlServer: @unchecked Sendable {
    private let socket: ControlSocket
    weak let backend: (any ControlBackend)?
    let limits: ControlLimits
    let now: @Sendable () -> Instant
    /// Level and text of a line for the daemon's log, group `CFG`.
    let log: @Sendable (Int, String) -> Void
    private(set) var clients: [Int32: Client] = [:]
    /// The last lines of the log.
    var backlog: [(sequence: UInt64, entry: LogEntrySnapshot)] = []
    var nextSequence: UInt64 = 1
    private var nextSerial: UInt64 = 1
    /// Set while the process has no descriptor left for another client.
    private var acceptPausedUntil: Instant?
    private var refusedClients = 0

    /// Called when a descriptor appears, changes what it waits for, or is about to be closed (`[]`).
    package var interestChanged: ((_ fd: Int32, _ interest: ControlInterest) -> Void)?

    /// Opens the socket at `path`. The backend is not retained: it may own the server. Letting go of the server closes the socket.
    package init(
        path: String, backend: any ControlBackend, limits: ControlLimits = ControlLimits(),
        now: @escaping @Sendable () -> Instant = { .monotonic },
        log: @escaping @Sendable (_ level: Int, _ message: String) -> Void
    ) throws(ControlSocketError) {
        socket = try ControlSocket(path: path)
        self.backend = backend
        self.limits = limits
        self.now = now
        self.log = log
    }

    deinit { for fd in clients.keys { Glibc.close(fd) } }

    // MARK: For the loop

    package var path: String { socket.path }

    /// Every descriptor and what it waits for, level-triggered.
    package var fds: [Int32: ControlInterest] {
        var all = clients.mapValues(\.interest)
        all[socket.fd] = listenerInterest
        return all
    }

    /// When `expire` must be called next; nil for never.
    package var nextDeadline: Instant? {
        (clients.values.compactMap { $0.command?.deadline } + [acceptPausedUntil].compactMap(\.self)).min()
    }

    package func handleReadable(_ fd: Int32) {
        if fd == socket.fd {
            acceptClients()
        } else if let client = clients[fd] {
            read(client)
        }
    }

    package func handleWritable(_ fd: Int32) {
        guard let client = clients[fd] else { return }
        serve(client)
    }

    /// Answers the clients whose time-out has passed.
    package func expire() {
        let time = now()
        if let until = acceptPausedUntil, until <= time {
            acceptPausedUntil = nil
            interestChanged?(socket.fd, listenerInterest)
        }
        for client in Array(clients.values) {
            guard let command = client.command, let deadline = command.deadline, deadline <= time else { continue }
            var message = ViciMessage()
            message.add("success", "no")
            message.add("errmsg", "\(command.description) is not done after its time-out; it goes on")
            message.add("martlet-code", "timeout")
            answer(client, command.id, message)
        }
    }

    // MARK: Clients

    private var listenerInterest: ControlInterest { acceptPausedUntil == nil ? .read : [] }

    private func acceptClients() {
        for _ in 0..<16 {
            let fd = accept(socket.fd, nil, nil)
            guard fd >= 0 else {
                switch errno {
                case EINTR, ECONNABORTED: continue
                case EMFILE, ENFILE, ENOBUFS, ENOMEM:
                    log(0, "control socket: no client is accepted for a second: \(errorText(errno))")
                    acceptPausedUntil = now() + .seconds(1)
                    interestChanged?(socket.fd, listenerInterest)
                default: break
                }
                return
            }
            guard clients.count < limits.clients else {
                refusedClients += 1
                Glibc.close(fd)
                if refusedClients == 1 { log(0, "control socket: a client is refused, \(limits.clients) are connected already") }
                continue
            }
            refusedClients = 0
            guard fcntl(fd, F_SETFL, O_NONBLOCK) == 0, fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 else {
                Glibc.close(fd)
                continue
            }
            let client = Client(fd: fd, serial: nextSerial, peer: peerDescription(fd), limits: limits)
            nextSerial += 1
            clients[fd] = client
            interestChanged?(fd, client.interest)
        }
    }

    private func read(_ client: Client) {
        guard client.session.wantsInput else { return updateInterest(client) }
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = recv(client.fd, &buffer, buffer.count, 0)
        switch count {
        case 1...:
            client.session.receive(buffer[..<count])
            // A client may have sent a secret.
            wipe(&buffer)
            serve(client)
        case 0:
            hungUp(client)
        default:
            if errno != EAGAIN && errno != EINTR { hungUp(client) }
        }
    }

    /// A client that goes in the middle of something is worth a line; one that only listened, a line for those who look closely.
    private func hungUp(_ client: Client) {
        if client.command != nil || client.session.hasOutput {
            log(1, "control socket: client (\(client.peer)) hung up before it was answered; what it asked for goes on")
        } else if client.session.isListening {
            log(2, "control socket: client (\(client.peer)) stopped listening")
        }
        close(client)
    }

    /// Starts what the client asked for and writes what it takes, until neither goes on.
    func serve(_ client: Client) {
        guard !client.isServing else { return }
        client.isServing = true
        defer { client.isServing = false }
        flush(client)
        do throws(ViciError) {
            while !client.isClosing, let (id, request) = try client.session.next() {
                perform(id, request, client)
                client.session.forgetSecrets()
                flush(client)
            }
            flush(client)  // registrations are answered on the way
        } catch {
            log(1, "control socket: client (\(client.peer)) breaks the protocol and is closed: \(error)")
            close(client)
        }
        updateInterest(client)
    }

    private func flush(_ client: Client) {
        while !client.isClosing {
            guard client.session.hasOutput else {
                guard client.session.wantsMore, !client.isRefilling, let refill = client.refill else { break }
                refill()
                continue
            }
            let front = client.session.front
            let count = front.withUnsafeBytes { send(client.fd, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count > 0 {
                client.session.wrote(count)
            } else if errno == EAGAIN || errno == EINTR {
                break
            } else {
                hungUp(client)
            }
        }
    }

    private func updateInterest(_ client: Client) {
        guard !client.isClosing else { return }
        var interest: ControlInterest = []
        if client.session.wantsInput { interest.insert(.read) }
        if client.session.hasOutput { interest.insert(.write) }
        guard interest != client.interest else { return }
        client.interest = interest
        interestChanged?(client.fd, interest)
    }

    /// What the client started goes on without it.
    private func close(_ client: Client) {
        guard !client.isClosing else { return }
        client.isClosing = true
        client.session.forgetInput()
        client.refill = nil
        clients[client.fd] = nil
        interestChanged?(client.fd, [])
        Glibc.close(client.fd)
        if acceptPausedUntil != nil {
            acceptPausedUntil = nil
            interestChanged?(socket.fd, listenerInterest)
        }
    }

    private func peerDescription(_ fd: Int32) -> String {
        // struct ucred: pid, uid, gid. unix(7), SO_PEERCRED.
        var credentials: [UInt32] = [0, 0, 0]
        var length = socklen_t(12)
        guard getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0, length == 12 else { return "peer unknown" }
        return "pid \(credentials[0]) uid \(credentials[1]) gid \(credentials[2])"
    }

    func offer(_ client: Client, _ name: ControlEventName, _ message: ViciMessage) {
        if !client.session.offer(name, message) {
            // Once an episode, and after the event was counted: this line is an event itself.
            log(1, "control socket: client (\(client.peer)) reads too slowly and loses events")
        }
        flush(client)
        updateInterest(client)
    }
}

extension Instant {
    /// CLOCK_MONOTONIC.
    fileprivate static var monotonic: Instant {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Instant(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
    }
}
