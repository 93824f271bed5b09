// The control socket's server: accepts clients, moves their bytes, and sends each request to the backend.
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
    private weak let backend: (any ControlBackend)?
    private let limits: ControlLimits
    private let now: @Sendable () -> Instant
    /// Level and text of a line for the daemon's log, group `CFG`.
    private let log: @Sendable (Int, String) -> Void
    private var clients: [Int32: Client] = [:]
    private var backlog: [(sequence: UInt64, entry: LogEntrySnapshot)] = []
    private var nextSequence: UInt64 = 1
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

    // MARK: For the gateway

    /// Tells the subscribers. Costs little when there are none.
    package func publish(_ event: ControlEvent) {
        switch event {
        case .logged(let entry):
            publish(entry)
        case .ikeSAChanged(let isUp, let sa):
            broadcast(.ikeUpDown) { SAMessages.ikeUpDown(isUp: isUp, sa) }
        case .ikeSARekeyed(let old, let new):
            broadcast(.ikeRekey) { SAMessages.ikeRekey(old: old, new: new) }
        case .childSAChanged(let isUp, let ike, let child):
            broadcast(.childUpDown) { SAMessages.childUpDown(isUp: isUp, ike, child) }
        case .childSARekeyed(let ike, let old, let new):
            broadcast(.childRekey) { SAMessages.childRekey(ike, old: old, new: new) }
        }
    }

    private func publish(_ entry: LogEntrySnapshot) {
        let sequence = nextSequence
        nextSequence += 1
        backlog.append((sequence, entry))
        if backlog.count >= 2 * limits.backlogLines { backlog.removeFirst(backlog.count - limits.backlogLines) }
        broadcast(.log) { ConfigurationMessages.log(entry, sequence: sequence, withThread: true) }
        guard let name = entry.ikeSAName else { return }
        for client in Array(clients.values) where client.command?.followed.contains(name) == true { sendProgress(client, entry) }
    }

    private func broadcast(_ name: ControlEventName, _ message: () -> ViciMessage) {
        let listeners = clients.values.filter { $0.session.isRegistered(name) }
        guard !listeners.isEmpty else { return }
        let message = message()
        for client in listeners { offer(client, name, message) }
    }

    // MARK: Clients

    /// A client and what the server knows about it.
    private final class Client {
        let fd: Int32
        /// Tells this client from a later one with the same descriptor.
        let serial: UInt64
        /// `pid 12 uid 0 gid 0`.
        let peer: String
        var session: ControlSession
        var interest: ControlInterest = .read
        var command: Command?
        /// Set once the peer closed or broke the protocol.
        var isClosing = false
        /// Set while its requests are being taken: an answer that comes at once does not start them again.
        var isServing = false

        init(fd: Int32, serial: UInt64, peer: String, limits: ControlLimits) {
            self.fd = fd
            self.serial = serial
            self.peer = peer
            session = ControlSession(limits: limits)
        }
    }

    /// The open command of a client, as far as it changes something.
    private struct Command {
        var id: ControlSession.CommandID
        var description: String
        var logLevel: Int
        /// Connections whose log lines the client reads meanwhile.
        var followed: Set<String> = []
        var deadline: Instant?
    }

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
    private func serve(_ client: Client) {
        guard !client.isServing else { return }
        client.isServing = true
        defer { client.isServing = false }
        flush(client)
        do throws(ViciError) {
            while !client.isClosing, let (id, request) = try client.session.next() {
                perform(id, request, client)
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
        while !client.isClosing, client.session.hasOutput {
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

    private func offer(_ client: Client, _ name: ControlEventName, _ message: ViciMessage) {
        if !client.session.offer(name, message) {
            // Once an episode, and after the event was counted: this line is an event itself.
            log(1, "control socket: client (\(client.peer)) reads too slowly and loses events")
        }
        flush(client)
        updateInterest(client)
    }

    // MARK: Requests

    private func perform(_ id: ControlSession.CommandID, _ request: ControlRequest, _ client: Client) {
        if let audited = request.audited { log(1, "control: \(audited), by \(client.peer)") }
        guard let backend else { return answer(client, id, OutcomeMessages.refusal("the daemon is going down", code: "shutting-down")) }
        let reply = Reply(server: self, fd: client.fd, serial: client.serial, command: id)
        switch request {
        case .version:
            answer(client, id, ConfigurationMessages.version(daemonVersion: backend.daemonVersion))
        case .stats:
            backend.stats { reply.send(ConfigurationMessages.stats($0)) }
        case .listSAs(let filter):
            backend.listSAs(filter) { all in
                reply.stream(
                    .listSA,
                    all.filter(filter.matches).flatMap { sa in SAMessages.list(sa, children: sa.children.filter(filter.matches)) })
            }
        case .listConnections(let name):
            backend.listConnections { all in
                reply.stream(
                    .listConnection, all.filter { name == nil || name == $0.name }.map(ConfigurationMessages.connection))
            }
        case .initiate(let request, let wait):
            begin(client, id, wait, request.child.map { "initiating child \($0)" } ?? "initiating \(request.ike ?? "")")
            backend.initiate(request, reply.progress) { reply.send(OutcomeMessages.initiated($0)) }
            answerAtOnce(client, id, wait)
        case .terminate(let request, let wait):
            begin(client, id, wait, "terminating" + request.filter.arguments)
            backend.terminate(request, reply.progress) { reply.send(OutcomeMessages.selected($0, verb: "terminate", count: "terminated")) }
            answerAtOnce(client, id, wait)
        case .rekey(let request):
            begin(client, id, ControlWait(limit: .forever, logLevel: 1), "rekeying" + request.filter.arguments)
            backend.rekey(request, reply.progress) { reply.send(OutcomeMessages.selected($0, verb: "rekey", count: "martlet-rekeyed")) }
        case .algorithms:
            backend.algorithms { reply.send(ConfigurationMessages.algorithms($0)) }
        case .allAlgorithms:
            backend.algorithms { reply.send(ConfigurationMessages.allAlgorithms($0)) }
        case .plugins:
            backend.plugins { reply.send(ConfigurationMessages.plugins($0)) }
        case .logBacklog(let limit):
            client.session.respond(
                id,
                streaming: backlog.suffix(limit).map { ConfigurationMessages.log($0.entry, sequence: $0.sequence, withThread: true) },
                as: .logBacklog)
        case .unsupported(let name):
            answer(client, id, OutcomeMessages.refusal("the command \(name) is not there yet", code: "unsupported-command"))
        case .invalid(let reason):
            answer(client, id, OutcomeMessages.refusal(reason, code: "invalid-argument"))
        case .unknown:
            client.session.respondUnknown(id)
        }
    }

    private func begin(_ client: Client, _ id: ControlSession.CommandID, _ wait: ControlWait, _ description: String) {
        var command = Command(id: id, description: description, logLevel: wait.logLevel)
        if case .limited(let duration) = wait.limit { command.deadline = now() + duration }
        client.command = command
    }

    /// `timeout = -1`: begun is done.
    private func answerAtOnce(_ client: Client, _ id: ControlSession.CommandID, _ wait: ControlWait) {
        guard wait.limit == .none else { return }
        var message = ViciMessage()
        message.add("success", "yes")
        answer(client, id, message)
    }

    private func answer(_ client: Client, _ id: ControlSession.CommandID, _ message: ViciMessage) {
        guard client.session.respond(id, message) else { return }
        finish(client, id)
    }

    private func finish(_ client: Client, _ id: ControlSession.CommandID) {
        if client.command?.id == id { client.command = nil }
        serve(client)
    }

    private func sendProgress(_ client: Client, _ entry: LogEntrySnapshot) {
        guard let command = client.command, entry.level <= command.logLevel else { return }
        offer(client, .controlLog, ConfigurationMessages.log(entry, sequence: nil, withThread: false))
    }

    // MARK: Answers that come later

    /// Finds its way back to a command that may be gone.
    private struct Reply: Sendable {
        weak let server: ControlServer?
        let fd: Int32
        let serial: UInt64
        let command: ControlSession.CommandID

        private func target() -> (ControlServer, Client)? {
            guard let server, let client = server.clients[fd], client.serial == serial else { return nil }
            return (server, client)
        }

        func send(_ message: ViciMessage) {
            guard let (server, client) = target() else { return }
            server.answer(client, command, message)
        }

        func stream(_ name: ControlEventName, _ events: [ViciMessage]) {
            guard let (server, client) = target() else { return }
            guard client.session.respond(command, streaming: events, as: name) else { return }
            server.finish(client, command)
        }

        var progress: ControlProgress {
            ControlProgress(
                follow: { connection in
                    guard let (_, client) = target(), client.command?.id == command else { return }
                    client.command?.followed.insert(connection)
                },
                line: { entry in
                    guard let (server, client) = target(), client.command?.id == command else { return }
                    server.sendProgress(client, entry)
                })
        }
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
