// Inner addresses: one that this host asks the peer for, and pools that peers are lent theirs from.

import IKEWire

extension ConnTranslator {
    /// `vips`, from strongSwan's `leftsourceip` or libreswan's `leftmodecfgclient`.
    mutating func virtualAddresses(_ local: ConnEnd) -> [OutputSetting] {
        let client = take(local.side.rawValue + "modecfgclient")
        if let server = take(local.side.rawValue + "modecfgserver") { checkWord(server) }
        if let client, checkWord(client) { return [OutputSetting(key: "vips", value: "0.0.0.0", origins: [client.origin])] }
        guard let source = local.source else { return [] }
        // libreswan: the address that this host's own packets have, without asking anybody.
        if dialect == .libreswan, elements(source.value).allSatisfy({ IPAddress($0) != nil }) {
            drop(source, "the source address of this host's own packets is not chosen: routes without one are installed")
            return []
        }
        var families: [IPAddress.Family: String] = [:]
        for text in elements(source.value) {
            let isIPv6 = if case .address(let address) = local.addresses.first { address.family == .v6 } else { false }
            let address: String
            switch text {
            case "%config", "%modeconfig", "%modecfg", "%cfg": address = isIPv6 ? "::" : "0.0.0.0"
            case "%config4": address = "0.0.0.0"
            case "%config6": address = "::"
            default: address = text
            }
            guard let parsed = IPAddress(address), families.updateValue("\(parsed)", forKey: parsed.family) == nil else {
                leaveOut(source, "one address of each family is asked for, and '\(text)' is none, or the second")
                return []
            }
        }
        let wanted = [families[.v4], families[.v6]].compactMap { $0 }
        return wanted.isEmpty ? [] : [OutputSetting(key: "vips", value: wanted.joined(separator: ", "), origins: [source.origin])]
    }

    /// `pools`, from strongSwan's `rightsourceip` or libreswan's `rightaddresspool`.
    mutating func pools(_ remote: ConnEnd) -> (settings: [OutputSetting], pools: [OutputPool]) {
        for word in ["modecfgclient", "modecfgserver"] {
            if let setting = take(remote.side.rawValue + word) { checkWord(setting) }
        }
        let pool = take(remote.side.rawValue + "addresspool")
        let servers = take(remote.side.rawValue + "dns") ?? take("modecfgdns"), names = take("modecfgdomains")
        if let source = remote.source, dialect == .libreswan {
            note(source, "it counts at the local side alone")
            return ([], [])
        }
        guard let source = pool ?? remote.source else {
            if let servers { note(servers, "there are no addresses to go with the name servers") }
            if let names { note(names, "there are no addresses to go with the domains") }
            return ([], [])
        }
        var nameServers: [String] = []
        for text in servers.map({ elements($0.value, spaces: true) }) ?? [] {
            if let address = IPAddress(text) { nameServers.append("\(address)") } else if let servers { leaveOut(servers, "'\(text)' is no address") }
        }
        var domains: [String] = []
        for text in names.map({ elements($0.value, spaces: true) }) ?? [] {
            if Self.isDomain(text) { domains.append(text) } else if let names { leaveOut(names, "'\(text)' is no name of a domain") }
        }
        var result: [OutputPool] = []
        for text in elements(source.value, spaces: dialect == .libreswan) {
            if text.hasPrefix("%") {
                leaveOut(source, "addresses that another plugin or a database hands out are not there: write a network or a range")
            } else if let extent = Self.extent(text) {
                result.append(OutputPool(addresses: extent, nameServers: nameServers, domains: domains, origins: [source.origin] + [servers, names].compactMap { $0?.origin }))
            } else {
                leaveOut(source, "'\(text)' is no network such as 10.3.0.0/24 and no range such as 10.3.0.10-10.3.0.99")
            }
        }
        if result.count > 16 { leaveOut(source, "more than 16 pools") }
        return result.isEmpty ? ([], []) : ([OutputSetting(key: "pools", value: result.map(\.name).joined(separator: ", "), origins: [source.origin])], result)
    }

    /// Labels of letters, digits, hyphens and underscores, as the daemon takes them.
    private static func isDomain(_ text: String) -> Bool {
        text.utf8.count <= 253
            && text.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
                (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
                    && label.utf8.allSatisfy { $0 == 0x2d || $0 == 0x5f || (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0) }
            }
    }

    /// A network; from an address within it on where one is written, as both daemons do.
    private static func extent(_ text: String) -> String? {
        guard let range = AddressRange(text) else { return nil }
        guard let slash = text.firstIndex(of: "/"), let base = IPAddress(String(text[..<slash])), base != range.start else { return range.text }
        let last = base.family == .v4 && range.end.value > base.value ? IPAddress(family: .v4, value: range.end.value - 1) : range.end
        return "\(base)-\(last)"
    }

    /// Whether a word is yes.
    @discardableResult private mutating func checkWord(_ setting: Setting) -> Bool { choice(setting, ["yes": true, "no": false]) ?? false }
}
