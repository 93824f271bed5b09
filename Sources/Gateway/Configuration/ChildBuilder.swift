// From a checked section of `children` to a `ChildPolicy`. Defaults are swanctl.conf(5)'s.

import IKECore
import IKEWire

struct ChildBuilder {
    let capabilities: Capabilities
    let provider: String?
    /// What holds for children that do not say otherwise.
    var connection: ConfigurationSection?

    func build(_ section: ConfigurationSection, _ diagnostics: inout Diagnostics) -> ChildPolicy {
        let reader = SectionReader(section: section)
        let proposals = ProposalParser(protocolID: .esp, provider: provider, capabilities: capabilities)
            .parse(section.value("esp_proposals"), key: "esp_proposals", fallback: section.position, &diagnostics)
        var child = ChildPolicy(name: section.name, proposals: proposals)
        child.localTS = selectors("local_ts", section, &diagnostics)
        child.remoteTS = selectors("remote_ts", section, &diagnostics)
        checkFamilies(child, section, &diagnostics)
        child.mode = mode(reader, &diagnostics)
        child.startAction = action("start_action", reader, &diagnostics)
        child.closeAction = action("close_action", reader, &diagnostics)
        child.dpdAction = action("dpd_action", reader, &diagnostics)
        if !child.mode.isNegotiated { checkPolicy(child, reader, &diagnostics) }
        if child.hasTrap, !child.startAction.contains(.trap) {
            let key = child.closeAction.contains(.trap) ? "close_action" : "dpd_action"
            diagnostics.warning(
                at: reader.position(key), "'\(key) = trap' sets the trap from the start, as 'start_action = trap' does: one that came with the tunnel's end would let packets out in clear meanwhile")
        }
        child.lifetime = lifetime(reader, &diagnostics)
        // swanctl's default is 32; more costs nothing here.
        child.replayWindow = reader.integer("replay_window").map { Int(clamping: $0) } ?? 64
        if child.replayWindow == 0 {
            diagnostics.warning(at: reader.position("replay_window"), "'replay_window = 0' lets an attacker send packets again")
        }
        child.carriage = CarriageBuilder(capabilities: capabilities, connection: connection).build(reader, &diagnostics)
        if child.isInstalledAtStart, child.carriage.isUnique {
            diagnostics.error(at: reader.position("start_action"), "a policy that waits for traffic has no '%unique' number: there is none before there is a tunnel; write numbers out")
        }
        if child.mode == .pass { checkPass(child, reader, &diagnostics) }
        return child
    }

    /// What passes by routes alone passes for every sender, protocol and port.
    private func checkPass(_ child: ChildPolicy, _ reader: SectionReader, _ diagnostics: inout Diagnostics) {
        guard capabilities.planeName != nil, !capabilities.features.contains(.passesExactly) else { return }
        func isWhole(_ pattern: SelectorPattern) -> Bool {
            switch pattern {
            case .fixed(let selector): selector.ipProtocol == 0 && selector.startPort == 0 && selector.endPort == 65535
            case .dynamic(let ipProtocol, let startPort, let endPort): ipProtocol == 0 && startPort == 0 && endPort == 65535
            }
        }
        for (key, patterns) in [("local_ts", child.localTS), ("remote_ts", child.remoteTS)] where !patterns.allSatisfy(isWhole) {
            diagnostics.error(at: reader.position(key), "'mode = pass' with a protocol or ports cannot be: the data plane \(capabilities.planeName ?? "") lets packets pass by their destination alone")
        }
        let everywhere = child.localTS.contains { if case .dynamic = $0 { true } else { false } }
        func isEvery(_ pattern: SelectorPattern, _ family: IPAddress.Family) -> Bool {
            guard case .fixed(let selector) = pattern else { return true }
            return selector.start.family == family && selector.start.value == 0 && selector.end.value == (family == .v4 ? 0xffff_ffff : .max)
        }
        guard !everywhere else { return }
        for case .fixed(let there) in child.remoteTS where !child.localTS.contains(where: { isEvery($0, there.start.family) }) {
            diagnostics.error(
                at: reader.position("local_ts"),
                "'mode = pass' for some senders alone cannot be: the data plane \(capabilities.planeName ?? "") lets packets pass by their destination, so that those of others would pass as well; leave local_ts out"
            )
            return
        }
    }

