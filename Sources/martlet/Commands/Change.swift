// `martlet up`, `down` and `rekey`: what changes SAs.
import ArgumentParser
import ClientView
import ViciWire

struct Up: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Bring a child up, and the IKE SA it needs.",
        discussion: """
            Shows the log of the exchange while it runs. A child that is up already is left as it is.

            Example: martlet up net
            Example: martlet up --connection gateway --timeout 10 net
            """)

    @OptionGroup var options: GlobalOptions
    @Argument(help: "The child's name in the configuration.") var child: String
    @Option(help: "The connection the child belongs to, where several have one of that name.") var connection: String?
    @Option(help: "Give up waiting after so many seconds; 0 waits for the result.") var timeout: UInt32 = 0
    @Flag(help: "Print the result alone.") var quiet = false

    func validate() throws {
        if timeout > 2_000_000 { throw ValidationError("--timeout is at most 2000000 seconds") }
    }

    func run() throws {
        try options.run {
            let daemon = try ViciConnection(path: options.socket)
            var log: [JSON] = []
            // Errors wait for the end: the failure that the daemon answers with says most of them again, and better.
            var errors: [ViciMessage] = []
            func show(_ name: String, _ event: ViciMessage) {
                guard name == "control-log" else { return }
                if options.json { return log.append(logJSON(event)) }
                guard !quiet else { return }
                if event["level"] == "0" { errors.append(event) } else { printNow(logLine(event, colour: options.isColoured)) }
            }
            try daemon.register("control-log")
            var arguments = [("child", child)]
            if let connection { arguments.append(("ike", connection)) }
            if timeout > 0 { arguments.append(("timeout", String(UInt64(timeout) * 1_000))) }
            let response = try daemon.call("initiate", arguments, onEvent: show)
            let told = Set([response["errmsg"] ?? ""] + (response.list("martlet-evidence") ?? []) + (response.list("martlet-advice") ?? []))
            for event in errors where !told.contains(where: { !$0.isEmpty && (event["msg"] ?? "").hasSuffix(printable($0)) }) { printNow(logLine(event, colour: options.isColoured)) }
            try daemon.check(response)
            let wasUp = response.boolean("martlet-was-up")
            if options.json {
                print(
                    JSON.object([
                        ("success", .bool(true)), ("child", .string(child)), ("was_up", .bool(wasUp)), ("log", .array(log)),
                    ]).text)
            } else {
                print("\(printable(child)) is up" + (wasUp ? " already" : ""))
            }
        }
    }
}

struct Down: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Take a child or a whole connection down.",
        discussion: """
            NAME is a connection or a child. Where both have the name, the connection is meant; --child means the child. \
            What is down already is left as it is.

            Example: martlet down gateway
            Example: martlet down --child net
            """)

    @OptionGroup var options: GlobalOptions
    @OptionGroup var target: Target
    @Flag(help: "Do not wait for the peer to agree.") var force = false
    @Option(help: "Give up waiting after so many seconds; 0 waits for the result.") var timeout: UInt32 = 0

    func validate() throws {
        if timeout > 2_000_000 { throw ValidationError("--timeout is at most 2000000 seconds") }
    }

    func run() throws {
        try options.run {
            let daemon = try ViciConnection(path: options.socket)
            guard let key = try target.resolve(daemon) else {
                if options.json {
                    print(JSON.object([("success", .bool(true)), ("name", .string(target.name)), ("terminated", .integer(0))]).text)
                } else {
                    print("\(printable(target.name)) is down already")
                }
                return
            }
            var arguments = [(key, target.name)]
            if force { arguments.append(("force", "yes")) }
            if timeout > 0 { arguments.append(("timeout", String(UInt64(timeout) * 1_000))) }
            let response = try daemon.call("terminate", arguments)
            try daemon.check(response)
            if options.json {
                print(
                    JSON.object([
                        ("success", .bool(true)), ("name", .string(target.name)), ("terminated", .integer(response["terminated"])),
                    ]).text)
            } else {
                print("\(printable(target.name)) is down")
            }
        }
    }
}

struct Rekey: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Give a child or an IKE SA new keys.",
        discussion: """
            NAME is a connection or a child. Where both have the name, the connection is meant: its IKE SA gets new keys, its \
            children keep theirs; --child means the child.

            Example: martlet rekey gateway
            Example: martlet rekey --child net
            """)

    @OptionGroup var options: GlobalOptions
    @OptionGroup var target: Target

    func run() throws {
        try options.run {
            let daemon = try ViciConnection(path: options.socket)
            guard let key = try target.resolve(daemon) else {
                throw OperationFailure("\(target.name) is down, there is nothing to rekey", code: "no-match")
            }
            let response = try daemon.call("rekey", [(key, target.name)])
            try daemon.check(response)
            let matches = response.integer("matches", as: UInt64.self) ?? 0
            if options.json {
                print(
                    JSON.object([
                        ("success", .bool(true)), ("name", .string(target.name)), ("matches", .integer(matches)),
                    ]).text)
            } else {
                print("\(printable(target.name)): \(plural(matches, key == "ike" ? "IKE SA" : "child SA")) rekeyed")
            }
        }
    }
}

/// A name that stands for a connection or for a child.
struct Target: ParsableArguments {
    @Argument(help: "The name of a connection or child in the configuration.") var name: String
    @Flag(help: "NAME is a child.") var child = false

    /// The key of the filter, `ike` or `child`; nil when NAME is configured and nothing of it is up.
    func resolve(_ daemon: ViciConnection) throws(OperationFailure) -> String? {
        let sas = try daemon.listSAs()
        if !child, sas.contains(where: { $0.name == name }) { return "ike" }
        if sas.contains(where: { $0.children.contains { $0.name == name } }) { return "child" }
        let connections = try daemon.listConnections()
        if !child, connections.contains(where: { $0.name == name }) { return nil }
        if connections.contains(where: { $0.children.contains { $0.name == name } }) { return nil }
        throw OperationFailure("no \(child ? "child" : "connection or child") is called \(name)", code: "unknown-name")
    }
}
