// The core's own values as the control socket's snapshots: what the driver of a shard fills in before it publishes.
// Names are those that IKEWire gives the codepoints; instants become whole seconds before or after `now`.
import IKECore
import IKEWire

extension IKESASnapshot {
    /// Traffic counters come from the plane: `traffic` is asked for each child; nil where the plane has none.
    package init(
        _ status: IKESAStatus, now: Instant, shard: Int? = nil,
        traffic: (ChildSAStatus) -> (inbound: TrafficSnapshot, outbound: TrafficSnapshot)? = { _ in nil }
    ) {
        let state: State =
            switch status.state {
            case .connecting: .connecting
            case .established: .established
            case .rekeying: .rekeying
            case .rekeyed: .rekeyed
            case .deleting: .deleting
            }
        self.init(
            name: status.connection, uniqueID: status.id.rawValue, state: state,
            local: EndpointSnapshot(status.local, status.localIdentity), remote: EndpointSnapshot(status.remote, status.remoteIdentity),
            isInitiator: status.isInitiator, initiatorSPI: status.initiatorSPI.rawValue, responderSPI: status.responderSPI.rawValue)
        isLocalBehindNAT = status.localBehindNAT
        isRemoteBehindNAT = status.remoteBehindNAT
        localVirtual = status.localVirtual.map(\.description)
        remoteVirtual = status.remoteVirtual.map(\.description)
        suite = status.transforms.isEmpty ? nil : SuiteSnapshot(chosen: status.transforms)
        provider = status.provider
        establishedSeconds = status.established.map { now.secondsSince($0) }
        reauthSeconds = status.reauthAt.map { now.secondsUntil($0) }
        rekeySeconds = status.rekeyAt.map { now.secondsUntil($0) }
        lifeSeconds = status.expiresAt.map { now.secondsUntil($0) }
        tasksQueued = status.tasks.queued.map(\.rawValue)
        tasksActive = status.tasks.active.map(\.rawValue)
        tasksPassive = status.tasks.passive.map(\.rawValue)
        children = status.children.map { child in
            var snapshot = ChildSASnapshot(child, now: now)
            if let (inbound, outbound) = traffic(child) {
                snapshot.inbound = inbound
                snapshot.outbound = outbound
            }
            return snapshot
        }
        self.shard = shard
        usesMOBIKE = status.mobike
        remoteEAPID = status.remoteEAPIdentity.map { "\($0)" }
        account = status.account.map { "\($0)" }
        movedFrom = status.movedFrom.map { [$0.local.description, $0.remote.description] } ?? []
    }
}

extension ChildSASnapshot {
    package init(_ status: ChildSAStatus, now: Instant) {
        let state: State =
            switch status.state {
            case .installing: .installing
            case .installed: .installed
            case .rekeying: .rekeying
            case .rekeyed: .rekeyed
            case .deleting: .deleting
            case .deleted: .deleted
            }
        self.init(
            name: status.name, uniqueID: status.id.rawValue, requestID: UInt64(status.reqid), state: state,
            inboundSPI: status.inboundSPI, outboundSPI: status.outboundSPI)
        mode = status.mode.controlText
        isUDPEncapsulated = status.encapsulated
        suite = SuiteSnapshot(chosen: status.transforms)
        installedSeconds = now.secondsSince(status.installed)
        rekeySeconds = status.rekeyAt.map { now.secondsUntil($0) }
        lifeSeconds = status.expiresAt.map { now.secondsUntil($0) }
        localSelectors = status.localTS.map(\.description)
        remoteSelectors = status.remoteTS.map(\.description)
        func mark(_ isInbound: Bool) -> Mark? {
            status.carriage.direction(isInbound: isInbound).mark.map { Mark(value: $0.number.value(of: status.reqid, isInbound: isInbound), mask: $0.mask) }
        }
        (markIn, markOut) = (mark(true), mark(false))
        interfaceIn = status.carriage.inbound.interfaceID?.value(of: status.reqid, isInbound: true)
        interfaceOut = status.carriage.outbound.interfaceID?.value(of: status.reqid, isInbound: false)
    }
}

extension EndpointSnapshot {
    init(_ address: SocketAddress, _ identity: Identification?) {
        self.init(host: address.address.description, port: address.port, id: identity?.description ?? "")
    }
}

extension SuiteSnapshot {
    /// The suite of transforms of which one of each type was chosen; of several the first counts.
    package init(chosen transforms: [Transform]) {
        self.init()
        func first(_ type: TransformType) -> Transform? { transforms.first { $0.type == type } }
        if let transform = first(.encryption) {
            encryption = transform.name
            encryptionBits = transform.keyLength
        }
        if let transform = first(.integrity), transform.id != 0 {
            integrity = transform.name
            integrityBits = transform.keyLength
        }
        prf = first(.prf)?.name
        if let transform = first(.keyExchange), transform.id != 0 { keyExchange = transform.name }
        hasExtendedSequenceNumbers = first(.extendedSequenceNumbers)?.id == 1
    }
}

extension NamedCounters {
    package init(_ connection: String, _ counters: MessageCounters) {
        self.init(connection: connection, counters: MessageCounters.Kind.allCases.map { CounterSnapshot(name: $0.controlName, value: counters[$0]) })
    }
}

