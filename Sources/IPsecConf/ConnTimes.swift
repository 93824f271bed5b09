// Proposals, lifetimes, and what is done when something starts or ends.

extension ConnTranslator {
    // MARK: The IKE SA

    mutating func ikeSettings() -> [OutputSetting] {
        var result: [OutputSetting] = []
        if let ike = take("ike"), let proposals = proposals(ike, .ike) { result.append(proposals) }
        for name in ["forceencaps", "encapsulation"] {
            guard let setting = take(name), let value = choice(setting, ["yes": true, "no": false, "auto": false]) else { continue }
            if value { result.append(OutputSetting(key: "encap", value: "yes", origins: [setting.origin])) }
            if !value, name == "encapsulation", setting.value == "no" { drop(setting, "behind a NAT ESP goes in UDP all the same") }
        }
        if let setting = take("mobike"), let value = choice(setting, ["yes": "yes", "no": "no"]) { result.append(OutputSetting(key: "mobike", value: value, origins: [setting.origin])) }
        if let setting = take("fragmentation"), let value = choice(setting, ["yes": "yes", "accept": "accept", "force": "force", "no": "no"]) {
            result.append(OutputSetting(key: "fragmentation", value: value, origins: [setting.origin]))
        }
        result += deadPeer()
        result.append(keyingTries())
        result.append(context.unique)
        result += ikeLifetime()
        return result
    }

    private mutating func proposals(_ setting: Setting, _ kind: ProposalKind, pfs: [String] = []) -> OutputSetting? {
        let translated = Proposals.translate(setting.value, kind, dialect, pfs: pfs)
        guard !translated.list.isEmpty else {
            leaveOut(setting, translated.missing.isEmpty ? "there is no proposal" : translated.missing.joined(separator: "; "))
            return nil
        }
        if !translated.missing.isEmpty { drop(setting, translated.missing.joined(separator: "; ")) }
        return OutputSetting(key: kind == .ike ? "proposals" : "esp_proposals", value: translated.text, origins: [setting.origin])
    }

    private mutating func deadPeer() -> [OutputSetting] {
        let delay = take("dpddelay")
        // strongSwan: without an action nobody is asked. libreswan: without a delay.
        let action = settings["dpdaction"]
        if dialect == .strongSwan, action == nil || action?.value == "none" { return [] }
        guard let delay else { return dialect == .strongSwan ? [OutputSetting(key: "dpd_delay", value: "30s", origins: [])] : [] }
        guard let time = time(delay) else { return [] }
        return time == 0 ? [] : [OutputSetting(key: "dpd_delay", value: written(seconds: time), origins: [delay.origin])]
    }

    private mutating func keyingTries() -> OutputSetting {
        guard let setting = take("keyingtries") else { return OutputSetting(key: "keyingtries", value: dialect == .strongSwan ? "3" : "0", origins: []) }
        if setting.value == "%forever" { return OutputSetting(key: "keyingtries", value: "0", origins: [setting.origin]) }
        if number(setting.value) == nil { leaveOut(setting, "this is neither a number nor %forever") }
        return OutputSetting(key: "keyingtries", value: "\(min(number(setting.value) ?? 1, 1_000_000))", origins: [setting.origin])
    }

    mutating func time(_ setting: Setting) -> UInt64? {
        if let time = seconds(setting.value) { return time }
        leaveOut(setting, "this is no time such as 3600, 60m or 1h")
        return nil
    }

    // MARK: Lifetimes

    /// What `rekeymargin` and `rekeyfuzz` say: how long before its end an SA is replaced, and the most that is taken off at random.
    private struct Margin {
        var seconds: UInt64 = 540
        var percent: UInt64 = 100
        var origins: [Origin] = []

        func random(of amount: UInt64) -> UInt64 {
            let (product, overflow) = amount.multipliedReportingOverflow(by: percent)
            return (overflow ? .max : product) / 100
        }
    }

