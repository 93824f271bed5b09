// The one interpreter of the core's actions. Performs them in order and feeds back what comes of them as events.

import IKECore
import IKECrypto
import IKEWire

/// What the driver hands to the gateway's own thread.
protocol DriverDelegate: AnyObject, Sendable {
    /// On a shard's thread.
    func reported(_ report: Report, shard: Int)
    func answered(_ request: RequestID, _ result: Result<String, Failure>)
    func shouldInitiateAgain(connection: String, child: String?, packet: TriggeringPacket?, after: Duration, request: RequestID?)
    func exported(_ keys: ExportedKeys)
    /// On a shard's thread: the next shard may know more.
    func handedOn(_ hint: Hint, from shard: Int, shardsLeft: Int)
    /// On a shard's thread: it wants to know where these names lead.
    func looksUp(_ names: [String], shard: Int)
}

final class Driver: @unchecked Sendable {
    private let jobs: JobPool
    private let runner: JobRunner
    private let plane: PlaneDriver?
    private let nameServers: NameServerSetup
    private let lines: ReportLines
    private let jobTime: Duration
    /// The gateway, which owns the driver and outlives every shard.
    private unowned let delegate: any DriverDelegate

    init(jobs: JobPool, runner: JobRunner, plane: PlaneDriver?, nameServers: NameServerSetup, log: Log, limits: Limits, delegate: any DriverDelegate) {
        self.jobs = jobs
        self.runner = runner
        self.plane = plane
        self.nameServers = nameServers
        lines = ReportLines(log: log)
        self.delegate = delegate
        jobTime = limits.jobTime
    }

    /// On the shard's thread.
    func perform(_ action: Action, for shard: Shard) {
        switch action {
        case .transmit(let datagram):
            shard.transmit(
                OutgoingDatagram(
                    local: datagram.local, remote: datagram.remote, isShared: datagram.marked,
                    bytes: datagram.marked ? UDPEncapsulation.marked(datagram.bytes) : datagram.bytes))
        case .transmitKeepalive(let local, let remote):
            shard.transmit(OutgoingDatagram(local: local, remote: remote, isShared: true, bytes: UDPEncapsulation.keepalive))
        case .run(let id, let job):
            run(id, job, shard)
        case .installChildSA(let parameters):
            guard let plane else { return shard.post(.childSAInstalled(parameters.id, failure: "no data plane is loaded")) }
            plane.install(parameters, shard: shard.number)
        case .activateChildSA(let id): plane?.activate(id)
        case .removeChildSA(let id, let keepInbound): plane?.remove(id, keepInbound: keepInbound)
        case .moveChildSA(let id, let local, let remote, let encapsulated): plane?.move(id, local: local, remote: remote, encapsulated: encapsulated)
        case .addAddress(let address): plane?.add(address)
        case .removeAddress(let address): plane?.remove(address)
        case .useNameServers(let servers): inOrder { [nameServers] in nameServers.use(servers) }
        case .forgetNameServers(let servers): inOrder { [nameServers] in nameServers.forget(servers) }
        case .queryUse(let id):
            guard let plane else { return shard.post(.useReported(id, lastInbound: nil)) }
            plane.queryUse(id, shard: shard.number)
        case .lookUpNames(let names): delegate.looksUp(names, shard: shard.number)
        case .handOn(let hint, let shardsLeft): delegate.handedOn(hint, from: shard.number, shardsLeft: shardsLeft)
        case .report(let report):
            lines.write(report)
            delegate.reported(report, shard: shard.number)
        case .answer(let request, let result): delegate.answered(request, result)
        case .initiateAgain(let connection, let child, let packet, let delay, let request):
            delegate.shouldInitiateAgain(connection: connection, child: child, packet: packet, after: delay, request: request)
        case .exportKeys(let keys): delegate.exported(keys)
        }
    }

    /// Name servers belong to the interface that has the inner address: after it.
    private func inOrder(_ work: @escaping @Sendable () -> Void) { if let plane { plane.afterAddresses(work) } else { work() } }

    private func run(_ id: JobID, _ job: Job, _ shard: Shard) {
        let deadline = Instant.now() + jobTime
        let runner = runner
        if case .eap(let step) = job { return begin(id, shard, deadline, lane: runner.lane(job, threads: jobs.threadCount)) { runner.begin(step, deadline: deadline, $0) } }
        if case .lookUp(let user, let directory) = job { return runner.lookUp(user, in: directory, deadline: deadline) { [weak shard] result in shard?.post(.jobFinished(id, result)) } }
        if runner.isQuick(job) { return shard.follow(.jobFinished(id, runner.run(job, deadline: deadline))) }
        if case .verify(let request, let authentication) = job {
            return begin(id, shard, deadline, lane: runner.lane(job, threads: jobs.threadCount)) { runner.begin(request, authentication, deadline: deadline, $0) }
        }
        jobs.submit(deadline: deadline, lane: runner.lane(job, threads: jobs.threadCount)) {
            runner.run(job, deadline: deadline)
        } _: { [weak shard] (outcome: JobPool.Outcome<JobResult>) in
            switch outcome {
            case .done(let result): shard?.post(.jobFinished(id, result))
            case .late, .refused: shard?.post(.jobFinished(id, .failed(.deadline)))
            }
        }
    }

    /// A method of EAP, or whoever checks certificates, may wait for somebody: no thread does. What comes twice is dropped by the core.
    private func begin(_ id: JobID, _ shard: Shard, _ deadline: Instant, lane: JobPool.Lane?, _ start: @escaping @Sendable (@escaping @Sendable (JobResult) -> Void) -> Void) {
        jobs.submit(deadline: deadline, lane: lane) { [weak shard] in
            start { [weak shard] result in shard?.post(.jobFinished(id, result)) }
        } _: { [weak shard] (outcome: JobPool.Outcome<Void>) in
            switch outcome {
            case .done: break
            case .late, .refused: shard?.post(.jobFinished(id, .failed(.deadline)))
            }
        }
    }
}