extension MessageCounters.Kind {
    /// As vici clients know it.
    package var controlName: String {
        switch self {
        case .ikeRekeyInitiated: "ike-rekey-init"
        case .ikeRekeyAnswered: "ike-rekey-resp"
        case .childRekeyed: "child-rekey"
        case .invalid: "invalid"
        case .invalidSPI: "invalid-spi"
        case .initRequestIn: "ike-init-in-req"
        case .initResponseIn: "ike-init-in-resp"
        case .initRequestOut: "ike-init-out-req"
        case .initResponseOut: "ike-init-out-resp"
        case .authRequestIn: "ike-auth-in-req"
        case .authResponseIn: "ike-auth-in-resp"
        case .authRequestOut: "ike-auth-out-req"
        case .authResponseOut: "ike-auth-out-resp"
        case .createChildRequestIn: "create-child-in-req"
        case .createChildResponseIn: "create-child-in-resp"
        case .createChildRequestOut: "create-child-out-req"
        case .createChildResponseOut: "create-child-out-resp"
        case .informationalRequestIn: "info-in-req"
        case .informationalResponseIn: "info-in-resp"
        case .informationalRequestOut: "info-out-req"
        case .informationalResponseOut: "info-out-resp"
        }
    }
}

extension FailureSnapshot {
    package init(_ failure: Failure, ageSeconds: UInt64 = 0) {
        self.init(
            code: failure.code.rawValue, summary: failure.summary, evidence: failure.evidence, advice: failure.advice,
            ageSeconds: ageSeconds)
    }
}

extension Failure {
    /// The type of vici's event `alert` that watchers know this by; nil where there is none.
    func alertType(_ sa: IKESAStatus?) -> String? {
        switch code {
        case .noAnswer where sa.map({ $0.state == .connecting }) ?? true: "peer-init-unreachable"
        // Of an IKE SA that has its algorithms, a child's were refused.
        case .noCommonProposal: sa?.transforms.isEmpty ?? true ? "proposal-mismatch-ike" : "proposal-mismatch-child"
        // Where the peer has shown no identity yet, it refused ours.
        case .authenticationFailed where sa?.isInitiator == true && sa?.remoteIdentity == nil: "local-auth-failed"
        case .authenticationFailed, .unknownIdentity: "peer-auth-failed"
        case .dataPlane: "install-child-sa-failed"
        default: nil
        }
    }
}

extension ConnectionSnapshot {
    package init(_ connection: Connection) {
        self.init(name: connection.name)
        localAddresses = connection.localAddresses.map(\.controlText)
        remoteAddresses = connection.remoteAddresses.map(\.controlText)
        localPort = connection.localPort
        remotePort = connection.remotePort
        rekeySeconds = UInt64(clamping: connection.lifetime.rekeyTime.wholeSeconds)
        reauthSeconds = UInt64(clamping: connection.reauthTime.wholeSeconds)
        unique = connection.unique.rawValue
        livenessSeconds = UInt64(clamping: connection.dpdDelay.wholeSeconds)
        usesMOBIKE = connection.mobike
        local = [AuthenticationSnapshot(connection.local)]
        remote = [AuthenticationSnapshot(connection.remote)]
        children = connection.children.map(ChildConfigurationSnapshot.init)
    }
}

extension ChildConfigurationSnapshot {
    init(_ policy: ChildPolicy) {
        self.init(name: policy.name)
        mode = policy.mode.controlText
        rekeySeconds = UInt64(clamping: policy.lifetime.rekeyTime.wholeSeconds)
        rekeyBytes = policy.lifetime.rekeyBytes
        rekeyPackets = policy.lifetime.rekeyPackets
        startAction = policy.startAction.controlText
        livenessAction = policy.dpdAction.controlText
        closeAction = policy.closeAction.controlText
        localSelectors = policy.localTS.map(\.controlText)
        remoteSelectors = policy.remoteTS.map(\.controlText)
    }
}

extension ChildMode {
    /// As vici clients know it.
    var controlText: String { rawValue.uppercased() }
}

extension AuthenticationSnapshot {
    /// Method names as vici clients know them.
    init(_ policy: AuthenticationPolicy) {
        let method =
            switch policy.method {
            case "psk": "pre-shared key"
            case "pubkey": "public key"
            case let name where name.hasPrefix("eap"): "EAP"
            case let name: name
            }
        let id: String =
            switch policy.identity {
            case .any: ""
            case .exactly(let identity): identity.description
            case .name(let name): name.description
            case .suffix(let kind, let bytes): "*" + Identification(kind: kind, data: bytes).description
            }
        self.init(method: method, id: id)
        groups = policy.groups
    }
}

extension AddressPattern {
    fileprivate var controlText: String {
        switch self {
        case .any: "%any"
        case .name(let name): name
        case .range(let start, let end):
            // `2001:db8::/32`, and without the length where it is one address.
            if start == end {
                start.description
            } else {
                Self.network(start, end) ?? "\(start)-\(end)"
            }
        }
    }

    private static func network(_ start: IPAddress, _ end: IPAddress) -> String? {
        let text = TrafficSelector(start: start, end: end).description
        return text.contains("..") ? nil : text
    }
}

extension SelectorPattern {
    fileprivate var controlText: String {
        switch self {
        case .fixed(let selector): selector.description
        case .dynamic(let ipProtocol, let startPort, let endPort):
            // The brackets of a selector for every address, with `dynamic` in the address's place.
            "dynamic"
                + TrafficSelector(
                    ipProtocol: ipProtocol, startPort: startPort, endPort: endPort, start: IPAddress(v4: 0), end: IPAddress(v4: .max)
                ).description.drop { $0 != "[" }
        }
    }
}

extension Instant {
    fileprivate func secondsSince(_ earlier: Instant) -> UInt64 { UInt64(clamping: since(earlier).wholeSeconds) }
    /// Negative when it has passed.
    fileprivate func secondsUntil(_ later: Instant) -> Int64 {
        later >= self ? later.since(self).wholeSeconds : -since(later).wholeSeconds
    }
}