    private mutating func margin() -> Margin {
        var margin = Margin()
        if let setting = settings["rekeymargin"] {
            if let time = seconds(setting.value) { margin.seconds = time } else { leaveOut(setting, "this is no time such as 3600, 60m or 1h") }
            margin.origins.append(setting.origin)
        }
        if let setting = settings["rekeyfuzz"] {
            if setting.value.hasSuffix("%"), let percent = number(String(setting.value.dropLast())) { margin.percent = percent } else { leaveOut(setting, "this is no percentage such as 100%") }
            margin.origins.append(setting.origin)
        }
        return margin
    }

    private mutating func ikeLifetime() -> [OutputSetting] {
        let setting = take("ikelifetime")
        let life = setting.map { time($0) ?? 0 } ?? (dialect == .strongSwan ? 10_800 : 28_800)
        let reauth = yesNo("reauth").flatMap { $0.value ? $0.setting : nil }
        if let rekey = settings["rekey"], rekey.value == "no" {
            return [OutputSetting(key: "rekey_time", value: "0s", origins: [rekey.origin])]
        }
        let margin = margin()
        let (over, rand) = within(life, margin)
        let origins = (setting.map { [$0.origin] } ?? []) + margin.origins
        return [
            OutputSetting(key: reauth == nil ? "rekey_time" : "reauth_time", value: written(seconds: life - over), origins: origins + (reauth.map { [$0.origin] } ?? [])),
            OutputSetting(key: "over_time", value: written(seconds: over), origins: margin.origins),
            OutputSetting(key: "rand_time", value: written(seconds: rand), origins: margin.origins),
        ]
    }

    /// The margin and the random part, both made smaller where they would leave nothing.
    private mutating func within(_ life: UInt64, _ margin: Margin) -> (over: UInt64, rand: UInt64) {
        let rand = margin.random(of: margin.seconds)
        let (sum, overflow) = margin.seconds.addingReportingOverflow(rand)
        if !overflow, sum < life { return (margin.seconds, rand) }
        note("the margin before the end of a lifetime of \(written(seconds: life)) leaves nothing: a tenth is taken")
        return (life / 10, life / 10)
    }

    // MARK: The child

    /// `ike` are the settings of the IKE SA, whose groups libreswan takes for perfect forward secrecy.
    mutating func childSettings(_ ike: [OutputSetting]) -> [OutputSetting] {
        var result = espProposals(ike)
        let life = take("lifetime")
        let total = life.map { time($0) ?? 0 } ?? (dialect == .strongSwan ? 3_600 : 28_800)
        let margin = margin()
        let origins = (life.map { [$0.origin] } ?? []) + margin.origins
        if let rekey = yesNo("rekey"), !rekey.value {
            // strongSwan then lets nothing end; libreswan ends the child with its lifetime.
            result.append(OutputSetting(key: "rekey_time", value: "0s", origins: [rekey.setting.origin]))
            result.append(OutputSetting(key: "life_time", value: dialect == .strongSwan ? "0s" : written(seconds: total), origins: [rekey.setting.origin]))
            if dialect == .libreswan { drop(rekey.setting, "the child ends with its lifetime; the IKE SA has no end without a rekey, and stays") }
            for name in ["lifebytes", "marginbytes", "lifepackets", "marginpackets"] {
                if let setting = take(name) { note(setting, "with rekey=no nothing ends") }
            }
        } else {
            let (over, rand) = within(total, margin)
            result += [
                OutputSetting(key: "rekey_time", value: written(seconds: total - over), origins: origins),
                OutputSetting(key: "life_time", value: written(seconds: total), origins: life.map { [$0.origin] } ?? []),
                OutputSetting(key: "rand_time", value: written(seconds: rand), origins: margin.origins),
            ]
            result += volume("bytes", margin) + volume("packets", margin)
        }
        _ = (take("rekeymargin"), take("rekeyfuzz"))
        result += replayWindow()
        return result
    }

