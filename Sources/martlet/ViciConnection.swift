// A blocking connection to the daemon's control socket.
import Glibc
import ViciWire

final class ViciConnection {
    private let fd: Int32
    private let path: String
    private var framer = ViciFramer()

    /// Connects, or says in a sentence why not. With `patience` a daemon that is silent for so many seconds counts as gone.
    init(path: String, patience: Int? = nil) throws(OperationFailure) {
        self.path = path
        fd = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard fd >= 0 else { throw OperationFailure("cannot open a socket: \(Self.text(errno))", code: "no-socket") }
        if let patience {
            var limit = timeval(tv_sec: patience, tv_usec: 0)
            for option in [SO_RCVTIMEO, SO_SNDTIMEO] { setsockopt(fd, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size)) }
        }
        var address = sockaddr_un()
        let capacity = MemoryLayout.size(ofValue: address.sun_path)
        let bytes = Array(path.utf8)
        guard !bytes.isEmpty, bytes.count < capacity else {
            throw OperationFailure("the path of a socket has 1 to \(capacity - 1) bytes: \(path)", code: "bad-path")
        }
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(fd, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        guard result == 0 else {
            switch errno {
            case ENOENT:
                throw OperationFailure(
                    "martletd is not running: there is no socket at \(path)", code: "not-running",
                    advice: ["start the daemon, or name its socket with --socket"])
            case ECONNREFUSED:
                throw OperationFailure(
                    "martletd is not running: nobody listens at \(path)", code: "not-running", advice: ["start the daemon"])
            case EACCES, EPERM:
                throw OperationFailure(
                    "permission denied on \(path)", code: "permission-denied",
                    advice: ["run this as root, or as a member of the group martlet"])
            case let code:
                throw OperationFailure("cannot connect to \(path): \(Self.text(code))", code: "cannot-connect")
            }
        }
    }

    deinit { if fd >= 0 { close(fd) } }

    /// Sends a command and returns its response; events that come before it go to `onEvent`, which must have been registered for.
    func call(
        _ name: String, _ arguments: [(String, String)] = [], onEvent: (String, ViciMessage) throws(OperationFailure) -> Void = { _, _ in }
    ) throws(OperationFailure) -> ViciMessage {
        var message = ViciMessage()
        for (key, value) in arguments { message.add(key, value) }
        try send(.commandRequest(name: name, message))
        while true {
            switch try receive() {
            case .commandResponse(let response): return response
            case .commandUnknown: throw OperationFailure("the daemon at \(path) does not know the command \(name)", code: "unknown-command")
            case .event(let name, let event): try onEvent(name, event)
            case .commandRequest, .eventRegister, .eventUnregister, .eventConfirm, .eventUnknown: throw surprised()
            }
        }
    }

    /// Registers for an event; those of other kinds that come meanwhile go to `onEvent`.
    func register(_ event: String, onEvent: (String, ViciMessage) throws(OperationFailure) -> Void = { _, _ in }) throws(OperationFailure) {
        try send(.eventRegister(name: event))
        while true {
            switch try receive() {
            case .eventConfirm: return
            case .eventUnknown: throw OperationFailure("the daemon at \(path) does not know the event \(event)", code: "unknown-event")
            case .event(let name, let event): try onEvent(name, event)
            case .commandRequest, .commandResponse, .commandUnknown, .eventRegister, .eventUnregister: throw surprised()
            }
        }
    }

    /// A command that answers with a stream of one event.
    func list(_ command: String, event: String, _ arguments: [(String, String)] = []) throws(OperationFailure) -> [ViciMessage] {
        try register(event)
        var events: [ViciMessage] = []
        let response = try call(command, arguments) { name, message in if name == event { events.append(message) } }
        try check(response)
        return events
    }

    /// Waits for the next event.
    func nextEvent() throws(OperationFailure) -> (String, ViciMessage) {
        while true {
            if case .event(let name, let message) = try receive() { return (name, message) }
        }
    }

    /// Throws what a response with `success = no` says.
    func check(_ response: ViciMessage) throws(OperationFailure) {
        guard response["success"] == "no" else { return }
        var failure = OperationFailure(
            response["errmsg"] ?? "the daemon refused without a reason", code: response["martlet-code"] ?? "failed",
            evidence: response.list("martlet-evidence") ?? [], advice: response.list("martlet-advice") ?? [])
        failure.showsCode = response["martlet-code"] != nil
        throw failure
    }

    private func send(_ packet: ViciPacket) throws(OperationFailure) {
        let bytes: [UInt8]
        do throws(ViciError) {
            bytes = try packet.framed()
        } catch {
            throw OperationFailure("an argument does not fit in a request: \(error)", code: "bad-argument")
        }
        var offset = 0
        while offset < bytes.count {
            let count = bytes[offset...].withUnsafeBytes { Glibc.send(fd, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count > 0 {
                offset += count
            } else if errno != EINTR {
                throw lost()
            }
        }
    }

    private func receive() throws(OperationFailure) -> ViciPacket {
        var buffer: [UInt8] = []
        while true {
            do throws(ViciError) {
                if let frame = try framer.next() { return try ViciPacket(decoding: frame) }
            } catch {
                throw OperationFailure("what answers at \(path) does not speak vici: \(error)", code: "bad-protocol")
            }
            if buffer.isEmpty { buffer = [UInt8](repeating: 0, count: 65_536) }
            let count = recv(fd, &buffer, buffer.count, 0)
            if count > 0 {
                framer.append(buffer[..<count])
            } else if count < 0, errno == EAGAIN {
                throw OperationFailure("the daemon at \(path) does not answer", code: "no-answer")
            } else if count == 0 || errno != EINTR {
                throw lost()
            }
        }
    }

    private func lost() -> OperationFailure {
        OperationFailure(
            "the daemon closed the connection at \(path)", code: "connection-lost",
            advice: ["it may have stopped, or have too many clients: look at its log"])
    }

    private func surprised() -> OperationFailure {
        OperationFailure("what answers at \(path) does not follow the protocol", code: "bad-protocol")
    }

    private static func text(_ code: Int32) -> String { strerror(code).map { String(cString: $0) } ?? "error \(code)" }
}
