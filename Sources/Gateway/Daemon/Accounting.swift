// Accounting of a running gateway: what endpoints and the plane report goes to the ledger, and what it says of it to every observer. On the
// control loop; without an observer nothing is kept.

import IKECore
import IKEWire
import PluginABI

extension RunningGateway {
    /// Sessions whose pairs the plane is asked about at once, or a hundredth of all: what is to be installed waits meanwhile.
    private static let batch = 256
    /// How long the plane has to say what the pairs of a session that is over have carried.
    private static let countingTime = Duration.seconds(5)
    /// How long the start of a session waits for the child that comes with it.
    private static let childTime = Duration.seconds(2)

    /// Before the first shard starts.
    func beginAccounting() throws(SystemError) {
        guard !plugins.observers.isEmpty else { return }
        for table in plugins.observers { observers.append(try Observer(table)) }
        let interval = configuration.gateway.accountingInterval
        ledger = AccountingLedger(life: UInt64(clamping: unixMilliseconds()), interval: interval)
        plane?.removed = { [weak self] child, inbound, outbound, isLast in
            let totals = AccountingTotals(inbound, outbound)
            self?.loop.post { [weak self] in self?.account { [$0.removed(child, totals, isLast: isLast, now: $1, unix: $2)] } }
        }
        armInterim()
    }

    /// One change of the ledger, and what observers are told because of it.
    func account(_ change: (inout AccountingLedger, Instant, Int64) -> [AccountingRecord?]) {
        guard var book = ledger else { return }
        // Not held twice, so that nothing is copied.
        ledger = nil
        let records = change(&book, Instant.now(), unixMilliseconds())
        ledger = book
        for case let record? in records { for observer in observers { observer.tell(record) } }
    }

    /// What a report means for sessions.
    func account(_ report: Report) {
        guard ledger != nil else { return }
        switch report {
        case .ikeSAEstablished(let sa):
            account {
                $0.established(sa, now: $1, unix: $2)
                return []
            }
        case .ikeSARekeyed(let previous, let current): note { $0.rekeyed(previous.id, current) }
        case .ikeSAMoved(let sa, let local, let remote): note { $0.moved(sa.id, local: local, remote: remote) }
        case .childSAUp(let sa, let child): account { book, _, _ in [book.childUp(child.id, of: sa)] }
        case .childSARekeyed(let sa, _, let current): account { book, _, _ in [book.childUp(current.id, of: sa)] }
        case .ikeSAClosed(let sa, let reason): account { $0.closed(sa.id, reason, now: $1, unix: $2) }
        case .initiating, .childSADown, .failed, .note: break
        }
    }

    /// An SA is about to end, for a reason that it does not know itself.
    func willEnd(_ sa: IKESAID, _ cause: AccountingCause, _ reason: String) { note { $0.willEnd(sa, cause, reason) } }

    func willEnd(connection name: String, _ cause: AccountingCause, _ reason: String) { note { $0.willEnd(connection: name, cause, reason) } }

    private func note(_ change: (inout AccountingLedger) -> Void) {
        account { book, _, _ in
            change(&book)
            return []
        }
    }

    // MARK: Interim records

    private func armInterim() {
        let interval = configuration.gateway.accountingInterval
        // What is over is looked after as well.
        let tick = interval > .zero ? max(.milliseconds(200), min(interval / 10, .seconds(2))) : .seconds(2)
        loop.arm(after: tick) { [unowned self] in
            guard !isEnding else { return }
            tellInterim()
            armInterim()
        }
    }

    private func tellInterim() {
        var due: [(session: UInt64, children: [ChildSAID])] = []
        account { book, now, unix in
            func before(_ time: Duration) -> Instant { Instant(nanoseconds: now.nanoseconds - min(now.nanoseconds, UInt64(clamping: time.wholeNanoseconds))) }
            // All have their turn in the interval, however many they are.
            due = book.due(now: now, limit: max(Self.batch, book.count / 100))
            return book.childless(before: before(Self.childTime)) + book.overdue(before: before(Self.countingTime), now: now, unix: unix)
        }
        count(due.flatMap(\.children)) { [weak self] counted in
            for (session, _) in due { self?.account { [$0.counted(session, counted, now: $1, unix: $2)] } }
        }
    }

    /// What the plane counts for each pair, on the control loop.
    private func count(_ children: [ChildSAID], _ completion: @escaping ([ChildSAID: AccountingTotals]) -> Void) {
        guard let plane, !children.isEmpty else { return completion([:]) }
        let answer = Answer(call: completion)
        plane.traffic(of: children) { [weak self] traffic in
            let counted = traffic.mapValues { AccountingTotals($0.inbound, $0.outbound) }
            self?.loop.post { answer.call(counted) }
        }
    }

    /// Called on the control loop alone.
    private struct Answer: @unchecked Sendable { let call: ([ChildSAID: AccountingTotals]) -> Void }

    // MARK: The end

    /// Every session that is left has ended with the daemon.
    func endAccounting(_ completion: @escaping () -> Void) {
        guard let ledger, ledger.count > 0 else { return completion() }
        let rest = ledger.rest
        // The plane may hang: nobody waits for it for ever.
        var isDone = false
        let finish: ([ChildSAID: AccountingTotals]) -> Void = { [weak self] counted in
            guard !isDone else { return }
            isDone = true
            for (session, _) in rest { self?.account { $0.ended(session, counted, now: $1, unix: $2) } }
            completion()
        }
        count(rest.flatMap(\.children), finish)
        loop.arm(after: .seconds(1)) { finish([:]) }
    }

    /// False where an observer hangs in a record.
    func stopObservers() -> Bool { observers.map { $0.stop() }.allSatisfy { $0 } }
}

extension AccountingTotals {
    init(_ inbound: martlet_sa_counters?, _ outbound: martlet_sa_counters?) {
        self.init(bytesIn: inbound?.bytes ?? 0, bytesOut: outbound?.bytes ?? 0, packetsIn: inbound?.packets ?? 0, packetsOut: outbound?.packets ?? 0)
    }
}
