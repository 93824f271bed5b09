// Where the settings of a connection stand, for the explanations of failures.

import IKECore
import IKEWire

extension ConfigurationPlaces {
    init(_ section: ConfigurationSection, _ connection: Connection, _ secrets: SharedSecrets) {
        self.init()
        entries[""] = section.position.place
        for setting in section.settings { entries[setting.name] = setting.place }
        for side in ["local", "remote"] {
            guard let round = section.sections.first(where: { $0.name.hasPrefix(side) }) else { continue }
            add(round, as: side)
        }
        for child in section.section("children")?.sections ?? [] { add(child, as: "children." + child.name) }
        if let known = secrets.known(for: connection) { secret = "secrets.\(known.name) in \(known.origin.place)" }
    }

    private mutating func add(_ section: ConfigurationSection, as path: String) {
        entries[path] = section.position.place
        for setting in section.settings { entries[path + "." + setting.name] = setting.place }
    }
}

extension SharedSecrets {
    /// The secret of a connection, where its identities or the number of secrets leave no choice.
    fileprivate func known(for connection: Connection) -> IKESecret? {
        if case .exactly(let local) = connection.local.identity, case .exactly(let remote) = connection.remote.identity { return best(local: local, remote: remote) }
        let shared = preshared.all
        return shared.count == 1 ? shared.first : nil
    }
}

extension ConfigurationSetting {
    fileprivate var place: String { (value?.position ?? position).place }
}

extension SourcePosition {
    /// `/etc/martlet/martlet.conf:12`; what a client loaded has no line.
    fileprivate var place: String { line == 0 ? "loaded over vici" : "\(file):\(line)" }
}
