// The text of the result: what was left out first, then connections and secrets, each value with the line that it comes from.

struct Document {
    let connections: [OutputConnection]
    let pools: [OutputPool]
    let secrets: [PresharedKey]
    let findings: [Finding]
    let options: ImportOptions
    private var introduction: [String] = []
    private var mainFile = ""

    init(connections: [OutputConnection], pools: [OutputPool], secrets: [PresharedKey], findings: [Finding], options: ImportOptions) {
        (self.connections, self.pools, self.secrets, self.findings, self.options) = (connections, pools, secrets, findings, options)
    }

    mutating func introduce(path: String, secretsPath: String?, dialect: Dialect, evidence: Setting?, isChosen: Bool) {
        mainFile = path
        introduction = ["Made by martlet import from \(path)" + (secretsPath.map { " and \($0)" } ?? "") + "."]
        let why = isChosen ? "as --from says" : evidence.map { "because of \($0.spelling) in \($0.origin)" } ?? "for nothing in it is libreswan's alone"
        introduction.append("It was read as \(dialect.name) reads it, \(why).")
        introduction.append("Behind each value stands the line that it comes from, or that it is the default of ipsec.conf.")
        if dialect == .strongSwan, !connections.isEmpty {
            introduction.append("Unless reauth=no is set, strongSwan authenticates a peer anew when the time of its IKE SA is over. Here its keys are renewed, unless reauth=yes is written.")
        }
    }

    var text: String {
        var lines = introduction.map { "# " + oneLine($0) }
        for (severity, title) in [(Finding.Severity.leftOut, "Left out"), (.notCarried, "Not carried over"), (.note, "To know")] {
            let some = findings.filter { $0.severity == severity }
            guard !some.isEmpty else { continue }
            lines += ["#", "# \(title):"]
            for finding in some { lines += wrapped(oneLine(finding.description), first: "#   ", rest: "#       ") }
        }
        lines += [""]
        lines.append("connections {")
        for (index, connection) in connections.enumerated() {
            if index > 0 { lines.append("") }
            lines += connection.undecided.isEmpty ? section(connection) : comment(connection)
        }
        lines.append("}")
        if !pools.isEmpty {
            lines += ["", "pools {"]
            for pool in pools {
                lines.append("    \(pool.name) {  # \(source(pool.origins))")
                lines.append("        addrs = \(value(pool.addresses))")
                if !pool.domains.isEmpty { lines.append("        dns_domain = \(value(pool.domains.joined(separator: ", ")))") }
                if !pool.nameServers.isEmpty { lines.append("        dns = \(value(pool.nameServers.joined(separator: ", ")))") }
                lines.append("    }")
            }
            lines.append("}")
        }
        if !secrets.isEmpty {
            lines += ["", "secrets {"]
            for (index, key) in secrets.enumerated() {
                lines.append("    ike-\(index + 1) {  # \(oneLine(key.origin.description))")
                for (number, identity) in key.identities.enumerated() { lines.append("        id-\(number + 1) = \(quoted(identity.text))") }
                lines.append("        secret = \(options.showsSecrets ? written(key.secret) : "\"0x, not shown on a terminal\"")")
                lines.append("    }")
            }
            lines.append("}")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// A connection that somebody has to decide about, ready for the comment signs to be taken away.
    private func comment(_ connection: OutputConnection) -> [String] {
        let advice =
            "Left out because of \(connection.undecided.joined(separator: ", ")), which chose what goes into the tunnel. Without it all traffic of the selectors does. To use the connection, "
            + "write the networks that belong into it as local_ts and remote_ts, take the comment signs away, and set start_action as you want it."
        return wrapped(oneLine(advice), first: "    # ", rest: "    # ") + section(connection).map { "    # " + $0.dropFirst(4) }
    }

    private func section(_ connection: OutputConnection) -> [String] {
        var lines = ["    \(connection.name) {  # conn \(oneLine(connection.children.first?.name ?? connection.name)), \(oneLine(connection.origin.description))"]
        lines += settings(connection.settings, indent: 8)
        for (name, side) in [("local", connection.local), ("remote", connection.remote)] {
            lines += ["        \(name) {"] + settings(side, indent: 12) + ["        }"]
        }
        lines.append("        children {")
        for child in connection.children {
            lines.append("            \(child.name) {  # \(oneLine(child.origin.description))")
            lines += settings(child.settings, indent: 16)
            lines.append("            }")
        }
        return lines + ["        }", "    }"]
    }

    private func settings(_ settings: [OutputSetting], indent: Int) -> [String] {
        let margin = String(repeating: " ", count: indent)
        let texts = settings.map { "\($0.key) = \(value($0.value))" }
        let width = min(texts.map(\.count).max() ?? 0, 60)
        return zip(settings, texts).map { setting, text in
            margin + text + String(repeating: " ", count: max(0, width - text.count)) + "  # " + source(setting.origins)
        }
    }

    private func source(_ origins: [Origin]) -> String {
        if origins.isEmpty { return "its default" }
        let places = origins.map { $0.file == mainFile ? "\($0.line)" : oneLine($0.description) }
        return (places.allSatisfy { $0.utf8.allSatisfy { (0x30...0x39).contains($0) } } ? (places.count == 1 ? "line " : "lines ") : "") + places.joined(separator: ", ")
    }

    /// Elements of a list each as they are, or in quotes.
    private func value(_ text: String) -> String { elements(text).map(quoted).joined(separator: ", ") }

    private func quoted(_ text: String) -> String {
        let isPlain = !text.isEmpty && text.utf8.allSatisfy { isNameByte($0) || ".:/@%*+[],|".utf8.contains($0) }
        return isPlain ? text : inQuotes(text)
    }

    private func inQuotes(_ text: String) -> String {
        "\"" + text.map { $0 == "\\" || $0 == "\"" ? "\\\($0)" : "\($0)" }.joined() + "\""
    }

    /// Text where every reader takes it for the same bytes, else hexadecimal.
    private func written(_ secret: [UInt8]) -> String {
        let isText = secret.allSatisfy { (0x20...0x7e).contains($0) } && secret.first != UInt8(ascii: "0") && secret.first != 0x20 && secret.last != 0x20
        if isText { return inQuotes(String(decoding: secret, as: UTF8.self)) }
        let digits = Array("0123456789abcdef".utf8)
        return "0x" + String(decoding: secret.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    /// Nothing in a comment ends its line, or steers a terminal.
    private func oneLine(_ text: String) -> String {
        var line = ""
        for scalar in text.unicodeScalars {
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate: line += "?"
            default: line.unicodeScalars.append(scalar)
            }
        }
        return line
    }

    private func wrapped(_ text: String, first: String, rest: String) -> [String] {
        var lines: [String] = []
        var line = first
        for (index, word) in text.split(separator: " ").enumerated() {
            if index > 0, line.count + 1 + word.count > 118 {
                lines.append(line)
                line = rest + word
            } else {
                line += (index == 0 ? "" : " ") + word
            }
        }
        return lines + [line]
    }
}
