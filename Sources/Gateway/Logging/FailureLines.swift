// A failure as the lines that a person reads: the code, what happened, what was seen, what to change.

import IKECore

extension Failure {
    package var lines: [String] {
        ["\(code.rawValue): \(summary)"] + evidence.map { "  seen: \($0)" } + advice.map { "  try: \($0)" }
    }
}
