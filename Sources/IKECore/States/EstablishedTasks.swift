// What an established IKE SA is doing, for people and programs that look on.

extension Established {
    /// The exchange that we drive, the one that the peer drives, and what waits for ours to end.
    var shownTasks: SATasks {
        var tasks = SATasks()
        tasks.queued = queue.map { task in
            switch task {
            case .createChild: .childCreate
            case .rekeyChild: .childRekey
            case .rekeyIKE: .ikeRekey
            case .deleteChild: .childDelete
            case .deleteIKE: .ikeDelete
            case .liveness: .liveness
            case .updateAddresses: .mobike
            case .authLifetime: .authLifetime
            }
        }
        switch outgoing {
        case .idle: break
        case .preparing(_, let exchange), .sent(let exchange, _, _), .agreeing(_, let exchange, _): tasks.active = [exchange.shown]
        case .installing(_, let creation): tasks.active = [creation?.replacing == nil ? .childCreate : .childRekey]
        }
        switch incoming {
        case .idle: break
        case .agreeingChild(_, let answer): tasks.passive = [answer.replacing == nil ? .childCreate : .childRekey]
        case .agreeingIKE: tasks.passive = [.ikeRekey]
        case .installing: tasks.passive = [.childCreate]
        }
        return tasks
    }
}

extension Established.Exchange {
    fileprivate var shown: SATask {
        switch self {
        case .createChild(let creation): creation.replacing == nil ? .childCreate : .childRekey
        case .rekeyIKE: .ikeRekey
        case .deleteChild: .childDelete
        case .deleteIKE: .ikeDelete
        case .informational: .liveness
        case .updateAddresses: .mobike
        }
    }
}
