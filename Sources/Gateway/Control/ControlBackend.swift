// What the control socket asks of the gateway, and what the gateway tells its subscribers.
// The server owns framing, queues, time-outs and the log backlog; a backend owns the answers.

/// The gateway as the control socket sees it.
///
/// Every function is called on the control loop's thread and returns at once. Each completion is called exactly once, on the control
/// loop's thread, at once or later; one that comes after its client has gone or its time-out has passed is harmless.
package protocol ControlBackend: ConfigurationBackend {
    /// What `version` answers beside the host's own `uname`.
    var daemonVersion: String { get }

    func stats(_ completion: @escaping @Sendable (StatsSnapshot) -> Void)
    /// All IKE SAs with all their children, or why some are not known; the server applies the filter as well, so a backend may ignore it.
    func listSAs(_ filter: SAFilter, _ completion: @escaping @Sendable (Result<Listing<IKESASnapshot>, FailureSnapshot>) -> Void)
    func listConnections(_ completion: @escaping @Sendable ([ConnectionSnapshot]) -> Void)

    /// Brings a child up; where a connection alone is named, its first child. Of what is up already it says so and succeeds.
    func initiate(
        _ request: InitiateRequest, _ progress: ControlProgress,
        _ completion: @escaping @Sendable (Result<InitiateOutcome, FailureSnapshot>) -> Void)
    /// Takes down all that matches. No match is `matches: 0` and no failure.
    func terminate(_ request: TerminateRequest, _ progress: ControlProgress, _ completion: @escaping @Sendable (SelectionOutcome) -> Void)
    /// Starts a rekey of all that matches; completes when the rekeys are done or have failed, or, if the backend prefers, once they have begun.
    func rekey(_ request: RekeyRequest, _ progress: ControlProgress, _ completion: @escaping @Sendable (SelectionOutcome) -> Void)

    /// What is counted of the connections of a name, of each that counted something, or of all together under the empty name. Nil for a connection that counted nothing.
    func counters(_ selection: CounterSelection, _ completion: @escaping @Sendable ([NamedCounters]?) -> Void)
    /// False for a connection that counted nothing.
    func resetCounters(_ selection: CounterSelection, _ completion: @escaping @Sendable (Bool) -> Void)

    func algorithms(_ completion: @escaping @Sendable ([AlgorithmSnapshot]) -> Void)
    func plugins(_ completion: @escaping @Sendable ([PluginSnapshot]) -> Void)
}

/// Which SAs a command means. All that is given must match; `isEmpty` means all for a list, and is refused for a change.
package struct SAFilter: Sendable, Hashable {
    /// The connection's name.
    package var ike: String?
    package var ikeID: UInt64?
    /// The child's name.
    package var child: String?
    package var childID: UInt64?
    package init(ike: String? = nil, ikeID: UInt64? = nil, child: String? = nil, childID: UInt64? = nil) {
        self.ike = ike
        self.ikeID = ikeID
        self.child = child
        self.childID = childID
    }
    package var isEmpty: Bool { ike == nil && ikeID == nil && child == nil && childID == nil }
    /// Whether the command means Child SAs and not whole IKE SAs.
    package var selectsChildren: Bool { child != nil || childID != nil }

    package func matches(_ sa: IKESASnapshot) -> Bool {
        (ike == nil || ike == sa.name) && (ikeID == nil || ikeID == sa.uniqueID)
    }
    package func matches(_ sa: ChildSASnapshot) -> Bool {
        (child == nil || child == sa.name) && (childID == nil || childID == sa.uniqueID)
    }
}

/// At least one of the two names is there.
package struct InitiateRequest: Sendable, Hashable {
    package var child: String?
    package var ike: String?
    /// Nil waits for the result. The server answers the client when it has passed; the exchange goes on.
    package var timeout: Duration?
    package init(child: String?, ike: String?, timeout: Duration? = nil) {
        self.child = child
        self.ike = ike
        self.timeout = timeout
    }
}

package struct TerminateRequest: Sendable, Hashable {
    package var filter: SAFilter
    /// Do not wait for the peer's answer to the Delete.
    package var force: Bool
    package var timeout: Duration?
    package init(filter: SAFilter, force: Bool = false, timeout: Duration? = nil) {
        self.filter = filter
        self.force = force
        self.timeout = timeout
    }
}

package struct RekeyRequest: Sendable, Hashable {
    package var filter: SAFilter
    /// New IKE SAs beside the old ones, instead of new keys.
    package var reauthenticates: Bool
    package init(filter: SAFilter, reauthenticates: Bool = false) {
        self.filter = filter
        self.reauthenticates = reauthenticates
    }
}

package struct InitiateOutcome: Sendable, Hashable {
    /// It was up before the command came.
    package var wasUp: Bool
    package init(wasUp: Bool) { self.wasUp = wasUp }
}

package struct SelectionOutcome: Sendable, Hashable {
    /// SAs that the filter matched, and those that the command has dealt with.
    package var matches: Int
    package var completed: Int
    package var failure: FailureSnapshot?
    package init(matches: Int, completed: Int, failure: FailureSnapshot? = nil) {
        self.matches = matches
        self.completed = completed
        self.failure = failure
    }
}

/// How a running command talks to its client. Called on the control loop's thread.
package struct ControlProgress: Sendable {
    /// From now on, log entries published for this connection (`LogEntrySnapshot.ikeSAName`) go to the client as `control-log`.
    package let follow: @Sendable (_ connection: String) -> Void
    /// One line for this client alone.
    package let line: @Sendable (LogEntrySnapshot) -> Void
    package init(follow: @escaping @Sendable (String) -> Void, line: @escaping @Sendable (LogEntrySnapshot) -> Void) {
        self.follow = follow
        self.line = line
    }
}

/// What happened, for the subscribers of the vici event of that name.
package enum ControlEvent: Sendable {
    case logged(LogEntrySnapshot)
    case ikeSAChanged(isUp: Bool, IKESASnapshot)
    /// The addresses and ports that it has now; `IKESASnapshot` is the SA before.
    case ikeSAMoved(local: EndpointSnapshot, remote: EndpointSnapshot, IKESASnapshot)
    /// Something went wrong that programs watch for. `type` is one of vici's, the SA is nil where there is none.
    case alert(type: String, IKESASnapshot?, FailureSnapshot)
    case ikeSARekeyed(old: IKESASnapshot, new: IKESASnapshot)
    /// `child` is the one that changed; the children of `ike` are not sent.
    case childSAChanged(isUp: Bool, ike: IKESASnapshot, child: ChildSASnapshot)
    case childSARekeyed(ike: IKESASnapshot, old: ChildSASnapshot, new: ChildSASnapshot)
}
