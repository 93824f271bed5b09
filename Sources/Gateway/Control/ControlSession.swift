// One control client as a function: bytes in, requests out; answers and events in, bytes out. No socket, no clock.
// Source of the rules: strongSwan's src/libcharon/plugins/vici/README.md, "Packet layer".
import IKECrypto
import ViciWire

/// Caps on what clients may cost.
package struct ControlLimits: Sendable {
    package var clients = 64
    /// Events that wait for one client; the next ones are lost, and counted.
    package var queuedEvents = 1_024
    /// Bytes that wait for one client before its events are lost.
    package var queuedBytes = 1 << 20
    /// Below this many bytes a command's stream goes on.
    package var streamLowWater = 64 << 10
    /// Lines of the log that are kept for `martlet-log`.
    package var backlogLines = ControlRequest.backlogLimit
    package init() {}
}

/// The events a client can register for.
enum ControlEventName: String, CaseIterable, Sendable {
    case log
    case controlLog = "control-log"
    case listSA = "list-sa"
    case listPolicy = "list-policy"
    case listConnection = "list-conn"
    case listCertificate = "list-cert"
    case listAuthority = "list-authority"
    case ikeUpDown = "ike-updown"
    case ikeRekey = "ike-rekey"
    case ikeUpdate = "ike-update"
    case childUpDown = "child-updown"
    case childRekey = "child-rekey"
    case alert
    /// The lines that `martlet-log` asked for.
    case logBacklog = "martlet-log"
}

/// Framing, registrations, the one open command and the queue of one client.
struct ControlSession {
    /// Numbers that tell a late answer from the answer to the open command.
    typealias CommandID = UInt64

    private let limits: ControlLimits
    private var framer = ViciFramer()
    private var registered: Set<ControlEventName> = []
    /// The command that waits for its response; its client gets no other answered before.
    private(set) var openCommand: CommandID?
    private var nextCommand: CommandID = 1
    /// A request behind the open command.
    private var held: (name: String, message: ViciMessage, secret: SecretBox?)?
    /// Whether the framer still holds the bytes of a secret that was handed out.
    private var hasSecretBehind = false
    /// Events that belong to the open command's answer. They are not lost but wait, and the response waits for them.
    /// Without a response yet, more of them will come.
    private var stream: (name: ControlEventName, rest: ArraySlice<ViciMessage>, response: ViciMessage?)?
    private var output = OutputQueue()
    /// Events lost since the client was last told.
    private(set) var lostEvents = 0

    init(limits: ControlLimits = ControlLimits()) { self.limits = limits }

    // MARK: Bytes from the client

    /// False while a request waits behind the open command, or too many bytes wait for the client: its stream is read later.
    var wantsInput: Bool { held == nil && output.bytes < limits.queuedBytes }

    mutating func receive(_ bytes: ArraySlice<UInt8>) { framer.append(bytes) }

    /// The next request, with its number; nil until more bytes or the open command's response have come. Registrations are answered
    /// here. After a throw the client must be closed.
    mutating func next() throws(ViciError) -> (id: CommandID, request: ControlRequest)? {
        forgetSecrets()
        if openCommand == nil, let (name, message, secret) = held {
            held = nil
            return open(name, message, secret)
        }
        while held == nil, output.bytes < limits.queuedBytes, let frame = try framer.next() {
            let (packet, secrets) = try ViciPacket.decode(frame, withholding: ControlRequest.secretNames)
            switch packet {
            case .commandRequest(let name, let message):
                // Two would be one too many to know which is meant.
                let secret = secrets.count == 1 ? SecretBox(SecretBytes(copying: frame[secrets[0]].span)) : nil
                hasSecretBehind = !secrets.isEmpty
                if openCommand == nil { return open(name, message, secret) }
                held = (name, message, secret)
            case .eventRegister(let name):
                if let event = ControlEventName(rawValue: name) {
                    registered.insert(event)
                    send(.eventConfirm)
                } else {
                    send(.eventUnknown)
                }
            case .eventUnregister(let name):
                if let event = ControlEventName(rawValue: name), registered.remove(event) != nil {
                    send(.eventConfirm)
                } else {
                    send(.eventUnknown)
                }
            case .commandResponse, .commandUnknown, .eventConfirm, .eventUnknown, .event:
                // What only a server says.
                throw .unknownPacketType(frame.first ?? 0)
            }
        }
        return nil
    }

    /// Call it when a request that came from `next` was dealt with: a secret does not wait in memory for the next one.
    mutating func forgetSecrets() {
        if hasSecretBehind { framer.forgetTaken() }
        hasSecretBehind = false
    }

    /// The client has gone, perhaps in the middle of a message.
    mutating func forgetInput() {
        framer.forget()
        held = nil
    }

