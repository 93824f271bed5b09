// What an import says about its source: which lines were not carried over as they stand, and why.

/// A line of a file, counted from 1.
package struct Origin: Hashable, Sendable, CustomStringConvertible {
    package var file: String
    package var line: Int
    package var description: String { "\(file):\(line)" }
}

package struct Finding: Hashable, Sendable, CustomStringConvertible {
    package enum Severity: String, Sendable {
        /// A connection or a secret is missing from the result because of this line.
        case leftOut = "left out"
        /// The line had an effect that the result does not have; it is no weaker for that.
        case notCarried = "not carried over"
        /// The line has no effect with IKEv2, or means the same in other words.
        case note
    }
    package var severity: Severity
    package var origin: Origin
    /// The `conn` sections concerned, in the order of the file.
    package var connections: [String] = []
    /// `type=transport`. Never a secret.
    package var parameter: String?
    package var reason: String

    package var description: String {
        let subject = connections.isEmpty ? nil : (connections.count == 1 ? "conn " : "conns ") + connections.joined(separator: ", ")
        return ([origin.description, subject, parameter].compactMap { $0 } + [reason]).joined(separator: ": ")
    }
}

/// The findings of an import, each line and reason once.
struct Findings: Sendable {
    private(set) var all: [Finding] = []
    private var places: [Finding: Int] = [:]

    mutating func add(_ severity: Finding.Severity, _ setting: Setting, in connection: String? = nil, _ reason: String) {
        add(Finding(severity: severity, origin: setting.origin, parameter: setting.text, reason: reason), in: connection)
    }

    mutating func add(_ severity: Finding.Severity, at origin: Origin, in connection: String? = nil, _ reason: String) {
        add(Finding(severity: severity, origin: origin, reason: reason), in: connection)
    }

    /// What a line of `conn %default` causes in many connections is one finding with many names.
    private mutating func add(_ finding: Finding, in connection: String?) {
        let place = places[finding, default: all.count]
        if place == all.count {
            places[finding] = place
            all.append(finding)
        }
        if let connection, all[place].connections.last != connection { all[place].connections.append(connection) }
    }
}

/// Why something cannot be written for Martlet.
struct Untranslatable: Error {
    var reason: String
    init(_ reason: String) { self.reason = reason }
}
