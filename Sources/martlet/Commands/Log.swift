// `martlet log`: the daemon's last lines, and the next ones.
import ArgumentParser
import ClientView
import Glibc
import ViciWire

struct Log: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the daemon's log.",
        discussion: """
            With --json the lines are one array; with -f as well, each line is an object of its own.

            Example: martlet log -n 50
            Example: martlet log -f
            """)

    @OptionGroup var options: GlobalOptions
    @Flag(name: .shortAndLong, help: "Go on with the lines as they are written.") var follow = false
    @Option(name: [.customShort("n"), .long], help: "How many past lines.") var lines: UInt32 = 100

    func run() throws {
        try options.run {
            let daemon = try ViciConnection(path: options.socket)
            // Registered first, so that no line falls between the past ones and the next.
            var waiting: [ViciMessage] = []
            func keep(_ name: String, _ event: ViciMessage) { if name == "log" { waiting.append(event) } }
            if follow { try daemon.register("log") }
            try daemon.register("martlet-log", onEvent: keep)
            var past: [ViciMessage] = []
            let response = try daemon.call("martlet-log", [("limit", String(lines))]) { name, event in
                if name == "martlet-log" { past.append(event) } else { keep(name, event) }
            }
            try daemon.check(response)
            guard follow else {
                if options.json { print(JSON.array(past.map(logJSON)).text) } else { past.forEach { print(logLine($0, colour: options.isColoured)) } }
                return
            }
            let last = past.last?.integer("martlet-sequence", as: UInt64.self) ?? 0
            for event in past { show(event) }
            for event in waiting where (event.integer("martlet-sequence") ?? UInt64.max) > last { show(event) }
            while true {
                let (name, event) = try daemon.nextEvent()
                if name == "log" { show(event) }
            }
        }
    }

    private func show(_ event: ViciMessage) { printNow(options.json ? logJSON(event).line : logLine(event, colour: options.isColoured)) }
}

/// When an event was logged, in this machine's time zone.
struct LogTime {
    var parts: tm
    var milliseconds: Int

    /// `2026-11-21 04:22:18.123`
    var text: String { date(" ") }
    /// `2026-11-21T04:22:18.123+0100`
    var iso: String {
        let minutes = abs(parts.tm_gmtoff) / 60
        return date("T") + (parts.tm_gmtoff < 0 ? "-" : "+") + two(minutes / 60) + ":" + two(minutes % 60)
    }

    private func date(_ separator: String) -> String {
        "\(parts.tm_year + 1_900)-\(two(Int(parts.tm_mon) + 1))-\(two(Int(parts.tm_mday)))\(separator)"
            + "\(two(Int(parts.tm_hour))):\(two(Int(parts.tm_min))):\(two(Int(parts.tm_sec)))."
            + String(String(1_000 + milliseconds).dropFirst())
    }
    private func two(_ number: Int) -> String { number < 10 ? "0\(number)" : String(number) }
}

func logTime(_ event: ViciMessage) -> LogTime? {
    guard let milliseconds: Int64 = event.integer("martlet-time"), milliseconds >= 0 else { return nil }
    var seconds = time_t(milliseconds / 1_000)
    var parts = tm()
    guard localtime_r(&seconds, &parts) != nil else { return nil }
    return LogTime(parts: parts, milliseconds: Int(milliseconds % 1_000))
}

/// `2026-11-21 04:22:18.123 IKE gw#3 sending IKE_SA_INIT`
func logLine(_ event: ViciMessage, colour: Bool) -> String {
    var line = StyledText(logTime(event).map { $0.text + " " } ?? "", .dim) + StyledText(printable(event["group"] ?? "") + " ")
    if let name = event["ikesa-name"] {
        line += StyledText(printable(name) + (event["ikesa-uniqueid"].map { "#" + printable($0) } ?? ""), .bold) + " "
    }
    line += StyledText(printable(event["msg"] ?? ""), event["level"] == "0" ? .yellow : nil)
    return line.rendered(colour: colour)
}

/// One event of the log.
func logJSON(_ event: ViciMessage) -> JSON {
    .object([
        ("time", .text(logTime(event).map { $0.iso })),
        ("group", .text(event["group"])),
        ("level", .integer(event["level"])),
        ("ike_sa", .text(event["ikesa-name"])),
        ("ike_sa_id", .integer(event["ikesa-uniqueid"])),
        ("message", .text(event["msg"])),
    ])
}
