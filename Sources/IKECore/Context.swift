// What the SAs of one endpoint share: the time of the current event, the actions so far, numbers, randomness and limits.

import IKECrypto
import IKEWire

final class Context {
    let shard: UInt8
    let crypto: Crypto
    let limits: Limits
    let pools: any AddressPools
    /// What a CERTREQ calls the authorities that are trusted, where a connection names none of its own.
    var trustedAuthorities: [UInt8] = []
    /// The inner addresses that this host had last, by connection: it asks for them again.
    var previousAddresses: [String: [IPAddress]] = [:]
    /// The time of the event being handled.
    var now = Instant(nanoseconds: 0)
    private(set) var actions: [Action] = []
    /// Inbound ESP SPIs in use.
    private var inboundSPIs: Set<UInt32> = []
    private var jobOwners: [JobID: IKESPI] = [:]
    private var jobs: [IKESPI: Set<JobID>] = [:]
    private var childOwners: [ChildSAID: IKESPI] = [:]
    var messages = ConnectionCounters()
    var counters = EndpointCounters()
    /// Users who have guessed wrong lately, and their sessions: every shard's.
    let users: any UserBooks
    /// Room for the fragments of peers that have proven nothing, and of the others.
    let unprovenFragments: FragmentRoom
    let provenFragments: FragmentRoom
    private var numbers = [UInt64](repeating: 0, count: Kind.allCases.count)

    init(shard: UInt8, crypto: Crypto, limits: Limits, pools: any AddressPools, users: (any UserBooks)? = nil) {
        self.users = users ?? OwnUserBook(limits)
        self.pools = pools
        self.shard = shard
        self.crypto = crypto
        self.limits = limits
        unprovenFragments = FragmentRoom(limits.share(of: limits.unprovenFragmentBytes), assured: limits.assuredFragmentBytes)
        provenFragments = FragmentRoom(limits.share(of: limits.fragmentBytes))
    }

    func emit(_ action: Action) { actions.append(action) }

    func takeActions() -> [Action] {
        let taken = actions
        actions = []
        return taken
    }

    // MARK: Randomness

    func randomBytes(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var span = bytes.mutableSpan
        crypto.preferred.random.fill(&span)
        return bytes
    }

    func randomNumber() -> UInt64 { randomBytes(8).reduce(0) { $0 << 8 | UInt64($1) } }

    /// A duration in `0...limit`.
    func jitter(upTo limit: Duration) -> Duration {
        let bound = limit.wholeNanoseconds
        return bound == 0 ? .zero : .nanoseconds(Int64(clamping: randomNumber() % bound))
    }

    func jitter(upTo limit: UInt64) -> UInt64 { limit == 0 ? 0 : randomNumber() % limit }

    // MARK: Numbers

    /// An SPI that carries the shard in its first byte.
    func newIKESPI() -> IKESPI {
        var spi = IKESPI.none
        //= RFC 7296 §2.6: one that no other SA has. 55 random bits hardly ever meet one that is in use; where they go on doing so, randomness is broken.
        for _ in 0..<64 {
            spi = IKESPI(rawValue: UInt64(shard) << 56 | (randomNumber() >> 8 | 1))
            if !holdsSPI(spi) { return spi }
        }
        return spi
    }

    /// A fresh inbound ESP SPI, above the 255 that RFC 4303 section 2.1 reserves.
    func newInboundSPI() -> UInt32 {
        while true {
            let spi = UInt32(shard) << 24 | (UInt32(truncatingIfNeeded: randomNumber()) & 0x00ff_ffff)
            if spi > 255, inboundSPIs.insert(spi).inserted { return spi }
        }
    }

    /// Whether an SA of ours has the SPI, or will have: the peer may send on it before the data plane takes it.
    func usesInboundSPI(_ spi: UInt32) -> Bool { inboundSPIs.contains(spi) }

    func releaseInboundSPI(_ spi: UInt32) { inboundSPIs.remove(spi) }

