// What happens, for the clients that registered for it.
import ViciWire

extension ControlServer {
    /// Whether any client waits for any event.
    package var hasListeners: Bool { clients.values.contains { $0.session.isListening } }

    /// Tells the subscribers. Costs little when there are none.
    package func publish(_ event: ControlEvent) {
        switch event {
        case .logged(let entry):
            publish(entry)
        case .ikeSAChanged(let isUp, let sa):
            broadcast(.ikeUpDown) { SAMessages.ikeUpDown(isUp: isUp, sa) }
        case .ikeSAMoved(let local, let remote, let sa):
            broadcast(.ikeUpdate) { SAMessages.ikeUpdate(local: local, remote: remote, sa) }
        case .alert(let type, let sa, let failure):
            broadcast(.alert) { SAMessages.alert(type: type, sa, failure) }
        case .ikeSARekeyed(let old, let new):
            broadcast(.ikeRekey) { SAMessages.ikeRekey(old: old, new: new) }
        case .childSAChanged(let isUp, let ike, let child):
            broadcast(.childUpDown) { SAMessages.childUpDown(isUp: isUp, ike, child) }
        case .childSARekeyed(let ike, let old, let new):
            broadcast(.childRekey) { SAMessages.childRekey(ike, old: old, new: new) }
        }
    }

    private func publish(_ entry: LogEntrySnapshot) {
        let sequence = nextSequence
        nextSequence += 1
        backlog.append((sequence, entry))
        if backlog.count >= 2 * limits.backlogLines { backlog.removeFirst(backlog.count - limits.backlogLines) }
        broadcast(.log) { ConfigurationMessages.log(entry, sequence: sequence, withThread: true) }
        guard let name = entry.ikeSAName else { return }
        for client in Array(clients.values) where client.command?.followed.contains(name) == true { sendProgress(client, entry) }
    }

    private func broadcast(_ name: ControlEventName, _ message: () -> ViciMessage) {
        let listeners = clients.values.filter { $0.session.isRegistered(name) }
        guard !listeners.isEmpty else { return }
        let message = message()
        for client in listeners { offer(client, name, message) }
    }
}
