// The whole terminal, borrowed: another screen, keys as they are typed, and everything as it was afterwards.
import ClientView
import Glibc
import Synchronization

/// Signals that have come and were not looked at, a bit each.
private let pendingSignals = Atomic<UInt64>(0)

final class Screen {
    private var saved = termios()
    private let hasKeyboard: Bool
    private var isOpen = false
    private var unread: [UInt8] = []
    private static let signals = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP, SIGCONT]

    /// What ends a wait.
    enum Wake {
        case time
        case keys([TopKey])
        case resized
        /// One that ends the program: the terminal is to be closed first.
        case signal(Int32)
    }

    init() {
        hasKeyboard = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &saved) == 0
        _ = pendingSignals.load(ordering: .relaxed)
        var set = sigset_t()
        sigemptyset(&set)
        for number in Self.signals {
            sigaddset(&set, number)
            signal(number) { pendingSignals.bitwiseOr(1 << UInt64($0), ordering: .relaxed) }
        }
        // They come while we wait, and at no other time.
        sigprocmask(SIG_BLOCK, &set, nil)
        open()
    }

    deinit { close() }

    /// The alternate screen, no cursor, no line breaks of the terminal's own. xterm control sequences, DECSET 1049, 25 and 7.
    private func open() {
        guard !isOpen else { return }
        isOpen = true
        if hasKeyboard {
            var raw = saved
            raw.c_lflag &= ~tcflag_t(ICANON | ECHO)
            tcsetattr(STDIN_FILENO, TCSANOW, &raw)
        }
        write("\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l\u{1b}[2J")
    }

    /// Everything as it was.
    func close() {
        guard isOpen else { return }
        isOpen = false
        write("\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l")
        if hasKeyboard { tcsetattr(STDIN_FILENO, TCSADRAIN, &saved) }
    }

    /// One frame in one write: what was there is overwritten, not erased first.
    func show(_ lines: [StyledText], colour: Bool) {
        write("\u{1b}[H" + lines.map { $0.rendered(colour: colour) + "\u{1b}[K" }.joined(separator: "\r\n") + "\u{1b}[J")
    }

    private func write(_ text: String) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            if count > 0 { bytes = bytes.dropFirst(count) } else if errno != EINTR { return }
        }
    }

    /// Waits for a key, a signal, or until `deadline` on the monotonic clock.
    func wait(until deadline: Double) -> Wake {
        while true {
            if let wake = takeSignal() { return wake }
            let rest = deadline - monotonicSeconds()
            guard rest > 0 else { return .time }
            var time = timespec(tv_sec: Int(rest), tv_nsec: Int((rest - Double(Int(rest))) * 1e9))
            var none = sigset_t()
            sigemptyset(&none)
            // Descriptor 0 is the set's first bit.
            var keyboard = fd_set()
            keyboard.__fds_bits.0 = hasKeyboard ? 1 : 0
            guard pselect(hasKeyboard ? 1 : 0, &keyboard, nil, nil, &time, &none) > 0 else { continue }
            var buffer = [UInt8](repeating: 0, count: 256)
            let count = read(STDIN_FILENO, &buffer, buffer.count)
            // The terminal has gone.
            guard count > 0 || (count < 0 && errno == EINTR) else { return .signal(SIGHUP) }
            unread += buffer.prefix(max(0, count))
            let keys = TopKey.read(&unread)
            if !keys.isEmpty { return .keys(keys) }
        }
    }

    private func takeSignal() -> Wake? {
        let pending = pendingSignals.exchange(0, ordering: .relaxed)
        func has(_ number: Int32) -> Bool { pending & 1 << UInt64(number) != 0 }
        if has(SIGINT) { return .keys([.quit]) }
        for number in [SIGTERM, SIGHUP, SIGQUIT] where has(number) { return .signal(number) }
        if has(SIGTSTP) {
            close()
            // Stops here, and goes on here.
            kill(getpid(), SIGSTOP)
            open()
            return .resized
        }
        return has(SIGWINCH) || has(SIGCONT) ? .resized : nil
    }

    /// Ends as the signal would have ended the program.
    static func end(by number: Int32) -> Never {
        signal(number, SIG_DFL)
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, number)
        kill(getpid(), number)
        sigprocmask(SIG_UNBLOCK, &set, nil)
        exit(128 + number)
    }
}