    func newIKESAID() -> IKESAID { IKESAID(rawValue: next(.ikeSA)) }

    /// What is numbered, each kind from 1, so that people see small numbers.
    private enum Kind: Int, CaseIterable { case ikeSA, child, job, reqid }

    /// Unique over all shards.
    private func next(_ kind: Kind) -> UInt64 {
        defer { numbers[kind.rawValue] += 1 }
        return numbers[kind.rawValue] &* UInt64(max(limits.shards, 1)) &+ UInt64(shard) &+ 1
    }

    // MARK: Policy instances

    private var instances: Set<PolicyInstance> = []

    /// The same instance for children of the same connection, name and selectors; one of its own for a child with numbers of its own.
    func instance(connection: String, child: String, localTS: [TrafficSelector], remoteTS: [TrafficSelector], isShared: Bool = true) -> PolicyInstance {
        let own = isShared ? nil : newUniqueNumber()
        let new = PolicyInstance(connection: connection, child: child, localTS: localTS, remoteTS: remoteTS, own: own)
        let (isNew, instance) = instances.insert(new)
        if isNew { instance.number = own ?? newUniqueNumber() }
        instance.uses += 1
        return instance
    }

    /// That no other policy instance has, and no IKE SA; and none that the configuration gives.
    func newUniqueNumber() -> UInt32 {
        var number = UInt32(truncatingIfNeeded: next(.reqid))
        let fixed = fixedNumbers ?? FixedNumbers(connections)
        fixedNumbers = fixed
        for _ in 0..<FixedNumbers.attempts {
            guard fixed.meet(number) else { break }
            number = UInt32(truncatingIfNeeded: next(.reqid))
        }
        return number
    }

    func release(_ instance: PolicyInstance) {
        instance.uses -= 1
        if instance.uses == 0 { instances.remove(instance) }
    }

    // MARK: Algorithms

    private var suites: [Choice: IKESuite] = [:]
    private var transforms: Set<[Transform]> = []
    /// What was chosen is the same for many SAs: one copy serves them all. A configuration has few choices; beyond these nothing is shared.
    private static let choices = 256
    private struct Choice: Hashable {
        let provider: String?
        let transforms: [Transform]
    }

    /// The backends for an IKE proposal with one transform of each type; nil when one is missing.
    func suite(_ proposal: Proposal, provider: String?) -> IKESuite? {
        let choice = Choice(provider: provider, transforms: proposal.transforms)
        if let known = suites[choice] { return known }
        guard let suite = crypto.registry(provider).suite(proposal) else { return nil }
        if suites.count < Self.choices { suites[choice] = suite }
        return suite
    }

    func shared(_ chosen: [Transform]) -> [Transform] {
        guard transforms.count < Self.choices else { return chosen }
        return transforms.insert(chosen).memberAfterInsert
    }

    // MARK: Owners

    /// Starts a job whose result belongs to the SA with our SPI `owner`.
    func run(_ job: Job, for owner: IKESPI) -> JobID {
        let id = JobID(rawValue: next(.job))
        jobOwners[id] = owner
        jobs[owner, default: []].insert(id)
        emit(.run(id, job))
        return id
    }

    func takeJobOwner(_ id: JobID) -> IKESPI? {
        guard let owner = jobOwners.removeValue(forKey: id) else { return nil }
        jobs[owner]?.remove(id)
        if jobs[owner]?.isEmpty == true { jobs[owner] = nil }
        return owner
    }

    /// The SA is gone: results that come, or never come, are nobody's.
    func forgetJobs(of owner: IKESPI) { for id in jobs.removeValue(forKey: owner) ?? [] { jobOwners[id] = nil } }

    /// What is handed out, and to whom: for tests that look for leaks.
    var holdings: (jobs: [JobID: IKESPI], inboundSPIs: Set<UInt32>, children: [ChildSAID: IKESPI], reqids: [UInt32: Int]) {
        (jobOwners, inboundSPIs, childOwners, Dictionary(instances.map { ($0.number, $0.uses) }, uniquingKeysWith: +))
    }

