// `martlet plugins`, `algorithms` and `version`: what the daemon is made of.
import ArgumentParser
import ClientView
import ViciWire

struct Plugins: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the plugins, those that were refused too, and why.",
        discussion: "Example: martlet plugins")

    @OptionGroup var options: GlobalOptions

    func run() throws {
        try options.run {
            let daemon = try ViciConnection(path: options.socket)
            let response = try daemon.call("martlet-plugins")
            try daemon.check(response)
            let plugins = response.sections.map(\.body)
            guard !options.json else {
                print(
                    JSON.array(
                        plugins.map { plugin in
                            .object(
                                ["name", "state", "version", "vendor", "licence", "abi", "path", "reason"].map { ($0, .text(plugin[$0])) }
                                    + [("provides", .strings(plugin.list("provides"))), ("notes", .strings(plugin.list("notes") ?? []))])
                        }
                    ).text)
                return
            }
            let width = TerminalSize.of().columns
            for plugin in plugins { print(pluginLines(plugin, width: width).rendered(colour: options.isColoured)) }
            if plugins.isEmpty { print("No plugin was found.") }
        }
    }

    private func pluginLines(_ plugin: ViciMessage, width: Int) -> [StyledText] {
        let isLoaded = plugin["state"] == "loaded"
        let facts = [plugin["version"], plugin["vendor"], plugin["licence"]].compactMap(\.self).filter { !$0.isEmpty }.map(printable)
        var lines = flowed(
            facts.map { StyledText($0) }, separator: ", ",
            lead: StyledText(printable(plugin["name"] ?? "?"), .bold) + ": " + StyledText(printable(plugin["state"] ?? "?"), isLoaded ? .green : .red) + (facts.isEmpty ? "" : ", "), width: width,
            indent: 2)
        lines += paragraph(printable(plugin["path"] ?? ""), lead: "  ", width: width, indent: 4)
        if let reason = plugin["reason"] { lines += paragraph(printable(reason), lead: "  " + StyledText("refused because", .red) + " ", width: width, indent: 4) }
        let provides = (plugin.list("provides") ?? []).map { StyledText(printable($0)) }
        if !provides.isEmpty { lines += flowed(provides, separator: ", ", lead: "  provides ", width: width, indent: 4) }
        for note in plugin.list("notes") ?? [] { lines += paragraph(printable(note), lead: "  ", width: width, indent: 4) }
        return lines
    }
}

struct Algorithms: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the algorithms, who provides them, and which provider is used.",
        discussion: "Example: martlet algorithms")

    @OptionGroup var options: GlobalOptions

    func run() throws {
        try options.run {
            let daemon = try ViciConnection(path: options.socket)
            let response = try daemon.call("martlet-algorithms")
            try daemon.check(response)
            let kinds = ["aead", "encryption", "integrity", "prf", "ke", "rng"]
            func rank(_ one: ViciMessage) -> Int { kinds.firstIndex(of: one["kind"] ?? "") ?? kinds.count }
            // By kind; within one in the daemon's order, the provider that is preferred first.
            let algorithms = response.sections.map(\.body).enumerated().sorted { (rank($0.element), $0.offset) < (rank($1.element), $1.offset) }.map(\.element)
            if options.json {
                print(
                    JSON.array(
                        algorithms.map { one in .object(["kind", "name", "provider", "state", "note"].map { ($0, .text(one[$0])) }) }
                    ).text)
            } else {
                let rows = algorithms.map { one in
                    ["kind", "name", "provider", "state", "note"].map { StyledText(printable(one[$0] ?? "")) }
                }
                print(table([["KIND", "ALGORITHM", "PROVIDER", "STATE", "NOTE"]] + rows).rendered(colour: options.isColoured))
            }
        }
    }
}

struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the versions of this client and of the daemon.",
        discussion: "Example: martlet version\nThe client's alone, without asking a daemon: martlet --version")

    @OptionGroup var options: GlobalOptions

    func run() throws {
        try options.run {
            if !options.json { print("martlet \(clientVersion)") }
            let daemon = try ViciConnection(path: options.socket)
            let response = try daemon.call("version")
            try daemon.check(response)
            if options.json {
                print(
                    JSON.object(
                        [("client_version", .string(clientVersion))]
                            + [
                                ("daemon", "daemon"), ("daemon_version", "version"), ("system", "sysname"), ("release", "release"),
                                ("machine", "machine"),
                            ].map { ($0.0, .text(response[$0.1])) }
                    ).text)
            } else {
                let system = ["sysname", "release", "machine"].compactMap { response[$0] }.map(printable).joined(separator: " ")
                print("\(printable(response["daemon"] ?? "?")) \(printable(response["version"] ?? "?")) on \(system)")
            }
        }
    }
}