    private func mode(_ reader: SectionReader, _ diagnostics: inout Diagnostics) -> ChildMode {
        guard let word = reader.text("mode")?.lowercased(), SchemaTable.modes.contains(word) else { return .tunnel }
        guard let mode = ChildMode(rawValue: word) else {
            diagnostics.error(at: reader.position("mode"), "'mode = \(word)' is not there yet, so it is refused: write mode = tunnel")
            return .tunnel
        }
        if mode == .transport, !capabilities.carriesTransport {
            let plane = capabilities.planeName.map { "the data plane \($0) carries tunnels alone" } ?? "no data plane that carries it is loaded"
            diagnostics.error(at: reader.position("mode"), "'mode = transport' cannot be: \(plane); write mode = tunnel")
        }
        return mode
    }

    /// A policy without SAs is there or it is not: nothing begins it, and nothing ends it.
    private func checkPolicy(_ child: ChildPolicy, _ reader: SectionReader, _ diagnostics: inout Diagnostics) {
        if child.startAction.contains(.start) {
            diagnostics.error(at: reader.position("start_action"), "'mode = \(child.mode.rawValue)' has no tunnel to start: write start_action = trap, which installs the policy")
        }
        if child.startAction.isEmpty {
            diagnostics.warning(
                at: reader.position("mode"), "'mode = \(child.mode.rawValue)' does nothing until 'swanctl --install' asks for it: write start_action = trap to have it from the start")
        }
        for key in ["close_action", "dpd_action"] where reader.text(key) != nil {
            diagnostics.warning(at: reader.position(key), "\(quoted(key)) has no effect on a child with 'mode = \(child.mode.rawValue)', which has no tunnel that ends")
        }
    }

    private func selectors(_ key: String, _ section: ConfigurationSection, _ diagnostics: inout Diagnostics) -> [SelectorPattern] {
        guard let value = section.value(key) else { return [.dynamic(ipProtocol: 0, startPort: 0, endPort: 65535)] }
        var selectors: [SelectorPattern] = []
        let elements = value.elements
        if elements.isEmpty { diagnostics.error(at: value.position, "\(quoted(key)) names no selector") }
        // One octet counts the selectors on the wire. RFC 7296 section 3.13.
        if elements.count > 255 { diagnostics.error(at: value.position, "\(quoted(key)) has more than 255 selectors") }
        for element in elements.prefix(255) {
            let selector: SelectorPattern
            do throws(AddressProblem) {
                selector = try SelectorPattern(configured: element.text)
            } catch {
                diagnostics.error(at: element.position, error.message)
                continue
            }
            if case .fixed(let new) = selector {
                warnOfHostBits(new, element, &diagnostics)
                for case .fixed(let old) in selectors where old.covers(new) || new.covers(old) {
                    let (outer, inner) = old.covers(new) ? (old, new) : (new, old)
                    diagnostics.warning(at: element.position, outer == inner ? "\(outer) is named twice" : "\(outer) contains \(inner) already")
                    break
                }
            }
            selectors.append(selector)
        }
        return selectors
    }

    private func warnOfHostBits(_ selector: TrafficSelector, _ element: ConfigurationValue.Element, _ diagnostics: inout Diagnostics) {
        guard let slash = element.text.firstIndex(of: "/"), let given = IPAddress(String(element.text[..<slash])), given != selector.start else { return }
        diagnostics.warning(at: element.position, "\(quoted(element.text)) is taken as the network \(selector)")
    }

    /// Traffic between two families cannot be: each selector needs one of its family at the other end.
    private func checkFamilies(_ child: ChildPolicy, _ section: ConfigurationSection, _ diagnostics: inout Diagnostics) {
        let local = families(child.localTS)
        let remote = families(child.remoteTS)
        guard let local, let remote else { return }
        for (family, key) in local.subtracting(remote).map({ ($0, "local_ts") }) + remote.subtracting(local).map({ ($0, "remote_ts") }) {
            let name = family == .v4 ? "IPv4" : "IPv6"
            diagnostics.warning(at: section.value(key)?.position ?? section.position, "\(quoted(key)) has \(name) selectors and the other end has none: they carry nothing")
        }
    }

    /// Nil where `dynamic` leaves it open.
    private func families(_ selectors: [SelectorPattern]) -> Set<IPAddress.Family>? {
        var families: Set<IPAddress.Family> = []
        for selector in selectors {
            guard case .fixed(let fixed) = selector else { return nil }
            families.insert(fixed.start.family)
        }
        return families
    }

