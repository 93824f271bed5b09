// The terminal that standard output is, or is not.
import ArgumentParser
import ClientView
import Glibc

/// When to colour: `--color`.
enum ColourChoice: String, ExpressibleByArgument, CaseIterable {
    case auto, always, never

    /// `auto`: on a terminal, unless NO_COLOR (https://no-color.org) is set or TERM says that it cannot.
    var isOn: Bool {
        switch self {
        case .always: return true
        case .never: return false
        case .auto:
            guard isatty(STDOUT_FILENO) == 1, environment("NO_COLOR") == nil else { return false }
            return environment("TERM") != "dumb"
        }
    }
}

/// A variable that is set and not empty.
func environment(_ name: String) -> String? {
    guard let value = getenv(name), value.pointee != 0 else { return nil }
    return String(cString: value)
}

struct TerminalSize {
    var columns = 80
    var rows = 24

    /// Of the terminal at `descriptor`; else what COLUMNS and LINES say, else 80 by 24.
    static func of(_ descriptor: Int32 = STDOUT_FILENO) -> TerminalSize {
        var size = winsize()
        if ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 { return TerminalSize(columns: Int(size.ws_col), rows: Int(size.ws_row)) }
        func number(_ name: String) -> Int? { environment(name).flatMap { Int($0) }.flatMap { (1...10_000).contains($0) ? $0 : nil } }
        return TerminalSize(columns: number("COLUMNS") ?? 80, rows: number("LINES") ?? 24)
    }
}

/// Seconds on a clock that only goes forward.
func monotonicSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
