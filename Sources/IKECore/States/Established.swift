// An established IKE SA: its children, one outgoing and one incoming exchange slot, and the clocks that drive it. Its messages are in
// EstablishedMessages.swift, its tasks in EstablishedTasks.swift, its end in EstablishedEnd.swift, the exchanges themselves in Exchanges/.
// RFC 7296 sections 1.3 to 1.5, 2.3, 2.4, 2.8 and 2.25.

import IKECrypto
import IKEWire

final class Established {
    let sa: IKESA
    let channel: SecureChannel
    var window: MessageWindow
    /// Where the peer's last request came from and arrived: the answer goes back the same way. RFC 7296 section 2.11.
    var requestPath: (local: SocketAddress, remote: SocketAddress, marked: Bool)?
    var children: [ChildSA] = []
    var outgoing = Outgoing.idle { didSet { outgoingUntil = outgoing.waitsForUs ? now + context.limits.jobTime : nil } }
    var incoming = Incoming.idle { didSet { incomingUntil = incoming.isIdle ? nil : now + context.limits.jobTime } }
    /// When the job or the data plane that an exchange waits for has taken too long.
    var outgoingUntil: Instant?
    var incomingUntil: Instant?
    /// The request that is being answered has moved the SA: what waits for its answer follows.
    var sendsAgainAfterAnswer = false
    /// What waits for the outgoing slot.
    var queue: [Task] = []
    /// What waits for its time: after TEMPORARY_FAILURE.
    var delayed: [(at: Instant, task: Task)] = []
    /// When the peer said "not now" first, in a row of such answers.
    var postponedSince: Instant?
    var phase = Phase.active
    let since: Instant
    var rekeyAt: Instant?
    var expiresAt: Instant?
    /// When the identities are to be proven anew, and when the SA ends where that has not happened. Both outlive a rekey. RFC 4478.
    var reauthAt: Instant?
    var authEndsAt: Instant?
    /// Who waits for that.
    var reauthRequests: [RequestID] = []
    /// Children of the SA that this one replaces, which were asked for here.
    var inherited: Set<String> = []
    var keepaliveAt: Instant?
    /// When the peer was last heard: an authentic message, or ESP that the data plane told of.
    var lastInbound: Instant
    /// When liveness is asked after next.
    var livenessAt: Instant?
    /// Without MOBIKE: its address is gone, and no other one leads to the peer.
    var waitsForAddress = false
    /// Whether the data plane was asked first.
    var askedDataPlane = false
    /// Looks for an address of ours in the place of one that went, without MOBIKE.
    @Rarely var addressSearch: JobID?
    /// When somebody last made us ask whether the peer is alive.
    var suspectedAt: Instant?
    /// When the peer was last told of ESP that no SA takes.
    var toldOfStrayAt: Instant?
    /// The peer's rekey of this IKE SA while ours was under way. RFC 7296 section 2.8.2.
    var peerSuccessor: PeerSuccessor?
    /// Why this SA ends, once our own rekey of it, which the peer's has overtaken, has keys.
    var overtaken: ClosingReason?
    /// The SA that this one will replace, while a collision of rekeys is not decided.
    weak var predecessor: Established?
    /// The SA that our rekey has put this one in the place of, until the peer has answered the Delete of that.
    weak var renewed: Established?
    /// SPIs that the peer deleted while our exchange that makes them was under way: its Delete overtook its answer, or our job.
    var earlyDeletes: Set<UInt32> = []
    /// The rekey that new Message IDs need was asked for.
    var renumbers = false
    /// What the SA becomes when the current event is done; nil to stay.
    var next: State?

    /// Why an SA ends that its successor need not end for.
    static let lifetimeOver = ClosingReason(.lifetime, "its lifetime is over and it was not rekeyed")