    /// How many jobs have an owner, inbound SPIs a child, and children an SA: for tests that look for leaks.
    var held: (jobs: Int, inboundSPIs: Int, children: Int, reqids: Int) { (jobOwners.count, inboundSPIs.count, childOwners.count, instances.count) }

    func newChildID(for owner: IKESPI) -> ChildSAID {
        let id = ChildSAID(rawValue: next(.child))
        childOwners[id] = owner
        return id
    }

    func childOwner(_ id: ChildSAID) -> IKESPI? { childOwners[id] }
    func moveChild(_ id: ChildSAID, to owner: IKESPI) { childOwners[id] = owner }
    func forgetChild(_ id: ChildSAID) { childOwners[id] = nil }

    // MARK: Attempts

    private var attempts: [String: Int] = [:]

    /// Counts a failed initiation of a connection and returns how many there were in a row.
    func countAttempt(_ connection: String) -> Int {
        attempts[connection, default: 0] += 1
        return attempts[connection, default: 0]
    }
    func forgetAttempts(_ connection: String) { attempts[connection] = nil }

    // MARK: New SAs

    /// SAs that a rekey made or changed during this event; the endpoint takes them over after it.
    private(set) var newSAs: [IKESA] = []
    func adopt(_ sa: IKESA) { newSAs.append(sa) }
    func takeNewSAs() -> [IKESA] {
        let taken = newSAs
        newSAs = []
        return taken
    }
    /// Whether an SA of the same connection, or between the same identities, is in this shard beside the one given: established, or about to be.
    var hasOtherSA: (IKESA) -> Bool = { _ in false }
    /// Whether an SA of this shard has the SPI.
    var holdsSPI: (IKESPI) -> Bool = { _ in false }
    /// Connections with an established SA in another shard.
    var establishedElsewhere: Set<String> = []
    /// Addresses of this host that may be used.
    var localAddresses: [IPAddress] = []
    /// The connections as configured now.
    var connections: [Connection] = [] {
        didSet {
            fixedNumbers = nil
            names.take(connections)
        }
    }
    /// Of these connections, once somebody has asked.
    private var fixedNumbers: FixedNumbers?
    /// Where host names in them lead.
    var names = HostNames()

    func connectionChanged(_ name: String, _ connection: Connection?) {
        let place = connections.firstIndex { $0.name == name }
        switch (place, connection) {
        case (let place?, let connection?): connections[place] = connection
        case (let place?, nil): connections.remove(at: place)
        case (nil, let connection?): connections.append(connection)
        case (nil, nil): break
        }
    }

    // MARK: Strangers

    /// A bucket of reports: this many at once, then one each `strangerInterval`.
    private static let strangerBurst: UInt64 = 20
    private static let strangerInterval: UInt64 = 1_000_000_000
    private var strangerReports = strangerBurst
    private var strangerSince = Instant(nanoseconds: 0)
    private var strangersUnreported = 0

    func mayReportUnproven() -> Bool {
        let earned = now.since(strangerSince).wholeNanoseconds / Self.strangerInterval
        if earned > 0 {
            strangerReports = min(strangerReports + min(earned, Self.strangerBurst), Self.strangerBurst)
            strangerSince = now
        }
        guard strangerReports > 0 else {
            strangersUnreported += 1
            return false
        }
        strangerReports -= 1
        if strangersUnreported > 0 {
            note(.notice, "\(strangersUnreported) failures of peers that did not prove who they are were not reported", nil)
            strangersUnreported = 0
        }
        return true
    }

    // MARK: Words

    func note(_ level: NoteLevel, _ text: String, _ sa: IKESA?) {
        emit(.report(.note(level, text, connection: sa?.connection.name, ikeSA: sa?.id)))
    }
}

extension Context {
    /// Reports the failure of a peer that has not proven who it is. Anybody can make these, so only so many are told of.
    func reportUnproven(_ connection: String?, _ sa: IKESA?, _ failure: () -> Failure) {
        guard mayReportUnproven() else { return }
        emit(.report(.failed(failure(), connection: connection, ikeSA: sa?.status)))
    }

