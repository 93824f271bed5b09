// Which side is ours, where both are, who they are and what is behind them.

import IKEWire

/// One side of a `conn`.
struct ConnEnd {
    var side: ConnTranslator.Side
    var host: Setting?
    var addresses: [GatewayAddress] = []
    var allowsAny = false
    var identity: Setting?
    var auth: Setting?
    var port: Setting?
    var subnet: Setting?
    var subnets: Setting?
    var protoport: Setting?
    var source: Setting?

    var single: GatewayAddress? { addresses.count == 1 && !allowsAny ? addresses[0] : nil }
}

extension ConnTranslator {
    /// strongSwan: right is ours if one of its addresses is this host's, else left. libreswan: the side whose address is this host's.
    mutating func localSide() -> Side {
        func isLocal(_ side: Side) -> Bool {
            guard let setting = settings[side.rawValue] else { return false }
            return elements(setting.value).contains { text in
                if dialect == .libreswan, text == "%defaultroute" { return true }
                return IPAddress(text).map { context.localAddresses.contains($0) } ?? false
            }
        }
        switch (isLocal(.left), isLocal(.right)) {
        case (true, false): return .left
        case (false, true):
            note("right is this host: the sides are exchanged")
            return .right
        case (true, true):
            if dialect == .libreswan {
                leaveOut("both sides are addresses of this host, which libreswan refuses")
            } else {
                note("both sides are addresses of this host: right is taken as ours, as strongSwan does")
            }
            return .right
        case (false, false):
            let left = settings["left"].map { elements($0.value) } ?? []
            if !left.isEmpty, !left.contains(where: { ["%any", "%defaultroute", "0.0.0.0", "::"].contains($0) }) {
                note(
                    "neither side is an address of this host: left is taken as ours"
                        + (dialect == .strongSwan ? ", as strongSwan does" : "; libreswan would not use the connection here") + " (--local ADDRESS names the gateway's own)")
            }
            return .left
        }
    }

    mutating func end(_ side: Side, isLocal: Bool) -> ConnEnd {
        var end = ConnEnd(side: side)
        func named(_ name: String) -> String { side.rawValue + name }
        end.host = take(side.rawValue)
        (end.identity, end.auth, end.port) = (take(named("id")), take(named("auth")), take(named("ikeport")))
        (end.subnet, end.subnets, end.protoport) = (take(named("subnet")), take(named("subnets")), take(named("protoport")))
        if let any = yesNo(named("allowany")) { end.allowsAny = any.value }
        if let host = end.host {
            for var text in elements(host.value) {
                // strongSwan: a percent sign before a name also takes other addresses.
                if dialect == .strongSwan, text.hasPrefix("%"), !["%any", "%any4", "%any6", "%defaultroute"].contains(text) {
                    text.removeFirst()
                    end.allowsAny = true
                }
                do throws(Untranslatable) {
                    end.addresses.append(try GatewayAddress(text, dialect))
                } catch {
                    leaveOut(host, error.reason)
                }
            }
        }
        if end.addresses.isEmpty { end.addresses = [.any] }
        if end.addresses.count > 64, let host = end.host { leaveOut(host, "more than 64 addresses") }
        end.source = take(named("sourceip"))
        updown(side, isLocal: isLocal)
        return end
    }

    private mutating func updown(_ side: Side, isLocal: Bool) {
        guard let setting = take(side.rawValue + "updown") else { return }
        if !isLocal { return note(setting, "it counts at the local side alone") }
        let value = setting.value.lowercased()
        if value == "%disabled" || value == "none" { return }
        // The daemons' own scripts set routes and accept rules: without the rules less gets through.
        if value == "ipsec _updown" || value.hasPrefix("ipsec _updown ") {
            return drop(setting, "no firewall rules are set: accept the forwarded traffic of these networks in your own")
        }
        leaveOut(setting, "scripts are not run yet, and what this one restricts would be missing")
    }

    // MARK: Addresses

