// What the administrator configured, checked and resolved: connections and their children.
// The keys and defaults are swanctl.conf's. RFC 4301 section 4.4.3 (the Peer Authorization Database).

import IKEWire

/// One entry of `local_addrs` or `remote_addrs`. A host name is looked up by the shell, never here.
package enum AddressPattern: Hashable, Sendable {
    case any
    /// Both ends included; a single address has equal ends.
    case range(IPAddress, IPAddress)
    case name(String)

    package func matches(_ address: IPAddress) -> Bool {
        switch self {
        case .any: true
        case .range(let start, let end): address.family == start.family && address.value >= start.value && address.value <= end.value
        case .name: false
        }
    }

    /// Whether it names one place to send a first message to.
    package var isInitiable: Bool {
        switch self {
        case .any: false
        case .name: true
        case .range(let start, let end): start == end
        }
    }
}

/// What an identity has to be.
package enum IdentityPattern: Hashable, Sendable {
    case any
    case exactly(Identification)
    /// `*.example.org`, `*@example.org`: the type and the text after the asterisk.
    case suffix(Identification.Kind, [UInt8])
    /// A distinguished name of which some values may be anything: `C=CH, O=Example, CN=*`.
    case name(DistinguishedName)

    package func matches(_ identity: Identification) -> Bool {
        switch self {
        case .any: true
        case .exactly(let expected): expected.matches(identity)
        case .name(let pattern): identity.kind == .derDN && (DistinguishedName(der: identity.data).map { pattern.matches($0, wildcards: true) } ?? false)
        case .suffix(let kind, let suffix): identity.kind == kind && identity.data.count > suffix.count && identity.data.suffix(suffix.count).elementsEqual(suffix)
        }
    }
}

extension Identification {
    /// Equal, with letters compared without case in host names and mail addresses' ASCII, and distinguished names by value.
    package func matches(_ other: Identification) -> Bool {
        if kind == .derDN, other.kind == .derDN, data != other.data, let mine = DistinguishedName(der: data), let theirs = DistinguishedName(der: other.data) { return mine.matches(theirs) }
        return self == other || (kind == other.kind && data.count == other.data.count && lowercased == other.lowercased)
    }

    /// The same for all identities that `matches` holds equal.
    package var lowercased: Identification {
        if kind == .derDN, let name = DistinguishedName(der: data) { return Identification(kind: kind, data: name.compared.flatMap { [UInt8(truncatingIfNeeded: $0.count)] + $0 }) }
        // Mostly they are in lower case already, and stay the same bytes in memory.
        guard kind == .fqdn || kind == .rfc822, data.contains(where: { (0x41...0x5a).contains($0) }) else { return self }
        return Identification(kind: kind, data: data.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 })
    }
}

/// `local { }` or `remote { }` of a connection.
package struct AuthenticationPolicy: Hashable, Sendable {
    /// The name of the authentication method: "psk".
    package var method: String
    /// The identity: our own, or the one that the peer must show. Nil on our side: our address.
    package var identity: IdentityPattern
    /// What is asked of certificates, or where ours are.
    package var certificates = CertificatePolicy()
    /// swanctl.conf `eap_id`. Of ours: the identity that we show in EAP, where it is not that of IKE. Of the peer's: what it has to be; `any` has it asked for.
    package var eapIdentity: IdentityPattern?
    /// swanctl.conf `aaa_id`: what the server has to be in a method of EAP that shows it, where that is not the gateway's identity.
    package var serverName: Identification?
    /// swanctl.conf `groups`: the peer's user has to be in one of them, by name or distinguished name. Empty for everybody.
    package var groups: [String] = []
    /// Whether a directory has to know whoever has proven who it is, and has nothing against it, also where the method asks for no password.
    package var looksUpUser = false
    /// Whether none is asked about whoever has proven who it is, where a method of EAP would.
    package var looksUpNobody = false
    /// The directory that is asked; nil for the first.
    package var directory: String?
    /// Methods of EAP by which that directory can verify nobody: of several they are offered last, or, where every user is the directory's, not at all.
    package var unverifiable: [String] = []
    package var offersUnverifiable = false

    package init(method: String = "psk", identity: IdentityPattern = .any) {
        self.method = method
        self.identity = identity
    }
}