    private mutating func open(_ name: String, _ message: ViciMessage, _ secret: SecretBox?) -> (id: CommandID, request: ControlRequest) {
        let id = nextCommand
        nextCommand &+= 1
        openCommand = id
        return (id, ControlRequest(name: name, message, secret: secret))
    }

    // MARK: Answers

    /// Ends the open command. False when that is another one by now, and nothing is sent.
    @discardableResult
    mutating func respond(_ id: CommandID, _ message: ViciMessage) -> Bool {
        guard openCommand == id, stream == nil else { return false }
        openCommand = nil
        send(.commandResponse(message))
        return true
    }

    @discardableResult
    mutating func respondUnknown(_ id: CommandID) -> Bool {
        guard openCommand == id, stream == nil else { return false }
        openCommand = nil
        send(.commandUnknown)
        return true
    }

    /// Sends all of `events` as fast as the client reads them, and then `response`.
    @discardableResult
    mutating func respond(
        _ id: CommandID, streaming events: [ViciMessage], as name: ControlEventName, then response: ViciMessage = ViciMessage()
    ) -> Bool {
        guard openCommand == id, stream == nil else { return false }
        // A client that has not registered gets the response alone, as the protocol has it.
        stream = (name, registered.contains(name) ? events[...] : [], response)
        pumpStream()
        return true
    }

    /// Begins an answer whose events are not all there yet. False where the command is not open.
    mutating func openStream(_ id: CommandID, as name: ControlEventName) -> Bool {
        guard openCommand == id, stream == nil else { return false }
        stream = (name, [], nil)
        return true
    }

    /// All that was fed is on its way, and more is to come.
    var wantsMore: Bool { stream.map { $0.rest.isEmpty && $0.response == nil } ?? false }

    mutating func feed(_ id: CommandID, _ events: [ViciMessage]) {
        guard openCommand == id, stream?.response == nil else { return }
        stream?.rest += events
        pumpStream()
    }

    mutating func endStream(_ id: CommandID, _ response: ViciMessage) {
        guard openCommand == id, stream?.response == nil else { return }
        stream?.response = response
        pumpStream()
    }

    private mutating func pumpStream() {
        while let (name, _, response) = stream, output.bytes < limits.streamLowWater {
            if let event = stream?.rest.popFirst() {
                send(.event(name: name.rawValue, event))
            } else {
                guard let response else { return }
                stream = nil
                openCommand = nil
                send(.commandResponse(response))
            }
        }
    }

    // MARK: Events

    func isRegistered(_ name: ControlEventName) -> Bool { registered.contains(name) }

    /// Queues an event for a client that registered for it, or counts it as lost when the client does not keep up.
    /// Returns false when it is the first to be lost.
    @discardableResult
    mutating func offer(_ name: ControlEventName, _ message: ViciMessage) -> Bool {
        guard registered.contains(name) else { return true }
        guard hasRoom else {
            lostEvents += 1
            return lostEvents > 1
        }
        var message = message
        if lostEvents > 0 {
            switch name {
            case .log, .controlLog: send(.event(name: name.rawValue, lossNotice()))
            default: message.add("martlet-lost-events", lostEvents)
            }
            lostEvents = 0
        }
        send(.event(name: name.rawValue, message))
        return true
    }

    private var hasRoom: Bool { output.bytes < limits.queuedBytes && output.frames < limits.queuedEvents }

    private func lossNotice() -> ViciMessage {
        var notice = ViciMessage()
        notice.add("group", "DMN")
        notice.add("level", 0)
        notice.add("msg", "\(lostEvents) events lost: this client reads too slowly")
        notice.add("martlet-lost-events", lostEvents)
        return notice
    }

    // MARK: Bytes to the client

    var hasOutput: Bool { !output.isEmpty }
    /// Registered for some event.
    var isListening: Bool { !registered.isEmpty }
    var queuedBytes: Int { output.bytes }
    /// What to write next; empty when there is nothing.
    var front: ArraySlice<UInt8> { output.front }

    /// `count` bytes of `front` were written.
    mutating func wrote(_ count: Int) {
        output.consume(count)
        pumpStream()
        // Told as soon as it has caught up, even when no further event comes.
        if lostEvents > 0, output.isEmpty, registered.contains(.log) {
            send(.event(name: ControlEventName.log.rawValue, lossNotice()))
            lostEvents = 0
        }
    }

    private mutating func send(_ packet: ViciPacket) {
        do throws(ViciError) {
            output.append(try packet.framed())
        } catch {
            switch packet {
            case .commandResponse:
                // Small, so that it fits for certain.
                var message = ViciMessage()
                message.add("success", "no")
                message.add("errmsg", "the answer does not fit in a vici packet: \(error)")
                if let frame = try? ViciPacket.commandResponse(message).framed() { output.append(frame) }
            default:
                lostEvents += 1
            }
        }
    }
}