    enum Phase: Equatable {
        case active
        /// Replaced; only the Delete is left to do. Gone by the time given.
        case rekeyed(until: Instant)
        /// The winner of a collision is another; the peer deletes this one.
        case redundant(until: Instant)
        case deleting
    }

    struct PeerSuccessor {
        let sa: IKESA
        let lowestNonce: [UInt8]
    }

    init(_ sa: IKESA, _ channel: SecureChannel, window: MessageWindow) {
        self.sa = sa
        self.channel = channel
        self.window = window
        channel.reassemblyLimit = 65_536
        channel.fragmentRoom = sa.context.provenFragments
        channel.forgetProofKeys()
        since = sa.now
        lastInbound = sa.now
        let lifetime = sa.connection.lifetime
        if lifetime.rekeyTime > .zero {
            let early = min(lifetime.randTime, lifetime.rekeyTime)
            rekeyAt = Instant(nanoseconds: (sa.now + lifetime.rekeyTime).nanoseconds - sa.context.jitter(upTo: early).wholeNanoseconds)
        }
        if lifetime.lifeTime > .zero { expiresAt = sa.now + lifetime.lifeTime }
        if sa.connection.dpdDelay > .zero { livenessAt = sa.now + sa.connection.dpdDelay }
        armKeepalive()
    }

    var context: Context { sa.context }
    var now: Instant { sa.now }

    /// Tells everyone that the SA stands.
    func begin() {
        var status = status(of: .established)
        status.replacingSession = sa.userSession?.replacing
        context.emit(.report(.ikeSAEstablished(status)))
        if !sa.vendorIDs.isEmpty { context.note(.debug, "the peer's Vendor IDs: \(sa.vendorIDs.joined(separator: ", "))", sa) }
    }

    // MARK: Jobs and the data plane

    func jobFinished(_ job: JobID, _ result: JobResult) -> State {
        if let search = sa.mobility?.search, search.job == job {
            if case .pathsFound(let paths) = result { pathsFound(paths, search.purpose) } else { sa.mobility?.search = nil }
            return settled()
        }
        if job == addressSearch {
            addressFound(result)
            return settled()
        }
        switch outgoing {
        case .preparing(job, .createChild(let creation)): childKeyGenerated(creation, result)
        case .preparing(job, .rekeyIKE(let rekey)): ikeKeyGenerated(rekey, result)
        case .agreeing(job, .createChild(let creation), let payloads): childAgreed(creation, payloads, result)
        case .agreeing(job, .rekeyIKE(let rekey), let payloads):
            ikeAgreed(rekey, payloads, result)
            if let overtaken { end(overtaken) }
        default:
            switch incoming {
            case .agreeingChild(job, let answer): childAgreed(answer, result)
            case .agreeingIKE(job, let answer): ikeAgreed(answer, result)
            default: break
            }
        }
        return settled()
    }

    func childSAInstalled(_ id: ChildSAID, failure: String?) -> State {
        if case .installing(id, let exchange, let messageID, let payloads) = incoming {
            childInstalled(id, exchange, messageID, payloads, failure: failure)
        } else if case .installing(id, let creation) = outgoing {
            outgoing = .idle
            childInstalled(id, creation, failure: failure)
        }
        return settled()
    }

    // MARK: What is shown

    func status(of state: IKESAState) -> IKESAStatus {
        var status = sa.baseStatus
        status.state = state
        status.established = since
        status.rekeyAt = rekeyAt
        status.reauthAt = reauthAt
        status.expiresAt = [expiresAt, authEndsAt].compactMap { $0 }.min()
        status.children = children.map(\.status)
        status.tasks = shownTasks
        return status
    }

    var shownState: IKESAState {
        switch phase {
        case .active:
            switch outgoing {
            case .preparing(_, .rekeyIKE), .sent(.rekeyIKE, _, _), .agreeing(_, .rekeyIKE, _): .rekeying
            default: .established
            }
        case .rekeyed, .redundant: .rekeyed
        case .deleting: .deleting
        }
    }
}