/// Whether our certificates go to a peer. swanctl.conf `send_cert`.
package enum SendCertificate: String, Hashable, Sendable { case ifasked, always, never }

/// What happens to an older IKE SA with the same peer identity. swanctl.conf `unique`.
package enum UniquePolicy: String, Hashable, Sendable { case no, never, keep, replace }

/// `start_action`, `close_action` and `dpd_action` of a child: both may be asked for, as `trap|start`.
package struct ChildAction: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Traffic brings the child up.
    package static let trap = ChildAction(rawValue: 1)
    /// Brings the child up at once.
    package static let start = ChildAction(rawValue: 2)
}

/// A packet that found no SA: its ends, each as the selector of that packet alone.
package struct TriggeringPacket: Hashable, Sendable {
    package var source: TrafficSelector
    package var destination: TrafficSelector
    package init(source: TrafficSelector, destination: TrafficSelector) {
        self.source = source
        self.destination = destination
    }
}

/// Times after which keys are renewed and, if that fails, dropped. Zero switches one off.
package struct Lifetime: Hashable, Sendable {
    package var rekeyTime: Duration
    package var lifeTime: Duration
    package var randTime: Duration
    package var rekeyBytes: UInt64 = 0
    package var lifeBytes: UInt64 = 0
    package var randBytes: UInt64 = 0
    package var rekeyPackets: UInt64 = 0
    package var lifePackets: UInt64 = 0
    package var randPackets: UInt64 = 0

    package init(rekeyTime: Duration, lifeTime: Duration, randTime: Duration) {
        self.rekeyTime = rekeyTime
        self.lifeTime = lifeTime
        self.randTime = randTime
    }
}

/// One entry of `local_ts` or `remote_ts`.
package enum SelectorPattern: Hashable, Sendable {
    case fixed(TrafficSelector)
    /// `dynamic`: this end's inner address where it has one, else its outer one, with the protocol and ports given.
    case dynamic(ipProtocol: UInt8, startPort: UInt16, endPort: UInt16)
}

/// What becomes of a child's packets. swanctl.conf `mode`.
package enum ChildMode: String, Hashable, Sendable {
    case tunnel, transport
    /// Past all tunnels, or nowhere: policies without an SA. RFC 4301 section 4.4.1.
    case pass, drop

    /// Whether it is carried by SAs, which are negotiated with a peer.
    package var isNegotiated: Bool { self == .tunnel || self == .transport }
}

/// One child of a connection: what an ESP SA pair may carry.
package typealias ChildPolicy = Shared<ChildSettings>

package struct ChildSettings: Hashable, Sendable {
    package var name: String
    package var mode = ChildMode.tunnel
    package var localTS: [SelectorPattern] = [.dynamic(ipProtocol: 0, startPort: 0, endPort: 65535)]
    package var remoteTS: [SelectorPattern] = [.dynamic(ipProtocol: 0, startPort: 0, endPort: 65535)]
    /// In order of preference; each with ESN transforms, and with key exchange transforms where the rekey has PFS.
    package var proposals: [Proposal]
    package var startAction: ChildAction = []
    package var closeAction: ChildAction = []
    package var dpdAction: ChildAction = []
    package var lifetime = Lifetime(rekeyTime: .seconds(3600), lifeTime: .seconds(3960), randTime: .seconds(360))
    /// Whether traffic brings it up, at whatever time: a trap that was only set when a tunnel ends would let packets out in clear meanwhile.
    package var hasTrap: Bool { mode.isNegotiated && [startAction, closeAction, dpdAction].contains { $0.contains(.trap) } }
    /// Whether the plane holds a policy of it from the start: a trap, or one that passes or drops.
    package var isInstalledAtStart: Bool { mode.isNegotiated ? hasTrap : startAction.contains(.trap) }
    /// Packets; 0 switches the check off.
    package var replayWindow: Int = 64
    package var carriage = Carriage()
    /// The packet that asks for the child, offered before the selectors (RFC 7296 section 2.9). Nil in a configuration.
    package var trigger: TriggeringPacket?
}

