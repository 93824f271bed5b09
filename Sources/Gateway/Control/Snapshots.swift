// What the control socket can say about SAs: plain values that the shards fill in and the control loop turns into vici messages.
// Strings and integers alone, no keys and no secrets, so that a snapshot may be copied to any thread.

/// One IKE SA at one moment. Times are whole seconds relative to that moment.
package struct IKESASnapshot: Sendable, Hashable {
    /// The state names that vici clients know.
    package enum State: String, Sendable, Hashable {
        case created = "CREATED"
        case connecting = "CONNECTING"
        case established = "ESTABLISHED"
        case rekeying = "REKEYING"
        case rekeyed = "REKEYED"
        case deleting = "DELETING"
        case destroying = "DESTROYING"
    }

    /// The connection's name in the configuration.
    package var name: String
    /// Unique over the daemon's life, all shards together, counted from 1.
    package var uniqueID: UInt64
    package var state: State
    package var local: EndpointSnapshot
    package var remote: EndpointSnapshot
    package var isInitiator: Bool
    package var initiatorSPI: UInt64
    package var responderSPI: UInt64
    package var isLocalBehindNAT = false
    package var isRemoteBehindNAT = false
    /// Nil until a proposal was chosen.
    package var suite: SuiteSnapshot?
    /// Seconds since the SA was established; nil before.
    package var establishedSeconds: UInt64?
    /// Seconds until the SA is rekeyed; negative when that is overdue.
    /// Until it is authenticated anew.
    package var reauthSeconds: Int64?
    package var rekeySeconds: Int64?
    /// Seconds until the SA ends for good.
    package var lifeSeconds: Int64?
    /// Inner addresses: those lent to us, and those lent to the peer.
    package var localVirtual: [String] = []
    package var remoteVirtual: [String] = []
    /// Exchanges that wait, that we drive, and that the peer drives, e.g. `CHILD_REKEY`.
    package var tasksQueued: [String] = []
    package var tasksActive: [String] = []
    package var tasksPassive: [String] = []
    package var children: [ChildSASnapshot] = []
    /// Martlet's additions: the crypto provider that serves the SA, and the shard that owns it.
    package var provider: String?
    package var shard: Int?
    /// Whether both ends speak MOBIKE, and the two addresses before the last move, ours first.
    package var usesMOBIKE = false
    package var movedFrom: [String] = []
    /// Who the peer is by EAP, where that is not its identity of IKE.
    package var remoteEAPID: String?
    /// The user as the directory writes the name.
    package var account: String?

    package init(
        name: String, uniqueID: UInt64, state: State, local: EndpointSnapshot, remote: EndpointSnapshot, isInitiator: Bool,
        initiatorSPI: UInt64, responderSPI: UInt64
    ) {
        self.name = name
        self.uniqueID = uniqueID
        self.state = state
        self.local = local
        self.remote = remote
        self.isInitiator = isInitiator
        self.initiatorSPI = initiatorSPI
        self.responderSPI = responderSPI
    }
}

/// One end of an IKE SA: the address as text without port or brackets, the UDP port, the identity as text.
package struct EndpointSnapshot: Sendable, Hashable {
    package var host: String
    package var port: UInt16
    /// Empty while it is not known (`%any` goes to the client).
    package var id: String
    package init(host: String, port: UInt16, id: String) {
        self.host = host
        self.port = port
        self.id = id
    }
}

/// The chosen algorithms, under the names of IKEWire's `Transform.name` (`AES_GCM_16`, `PRF_HMAC_SHA2_256`, `CURVE_25519`).
package struct SuiteSnapshot: Sendable, Hashable {
    package var encryption: String?
    /// Bits; nil where the algorithm has one size.
    package var encryptionBits: UInt16?
    /// Nil with an AEAD.
    package var integrity: String?
    package var integrityBits: UInt16?
    package var prf: String?
    package var keyExchange: String?
    package var hasExtendedSequenceNumbers = false
    package init() {}
}

/// One Child SA: the pair of ESP SAs that carries traffic.
package struct ChildSASnapshot: Sendable, Hashable {
    package enum State: String, Sendable, Hashable {
        case created = "CREATED"
        case installing = "INSTALLING"
        case installed = "INSTALLED"
        case rekeying = "REKEYING"
        case rekeyed = "REKEYED"
        case deleting = "DELETING"
        case deleted = "DELETED"
    }

    /// The child's name in the configuration.
    package var name: String
    /// Unique over the daemon's life.
    package var uniqueID: UInt64
    /// The policy's number; it survives rekeys.
    package var requestID: UInt64
    package var state: State
    /// `TUNNEL` or `TRANSPORT`.
    package var mode = "TUNNEL"
    package var protocolName = "ESP"
    package var isUDPEncapsulated = false
    package var inboundSPI: UInt32
    package var outboundSPI: UInt32
    package var suite = SuiteSnapshot()
    package var inbound = TrafficSnapshot()
    package var outbound = TrafficSnapshot()
    package var rekeySeconds: Int64?
    package var lifeSeconds: Int64?
    package var installedSeconds: UInt64 = 0
    /// As `TrafficSelector.description` writes them.
    package var localSelectors: [String] = []
    package var remoteSelectors: [String] = []
    package struct Mark: Sendable, Hashable {
        package let value: UInt32, mask: UInt32
    }
    /// Of packets that meet its policies.
    package var markIn: Mark?, markOut: Mark?
    /// Of XFRM interfaces.
    package var interfaceIn: UInt32?, interfaceOut: UInt32?
    /// Martlet's additions: inbound packets refused on this SA, by reason.
    package var replayed: UInt64 = 0
    package var failedIntegrity: UInt64 = 0
    package var outsideSelectors: UInt64 = 0
    package var malformed: UInt64 = 0
    /// Martlet's addition: the crypto provider that serves the SA.
    package var provider: String?
    /// Martlet's addition: the tunnel over all renewals of its keys; nil where the plane does not know.
    package var tunnel: TunnelSnapshot?

    package init(name: String, uniqueID: UInt64, requestID: UInt64, state: State, inboundSPI: UInt32, outboundSPI: UInt32) {
        self.name = name
        self.uniqueID = uniqueID
        self.requestID = requestID
        self.state = state
        self.inboundSPI = inboundSPI
        self.outboundSPI = outboundSPI
    }
}

/// What a tunnel has carried since it came up, all its pairs of ESP SAs together.
package struct TunnelSnapshot: Sendable, Hashable {
    package var seconds: UInt64
    package var inbound: TrafficSnapshot
    package var outbound: TrafficSnapshot
    package init(seconds: UInt64, inbound: TrafficSnapshot, outbound: TrafficSnapshot) {
        self.seconds = seconds
        self.inbound = inbound
        self.outbound = outbound
    }
}

/// What went through one direction of a Child SA.
package struct TrafficSnapshot: Sendable, Hashable {
    package var bytes: UInt64
    package var packets: UInt64
    /// Seconds since the last packet; nil when there was none.
    package var idleSeconds: UInt64?
    package init(bytes: UInt64 = 0, packets: UInt64 = 0, idleSeconds: UInt64? = nil) {
        self.bytes = bytes
        self.packets = packets
        self.idleSeconds = idleSeconds
    }
}
