// What must hold of one endpoint after every single event, whatever the peer, the network and the host did: nothing leaks, nothing that
// is waited for is lost, the data plane holds what the core believes, and nothing goes on the wire that must not.

import IKECrypto
import IKEWire
import TestSupport

@testable import IKECore

/// The tables of an endpoint against its SAs.
enum Audit {
    static func findings(_ node: Node, asked: Set<RequestID>) -> [String] {
        var found: [String] = []
        func require(_ holds: Bool, _ text: @autoclosure () -> String) { if !holds { found.append("\(node.name): \(text())") } }
        let endpoint = node.endpoint
        let context = endpoint.context
        let holdings = context.holdings, tables = endpoint.tables
        require(context.newSAs.isEmpty, "new SAs were not taken over")

        var jobs: Set<JobID> = [], inboundSPIs: [UInt32] = [], children: [ChildSAID: IKESPI] = [:], reqids: [UInt32: Int] = [:], requests: [RequestID] = []
        var halfOpen = 0, leases: [Lease] = [], addresses: [IPAddress: Int] = [:], earliest: Instant?
        for (spi, sa) in tables.sas {
            require(spi == sa.localSPI, "an SA is found by another SPI than its own")
            require(!sa.isDead, "a dead SA is still found")
            if sa.isHalfOpen { halfOpen += 1 }
            if let deadline = sa.nextDeadline {
                require(sa.scheduled.map { $0 <= deadline } == true, "an SA is to be woken at \(sa.scheduled?.nanoseconds ?? 0), and wants it at \(deadline.nanoseconds)")
                earliest = min(earliest ?? deadline, deadline)
            } else {
                require(false, "an SA in \(name(sa.state)) waits for nothing")
            }
            if let offered = sa.offeredSPI { inboundSPIs.append(offered) }
            leases += sa.leases
            for address in sa.ownAddresses { addresses[address, default: 0] += 1 }
            let needs = needs(of: sa)
            jobs.formUnion(needs.jobs)
            for job in needs.jobs { require(holdings.jobs[job] == spi, "the job \(job.rawValue) that \(name(sa.state)) waits for is not its own") }
            inboundSPIs += needs.inboundSPIs
            requests += needs.requests
            for child in sa.established?.children ?? [] {
                children[child.id] = spi
                reqids[child.reqid, default: 0] += 1
                inboundSPIs.append(child.inboundSPI)
                require(child.removeAt == nil || !child.isCurrent, "a child that is gone counts as current")
                require(child.policy.mode.isNegotiated, "\(child.policy.name), a \(child.policy.mode.rawValue) policy, has SAs")
            }
        }
        require(halfOpen == endpoint.halfOpenCount, "\(halfOpen) half-open SAs, counted as \(endpoint.halfOpenCount)")
        require(earliest == nil || endpoint.nextDeadline.map { $0 <= earliest! } == true, "the endpoint wakes too late for its SAs")
        require(tables.initiations == tables.initiationKeys && tables.initiations.isSubset(of: Set(tables.sas.keys)), "first requests are remembered for SAs that are gone")
        for (job, owner) in holdings.jobs { require(tables.sas[owner] != nil, "the job \(job.rawValue) belongs to an SA that is gone") }
        require(Set(inboundSPIs).count == inboundSPIs.count, "an inbound SPI serves twice")
        require(Set(inboundSPIs) == holdings.inboundSPIs, "inbound SPIs held \(holdings.inboundSPIs.map(\.hex).sorted()), used \(inboundSPIs.map(\.hex).sorted())")
        require(children == holdings.children, "children held \(holdings.children.keys.map(\.rawValue).sorted()), there \(children.keys.map(\.rawValue).sorted())")
        require(reqids == holdings.reqids, "reqids held \(holdings.reqids), used \(reqids)")
        require(Set(children.keys) == Set(node.plane.pairs.keys), "the core has children \(children.keys.map(\.rawValue).sorted()), the data plane \(node.plane.pairs.keys.map(\.rawValue).sorted())")
        require(addresses == node.addresses.filter { $0.value != 0 }, "inner addresses set up \(node.addresses), held \(addresses)")
        if let pools = node.pools as? SimulatedPools { require(pools.lent.isSubset(of: Set(leases)) && Set(leases).count == leases.count, "leases held \(leases), lent \(pools.lent)") }
        // Nobody guesses wrong here: what the book holds are tries under way, by user and by address, and sessions.
        let trying = tables.sas.values.count { if case .authenticatingPeer = $0.state { true } else { false } }
        let (tries, sessions) = context.users.change { ($0.guesses.held, $0.sessions.held) }
        require(tries <= 2 * trying, "\(tries) records of tries to log in, and \(trying) under way")
        require(sessions <= tables.sas.count, "\(sessions) users have sessions on \(tables.sas.count) IKE SAs")
        let kept = context.users.change { $0.kept.held }
        require(kept <= tables.sas.count, "\(kept) places are kept for \(tables.sas.count) IKE SAs")
        found += node.plane.complaints.map { "\(node.name): \($0)" }

        // Who asked is answered once, or somebody still has the question.
        for (id, answers) in node.answers where answers.count != 1 { require(false, "request \(id.rawValue) was answered \(answers.count) times") }
        let pending = asked.filter { node.answers[$0] == nil }
        let held = requests + node.waitingInitiations
        require(Set(held).count == held.count, "a request is held twice")
        require(Set(held) == pending, "requests that wait \(pending.map { $0.rawValue }.sorted()), held \(held.map { $0.rawValue }.sorted())")
        return found
    }