    /// `note` about a peer that has not proven who it is.
    func noteUnproven(_ level: NoteLevel, _ sa: IKESA, _ text: () -> String) {
        guard mayReportUnproven() else { return }
        note(level, text(), sa)
    }
}

extension Context {
    /// Copies of a child's keys for a protocol analyser, where the debug option asks for them.
    func exportKeys(_ child: ChildSA, _ sa: IKESA, encryption: Transform, integrity: Transform?, _ inbound: (SecretBox, SecretBox), _ outbound: (SecretBox, SecretBox)) {
        guard limits.exportKeys else { return }
        func copy(_ box: SecretBox) -> SecretBox { SecretBox(box.withSecret { secret in secret.copy() } ?? SecretBytes(count: 0)) }
        emit(
            .exportKeys(
                .esp(source: sa.remote.address, destination: sa.local.address, spi: child.inboundSPI, encryption: encryption, integrity: integrity, key: copy(inbound.0), integrityKey: copy(inbound.1))
            ))
        emit(
            .exportKeys(
                .esp(
                    source: sa.local.address, destination: sa.remote.address, spi: child.outboundSPI, encryption: encryption, integrity: integrity, key: copy(outbound.0),
                    integrityKey: copy(outbound.1))))
    }
}

extension IKESA {
    func exportKeys(_ channel: SecureChannel) {
        guard context.limits.exportKeys else { return }
        context.emit(.exportKeys(channel.export(initiatorSPI: initiatorSPI, responderSPI: responderSPI)))
    }

    /// As `status`, without what only the established part knows.
    var baseStatus: IKESAStatus {
        IKESAStatus(
            id: id, connection: connection.name, state: .connecting, local: local, remote: remote, localIdentity: localIdentity, remoteIdentity: remoteIdentity,
            remoteEAPIdentity: remoteEAPIdentity, account: account, isInitiator: isInitiator, initiatorSPI: initiatorSPI, responderSPI: responderSPI, localBehindNAT: nat.localBehindNAT,
            remoteBehindNAT: nat.remoteBehindNAT,
            transforms: transforms, provider: connection.provider, unique: connection.unique, initialContact: initialContact ? begun : nil, localVirtual: localVirtual,
            remoteVirtual: remoteVirtual, established: nil, rekeyAt: nil, reauthAt: nil, expiresAt: nil, replaces: replaces.map { Established.current($0).id }, children: [], mobike: mobility != nil,
            movedFrom: movedFrom)
    }

    var status: IKESAStatus { established.map { $0.status(of: $0.shownState) } ?? baseStatus }
}

/// An instance of a child's policy: its number, `reqid`, is the same before and after a rekey.
final class PolicyInstance: Hashable {
    fileprivate(set) var number: UInt32 = 0
    fileprivate var uses = 0
    private let connection: String, child: String
    private let localTS: [TrafficSelector], remoteTS: [TrafficSelector]
    /// Where the instance is one child's and its rekeys' alone.
    private let own: UInt32?

    fileprivate init(connection: String, child: String, localTS: [TrafficSelector], remoteTS: [TrafficSelector], own: UInt32?) {
        self.connection = connection
        self.child = child
        self.localTS = localTS
        self.remoteTS = remoteTS
        self.own = own
    }

    /// For another child of the same instance.
    func retained() -> PolicyInstance {
        uses += 1
        return self
    }

    static func == (a: PolicyInstance, b: PolicyInstance) -> Bool {
        a === b || (a.connection == b.connection && a.child == b.child && a.localTS == b.localTS && a.remoteTS == b.remoteTS && a.own == b.own)
    }
    func hash(into hasher: inout Hasher) {
        hasher.combine(connection)
        hasher.combine(child)
        hasher.combine(localTS)
        hasher.combine(remoteTS)
        hasher.combine(own)
    }
}
