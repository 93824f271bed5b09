// Where a connection's settings stand, so that a failure can name the line to change.

/// Places take no part in comparisons: a connection that moved in its file is the same connection.
package struct ConfigurationPlaces: Hashable, Sendable {
    /// By setting, from the connection on: `proposals`, `local.id`, `children.net.esp_proposals`; the connection's own place under ``.
    /// Values are as people read them: `/etc/martlet/martlet.conf:12`.
    package var entries: [String: String] = [:]
    /// The section that holds the connection's secret, where it can be known beforehand: `secrets.ike-east in /etc/martlet/martlet.conf:40`.
    package var secret: String?

    package init() {}
    package static func == (a: Self, b: Self) -> Bool { true }
    package func hash(into hasher: inout Hasher) {}
}

extension Connection {
    /// A setting with its place: `proposals` (/etc/martlet/martlet.conf:12). One that is not set is named with the section that it belongs to.
    package func setting(_ path: String) -> String {
        let key = path.split(separator: ".").last.map(String.init) ?? path
        let side = path.hasPrefix("local.") || path.hasPrefix("remote.") ? path : key
        if let place = self.places.entries[path] { return "`\(side)` (\(place))" }
        var section = path[...]
        while let dot = section.lastIndex(of: ".") {
            section = section[..<dot]
            if let place = self.places.entries[String(section)] { return "`\(side)` (not set; its section is at \(place))" }
        }
        guard let place = self.places.entries[""] else { return "`\(side)` of connection \(self.name)" }
        return "`\(side)` (not set; connection \(self.name) is at \(place))"
    }

    func setting(_ key: String, ofChild child: String) -> String { setting("children.\(child).\(key)") }
}