    /// Every policy instance with a child in use has one that carries its packets.
    static func unserved(_ node: Node) -> [String] {
        let carried = Set(node.plane.carrying.map(\.parameters.reqid))
        return node.endpoint.tables.sas.values.flatMap { sa in
            (sa.established?.children ?? []).filter { $0.isCurrent && !carried.contains($0.reqid) && sa.established?.phase == .active }.map { child in
                "\(node.name): no SA carries the packets of \(child.policy.name), while \(child.inboundSPI.hex)/\(child.outboundSPI.hex) is \(child.state)"
            }
        }
    }

    struct Needs {
        var jobs: [JobID] = []
        /// Beside those of children.
        var inboundSPIs: [UInt32] = []
        var requests: [RequestID] = []
    }

    static func needs(of sa: IKESA) -> Needs {
        var needs = Needs()
        func add(_ work: Initiation) { needs.requests += work.requests + work.wanted.flatMap(\.requests) }
        switch sa.state {
        case .generatingKey(let state):
            needs.jobs.append(state.job)
            add(state.work)
        case .initSent(let state): add(state.work)
        case .agreeing(let state):
            needs.jobs.append(state.job)
            add(state.work)
        case .signing(let state):
            needs.jobs.append(state.job)
            add(state.work)
        case .authSent(let state): add(state.work)
        case .verifyingResponder(let state):
            needs.jobs.append(state.job)
            add(state.work)
        case .answeringEAP(let state):
            if let job = state.job { needs.jobs.append(job) }
            add(state.work)
        case .authenticatingPeer(let state): if let job = state.job { needs.jobs.append(job) }
        case .answering(let state): needs.jobs.append(state.job)
        case .verifyingInitiator(let state): needs.jobs.append(state.job)
        case .signingAnswer(let state): needs.jobs.append(state.job)
        case .established(let state): addTasks(of: state, to: &needs)
        case .awaitingAuth, .closed, .dead: break
        }
        return needs
    }

    private static func addTasks(of established: Established, to needs: inout Needs) {
        func add(_ exchange: Established.Exchange) {
            switch exchange {
            case .createChild(let creation):
                needs.inboundSPIs.append(creation.offer.inboundSPI)
                needs.requests += creation.requests
            case .rekeyIKE(let rekey): needs.requests += rekey.requests
            case .deleteChild(_, let requests), .deleteIKE(let requests, _): needs.requests += requests
            case .informational, .updateAddresses: break
            }
        }
        needs.requests += established.reauthRequests
        switch established.outgoing {
        case .idle: break
        case .preparing(let job, let exchange), .agreeing(let job, let exchange, _):
            needs.jobs.append(job)
            add(exchange)
        case .sent(let exchange, _, _): add(exchange)
        case .installing(_, let creation): needs.requests += creation?.requests ?? []
        }
        switch established.incoming {
        case .idle, .installing: break
        case .agreeingChild(let job, let answer):
            needs.jobs.append(job)
            needs.inboundSPIs.append(answer.offer.inboundSPI)
        case .agreeingIKE(let job, _): needs.jobs.append(job)
        }
        for task in established.queue + established.delayed.map(\.task) {
            switch task {
            case .createChild(_, let requests), .rekeyChild(_, let requests), .rekeyIKE(let requests), .deleteChild(_, let requests), .deleteIKE(let requests, _): needs.requests += requests
            case .liveness, .updateAddresses, .authLifetime, .invalidSPI: break
            }
        }
    }

    static func name(_ state: State) -> String {
        switch state {
        case .dead: "dead"
        case .generatingKey: "generatingKey"
        case .initSent: "initSent"
        case .agreeing: "agreeing"
        case .signing: "signing"
        case .authSent: "authSent"
        case .verifyingResponder: "verifyingResponder"
        case .answering: "answering"
        case .awaitingAuth: "awaitingAuth"
        case .verifyingInitiator: "verifyingInitiator"
        case .signingAnswer: "signingAnswer"
        case .authenticatingPeer: "authenticatingPeer"
        case .answeringEAP: "answeringEAP"
        case .established: "established"
        case .closed: "closed"
        }
    }
}