extension ChildPolicy {
    package init(name: String, proposals: [Proposal]) { self.init(ChildSettings(name: name, proposals: proposals)) }
}

/// RFC 6023: whether an IKE SA comes up without a child. As the responder `never` takes none, and `force` nothing else; as the initiator `prefer` does
/// so where the peer serves it, and `force` not otherwise.
package enum Childless: String, Hashable, Sendable { case allow, prefer, force, never }

/// RFC 7383: whether long messages go out in fragments; `accept` takes the peer's and sends none.
package enum Fragmentation: String, Hashable, Sendable { case no, accept, yes }

/// One connection: a peer, or a class of peers.
package typealias Connection = Shared<ConnectionSettings>

package struct ConnectionSettings: Hashable, Sendable {
    package var name: String
    package var localAddresses: [AddressPattern] = [.any]
    package var remoteAddresses: [AddressPattern] = [.any]
    package var localPort: UInt16 = 500
    package var remotePort: UInt16 = 500
    /// IKE proposals in order of preference.
    package var proposals: [Proposal]
    /// Claims a NAT, so that ESP always travels in UDP.
    package var encap = false
    package var fragmentation = Fragmentation.yes
    /// RFC 4555: whether the SA may move to other addresses.
    package var mobike = true
    /// Zero: no liveness checks.
    package var dpdDelay: Duration = .zero
    /// `lifeTime` is `rekey_time + over_time`.
    package var lifetime = Lifetime(rekeyTime: .seconds(14400), lifeTime: .seconds(15840), randTime: .seconds(1440))
    /// After this both ends prove who they are anew; zero: never. RFC 4478.
    package var reauthTime: Duration = .zero
    /// How long after that, or after a rekey that failed, the SA may stay.
    package var overTime: Duration = .seconds(1440)
    package var childless = Childless.allow
    /// How often an initiation is tried as a whole; 0 for ever.
    package var keyingTries = 1
    package var unique = UniquePolicy.no
    /// How many sessions a user may have at once, over all connections; 0 for any number.
    package var sessionsPerUser = 0
    package var sendCertificate = SendCertificate.ifasked
    /// Whether the peer is told which authorities we trust.
    package var sendCertificateRequests = true
    package var local = AuthenticationPolicy()
    package var remote = AuthenticationPolicy()
    package var children: [ChildPolicy] = []
    /// Inner addresses that we ask the gateway for; a zero address is any of its family.
    package var vips: [IPAddress] = []
    /// Inner addresses of one family that an IKE SA has.
    package static let vipLimit = 4
    /// The pools that peers are lent addresses from, in order.
    package var pools: [String] = []
    /// The crypto provider that serves this connection, nil for the gateway's choice.
    package var provider: String?
    /// Where all this stands, for explanations.
    package var places = ConfigurationPlaces()
}

extension Connection {
    package init(name: String, proposals: [Proposal]) { self.init(ConnectionSettings(name: name, proposals: proposals)) }

    /// How many addresses or names of the peer's are written out.
    var remotePlaces: Int {
        self.remoteAddresses.count { pattern in
            switch pattern {
            case .any: false
            case .name: true
            case .range(let start, let end): start == end
            }
        }
    }

    package func child(named name: String) -> ChildPolicy? { self.children.first { $0.name == name } }

    /// Whether it says where to send a first message.
    package var hasInitiableAddress: Bool { self.remoteAddresses.contains(where: \.isInitiable) }

    /// Whether there may be an IKE SA of it. One that holds nothing but policies without SAs has no peer, and needs no proof of identity.
    package var isNegotiated: Bool { self.children.isEmpty || self.children.contains { $0.mode.isNegotiated } }
}
