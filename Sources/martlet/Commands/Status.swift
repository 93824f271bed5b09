// `martlet status`: what is up, what is down, and why.
import ArgumentParser
import ClientView
import Glibc
import ViciWire

struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show tunnels, peers and traffic, and why what is down is down.",
        discussion: """
            Without a NAME all tunnels: in blocks while they are few, in a table when they are many or the terminal is wide. With the name of a \
            connection or a child, everything about it: SPIs, algorithms, lifetimes, counters, the whole explanation of its last failure.

            Where traffic flows, the counters are read twice, to show how fast; --rate says how many seconds apart, 0 leaves it out.

            Example: martlet status
            Example: martlet status gateway
            Example: martlet status --json | jq '.ike_sas[].children[].inbound.bytes'
            """)

    @OptionGroup var options: GlobalOptions
    @Argument(help: "The name of a connection or child.") var name: String?
    @Flag(help: "A line for each tunnel, also where there are few.") var lines = false
    @Flag(help: "Blocks, also where there are many tunnels.") var blocks = false
    @Option(help: ArgumentHelp("Measure traffic over so many seconds. Default: 0.25 where any flows; not with --json.", valueName: "seconds")) var rate: Double?

    func validate() throws {
        if let rate, !(0...3_600).contains(rate) { throw ValidationError("--rate is 0 to 3600 seconds") }
        if lines && blocks { throw ValidationError("--lines and --blocks exclude each other") }
    }

    func run() throws {
        try options.run {
            let daemon = try ViciConnection(path: options.socket)
            let status = try measured(daemon)
            let width = TerminalSize.of().columns
            guard let name else {
                let page = StatusPage(status, width: width, form: lines ? .lines : blocks ? .blocks : .automatic)
                return print(options.json ? status.json.text : page.lines.rendered(colour: options.isColoured))
            }
            guard let only = status.about(name), let text = StatusDetail(status, width: width).lines(name) else {
                throw OperationFailure("no connection or child is called \(name)", code: "unknown-name", advice: ["`martlet status` shows what there is"])
            }
            print(options.json ? only.json.text : text.rendered(colour: options.isColoured))
        }
    }

    private func measured(_ daemon: ViciConnection) throws(OperationFailure) -> GatewayStatus {
        var status = try daemon.status()
        let first = TrafficSample(status.sas, time: monotonicSeconds())
        let seconds = rate ?? (!options.json && status.hasTraffic ? 0.25 : 0)
        guard seconds > 0 else { return status }
        usleep(UInt32(seconds * 1e6))
        status.sas = try daemon.listSAs()
        status.rates = TrafficRates(from: first, to: TrafficSample(status.sas, time: monotonicSeconds()))
        return status
    }
}