    mutating func addressSettings(_ local: ConnEnd, _ remote: ConnEnd) -> [OutputSetting] {
        var result: [OutputSetting] = []
        for (end, key) in [(local, "local"), (remote, "remote")] {
            guard let host = end.host else { continue }
            var texts = end.addresses.compactMap(\.text)
            // One that is any makes all of them so.
            guard texts.count == end.addresses.count else { continue }
            if end.allowsAny { texts += ["%any"] }
            result.append(OutputSetting(key: key + "_addrs", value: texts.joined(separator: ", "), origins: [host.origin]))
        }
        for (end, key) in [(local, "local_port"), (remote, "remote_port")] {
            guard let port = end.port else { continue }
            guard let number = number(port.value), (1...65_535).contains(number), key == "remote_port" || number == 500 || number == 4500 else {
                leaveOut(port, "the gateway listens on ports 500 and 4500: set gateway { port } and write the connection by hand")
                continue
            }
            if number != 500 { result.append(OutputSetting(key: key, value: "\(number)", origins: [port.origin])) }
        }
        return result
    }

    // MARK: Selectors

    /// The selectors of each child, with what is added to its name.
    mutating func selectorSettings(_ local: ConnEnd, _ remote: ConnEnd) -> [(suffix: String, settings: [OutputSetting])] {
        let ours = selectorLists(local)
        let theirs = selectorLists(remote)
        guard ours.count * theirs.count <= 64 else {
            leaveOut("it is \(ours.count * theirs.count) tunnels, more than 64")
            return []
        }
        var result: [(suffix: String, settings: [OutputSetting])] = []
        for (index, mine) in ours.enumerated() {
            for (other, yours) in theirs.enumerated() {
                let isOne = ours.count * theirs.count == 1
                result.append((isOne ? "" : "-\(index + 1)x\(other + 1)", setting("local_ts", mine) + setting("remote_ts", yours)))
            }
        }
        return result
    }

    private typealias SelectorList = (texts: [String], origins: [Origin])

    private func setting(_ key: String, _ list: SelectorList) -> [OutputSetting] {
        // `dynamic`, the address of the side itself, is what is meant without a selector.
        list.texts == ["dynamic"] ? [] : [OutputSetting(key: key, value: list.texts.joined(separator: ", "), origins: list.origins)]
    }

    /// One list, or with libreswan's `leftsubnets` one for each of them.
    private mutating func selectorLists(_ end: ConnEnd) -> [SelectorList] {
        var ports = ProtocolPort()
        var origins: [Origin] = []
        if let protoport = end.protoport {
            origins.append(protoport.origin)
            do throws(Untranslatable) {
                ports = try ProtocolPort(protoport.value, dialect)
            } catch {
                leaveOut(protoport, error.reason)
            }
        }
        if let subnets = end.subnets {
            let bare = String(subnets.value.map { $0 == "{" || $0 == "}" ? " " : $0 })
            if let subnet = end.subnet { leaveOut(subnet, "it stands beside \(subnets.spelling)") }
            return elements(bare, spaces: true).prefix(65).map { text in ([one(text, ports, subnets)], [subnets.origin] + origins) }
        }
        guard let subnet = end.subnet else { return [(["dynamic" + ports.suffix], origins)] }
        var texts: [String] = []
        for text in elements(subnet.value, spaces: dialect == .libreswan) {
            let selector = one(text, ports, subnet)
            if !texts.contains(selector) { texts.append(selector) }
        }
        if texts.count > 255 { leaveOut(subnet, "more than 255 selectors") }
        return [(texts.isEmpty ? ["dynamic" + ports.suffix] : texts, [subnet.origin] + origins)]
    }

    private mutating func one(_ text: String, _ ports: ProtocolPort, _ setting: Setting) -> String {
        do throws(Untranslatable) {
            return try Selectors.one(text, ports, dialect)
        } catch {
            leaveOut(setting, error.reason)
            return "dynamic"
        }
    }
}