    /// The actions are words, several with a bar between them: `trap|start`.
    private func action(_ key: String, _ reader: SectionReader, _ diagnostics: inout Diagnostics) -> ChildAction {
        guard let text = reader.text(key) else { return [] }
        // swanctl.conf has names of its own for dpd_action, and takes both kinds everywhere.
        let words: [String: ChildAction] = ["none": [], "clear": [], "start": .start, "restart": .start, "trap": .trap]
        var action: ChildAction = []
        for word in text.lowercased().split(separator: "|", omittingEmptySubsequences: false) {
            let word = String(decoding: Array(word.utf8)[...].trimmed, as: UTF8.self)
            guard let one = words[word] else {
                let usual = key == "dpd_action" ? ["clear", "restart", "trap"] : ["none", "start", "trap"]
                diagnostics.error(
                    at: reader.position(key),
                    "\(quoted(key)) is one of \(usual.joined(separator: ", ")), not \(quoted(text))" + suggestion(nearest(to: word, among: usual)))
                return []
            }
            action.formUnion(one)
        }
        return action
    }

    /// `life_*` is `rekey_*` and a tenth; `rand_*` is what lies between.
    private func lifetime(_ reader: SectionReader, _ diagnostics: inout Diagnostics) -> Lifetime {
        let rekey = reader.time("rekey_time") ?? .seconds(3600)
        let life = reader.time("life_time") ?? rekey + rekey / 10
        var lifetime = Lifetime(rekeyTime: rekey, lifeTime: life, randTime: min(reader.time("rand_time") ?? max(life - rekey, .zero), rekey))
        (lifetime.rekeyBytes, lifetime.lifeBytes, lifetime.randBytes) = volume(
            rekey: reader.bytes("rekey_bytes"), life: reader.bytes("life_bytes"), rand: reader.bytes("rand_bytes"))
        (lifetime.rekeyPackets, lifetime.lifePackets, lifetime.randPackets) = volume(
            rekey: reader.integer("rekey_packets"), life: reader.integer("life_packets"), rand: reader.integer("rand_packets"))
        if life != .zero, rekey != .zero, life <= rekey { warnEndsEarly("time", reader, &diagnostics) }
        if lifetime.lifeBytes != 0, lifetime.rekeyBytes != 0, lifetime.lifeBytes <= lifetime.rekeyBytes { warnEndsEarly("bytes", reader, &diagnostics) }
        if lifetime.lifePackets != 0, lifetime.rekeyPackets != 0, lifetime.lifePackets <= lifetime.rekeyPackets {
            warnEndsEarly("packets", reader, &diagnostics)
        }
        warnAtOnce("time", reader.time("rand_time").map { rekey > .zero && $0 >= rekey }, reader, &diagnostics)
        warnAtOnce("bytes", reader.bytes("rand_bytes").map { lifetime.rekeyBytes > 0 && $0 >= lifetime.rekeyBytes }, reader, &diagnostics)
        warnAtOnce("packets", reader.integer("rand_packets").map { lifetime.rekeyPackets > 0 && $0 >= lifetime.rekeyPackets }, reader, &diagnostics)
        return lifetime
    }

    private func warnAtOnce(_ unit: String, _ isWide: Bool?, _ reader: SectionReader, _ diagnostics: inout Diagnostics) {
        if isWide == true { diagnostics.warning(at: reader.position("rand_" + unit), "'rand_\(unit)' is not below 'rekey_\(unit)': the keys may be renewed at once") }
    }

    private func volume(rekey: UInt64?, life: UInt64?, rand: UInt64?) -> (UInt64, UInt64, UInt64) {
        let rekey = rekey ?? 0
        let (sum, overflow) = rekey.addingReportingOverflow(rekey / 10)
        let life = life ?? (overflow ? .max : sum)
        return (rekey, life, min(rand ?? (life > rekey ? life - rekey : 0), rekey))
    }

    private func warnEndsEarly(_ unit: String, _ reader: SectionReader, _ diagnostics: inout Diagnostics) {
        let key = reader.section.value("life_" + unit) == nil ? "rekey_" + unit : "life_" + unit
        diagnostics.warning(at: reader.position(key), "'life_\(unit)' is not above 'rekey_\(unit)': the child ends before its keys are renewed")
    }
}

extension TrafficSelector {
    /// Whether everything that `other` selects is selected by this too.
    func covers(_ other: TrafficSelector) -> Bool {
        start.family == other.start.family && start.value <= other.start.value && end.value >= other.end.value
            && (ipProtocol == 0 || ipProtocol == other.ipProtocol) && startPort <= other.startPort && endPort >= other.endPort
    }
}

extension ChildAction {
    /// As `start_action` is written.
    package var controlText: String {
        switch self {
        case []: "none"
        case .trap: "trap"
        case .start: "start"
        default: "trap|start"
        }
    }
}
