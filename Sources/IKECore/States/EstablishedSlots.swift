// The slots of an established IKE SA: what may wait for an exchange of ours, the one under way, and the one that the peer drives.
// RFC 7296 sections 2.3 and 2.25.

import IKECrypto
import IKEWire

extension Established {
    /// What an outgoing exchange will be.
    indirect enum Task {
        case createChild(ChildPolicy, [RequestID])
        case rekeyChild(ChildSAID, [RequestID])
        case rekeyIKE([RequestID])
        case deleteChild(ChildSAID, [RequestID])
        case deleteIKE([RequestID], reason: ClosingReason)
        case liveness
        case updateAddresses(AddressUpdate.Kind)
        /// Seconds until the peer is to prove itself anew. RFC 4478.
        case authLifetime(UInt32)
        /// Of ESP that has come, and that no SA takes.
        case invalidSPI(UInt32)
    }

    /// The one outgoing exchange. Most of the time there is none: what one holds is apart from the SA.
    indirect enum Outgoing {
        case idle
        /// A job makes our half of a key exchange.
        case preparing(JobID, Exchange)
        case sent(Exchange, Retransmission, messageID: UInt32)
        /// The answer is here; a job computes the shared secret.
        case agreeing(JobID, Exchange, payloads: [Payload])
        /// The data plane installs the child.
        case installing(ChildSAID, ChildCreation?)

        var exchange: Exchange? {
            switch self {
            case .preparing(_, let exchange), .sent(let exchange, _, _), .agreeing(_, let exchange, _): exchange
            case .idle, .installing: nil
            }
        }

        /// A job or the data plane is at work, not the peer.
        var waitsForUs: Bool {
            switch self {
            case .preparing, .agreeing, .installing: true
            case .idle, .sent: false
            }
        }
    }

    enum Exchange {
        case createChild(ChildCreation)
        case rekeyIKE(IKERekey)
        case deleteChild(ChildSAID, [RequestID])
        case deleteIKE([RequestID], reason: ClosingReason)
        /// A liveness check, or a message that needs no more than an answer.
        case informational
        case updateAddresses(AddressUpdate)

        /// It asks whether the peer gets what is sent to its new address.
        var isCheck: Bool { if case .updateAddresses(let update) = self { update.kind.isCheck } else { false } }

        /// It brings about nothing but that the peer hears from us.
        var asksWhereWeAre: Bool {
            switch self {
            case .informational, .updateAddresses: true
            case .createChild, .rekeyIKE, .deleteChild, .deleteIKE: false
            }
        }

        var type: ExchangeType {
            switch self {
            case .createChild, .rekeyIKE: .createChildSA
            case .deleteChild, .deleteIKE, .informational, .updateAddresses: .informational
            }
        }
    }

    /// The one incoming exchange, while its answer waits.
    indirect enum Incoming {
        case idle
        case agreeingChild(JobID, ChildAnswer)
        case agreeingIKE(JobID, IKERekeyAnswer)
        /// The data plane installs the child; then `payloads` are the answer.
        case installing(ChildSAID, ExchangeType, UInt32, payloads: [Payload])

        var isIdle: Bool { if case .idle = self { true } else { false } }
        /// The peer's rekey of the IKE SA is accepted: what waits goes to the new SA.
        var replacesIKESA: Bool { if case .agreeingIKE = self { true } else { false } }
    }

    /// The pair that our rekey of a child has made, while the data plane installs it.
    func beingInstalled(for old: ChildSAID) -> ChildSAID? {
        if case .installing(let id, let creation?) = outgoing, creation.replacing == old { id } else { nil }
    }

    /// The peer may hold a child that we do not know yet.
    var isCreatingChild: Bool {
        switch outgoing {
        case .sent(.createChild, _, _), .agreeing(_, .createChild, _): true
        default: false
        }
    }
}
