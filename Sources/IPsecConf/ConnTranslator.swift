// One `conn` to a connection with a child. What is asked of a parameter is taken out of the settings; what is left at the end has no
// translation, and Parameters.swift says what becomes of it.

import IKEWire

struct ConnTranslator {
    enum Side: String { case left, right }

    let name: String
    let origin: Origin
    let context: ImportContext
    private(set) var settings: [String: Setting]
    private var findings = Findings()
    private(set) var isLeftOut = false
    /// Lines that leave it out, and without which it could be used with narrower selectors.
    private var undecided: [Setting] = []
    /// What is not tunnel mode.
    private var mode: OutputSetting?

    init(_ section: Section, _ settings: [String: Setting], _ context: ImportContext) {
        (name, origin, self.settings, self.context) = (section.name, section.origin, settings, context)
    }

    var dialect: Dialect { context.dialect }

    // MARK: For the parts of the translation

    mutating func take(_ name: String) -> Setting? { settings.removeValue(forKey: name) }
    mutating func leaveOut(_ setting: Setting, _ reason: String) {
        isLeftOut = true
        findings.add(.leftOut, setting, in: name, reason)
    }
    mutating func leaveOut(_ reason: String) {
        isLeftOut = true
        findings.add(.leftOut, at: origin, in: name, reason)
    }
    mutating func drop(_ setting: Setting, _ reason: String) { findings.add(.notCarried, setting, in: name, reason) }
    mutating func note(_ setting: Setting, _ reason: String) { findings.add(.note, setting, in: name, reason) }
    mutating func note(_ reason: String) { findings.add(.note, at: origin, in: name, reason) }

    /// One of the words that `values` has, as what it stands for. Nil, with the connection left out, for any other.
    mutating func choice<Value>(_ setting: Setting, _ values: [String: Value]) -> Value? {
        if let value = values[setting.value.lowercased()] { return value }
        leaveOut(setting, "this value is not known: \(values.keys.sorted().joined(separator: ", ")) are")
        return nil
    }

    mutating func yesNo(_ name: String) -> (value: Bool, setting: Setting)? {
        guard let setting = take(name), let value = choice(setting, ["yes": true, "no": false]) else { return nil }
        return (value, setting)
    }

    // MARK: The whole

    /// Nil where the original does not load the connection, or where it is left out; the findings say why.
    mutating func translate(_ shared: inout Findings) -> OutputConnection? {
        // Moved, not copied: there may be many.
        swap(&findings, &shared)
        defer { swap(&findings, &shared) }
        guard let action = startAction() else { return nil }
        checkVersionAndType()
        let local = localSide()
        let sides = [end(local, isLocal: true), end(local == .left ? .right : .left, isLocal: false)]
        var connection = OutputConnection(name: name, origin: origin)
        connection.settings = addressSettings(sides[0], sides[1])
        connection.settings += virtualAddresses(sides[0])
        let pools = pools(sides[1])
        connection.settings += pools.settings
        connection.pools = pools.pools
        connection.settings += ikeSettings()
        authenticate(&connection, sides[0], sides[1])
        var child = childSettings(connection.settings)
        child += carriageSettings(waits: action.action == "trap")
        if let mode { child.append(mode) }
        child += actionSettings(action, remote: sides[1])
        for (suffix, selectors) in selectorSettings(sides[0], sides[1]) {
            connection.children.append(OutputChild(name: name + suffix, origin: origin, settings: selectors + child))
        }
        rest(local)
        if isLeftOut { return nil }
        if undecided.isEmpty { return connection }
        connection.undecided = undecided.map { "\($0.text) (\($0.origin))" }
        for index in connection.children.indices {
            connection.children[index].settings = connection.children[index].settings.map { $0.key == "start_action" ? OutputSetting(key: $0.key, value: "none", origins: $0.origins) : $0 }
        }
        return connection
    }

    /// Nil where the original does not load the connection, or where it is left out.
    private mutating func startAction() -> (action: String, setting: Setting)? {
        guard let auto = take("auto") else {
            // A section that others take over has none; one with both sides was meant to be a connection.
            if settings["left"] != nil, settings["right"] != nil { note("auto is not set: it is not loaded there either") }
            return nil
        }
        guard let action = choice(auto, ["ignore": "", "add": "none", "start": "start", "up": "start", "route": "trap", "ondemand": "trap", "keep": "keep"]) else { return nil }
        if action.isEmpty {
            note(auto, "it is not loaded there either")
            return nil
        }
        if action == "keep" { drop(auto, "a tunnel that the peer began is not kept up from here") }
        return (action == "keep" ? "none" : action, auto)
    }

    private mutating func checkVersionAndType() {
        for name in ["keyexchange", "ikev2"] {
            guard let setting = take(name) else { continue }
            let values = ["ikev2": 2, "ike": 0, "ikev1": 1, "insist": 2, "yes": 2, "propose": 2, "no": 1, "never": 1, "permit": dialect == .libreswan ? 1 : 2]
            guard let version = choice(setting, values) else { continue }
            if version == 1 { leaveOut(setting, "IKEv1 is not spoken: set the peer to IKEv2") }
            if version == 0 { note(setting, "a peer that speaks IKEv1 alone is not answered") }
        }
        if let type = take("type") {
            switch type.value.lowercased() {
            case "tunnel": break
            case "transport": mode = OutputSetting(key: "mode", value: "transport", origins: [type.origin])
            case "transport_proxy", "beet": leaveOut(type, "Martlet has tunnel and transport mode alone: set the peer to one of them too")
            case "passthrough", "pass": leaveOut(type, "the import writes no shunts: without one, what a tunnel selects goes through the tunnel; add a child with mode = pass and start_action = trap")
            case "drop", "reject": leaveOut(type, "the import writes no shunts: add a child with mode = drop and start_action = trap, or drop this traffic in the firewall, for nothing does it now")
            default: leaveOut(type, "there is no such type")
            }
        }
    }

    /// Whatever was not asked for.
    private mutating func rest(_ local: Side) {
        for setting in settings.values.sorted(by: { ($0.origin.file, $0.origin.line, $0.name) < ($1.origin.file, $1.origin.line, $1.name) }) {
            if Parameters.isComment(setting.name) { continue }
            var rule = Parameters.connection[setting.name]
            for side in [Side.left, .right] where setting.name.hasPrefix(side.rawValue) && setting.name.count > side.rawValue.count {
                rule = Parameters.side(String(setting.name.dropFirst(side.rawValue.count)), isLocal: side == local)
            }
            guard let rule else {
                leaveOut(setting, "Martlet does not know this parameter, which may restrict something")
                continue
            }
            if rule.inert.contains(setting.value.lowercased()) { continue }
            switch rule.effect {
            case .leavesOut where rule.narrows:
                undecided.append(setting)
                findings.add(.leftOut, setting, in: name, rule.reason)
            case .leavesOut: leaveOut(setting, rule.reason)
            case .isDropped: drop(setting, rule.reason)
            case .hasNone: note(setting, rule.reason)
            }
        }
    }
}