    private mutating func volume(_ unit: String, _ margin: Margin) -> [OutputSetting] {
        let before = take("margin" + unit)
        guard let life = take("life" + unit) else {
            if let before { note(before, "there is no life\(unit)") }
            return []
        }
        guard let total = number(life.value), let early = before.map({ number($0.value) }) ?? 0 else {
            leaveOut(before ?? life, "this is no number")
            return []
        }
        if total == 0 { return [] }
        var rand = margin.random(of: early)
        var rekey = total > early ? total - early : 0
        if rekey == 0 || rand >= rekey {
            note(life, "the margin leaves nothing: a tenth is taken")
            (rekey, rand) = (total - total / 10, total / 10)
        }
        let origins = [life.origin] + (before.map { [$0.origin] } ?? [])
        return [
            OutputSetting(key: "rekey_" + unit, value: "\(rekey)", origins: origins), OutputSetting(key: "life_" + unit, value: "\(total)", origins: [life.origin]),
            OutputSetting(key: "rand_" + unit, value: "\(rand)", origins: origins),
        ]
    }

    private mutating func espProposals(_ ike: [OutputSetting]) -> [OutputSetting] {
        let esp = take("esp")
        let pfs = take("pfs")
        // libreswan: also where a proposal names no group, one is used unless pfs=no.
        var groups: [String] = []
        if let pfs, dialect == .strongSwan { note(pfs, "strongSwan 5 does not use it: a group in esp gives perfect forward secrecy") }
        if dialect == .libreswan, pfs?.value != "no" {
            let proposals = ike.first { $0.key == "proposals" }?.value ?? ""
            groups = Proposals.translate(proposals.isEmpty ? "" : proposals + "!", .ike, .strongSwan).groups
            if groups.isEmpty { groups = Proposals.libreswanGroups }
        }
        var result: [OutputSetting] = []
        if let esp {
            if let setting = proposals(esp, .esp, pfs: groups) { result = [setting] }
        } else if !groups.isEmpty {
            result = [OutputSetting(key: "esp_proposals", value: Proposals.libreswanESP.map { ([$0] + groups).joined(separator: "-") }.joined(separator: ", "), origins: pfs.map { [$0.origin] } ?? [])]
        }
        if let esn = take("esn"), let words = choice(esn, ["yes": "-esn", "no": "-noesn", "either": "-esn-noesn", "auto": "-esn-noesn"]) {
            if result.isEmpty { drop(esn, "write it in esp_proposals") }
            for index in result.indices {
                result[index].value = elements(result[index].value).map { $0 + words }.joined(separator: ", ")
                result[index].origins.append(esn.origin)
            }
        }
        return result
    }

    private mutating func replayWindow() -> [OutputSetting] {
        guard let setting = take("replay-window"), setting.value != "-1" else { return [] }
        guard let size = number(setting.value) else {
            leaveOut(setting, "this is no number")
            return []
        }
        if size > 4096 { drop(setting, "the window is at most 4096 packets") }
        return [OutputSetting(key: "replay_window", value: "\(min(size, 4096))", origins: [setting.origin])]
    }

    // MARK: Actions

    mutating func actionSettings(_ start: (action: String, setting: Setting), remote: ConnEnd) -> [OutputSetting] {
        var result: [OutputSetting] = []
        let isReachable = remote.addresses.contains { if case .address = $0 { true } else if case .name = $0 { true } else { false } }
        var action = start.action
        if action != "none", !isReachable {
            drop(start.setting, "there is no single address of the peer to begin at: it waits for the peer")
            action = "none"
        }
        if action != "none" { result.append(OutputSetting(key: "start_action", value: action, origins: [start.setting.origin])) }
        for (name, key) in [("dpdaction", "dpd_action"), ("closeaction", "close_action")] {
            guard let setting = take(name) else { continue }
            guard let action = choice(setting, ["none": "", "clear": "", "hold": "trap", "restart": "start", "restart_by_peer": "start"]), !action.isEmpty else { continue }
            if !isReachable {
                drop(setting, "there is no single address of the peer to begin at: it waits for the peer")
                continue
            }
            result.append(OutputSetting(key: key, value: action == "start" && key == "dpd_action" ? "restart" : action, origins: [setting.origin]))
        }
        return result
    }
}
