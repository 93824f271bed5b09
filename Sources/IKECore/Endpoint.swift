// One shard's IKE SAs: finds the SA that a datagram, a job or an operator's request is for, and creates SAs.
// RFC 7296 sections 2.6 and 2.21.

import IKECrypto
import IKEWire

/// The crypto that an endpoint may use: by provider name, nil for the gateway's own choice.
package struct Crypto: Sendable {
    package var preferred: Registry
    package var providers: [String: Registry]
    package init(preferred: Registry, providers: [String: Registry] = [:]) {
        self.preferred = preferred
        self.providers = providers
    }
    package func registry(_ provider: String?) -> Registry { provider.flatMap { providers[$0] } ?? preferred }
}

package final class Endpoint {
    let context: Context
    private let limits: Limits
    /// By our SPI.
    private var sas: [IKESPI: IKESA] = [:]
    /// Half-open SAs by what a retransmitted IKE_SA_INIT request has in common with the first.
    private var initiations: [InitiationKey: IKESPI] = [:]
    private var initiationKeys: [IKESPI: InitiationKey] = [:]
    private var deadlines = DeadlineQueue()
    private var cookies: CookieJar?
    private var unprovenReplies = ReplyRate()
    private var shuttingDown = false
    package private(set) var counters = EndpointCounters()
    package var messages: ConnectionCounters { context.messages }

    private struct InitiationKey: Hashable {
        let remote: SocketAddress
        let spi: IKESPI
    }

    /// `shard` is carried in the first byte of every SPI chosen here.
    package init(shard: UInt8, crypto: Crypto, connections: [Connection], limits: Limits, pools: any AddressPools = NoPools()) {
        context = Context(shard: shard, crypto: crypto, limits: limits, pools: pools)
        self.limits = limits
        context.connections = connections
        context.hasOtherSA = { [unowned self] sa in
            sas.values.contains { other in
                guard other !== sa, other.established != nil else { return false }
                return other.connection.name == sa.connection.name
                    || (other.localIdentity == sa.localIdentity && other.remoteIdentity.map { sa.connection.remote.identity.matches($0) } == true
                        && other.remote.address.family == sa.remote.address.family)
            }
        }
    }

    package var ikeSACount: Int { sas.count }
    package private(set) var halfOpenCount = 0

    /// When `Event.deadlineReached` should be sent; nil while nothing waits.
    package var nextDeadline: Instant? { deadlines.next }

    /// For tests that look inside.
    var all: [IKESA] { Array(sas.values) }

    /// The SAs as they are found, and the half-open ones as a repeated first request finds them: for tests that look for leaks.
    var tables: (sas: [IKESPI: IKESA], initiations: Set<IKESPI>, initiationKeys: Set<IKESPI>) { (sas, Set(initiations.values), Set(initiationKeys.keys)) }

    /// Entries in the queue of deadlines, dead ones included: for tests that look for growth.
    var waitingDeadlines: Int { deadlines.count }

    /// Every IKE SA with its children, as they stand.
    package func status() -> [IKESAStatus] {
        sas.values.filter { if case .closed = $0.state { false } else { true } }.map(\.status).sorted { $0.id.rawValue < $1.id.rawValue }
    }

    /// Takes one event; returns what to do, in order.
    package func handle(_ event: Event, now: Instant) -> [Action] {
        context.now = now
        switch event {
        case .datagramReceived(let datagram): received(datagram)
        case .deadlineReached:
            while let spi = deadlines.pop(due: now) {
                guard let sa = sas[spi], sa.scheduled.map({ $0 <= now }) == true else { continue }
                sa.scheduled = nil
                touch(sa) { sa.deadlineReached() }
            }
        case .jobFinished(let job, let result):
            // The SA may have gone meanwhile; then the result is dropped, and wiped.
            if let spi = context.takeJobOwner(job), let sa = sas[spi] { touch(sa) { sa.jobFinished(job, result) } }
        case .childSAInstalled(let id, let failure):
            withChild(id) { established in established.childSAInstalled(id, failure: failure) }
        case .initiate(let connection, let child, let packet, let local, let remote, let request): initiate(connection, child, packet, local, remote, request)
        case .terminate(let selection, let request): terminate(selection, request)
        case .rekey(let selection, let request): rekey(selection, request)
        case .shutDown: shutDown()
        case .childSAExpired(let id, let hard):
            withChild(id) { established in
                established.childSAExpired(id, hard: hard)
                return established.settled()
            }
        case .useReported(let id, let lastInbound):
            withChild(id) { established in
                established.useReported(lastInbound)
                return established.settled()
            }
        case .peerMoved(let id, let remote):
            withChild(id) { established in
                if established.sa.nat.remoteBehindNAT, !established.sa.nat.localBehindNAT { established.moved(to: remote) } else { established.suspected() }
                return established.settled()
            }
        case .unreachable(let remote, let report):
            for sa in sas.values.filter({ $0.remote == remote }) {
                sa.unreachable = report
                change(sa) { $0.hinted() }
            }
        case .localAddressesChanged(let addresses):
            context.localAddresses = addresses
            for sa in Array(sas.values) { change(sa) { $0.localAddressesChanged() } }
        case .forget(let id):
            for sa in sas.values where sa.id == id {
                touch(sa) {
                    let wanted = sa.established?.wantedChildren() ?? []
                    sa.abandon(Failure(.closed, "The peer has begun anew"))
                    // What the peer has not brought up itself.
                    for policy in wanted { sa.begin(policy.startAction, policy, after: .seconds(1)) }
                }
            }
        case .replaced(let id):
            for sa in sas.values where sa.id == id {
                guard let established = sa.established, established.phase == .active else { continue }
                touch(sa) {
                    for policy in established.wantedChildren() { sa.begin(policy.startAction, policy, after: limits.retryDelay) }
                    established.enqueueFirst(.deleteIKE([], reason: "another IKE SA with the peer takes its place"))
                    sa.state = established.settled()
                }
            }
        case .establishedElsewhere(let connection, true): context.establishedElsewhere.insert(connection)
        case .establishedElsewhere(let connection, false): context.establishedElsewhere.remove(connection)
        case .resetCounters(let scope): context.messages.reset(scope)
        case .configurationReplaced(let connections):
            let known = Dictionary(connections.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
            context.connections = connections
            for sa in Array(sas.values) where known[sa.connection.name] != sa.connection { touch(sa) { sa.reconfigure(known[sa.connection.name]) } }
        case .connectionChanged(let name, let connection):
            context.connectionChanged(name, connection)
            for sa in Array(sas.values) where sa.connection.name == name && sa.connection != connection { touch(sa) { sa.reconfigure(connection) } }
        }
        return context.takeActions()
    }

    // MARK: Bookkeeping

    /// Lets `sa` work, and keeps the tables in step with what became of it.
    private func touch(_ sa: IKESA, _ body: () -> Void) {
        let wasHalfOpen = sa.isHalfOpen
        body()
        settle(sa, wasHalfOpen: wasHalfOpen)
        for new in context.takeNewSAs() {
            sas[new.localSPI] = new
            settle(new, wasHalfOpen: false)
        }
    }

    private func settle(_ sa: IKESA, wasHalfOpen: Bool) {
        let isHalfOpen = sa.isHalfOpen
        if wasHalfOpen != isHalfOpen { halfOpenCount += isHalfOpen ? 1 : -1 }
        guard !sa.isDead else {
            //= RFC 7296 §2.1: a late copy of the first request still belongs to its SA, and makes no second one.
            if let key = initiationKeys.removeValue(forKey: sa.localSPI) { initiations[key] = nil }
            sas[sa.localSPI] = nil
            context.forgetJobs(of: sa.localSPI)
            // The dead leave their deadlines behind.
            if deadlines.count > 1024 + 4 * sas.count { deadlines.keep { sas[$1]?.scheduled == $0 } }
            return
        }
        if let deadline = sa.nextDeadline, sa.scheduled.map({ deadline < $0 }) ?? true {
            sa.scheduled = deadline
            deadlines.push(deadline, sa.localSPI)
        }
    }

    private func change(_ sa: IKESA, _ body: (Established) -> Void) {
        guard let established = sa.established else { return }
        touch(sa) {
            body(established)
            sa.state = established.settled()
        }
    }

    private func withChild(_ id: ChildSAID, _ body: (Established) -> State) {
        guard let spi = context.childOwner(id), let sa = sas[spi], let established = sa.established else { return }
        touch(sa) { sa.state = body(established) }
    }

    // MARK: Datagrams

    private func received(_ datagram: Datagram) {
        counters.datagrams += 1
        guard datagram.bytes.count <= limits.messageBytes, let header = try? Header.parse(datagram.bytes.span), Int(header.length) == datagram.bytes.count else {
            return countInvalid()
        }
        let ours = header.isFromInitiator ? header.responderSPI : header.initiatorSPI
        if ours == .none {
            guard !header.isResponse, header.isFromInitiator, header.initiatorSPI != .none else { return countInvalid() }
            guard header.majorVersion <= 2 else { return refuseVersion(header, datagram) }
            guard header.majorVersion == 2, header.exchangeType == .ikeSAInit, header.messageID == 0 else { return countInvalid() }
            return receivedInit(header, datagram)
        }
        let theirs = header.isFromInitiator ? header.initiatorSPI : header.responderSPI
        //= RFC 7296 §2.5: a higher version is refused, whatever SPIs the request has.
        guard header.majorVersion <= 2 || header.isResponse else { return refuseVersion(header, datagram) }
        guard header.majorVersion == 2, let sa = sas[ours] else { return countUnknownSPI() }
        // Until IKE_SA_INIT is answered the responder's SPI is not known to us.
        guard sa.remoteSPI == theirs || sa.remoteSPI == .none else { return countUnknownSPI() }
        touch(sa) { sa.received(header, datagram) }
    }

    private func countInvalid() {
        counters.malformed += 1
        context.messages.count(.invalid, nil)
    }

    private func countUnknownSPI() {
        counters.unknownSPI += 1
        context.messages.count(.invalidSPI, nil)
    }

    /// RFC 7296 section 2.5: the highest version that we speak, in an unprotected answer no longer than the request.
    private func refuseVersion(_ header: Header, _ datagram: Datagram) {
        reply(header, datagram, [.notify(Notify(.invalidMajorVersion))])
    }

    /// An answer to a request for which nothing is kept.
    private func reply(_ header: Header, _ datagram: Datagram, _ payloads: [Payload], isCookie: Bool = false) {
        let answer = Header(initiatorSPI: header.initiatorSPI, responderSPI: .none, exchangeType: header.exchangeType, flags: .response, messageID: header.messageID)
        let bytes = Message(header: answer, payloads: payloads).serialized()
        // The address may be anybody's: never more bytes to it than came from it.
        guard bytes.count <= datagram.bytes.count else { return }
        //= RFC 7296 §2.4: what is done for unprotected messages is limited in rate. Cookies are not: in a flood they are what lets honest peers through.
        guard isCookie || unprovenReplies.take(now: context.now) else { return counters.overLimit += 1 }
        context.emit(.transmit(Datagram(local: datagram.local, remote: datagram.remote, marked: datagram.marked, bytes: bytes)))
    }

    // MARK: IKE_SA_INIT as the responder

    private func receivedInit(_ header: Header, _ datagram: Datagram) {
        let key = InitiationKey(remote: datagram.remote, spi: header.initiatorSPI)
        if let spi = initiations[key], let sa = sas[spi] { return touch(sa) { sa.received(header, datagram) } }
        guard !shuttingDown, halfOpenCount < limits.halfOpen, sas.count < limits.ikeSAs else { return counters.overLimit += 1 }
        guard let message = try? Message.parse(datagram.bytes.span) else { return countInvalid() }
        var proposals: [Proposal] = [], value: KeyExchange?, nonce: [UInt8]?, cookie: [UInt8]?, takesFragments = false
        for payload in message.payloads {
            switch payload {
            //= RFC 7296 §3.3.1: the SPI of a first proposal has no octets.
            case .securityAssociation(let association): proposals = association.proposals.filter { $0.spi.isEmpty }
            case .keyExchange(let exchange): value = exchange
            case .nonce(let bytes): nonce = bytes
            case .notify(let notify) where notify.type == .cookie: cookie = notify.data
            case .notify(let notify) where notify.type == .fragmentationSupported: takesFragments = true
            case .unknown(let type, critical: true, _): return reply(header, datagram, [.notify(Notify(.unsupportedCriticalPayload, data: [type.rawValue]))])
            default: break
            }
        }
        guard let value, let nonce, (16...256).contains(nonce.count), !proposals.isEmpty, message.payloads.misplacedType == nil else {
            return reply(header, datagram, [.notify(Notify(.invalidSyntax))])
        }
        context.messages.count(.initRequestIn, nil)
        if halfOpenCount >= limits.cookieThreshold, !provesAddress(header, datagram, nonce, cookie) { return }

        let candidates = ConnectionSelection.candidates(context.connections, local: datagram.local.address, remote: datagram.remote.address)
        let probe = candidates.first ?? Connection(name: "?", proposals: [])
        let sa = IKESA(
            context: context, connection: probe, isInitiator: false, localSPI: context.newIKESPI(), remoteSPI: header.initiatorSPI, local: datagram.local, remote: datagram.remote,
            marked: datagram.marked)
        guard !candidates.isEmpty else {
            context.reportUnproven(nil, nil) { .noConnection(sa) }
            return reply(header, datagram, [.notify(Notify(.noProposalChosen))])
        }
        for candidate in candidates {
            guard let chosen = Negotiation.choose(configured: candidate.proposals, offered: proposals, protocolID: .ike, keyExchangeSent: value.method),
                let method = chosen.transform(.keyExchange), let suite = context.crypto.registry(candidate.provider).suite(chosen)
            else { continue }
            //= RFC 7296 §1.2: the method that we would take, and nothing is kept.
            guard method.id == value.method else { return reply(header, datagram, [.notify(Notify(.invalidKEPayload, data: [UInt8(method.id >> 8), UInt8(method.id & 0xff)]))]) }
            // Nothing is kept, and nothing computed, for a value that cannot be one.
            guard value.data.count == suite.keyExchange.publicLength else { return reply(header, datagram, [.notify(Notify(.invalidSyntax))]) }
            sa.connection = candidate
            sa.transforms = chosen.transforms
            sa.takesFragments = takesFragments
            let nat = NATDetection.judge(message.payloads, initiatorSPI: header.initiatorSPI, responderSPI: .none, local: datagram.local, remote: datagram.remote)
            sa.nat = nat ?? NATDetection.Verdict()
            sa.peerDetectsNAT = nat != nil
            let job = context.run(.generateAndAgree(suite.keyExchange, peerValue: value.data), for: sa.localSPI)
            sas[sa.localSPI] = sa
            initiations[key] = sa.localSPI
            initiationKeys[sa.localSPI] = key
            touch(sa) {
                sa.state = .answering(Answering(job: job, suite: suite, chosen: chosen, initiatorNonce: nonce, request: datagram.bytes, detectsNAT: nat != nil, deadline: context.now + limits.jobTime))
            }
            return
        }
        context.reportUnproven(candidates.count == 1 ? probe.name : nil, nil) { .noCommonIKEProposal(offered: proposals, connections: candidates, sa) }
        reply(header, datagram, [.notify(Notify(.noProposalChosen))])
    }

    /// RFC 7296 section 2.6: asks for a cookie and keeps nothing, or takes the one that came.
    private func provesAddress(_ header: Header, _ datagram: Datagram, _ nonce: [UInt8], _ cookie: [UInt8]?) -> Bool {
        guard let prf = context.crypto.preferred.prfs.first else { return true }
        var jar = cookies ?? CookieJar(secret: context.randomBytes(32), now: context.now)
        if jar.isStale(context.now) { jar.renew(secret: context.randomBytes(32), now: context.now) }
        cookies = jar
        if let cookie, jar.verify(cookie, prf: prf, nonce: nonce, remote: datagram.remote, initiatorSPI: header.initiatorSPI) { return true }
        counters.cookiesDemanded += 1
        if let fresh = jar.cookie(prf: prf, nonce: nonce, remote: datagram.remote, initiatorSPI: header.initiatorSPI) {
            reply(header, datagram, [.notify(Notify(.cookie, data: fresh))], isCookie: true)
        }
        return false
    }

    // MARK: Operators

    private func answer(_ request: RequestID?, _ result: Result<String, Failure>) { if let request { context.emit(.answer(request, result)) } }

    private func initiate(_ name: String, _ childName: String?, _ packet: TriggeringPacket?, _ local: SocketAddress, _ remote: SocketAddress, _ request: RequestID?) {
        guard !shuttingDown else { return answer(request, .failure(Failure(.closed, "The daemon is ending"))) }
        guard let connection = context.connections.first(where: { $0.name == name }) else { return answer(request, .failure(Failure(.notConfigured, "There is no connection \(name)"))) }
        guard var child = childName.map({ connection.child(named: $0) }) ?? connection.children.first(where: \.mode.isNegotiated) else {
            return answer(request, .failure(Failure(.notConfigured, childName.map { "The connection \(name) has no child \($0)" } ?? "The connection \(name) has no children")))
        }
        guard child.mode.isNegotiated else { return answer(request, .failure(.noTunnel(child))) }
        child.trigger = packet
        let existing = sas.values.filter { sa in
            guard sa.connection.name == name, sa.established?.predecessor?.peerSuccessor == nil else { return false }
            return sa.isConnecting || sa.established.map { $0.phase == .active && !$0.isToBeDeleted } == true
        }.min { $0.id.rawValue < $1.id.rawValue }
        if let existing { return touch(existing) { existing.enqueue(child, request) } }
        guard sas.count < limits.ikeSAs else { return answer(request, .failure(Failure(.limit, "There are \(sas.count) IKE SAs, which is the limit"))) }
        let sa = IKESA(
            context: context, connection: connection, isInitiator: true, localSPI: context.newIKESPI(), remoteSPI: .none, local: local, remote: remote,
            marked: local.port == limits.natPort && local.port != 500)
        sas[sa.localSPI] = sa
        let work = Initiation(child: child, request: request, nonce: context.randomBytes(32), deadline: context.now + limits.jobTime)
        touch(sa) {
            context.emit(.report(.initiating(sa.status)))
            sa.state = GeneratingKey.begin(sa, work)
        }
    }

    /// The children meant, with their SAs; whole SAs where `selection` names those.
    private func selected(_ selection: SASelection) -> (whole: [IKESA], children: [(IKESA, ChildSA)]) {
        // An SA whose rekey collision is not decided is not an operator's business yet.
        let all = sas.values.filter { $0.established?.predecessor?.peerSuccessor == nil }.sorted { $0.id.rawValue < $1.id.rawValue }
        switch selection {
        case .connection(let name): return (all.filter { $0.connection.name == name }, [])
        case .ikeSA(let id): return (all.filter { $0.id == id }, [])
        case .child(let name, let connection):
            return (
                [],
                all.filter { connection == nil || $0.connection.name == connection }.flatMap { sa in (sa.established?.children ?? []).filter { $0.policy.name == name && $0.isCurrent }.map { (sa, $0) }
                }
            )
        case .childSA(let id): return ([], all.flatMap { sa in (sa.established?.children ?? []).filter { $0.id == id && $0.isCurrent }.map { (sa, $0) } })
        }
    }

    private func terminate(_ selection: SASelection, _ request: RequestID?) {
        let (whole, children) = selected(selection)
        let requests = request.map { [$0] } ?? []
        var begun = 0
        for sa in whole {
            if let established = sa.established {
                guard established.phase == .active else { continue }
                begun += 1
                touch(sa) {
                    established.enqueueFirst(.deleteIKE(begun == 1 ? requests : [], reason: "closed by the operator"))
                    sa.state = established.settled()
                }
            } else if sa.isConnecting {
                begun += 1
                touch(sa) { sa.abandon(Failure(.closed, "The initiation was ended by the operator")) }
                if begun == 1 { answer(request, .success("the initiation was ended")) }
            }
        }
        for (sa, child) in children {
            guard let established = sa.established else { continue }
            begun += 1
            touch(sa) {
                established.enqueue(.deleteChild(child.id, begun == 1 ? requests : []))
                sa.state = established.settled()
            }
        }
        if begun == 0 { answer(request, .failure(Failure(.notConfigured, "Nothing of that name is up"))) }
    }

    private func rekey(_ selection: SASelection, _ request: RequestID?) {
        let (whole, children) = selected(selection)
        let requests = request.map { [$0] } ?? []
        var begun = 0
        for sa in whole {
            guard let established = sa.established, established.phase == .active else { continue }
            begun += 1
            touch(sa) {
                established.enqueue(.rekeyIKE(begun == 1 ? requests : []))
                sa.state = established.settled()
            }
        }
        for (sa, child) in children {
            guard let established = sa.established else { continue }
            begun += 1
            touch(sa) {
                established.enqueue(.rekeyChild(child.id, begun == 1 ? requests : []))
                sa.state = established.settled()
            }
        }
        if begun == 0 { answer(request, .failure(Failure(.notConfigured, "Nothing of that name is up"))) }
    }

    private func shutDown() {
        shuttingDown = true
        for sa in Array(sas.values) {
            if let established = sa.established {
                touch(sa) {
                    established.enqueueFirst(.deleteIKE([], reason: "the daemon is ending"))
                    established.hurry()
                    sa.state = established.settled()
                }
            } else {
                touch(sa) { sa.abandon(Failure(.closed, "The daemon is ending")) }
            }
        }
    }
}

/// What became of datagrams that no SA has seen.
package struct EndpointCounters: Hashable, Sendable {
    package var datagrams: UInt64 = 0
    package var malformed: UInt64 = 0
    package var unknownSPI: UInt64 = 0
    package var overLimit: UInt64 = 0
    package var cookiesDemanded: UInt64 = 0
}
