// What a new configuration changes, computed before anything is touched.

import IKECore

/// Names of what differs between two configurations, in the order of the new one, removals in the order of the old one.
package struct ConfigurationDifference: Hashable, Sendable {
    package var addedConnections: [String] = []
    package var removedConnections: [String] = []
    /// Those of which something differs, be it a child.
    package var changedConnections: [String] = []
    /// Connections that are the same but whose secret is another one.
    package var connectionsWithNewSecret: [String] = []
    package var areSecretsChanged = false
    package var arePoolsChanged = false
    package var areCredentialsChanged = false
    /// These take effect with a restart alone.
    package var isGatewayChanged = false
    package var arePluginsChanged = false

    package var isEmpty: Bool { self == ConfigurationDifference() }
}

extension GatewayConfiguration {
    package func difference(to new: GatewayConfiguration) -> ConfigurationDifference {
        var difference = ConfigurationDifference()
        let old = Dictionary(connections.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let newNames = Set(new.connections.map(\.name))
        difference.removedConnections = connections.map(\.name).filter { !newNames.contains($0) }
        difference.areSecretsChanged = !secrets.areSame(as: new.secrets)
        for connection in new.connections {
            guard let before = old[connection.name] else {
                difference.addedConnections.append(connection.name)
                continue
            }
            if before != connection {
                difference.changedConnections.append(connection.name)
            } else if difference.areSecretsChanged, !secrets.serve(connection, as: new.secrets) {
                difference.connectionsWithNewSecret.append(connection.name)
            }
        }
        let before = credentials, after = new.credentials
        difference.areCredentialsChanged =
            before.count != after.count || !zip(before, after).allSatisfy { $0.isTrusted == $1.isTrusted && $0.isSame(as: $1) } || authorities != new.authorities
        difference.arePoolsChanged = pools != new.pools
        difference.isGatewayChanged = gateway != new.gateway
        difference.arePluginsChanged = plugins.withoutPositions != new.plugins.withoutPositions
        return difference
    }
}

extension SharedSecrets {
    fileprivate func areSame(as other: SharedSecrets) -> Bool {
        all.count == other.all.count && zip(all, other.all).allSatisfy { $0.isSame(as: $1) }
    }

    /// Whether both hold the same secrets for the identities that a connection allows.
    fileprivate func serve(_ connection: Connection, as other: SharedSecrets) -> Bool {
        func candidates(_ secrets: SharedSecrets) -> SharedSecrets {
            SharedSecrets(
                secrets.all.filter { secret in
                    secret.identities.isEmpty || secret.identities.contains { $0.overlaps(connection.local.identity) || $0.overlaps(connection.remote.identity) }
                })
        }
        return candidates(self).areSame(as: candidates(other))
    }
}

extension PluginConfiguration {
    /// The section of directories is taken from another configuration: a reload has made it count.
    mutating func takeDirectories(of other: PluginConfiguration) {
        plugins.removeAll { $0.name == "ldap" }
        plugins += other.plugins.filter { $0.name == "ldap" }
    }

    /// In whatever a plugin is told. The order counts: it is that of the priorities.
    func isOther(than other: PluginConfiguration) -> Bool {
        func sorted(_ plugins: PluginConfiguration) -> [Plugin] { plugins.withoutPositions.plugins.filter { $0.name != "ldap" } + plugins.withoutPositions.plugins.filter { $0.name == "ldap" } }
        return path != other.path || sorted(self) != sorted(other)
    }

    /// Options that only moved in their file are the same.
    var withoutPositions: PluginConfiguration {
        var copy = self
        let nowhere = SourcePosition(file: "", line: 0, column: 0)
        for index in copy.plugins.indices {
            copy.plugins[index].position = nowhere
            for option in copy.plugins[index].options.indices { copy.plugins[index].options[option].position = nowhere }
        }
        return copy
    }
}
