// What a vici client asked for: command names and arguments as typed requests.
// Source of the names: strongSwan's src/libcharon/plugins/vici/README.md, "Client-initiated commands".
import ViciWire

enum ControlRequest: Sendable, Hashable {
    case version
    case stats
    case listSAs(SAFilter)
    case listConnections(name: String?)
    case initiate(InitiateRequest, ControlWait)
    case terminate(TerminateRequest, ControlWait)
    case rekey(RekeyRequest)
    case algorithms
    /// Martlet's own: every algorithm of every provider, the plugin files, and the last lines of the log.
    case allAlgorithms
    case plugins
    case logBacklog(limit: Int)
    /// A command of vici that is not there yet.
    case unsupported(String)
    /// A command that is there, with arguments that say nothing it could do.
    case invalid(String)
    /// No command of vici at all.
    case unknown(String)

    /// A change is logged with who asked for it.
    var audited: String? {
        switch self {
        case .initiate(let request, _):
            "initiate" + (request.child.map { " child=\($0)" } ?? "") + (request.ike.map { " ike=\($0)" } ?? "")
        case .terminate(let request, _): "terminate" + request.filter.arguments + (request.force ? " force" : "")
        case .rekey(let request): "rekey" + request.filter.arguments
        case .version, .stats, .listSAs, .listConnections, .algorithms, .allAlgorithms, .plugins, .logBacklog, .unsupported, .invalid,
            .unknown:
            nil
        }
    }
}

/// How long a client waits for a change, and what it wants to read meanwhile.
struct ControlWait: Sendable, Hashable {
    enum Limit: Sendable, Hashable {
        /// `timeout = -1`: answer at once.
        case none
        case forever
        case limited(Duration)
    }
    var limit: Limit
    /// The highest level of `control-log` events.
    var logLevel: Int
}

extension ControlRequest {
    /// The commands of vici that Martlet does not have yet. They are refused by name: a client must not take silence for success.
    static let notThereYet: Set<String> = [
        "clear-creds", "flush-certs", "get-authorities", "get-conns", "get-counters", "get-keys", "get-pools", "get-shared", "install",
        "list-authorities", "list-certs", "list-policies", "load-authority", "load-cert", "load-conn", "load-key", "load-pool",
        "load-shared", "load-token", "redirect", "reload-settings", "reset-counters", "uninstall", "unload-authority", "unload-conn",
        "unload-key", "unload-pool", "unload-shared",
    ]

    static let backlogLimit = 1_000

    init(name: String, _ message: ViciMessage) {
        do throws(BadArgument) {
            switch name {
            case "version": self = .version
            case "stats": self = .stats
            case "list-sas": self = .listSAs(try SAFilter(message))
            case "list-conns": self = .listConnections(name: message.text("ike"))
            case "initiate":
                let wait = try ControlWait(message)
                let request = InitiateRequest(child: message.text("child"), ike: message.text("ike"), timeout: wait.timeout)
                guard request.child != nil || request.ike != nil else { throw BadArgument("initiate needs child or ike") }
                self = .initiate(request, wait)
            case "terminate":
                let wait = try ControlWait(message)
                let filter = try SAFilter(message)
                guard !filter.isEmpty else { throw BadArgument("terminate needs one of child, child-id, ike and ike-id") }
                self = .terminate(TerminateRequest(filter: filter, force: message.boolean("force"), timeout: wait.timeout), wait)
            case "rekey":
                let filter = try SAFilter(message)
                guard !filter.isEmpty else { throw BadArgument("rekey needs one of child, child-id, ike and ike-id") }
                guard !message.boolean("reauth") else { throw BadArgument("reauth is not there yet; a rekey is") }
                self = .rekey(RekeyRequest(filter: filter))
            case "get-algorithms": self = .algorithms
            case "martlet-algorithms": self = .allAlgorithms
            case "martlet-plugins": self = .plugins
            case "martlet-log":
                let limit = try message.number("limit", as: UInt32.self) ?? UInt32(Self.backlogLimit)
                self = .logBacklog(limit: min(Int(limit), Self.backlogLimit))
            default:
                self = Self.notThereYet.contains(name) ? .unsupported(name) : .unknown(name)
            }
        } catch {
            self = .invalid(error.reason)
        }
    }
}

/// An argument that is not what its key takes.
struct BadArgument: Error {
    let reason: String
    init(_ reason: String) { self.reason = reason }
}

extension ControlWait {
    fileprivate init(_ message: ViciMessage) throws(BadArgument) {
        logLevel = Int(min(max(try message.number("loglevel", as: Int32.self) ?? 1, -1), 4))
        switch try message.number("timeout", as: Int32.self) ?? 0 {
        case ..<0: limit = .none
        case 0: limit = .forever
        case let milliseconds: limit = .limited(.milliseconds(milliseconds))
        }
    }

    fileprivate var timeout: Duration? {
        switch limit {
        case .limited(let duration): duration
        case .none, .forever: nil
        }
    }
}

extension SAFilter {
    fileprivate init(_ message: ViciMessage) throws(BadArgument) {
        self.init(
            ike: message.text("ike"), ikeID: try message.identifier("ike-id"), child: message.text("child"),
            childID: try message.identifier("child-id"))
    }

    var arguments: String {
        var out = ""
        if let ike { out += " ike=\(ike)" }
        if let ikeID { out += " ike-id=\(ikeID)" }
        if let child { out += " child=\(child)" }
        if let childID { out += " child-id=\(childID)" }
        return out
    }
}

extension ViciMessage {
    /// An empty value is as good as none: some clients send all keys.
    fileprivate func text(_ name: String) -> String? {
        guard let text = self[name], !text.isEmpty else { return nil }
        return text
    }

    fileprivate func number<Number: FixedWidthInteger>(_ name: String, as _: Number.Type) throws(BadArgument) -> Number? {
        guard let text = text(name) else { return nil }
        guard let number = Number(text) else { throw BadArgument("\(name) is not a number in range") }
        return number
    }

    /// A unique number; 0, which no SA has, stands for none.
    fileprivate func identifier(_ name: String) throws(BadArgument) -> UInt64? {
        guard let number = try number(name, as: UInt64.self), number != 0 else { return nil }
        return number
    }
}
