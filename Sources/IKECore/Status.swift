// SAs as they are shown to people and programs. Plain values, without keys.

import IKEWire

package enum IKESAState: String, Hashable, Sendable {
    case connecting = "CONNECTING"
    case established = "ESTABLISHED"
    case rekeying = "REKEYING"
    case rekeyed = "REKEYED"
    case deleting = "DELETING"
}

/// Something that an IKE SA does with its peer, under the name that vici clients know.
package enum SATask: String, Hashable, Sendable {
    case childCreate = "CHILD_CREATE"
    case childRekey = "CHILD_REKEY"
    case childDelete = "CHILD_DELETE"
    case ikeRekey = "IKE_REKEY"
    case ikeDelete = "IKE_DELETE"
    case liveness = "IKE_DPD"
    case mobike = "IKE_MOBIKE"
    case authLifetime = "IKE_AUTH_LIFETIME"
}

package struct SATasks: Hashable, Sendable {
    /// What waits, what we drive, and what the peer drives.
    package var queued: [SATask] = []
    package var active: [SATask] = []
    package var passive: [SATask] = []
    package init() {}
}

package struct IKESAStatus: Hashable, Sendable {
    package var id: IKESAID
    package var connection: String
    package var state: IKESAState
    package var local: SocketAddress
    package var remote: SocketAddress
    package var localIdentity: Identification?
    package var remoteIdentity: Identification?
    /// Who the peer is by EAP, where that is not its identity of IKE.
    package var remoteEAPIdentity: Identification?
    /// The user's name as the directory writes it.
    package var account: Identification?
    package var isInitiator: Bool
    package var initiatorSPI: IKESPI
    package var responderSPI: IKESPI
    package var localBehindNAT: Bool
    package var remoteBehindNAT: Bool
    /// The transforms chosen; empty before they are.
    package var transforms: [Transform]
    package var provider: String?
    package var unique: UniquePolicy
    /// The peer said that it holds no other SA with us: when its IKE_SA_INIT came. RFC 7296 section 2.4.
    package var initialContact: Instant?
    /// The inner addresses that the gateway gave us, and those that we gave the peer.
    package var localVirtual: [IPAddress] = []
    package var remoteVirtual: [IPAddress] = []
    package var established: Instant?
    package var rekeyAt: Instant?
    package var reauthAt: Instant?
    package var expiresAt: Instant?
    /// The SA that this one takes the place of, where it was made to authenticate anew.
    package var replaces: IKESAID?
    /// Older sessions of the user end because of this one, which has that number: `UserBooks.leaving` knows them.
    package var replacingSession: UInt64?
    package var children: [ChildSAStatus]
    /// Whether both ends speak MOBIKE, and where the SA was before it last moved. RFC 4555.
    package var mobike = false
    package var movedFrom: AddressPair?
    package var tasks = SATasks()

    /// Who the peer is, for whoever counts users: as the directory writes the name, else as the user of EAP, else as the peer of IKE.
    package var user: Identification? { account ?? remoteEAPIdentity ?? remoteIdentity }
}

package enum ChildSAState: String, Hashable, Sendable {
    case installing = "INSTALLING"
    case installed = "INSTALLED"
    case rekeying = "REKEYING"
    case rekeyed = "REKEYED"
    case deleting = "DELETING"
    /// What is on its way to us is still taken.
    case deleted = "DELETED"
}

package struct ChildSAStatus: Hashable, Sendable {
    package var id: ChildSAID
    package var name: String
    package var mode = ChildMode.tunnel
    package var reqid: UInt32
    package var state: ChildSAState
    package var inboundSPI: UInt32
    package var outboundSPI: UInt32
    package var encapsulated: Bool
    /// ENCR, INTEG, ESN and, after a rekey with PFS, the key exchange.
    package var transforms: [Transform]
    package var localTS: [TrafficSelector]
    package var remoteTS: [TrafficSelector]
    package var installed: Instant
    package var rekeyAt: Instant?
    package var expiresAt: Instant?
    package var carriage = Carriage()
}
