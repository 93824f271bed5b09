// The arguments of vici commands, checked: filters, time-outs, numbers, names.
// Source of the names: strongSwan's src/libcharon/plugins/vici/README.md, "Client-initiated commands".
import IKECrypto
import ViciWire

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

/// An argument that is not what its key takes.
struct BadArgument: Error {
    let reason: String
    /// It would be right if Martlet could do more.
    let isMissing: Bool
    init(_ reason: String, isMissing: Bool = false) {
        self.reason = reason
        self.isMissing = isMissing
    }
}

extension ControlWait {
    init(_ message: ViciMessage) throws(BadArgument) {
        logLevel = Int(min(max(try message.number("loglevel", as: Int32.self) ?? 1, -1), 4))
        switch try message.number("timeout", as: Int32.self) ?? 0 {
        case ..<0: limit = .none
        case 0: limit = .forever
        case let milliseconds: limit = .limited(.milliseconds(milliseconds))
        }
    }

    var timeout: Duration? {
        switch limit {
        case .limited(let duration): duration
        case .none, .forever: nil
        }
    }
}

extension SAFilter {
    init(_ message: ViciMessage) throws(BadArgument) {
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
    func text(_ name: String) -> String? {
        guard let text = self[name], !text.isEmpty else { return nil }
        return text
    }

    func number<Number: FixedWidthInteger>(_ name: String, as _: Number.Type) throws(BadArgument) -> Number? {
        guard let text = text(name) else { return nil }
        guard let number = Number(text) else { throw BadArgument("\(name) is not a number in range") }
        return number
    }

    func needed(_ name: String, by command: String) throws(BadArgument) -> String {
        guard let text = text(name) else { throw BadArgument("\(command) needs \(name)") }
        return text
    }

    /// A unique number; 0, which no SA has, stands for none.
    func identifier(_ name: String) throws(BadArgument) -> UInt64? {
        guard let number = try number(name, as: UInt64.self), number != 0 else { return nil }
        return number
    }
}

/// Which counters a command means.
package enum CounterSelection: Sendable, Hashable {
    case global
    case connection(String)
    case allConnections

    init(_ message: ViciMessage) {
        self = message.boolean("all") ? .allConnections : message.text("name").map(CounterSelection.connection) ?? .global
    }
}

/// Which policies `list-policies` means: whose kind the client set, whatever the value.
struct PolicyFilter: Sendable, Hashable {
    var kinds: Set<PolicySnapshot.Kind> = []
    var child: String?
    var ike: String?

    init(kinds: Set<PolicySnapshot.Kind>) { self.kinds = kinds }

    init(_ message: ViciMessage) {
        for kind in PolicySnapshot.Kind.allCases where message[kind.rawValue] != nil { kinds.insert(kind) }
        child = message.text("child")
        ike = message.text("ike")
    }

    func matches(_ policy: PolicySnapshot) -> Bool {
        kinds.contains(policy.kind) && (child == nil || child == policy.child) && (ike == nil || ike == policy.connection)
    }
}

/// A shared key as `load-shared` brings it. The bytes went straight from the client's packet into `data`.
struct SharedKey: Sendable {
    /// Empty where the client gave none.
    var id: String
    var owners: [String]
    var data: SecretBox
    var kind = SecretKind.ike

    init(_ message: ViciMessage, _ secret: SecretBox?) throws(BadArgument) {
        id = message.text("id") ?? ""
        let type = message.text("type") ?? ""
        switch type.lowercased() {
        case "ike": break
        case "eap", "xauth": kind = .eap
        case "ntlm": kind = .ntlm
        case "ppk": throw BadArgument("postquantum preshared keys (RFC 8784) are not there yet: type is 'ike', 'eap' or 'ntlm'", isMissing: true)
        case "": throw BadArgument("load-shared needs type")
        default: throw BadArgument("there is no secret of the type \(quoted(type)): type is 'ike', 'eap' or 'ntlm'")
        }
        guard let secret else { throw BadArgument("load-shared needs data, once") }
        data = secret
        owners = message.list("owners") ?? []
        guard message["owners"] == nil else { throw BadArgument("owners is a list") }
    }
}

extension SharedKey: Hashable {
    static func == (a: Self, b: Self) -> Bool { a.id == b.id && a.kind == b.kind && a.owners == b.owners && a.data === b.data }
    func hash(into hasher: inout Hasher) { hasher.combine(id) }
}
