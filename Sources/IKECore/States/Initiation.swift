// What an initiation is for: the children wanted, who asked for them, and what happens when it fails.

import IKEWire

struct Initiation {
    struct Wanted {
        var policy: ChildPolicy
        var requests: [RequestID]
    }
    /// The first is negotiated in IKE_AUTH, the others follow in exchanges of their own.
    private(set) var wanted: [Wanted]
    /// Who wants the IKE SA itself.
    var requests: [RequestID] = []
    /// The responder takes IKE_AUTH without a child. RFC 6023.
    var peerTakesChildless = false
    /// Our nonce, the same in every retry of IKE_SA_INIT. RFC 7296 section 2.6.
    private(set) var nonce: [UInt8]
    /// A COOKIE has sent us back: the answer that came may have been one to the request before, and AUTH covers the wrong one.
    var wasGivenCookie = false
    /// That has happened: this time nothing sends us back as long as another answer may come.
    private(set) var isWary = false
    /// When the job under way has taken too long.
    var deadline: Instant

    /// Without a child the IKE SA is what is wanted.
    init(child: ChildPolicy?, request: RequestID?, nonce: [UInt8], deadline: Instant) {
        self.nonce = nonce
        self.deadline = deadline
        wanted = []
        if let child { add(child, request) } else if let request { requests.append(request) }
    }

    mutating func add(_ child: ChildPolicy, _ request: RequestID?) {
        if let index = wanted.firstIndex(where: { $0.policy.name == child.name }) {
            if let request { wanted[index].requests.append(request) }
            if wanted[index].policy.trigger == nil { wanted[index].policy.trigger = child.trigger }
        } else {
            wanted.append(Wanted(policy: child, requests: request.map { [$0] } ?? []))
        }
    }

    /// Whether the job has taken too long; if so, the initiation has failed.
    func deadlineReached(_ sa: IKESA) -> Bool {
        guard deadline <= sa.now else { return false }
        fail(
            Failure(.internalError, "A calculation for \(sa.connection.name) took longer than \(sa.context.limits.jobTime)", advice: ["The machine is overloaded, or a plugin hangs."]), sa, retry: true
        )
        return true
    }

    /// The peer does not accept our AUTH. Where that may be because somebody has forged a COOKIE before its own answer came, all begins anew, with more doubt; nil
    /// where there is nothing to make good.
    //= RFC 7296 §2.4: what is not protected must not keep us from connecting.
    func begunAnew(_ sa: IKESA) -> State? {
        guard wasGivenCookie, !isWary else { return nil }
        if let spi = sa.offeredSPI.take() { sa.context.releaseInboundSPI(spi) }
        let new = IKESA(
            context: sa.context, connection: sa.connection, isInitiator: true, localSPI: sa.context.newIKESPI(), remoteSPI: .none, local: sa.local, remote: sa.remote, marked: sa.marked)
        if let old = sa.replaces.take() {
            new.replaces = old
            Established.current(old).replacement = new
        }
        var work = self
        work.nonce = sa.context.randomBytes(nonce.count)
        work.wasGivenCookie = false
        work.isWary = true
        let reason = "the peer has refused our proof after it asked for a cookie, which somebody else may have done: it is tried again without believing that at once"
        sa.context.note(.notice, reason, sa)
        sa.context.emit(.report(.ikeSAClosed(sa.status, reason: ClosingReason(.replaced, reason))))
        sa.context.emit(.report(.initiating(new.status)))
        new.state = GeneratingKey.begin(new, work)
        sa.context.adopt(new)
        return .dead
    }

    /// Ends the initiation, or has it tried again where the configuration says so, and `atLeast` so often; `final` when somebody wants it ended.
    func fail(_ failure: Failure, _ sa: IKESA, retry: Bool, final: Bool = false, atLeast: Int = 0) {
        if let spi = sa.offeredSPI.take() { sa.context.releaseInboundSPI(spi) }
        sa.context.emit(.report(.failed(failure, connection: sa.connection.name, ikeSA: sa.status)))
        if let old = sa.replaces.take(), let standing = Established.current(old).established, standing.phase == .active, !standing.isToBeDeleted {
            // The old SA stands, and tries again. One that has ended meanwhile, or is about to, does not: then this was the way back.
            standing.reauthenticationFailed()
            for request in requests { sa.context.emit(.answer(request, .failure(failure))) }
            for want in wanted {
                if final {
                    for request in want.requests { sa.context.emit(.answer(request, .failure(failure))) }
                } else {
                    // What was to come up on the new SA alone comes up on the old one.
                    standing.createChild(want.policy, requests: want.requests)
                }
            }
            standing.sa.state = standing.settled()
            sa.context.adopt(standing.sa)
            return sa.context.emit(.report(.ikeSAClosed(sa.status, reason: ClosingReason(failure))))
        }
        let tries = sa.connection.keyingTries == 0 ? 0 : max(sa.connection.keyingTries, atLeast)
        let attempt = sa.context.countAttempt(sa.connection.name)
        // With `keyingtries = 0` every failure is tried again; otherwise only silence is.
        let again = !final && (tries == 0 || (retry && attempt < tries))
        for request in requests {
            if again {
                sa.context.emit(.initiateAgain(connection: sa.connection.name, child: nil, packet: nil, after: sa.context.limits.retryDelay, request: request))
            } else {
                sa.context.emit(.answer(request, .failure(failure)))
            }
        }
        for want in wanted {
            if again {
                let requests = want.requests.isEmpty ? [nil] : want.requests.map(Optional.some)
                for request in requests {
                    sa.context.emit(
                        .initiateAgain(connection: sa.connection.name, child: want.policy.name, packet: want.policy.trigger, after: sa.context.limits.retryDelay, request: request))
                }
            } else {
                for request in want.requests { sa.context.emit(.answer(request, .failure(failure))) }
            }
        }
        if !again { sa.context.forgetAttempts(sa.connection.name) }
        sa.context.emit(.report(.ikeSAClosed(sa.status, reason: ClosingReason(failure))))
    }
}
