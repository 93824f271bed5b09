// From the checked sections `gateway` and `plugins` to settings.

import IKECore
import IKEWire

struct SettingsBuilder {
    func buildGateway(_ section: ConfigurationSection?, capabilities: Capabilities?, _ diagnostics: inout Diagnostics) -> GatewaySettings {
        var settings = GatewaySettings()
        guard let section else { return settings }
        let reader = SectionReader(section: section)
        for element in section.value("listen")?.elements ?? [] where element.text != "%any" {
            if let address = IPAddress(element.text) {
                settings.listen.append(address)
            } else {
                diagnostics.error(at: element.position, "'listen' takes addresses, and \(quoted(element.text)) is none")
            }
        }
        settings.port = reader.port("port") ?? settings.port
        settings.natPort = reader.port("nat_port") ?? settings.natPort
        settings.limits.natPort = settings.natPort
        settings.plane = reader.text("plane") ?? settings.plane
        if settings.port == settings.natPort {
            let key = section.value("nat_port") == nil ? "port" : "nat_port"
            diagnostics.error(at: reader.position(key), "'port' and 'nat_port' are both \(settings.port): IKE needs two ports")
        }
        if let path = path("control", section) {
            // What sockaddr_un holds, with its final zero.
            if path.utf8.count > 107 { diagnostics.error(at: reader.position("control"), "the path of a socket has at most 107 bytes") }
            settings.control = path
        }
        if let state = path("state", section) { settings.state = state }
        settings.leases = settings.state + "/leases.db"
        if let leases = section.value("leases") {
            settings.leases = leases.text.isEmpty || booleanValue(leases.text) == false ? nil : booleanValue(leases.text) == true ? settings.leases : path("leases", section)
        }
        settings.resolver = reader.text("resolver").flatMap { ResolverChoice(rawValue: $0.lowercased()) } ?? settings.resolver
        settings.directoryCheck = reader.time("directory_check") ?? settings.directoryCheck
        settings.accountingInterval = reader.time("accounting_interval") ?? settings.accountingInterval
        settings.shards = reader.integer("shards").map { Int(clamping: $0) } ?? settings.shards
        for element in section.value("crypto")?.elements ?? [] {
            if let capabilities, !capabilities.providers.contains(element.text) {
                diagnostics.error(at: element.position, unknownProvider(element.text, among: capabilities.providers))
            } else if settings.crypto.contains(element.text) {
                diagnostics.warning(at: element.position, "\(quoted(element.text)) is named twice")
            } else {
                settings.crypto.append(element.text)
            }
        }
        if let folder = path("debug_export_keys", section) {
            settings.exportKeysFolder = folder
            settings.limits.exportKeys = true
            diagnostics.warning(at: reader.position("debug_export_keys"), "keys are written to \(quoted(folder)): whoever reads them reads the traffic")
        }
        setLimits(&settings.limits, reader, &diagnostics)
        if let log = section.section("log") {
            let level = SectionReader(section: log).text("level")?.lowercased()
            if let level { settings.logLevel = SchemaTable.logLevels.firstIndex(of: level) ?? Int(level) ?? settings.logLevel }
            settings.logFile = path("file", log)
        }
        return settings
    }

    private func setLimits(_ limits: inout Limits, _ reader: SectionReader, _ diagnostics: inout Diagnostics) {
        if let value = reader.integer("cookie_threshold") { limits.cookieThreshold = Int(clamping: value) }
        if let value = reader.integer("half_open_limit") { limits.halfOpen = Int(clamping: value) }
        if let value = reader.integer("half_open_per_address") { limits.halfOpenPerAddress = Int(clamping: value) }
        if let value = reader.integer("half_open_per_prefix") { limits.halfOpenPerPrefix = Int(clamping: value) }
        if let value = reader.time("half_open_time") { limits.halfOpenTime = value }
        if let value = reader.time("keepalive") { limits.keepalive = value }
        if let value = reader.text("return_routability").flatMap({ ReturnRoutability(rawValue: $0.lowercased()) }) { limits.returnRoutability = value }
        if let value = reader.integer("fragment_size") { limits.fragmentSize = Int(clamping: value) }
        if let value = reader.integer("retransmit_tries") { limits.retransmitTries = Int(clamping: value) }
        if let text = reader.text("retransmit_initial") {
            if let seconds = decimalValue(text), (0.1...60).contains(seconds) {
                limits.retransmitInitial = .milliseconds(Int64(seconds * 1000))
            } else {
                diagnostics.error(at: reader.position("retransmit_initial"), "'retransmit_initial' is a number of seconds from 0.1 to 60, not \(quoted(text))")
            }
        }
        if let text = reader.text("retransmit_growth") {
            if let growth = decimalValue(text), growth > 1, growth <= 10 {
                limits.retransmitGrowth = growth
            } else {
                diagnostics.error(at: reader.position("retransmit_growth"), "'retransmit_growth' is a factor above 1, up to 10, not \(quoted(text))")
            }
        }
    }

    func buildPlugins(_ section: ConfigurationSection?) -> PluginConfiguration {
        var settings = PluginConfiguration()
        guard let section else { return settings }
        settings.path = (section.value("path")?.elements ?? []).map { resolve(path: $0.text, in: $0.position.file) }
        for inner in section.sections {
            let reader = SectionReader(section: inner)
            var plugin = PluginConfiguration.Plugin(name: inner.name, position: inner.position)
            plugin.priority = reader.integer("priority").map { Int(clamping: $0) }
            plugin.isLoaded = reader.boolean("load") ?? true
            plugin.options = options(inner, prefix: "").filter { $0.name != "priority" && $0.name != "load" }
            settings.plugins.append(plugin)
        }
        return settings
    }

    private func options(_ section: ConfigurationSection, prefix: String) -> [PluginConfiguration.Option] {
        section.settings.compactMap { setting in
            setting.value.map { value in
                // By convention: a file that is named relative to the configuration's.
                let isFile = setting.name.hasSuffix("_file") && !value.text.isEmpty
                return PluginConfiguration.Option(
                    name: prefix + setting.name, value: isFile ? resolve(path: value.text, in: value.position.file) : value.text, position: value.position)
            }
        } + section.sections.flatMap { options($0, prefix: prefix + $0.name + ".") }
    }

    private func path(_ key: String, _ section: ConfigurationSection) -> String? {
        section.value(key).map { resolve(path: $0.text, in: $0.position.file) }
    }
}

/// Digits with at most one point, an `s` behind them allowed.
private func decimalValue(_ text: String) -> Double? {
    let digits = text.hasSuffix("s") ? String(text.dropLast()) : text
    guard !digits.isEmpty, digits.utf8.count <= 12, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == 0x2e }) else { return nil }
    return Double(digits)
}
