// How packets are carried, of a `conn`: marks, the headers around a packet, hardware, transport mode. ipsec.conf(5) of both daemons.

extension ConnTranslator {
    /// `waits`: a policy is there before the tunnel.
    mutating func carriageSettings(waits: Bool) -> [OutputSetting] {
        var result: [OutputSetting] = []
        let both = take("mark")
        for (name, key) in [("mark-in", "mark_in"), ("mark-out", "mark_out")] {
            guard let setting = take(name) ?? both else { continue }
            if let value = mark(setting.value) {
                if waits, value.hasPrefix("%") { leaveOut(setting, "a policy that waits for traffic has no number of its own: write one out, or begin with auto=start") }
                result.append(OutputSetting(key: key, value: value, origins: [setting.origin]))
            } else {
                leaveOut(setting, "this is no mark: a number with or without a mask, %unique or %unique-dir")
            }
        }
        if let setting = take("nic-offload"), let value = choice(setting, ["yes": "auto", "auto": "auto", "no": "no", "crypto": "crypto", "packet": "packet"]) {
            result.append(OutputSetting(key: "hw_offload", value: value, origins: [setting.origin]))
        }
        if let (value, setting) = yesNo("nopmtudisc"), value { result.append(OutputSetting(key: "copy_df", value: "no", origins: [setting.origin])) }
        result += dscp()
        return result
    }

    /// libreswan's two words are one here, and the defaults are the same.
    private mutating func dscp() -> [OutputSetting] {
        let inward = yesNo("decap-dscp"), outward = yesNo("encap-dscp")
        let value =
            switch (inward?.value ?? false, outward?.value ?? true) {
            case (false, true): "out"
            case (true, true): "yes"
            case (true, false): "in"
            case (false, false): "no"
            }
        let origins = [inward?.setting.origin, outward?.setting.origin].compactMap { $0 }
        return value == "out" ? [] : [OutputSetting(key: "copy_dscp", value: value, origins: origins)]
    }

    /// As swanctl.conf has it; libreswan writes -1 for a mark of the connection's own.
    private func mark(_ text: String) -> String? {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard let value = parts.first, parts.count <= 2, parts.dropFirst().allSatisfy({ isNumber($0) }) else { return nil }
        if ["%unique", "%unique-dir"].contains(value) { return text }
        if value == "-1", dialect == .libreswan { return (["%unique"] + parts.dropFirst()).joined(separator: "/") }
        return isNumber(value) ? text : nil
    }

    private func isNumber(_ text: String) -> Bool {
        text.hasPrefix("0x") ? UInt32(text.dropFirst(2), radix: 16) != nil : UInt32(text) != nil && text.utf8.first != UInt8(ascii: "+")
    }
}
