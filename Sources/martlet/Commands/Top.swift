// `martlet top`: the tunnels as they are now, again and again.
import ArgumentParser
import ClientView
import Glibc

extension TopOrder: ExpressibleByArgument {}

struct Top: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show tunnels and their traffic live.",
        discussion: """
            Keys: q or ^C quits; t, n and a sort by traffic, name and age (the youngest first); r reverses the order; the arrows, j and k, Page Up and \
            Page Down scroll; space refreshes at once.

            Where the output is no terminal, and with --once, one frame is printed. With --json a document a line is printed at each interval.

            Example: martlet top
            Example: martlet top --interval 5 --sort name
            Example: martlet top --once
            """)

    @OptionGroup var options: GlobalOptions
    @Option(help: ArgumentHelp("Refresh every so many seconds.", valueName: "seconds")) var interval = 1.0
    @Option(help: ArgumentHelp("Sort by traffic, name or age.", valueName: "key")) var sort = TopOrder.traffic
    @Flag(help: "Print one frame and end.") var once = false

    func validate() throws {
        guard (0.1...3_600).contains(interval) else { throw ValidationError("--interval is 0.1 to 3600 seconds") }
    }

    func run() throws {
        try options.run {
            let isLive = isatty(STDOUT_FILENO) == 1 && environment("TERM") != "dumb"
            if once || options.json || !isLive { try printFrames() } else { try live() }
        }
    }

    private func page(_ status: GatewayStatus, _ size: TerminalSize, _ choice: TopChoice, _ trouble: String? = nil) -> TopPage {
        let seconds = interval == interval.rounded() ? "\(Int(interval))s" : "\(interval)s"
        return TopPage(status, columns: size.columns, rows: size.rows, choice: choice, interval: seconds, trouble: trouble)
    }

    private func printFrames() throws {
        let daemon = try ViciConnection(path: options.socket)
        var last: TrafficSample? = TrafficSample(try daemon.listSAs(), time: monotonicSeconds())
        repeat {
            usleep(UInt32(interval * 1e6))
            let status = try measured(daemon, &last)
            if options.json {
                printNow(status.json.line)
            } else {
                // As long as it is: nobody scrolls here.
                let frame = page(status, TerminalSize(columns: TerminalSize.of().columns, rows: status.tunnels.count + 4), TopChoice(order: sort))
                printNow(frame.lines.filter { !$0.isEmpty }.rendered(colour: options.isColoured))
            }
        } while options.json && !once
    }

    private func measured(_ daemon: ViciConnection, _ last: inout TrafficSample?) throws(OperationFailure) -> GatewayStatus {
        var status = try daemon.status()
        let sample = TrafficSample(status.sas, time: monotonicSeconds())
        status.rates = last.flatMap { TrafficRates(from: $0, to: sample) }
        last = sample
        return status
    }

    private func live() throws {
        var daemon: ViciConnection? = try ViciConnection(path: options.socket, patience: 3)
        let colour = options.isColoured
        let screen = Screen()
        defer { screen.close() }
        var choice = TopChoice(order: sort)
        var status = GatewayStatus.none
        var last: TrafficSample?
        var trouble: String?
        while true {
            do throws(OperationFailure) {
                if daemon == nil { daemon = try ViciConnection(path: options.socket, patience: 3) }
                guard let connected = daemon else { continue }
                status = try measured(connected, &last)
                trouble = nil
            } catch {
                // What was seen last stays, without its rates; the next interval tries again.
                (daemon, last, status.rates) = (nil, nil, nil)
                trouble = "trying again: " + error.summary
            }
            // The first rates come soon.
            let deadline = monotonicSeconds() + (status.rates == nil && trouble == nil ? min(interval, 0.5) : interval)
            waiting: while true {
                let frame = page(status, TerminalSize.of(), choice, trouble)
                screen.show(frame.lines, colour: colour)
                switch screen.wait(until: deadline) {
                case .time: break waiting
                case .resized: continue
                case .signal(let number):
                    screen.close()
                    Screen.end(by: number)
                case .keys(let keys):
                    for key in keys {
                        if key == .quit { return }
                        if key == .refresh { break waiting }
                        choice.apply(key, page: frame.page, count: status.tunnels.count)
                    }
                }
            }
        }
    }
}
