// One shard's IKE SAs: finds the SA that an event is for. Requests for new ones: InitRequests.swift; operators': OperatorRequests.swift.
// RFC 7296 sections 2.5 and 2.21.

import IKECrypto
import IKEWire

/// The crypto that an endpoint may use: by provider name, nil for the gateway's own choice.
package struct Crypto: Sendable {
    package var preferred: Registry
    package var providers: [String: Registry]
    /// The hashes (IANA "IKEv2 Hash Algorithms") that the loaded methods of authentication can use in signatures, the preferred ones first. RFC 7427.
    package var signatureHashes: [UInt16] = []
    /// The methods of EAP that are loaded, the preferred ones first.
    package var eapMethods: [EAPMethod] = []
    package init(preferred: Registry, providers: [String: Registry] = [:]) {
        self.preferred = preferred
        self.providers = providers
    }
    package func registry(_ provider: String?) -> Registry { provider.flatMap { providers[$0] } ?? preferred }
}

package final class Endpoint {
    let context: Context
    let limits: Limits
    /// By our SPI.
    var sas: [IKESPI: IKESA] = [:]
    /// By the number that people and programs know: one of a hundred thousand is found as fast as one of two.
    var spis: [IKESAID: IKESPI] = [:]
    /// SAs that answer an IKE_SA_INIT, by the digest of what a retransmitted request has in common with the first.
    var initiations: [Int: IKESPI] = [:]
    private var deadlines = DeadlineQueue()
    var cookies: CookieJar?
    var halfOpen: HalfOpen
    var unprovenReplies = ReplyRate()
    /// How often all SAs are looked through for one that a stranger speaks of.
    var searches = ReplyRate(perSecond: 2)
    /// How often strangers are told of ESP that has no SA here.
    var strays = ReplyRate(perSecond: 1)
    /// The same for what ICMP says.
    private var hints = ReplyRate(perSecond: 5)
    var shuttingDown = false
    package internal(set) var counters: EndpointCounters {
        get {
            var counters = context.counters
            counters.fragmentsOverLimit = context.unprovenFragments.refused + context.provenFragments.refused
            return counters
        }
        set { context.counters = newValue }
    }
    package var messages: ConnectionCounters { context.messages }

    /// Of a request and where it came from. The seed is the process's own, so that no peer can make two that are the same.
    //= RFC 7296 §2.1: a request is known by the whole of it: who has seen an initiator's SPI must not keep it out by being first.
    func initiation(_ datagram: Datagram) -> Int {
        var hasher = Hasher()
        hasher.combine(datagram.remote)
        hasher.combine(datagram.bytes)
        return hasher.finalize()
    }

    /// `shard` is carried in the first byte of every SPI chosen here.
    package init(shard: UInt8, crypto: Crypto, connections: [Connection], limits: Limits, pools: any AddressPools = NoPools(), users: (any UserBooks)? = nil) {
        context = Context(shard: shard, crypto: crypto, limits: limits, pools: pools, users: users)
        self.limits = limits
        halfOpen = HalfOpen(limits)
        context.connections = connections
        context.holdsSPI = { [unowned self] spi in sas[spi] != nil }
        context.hasOtherSA = { [unowned self] sa in
            sas.values.contains { other in
                guard other !== sa else { return false }
                // The peer may hold that one already, and would drop it.
                if other.isAuthenticating { return other.connection.mayReachPeer(of: sa.connection) && other.remote.address.family == sa.remote.address.family }
                guard other.established != nil else { return false }
                return other.connection.name == sa.connection.name
                    || (other.localIdentity == sa.localIdentity && other.remoteIdentity.map { sa.connection.remote.identity.matches($0) } == true
                        && other.remote.address.family == sa.remote.address.family)
            }
        }
    }

    /// An SA and the state that it is in hold one another. With the endpoint its SAs go, and their keys are wiped.
    deinit { for sa in sas.values { sa.state = .dead } }

    package var ikeSACount: Int { sas.count }
    package var halfOpenCount: Int { halfOpen.count }
    /// Those that answer retransmissions for a while, and are shown no more.
    private var closedCount = 0
    package var shownCount: Int { sas.count - closedCount }

    /// When `Event.deadlineReached` should be sent; nil while nothing waits.
    package var nextDeadline: Instant? { deadlines.next }

    /// For tests that look inside.
    var all: [IKESA] { Array(sas.values) }

    /// The SAs as they are found, and the half-open ones as a repeated first request finds them: for tests that look for leaks.
    var tables: (sas: [IKESPI: IKESA], initiations: Set<IKESPI>, initiationKeys: Set<IKESPI>) { (sas, Set(initiations.values), Set(sas.values.filter { $0.initiation != nil }.map(\.localSPI))) }

    /// Entries in the queue of deadlines, dead ones included: for tests that look for growth.
    var waitingDeadlines: Int { deadlines.count }

    /// The established part of an IKE SA: for tests.
    func established(_ id: IKESAID) -> Established? { sas.values.first { $0.id == id }?.established }

    /// Every IKE SA with its children, as they stand.
    package func status() -> [IKESAStatus] { sas.values.filter { !$0.isClosed }.map(\.status).sorted { $0.id.rawValue < $1.id.rawValue } }

    /// The numbers of the IKE SAs, in no order: cheap, and enough to ask for the rest in parts.
    package var numbers: [IKESAID] { Array(spis.keys) }

    /// Those of `numbers` that are there, and are of the connection if one is named.
    package func status(of numbers: [IKESAID], connection: String? = nil) -> [IKESAStatus] {
        numbers.compactMap { number in
            guard let sa = spis[number].flatMap({ sas[$0] }), !sa.isClosed, connection == nil || connection == sa.connection.name else { return nil }
            return sa.status
        }
    }

    /// Every IKE SA of a connection.
    package func status(connection: String) -> [IKESAStatus] {
        sas.values.filter { !$0.isClosed && $0.connection.name == connection }.map(\.status).sorted { $0.id.rawValue < $1.id.rawValue }
    }

    /// Takes one event; returns what to do, in order.
    package func handle(_ event: Event, now: Instant) -> [Action] {
        context.now = now
        if context.names.hasUnasked { context.emit(.lookUpNames(context.names.askNew(now: now))) }
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
        case .terminate(let selection, let request): terminate(selection, request, ClosingReason(.operatorRequest, "closed by the operator"))
        case .end(let selection, let reason): terminate(selection, nil, reason)
        case .terminateAtOnce(let selection, let request): terminateAtOnce(selection, request)
        case .rekey(let selection, let request): rekey(selection, request)
        case .reauthenticate(let selection, let request): reauthenticate(selection, request)
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
                established.espCame(from: remote)
                return established.settled()
            }
        case .hint(let hint, let shardsLeft): hinted(hint, shardsLeft: shardsLeft)
        case .unreachable(let remote, let report):
            // Anybody can write such a message, and all SAs are looked through for it.
            guard hints.take(now: now) else { break }
            for sa in inOrder(where: { $0.remote == remote }) {
                sa.unreachable = report
                change(sa) { $0.hinted() }
            }
        case .nameFound(let name, let addresses): context.names.found(name, addresses)
        case .localAddressesChanged(let addresses):
            context.localAddresses = addresses
            for sa in inOrder() { change(sa) { $0.localAddressesChanged() } }
        case .authoritiesChanged(let hashes): context.trustedAuthorities = hashes
        case .forget(let id):
            if let sa = spis[id].flatMap({ sas[$0] }).map(Established.current) {
                touch(sa) {
                    let wanted = sa.established?.wantedChildren() ?? []
                    sa.abandon(Failure(.closed, "The peer has begun anew"))
                    // What the peer has not brought up itself.
                    for policy in wanted { sa.begin(policy.startAction, policy, after: .seconds(1)) }
                }
            }
        case .replaced(let id):
            if let sa = spis[id].flatMap({ sas[$0] }).map(Established.current), let established = sa.established, established.phase == .active {
                touch(sa) {
                    for policy in established.wantedChildren() { sa.begin(policy.startAction, policy, after: limits.retryDelay) }
                    established.enqueueFirst(.deleteIKE([], reason: ClosingReason(.replaced, "another IKE SA with the peer takes its place")))
                    sa.state = established.settled()
                }
            }
        case .establishedElsewhere(let connection, true): context.establishedElsewhere.insert(connection)
        case .establishedElsewhere(let connection, false): context.establishedElsewhere.remove(connection)
        case .resetCounters(let scope): context.messages.reset(scope)
        case .configurationReplaced(let connections):
            let known = Dictionary(connections.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
            context.connections = connections
            context.previousAddresses = context.previousAddresses.filter { known[$0.key] != nil }
            for sa in inOrder(where: { known[$0.connection.name] != $0.connection }) { touch(sa) { sa.reconfigure(known[sa.connection.name]) } }
        case .connectionChanged(let name, let connection):
            context.connectionChanged(name, connection)
            if connection == nil { context.previousAddresses[name] = nil }
            for sa in inOrder(where: { $0.connection.name == name && $0.connection != connection }) { touch(sa) { sa.reconfigure(connection) } }
        }
        return context.takeActions()
    }

    // MARK: Bookkeeping

    /// The SAs in the order in which they were made. Tables have an order of their own in each process, and the same events must do the same.
    func inOrder(where isMeant: (IKESA) -> Bool = { _ in true }) -> [IKESA] { sas.values.filter(isMeant).sorted { $0.id.rawValue < $1.id.rawValue } }

    /// Lets `sa` work, and keeps the tables in step with what became of it.
    func touch(_ sa: IKESA, _ body: () -> Void) {
        body()
        settle(sa)
        for new in context.takeNewSAs() {
            add(new)
            settle(new)
        }
    }

    func add(_ sa: IKESA) {
        sas[sa.localSPI] = sa
        spis[sa.id] = sa.localSPI
    }

    private func settle(_ sa: IKESA) {
        if sa.isHalfOpen {
            if sa.countedAddress == nil {
                sa.countedAddress = sa.remote.address
                halfOpen.add(sa.remote.address, sa.localSPI, now: context.now) { sas[$0]?.placeHolder }
            }
        } else if let address = sa.countedAddress.take() {
            // What was computed for nothing counts for as long as what is still waited for.
            if sa.wasCostly { halfOpen.remove(address, countingFrom: context.now) } else { halfOpen.remove(address) }
        }
        if sa.isAnswering != sa.isCountedAnswering {
            sa.isCountedAnswering.toggle()
            let isQuick = sa.agreesQuickly
            if sa.isCountedAnswering { halfOpen.agreementBegun(isQuick: isQuick) } else { halfOpen.agreementEnded(isQuick: isQuick) }
        }
        let isClosed = sa.isClosed
        if sa.countsAsClosed != isClosed { closedCount += isClosed ? 1 : -1 }
        sa.countsAsClosed = isClosed
        guard !sa.isDead else {
            //= RFC 7296 §2.1: a late copy of the first request still belongs to its SA, and makes no second one.
            if let key = sa.initiation { initiations[key] = nil }
            sas[sa.localSPI] = nil
            spis[sa.id] = nil
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
            if header.isWordOfESP { return heardOfESP(datagram) ? () : countInvalid() }
            guard !header.isResponse, header.isFromInitiator, header.initiatorSPI != .none else { return countInvalid() }
            guard header.majorVersion <= 2 else { return refuseVersion(header, datagram) }
            guard header.majorVersion == 2, header.exchangeType == .ikeSAInit, header.messageID == 0 else { return countInvalid() }
            return receivedInit(header, datagram)
        }
        let theirs = header.isFromInitiator ? header.initiatorSPI : header.responderSPI
        //= RFC 7296 §2.5: a higher version is refused, whatever SPIs the request has.
        guard header.majorVersion <= 2 || header.isResponse else { return refuseVersion(header, datagram) }
        // Until IKE_SA_INIT is answered the responder's SPI is not known to us.
        guard header.majorVersion == 2, let sa = sas[ours], sa.remoteSPI == theirs || sa.remoteSPI == .none else { return unknownSPI(header, datagram) }
        touch(sa) { sa.received(header, datagram) }
    }

    func countInvalid() {
        counters.malformed += 1
        context.messages.count(.invalid, nil)
    }

    /// RFC 7296 section 2.5: the highest version that we speak, in an unprotected answer no longer than the request.
    private func refuseVersion(_ header: Header, _ datagram: Datagram) {
        reply(header, datagram, [.notify(Notify(.invalidMajorVersion))])
    }

    /// An unprotected answer to a request for which nothing is kept.
    func reply(_ header: Header, _ datagram: Datagram, _ payloads: [Payload], isUnlimited: Bool = false) {
        //= RFC 7296 §1.5: a response, with the SPIs, the Message ID and the exchange of the request.
        let answer = Header(
            initiatorSPI: header.initiatorSPI, responderSPI: header.responderSPI, exchangeType: header.exchangeType, flags: header.isFromInitiator ? .response : [.response, .initiator],
            messageID: header.messageID)
        sendUnkept(Message(header: answer, payloads: payloads), to: datagram, isUnlimited: isUnlimited)
    }

    func sendUnkept(_ message: Message, to datagram: Datagram, isUnlimited: Bool = false) {
        let bytes = message.serialized()
        // The address may be anybody's: never more bytes to it than came from it.
        guard bytes.count <= datagram.bytes.count else { return }
        //= RFC 7296 §2.4: what is done for unprotected messages is limited in rate. Cookies are not, nor is what goes to those who bring one: in a flood they
        // are what lets honest peers through.
        guard isUnlimited || unprovenReplies.take(now: context.now) else { return counters.overLimit += 1 }
        context.emit(.transmit(Datagram(local: datagram.local, remote: datagram.remote, marked: datagram.marked, bytes: bytes)))
    }
}
