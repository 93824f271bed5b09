// The sessions of peers: who is connected since when, and what the session has carried, through rekeys of both kinds. Says what an observer
// is to be told, and when. Knows no observer, plane, loop or clock.

import IKECore
import IKEWire

/// What both directions have carried.
package struct AccountingTotals: Hashable, Sendable {
    package var bytesIn: UInt64 = 0, bytesOut: UInt64 = 0, packetsIn: UInt64 = 0, packetsOut: UInt64 = 0
    package init(bytesIn: UInt64 = 0, bytesOut: UInt64 = 0, packetsIn: UInt64 = 0, packetsOut: UInt64 = 0) {
        (self.bytesIn, self.bytesOut, self.packetsIn, self.packetsOut) = (bytesIn, bytesOut, packetsIn, packetsOut)
    }

    static func + (a: Self, b: Self) -> Self {
        Self(bytesIn: a.bytesIn &+ b.bytesIn, bytesOut: a.bytesOut &+ b.bytesOut, packetsIn: a.packetsIn &+ b.packetsIn, packetsOut: a.packetsOut &+ b.packetsOut)
    }

    mutating func add(_ other: Self) { self = self + other }

    /// A counter that is asked for while another answer is on its way must not go back.
    mutating func rise(to other: Self) {
        bytesIn = max(bytesIn, other.bytesIn)
        bytesOut = max(bytesOut, other.bytesOut)
        packetsIn = max(packetsIn, other.packetsIn)
        packetsOut = max(packetsOut, other.packetsOut)
    }
}

/// Why a session has ended; the values of `enum martlet_accounting_cause`.
package enum AccountingCause: UInt32, Hashable, Sendable {
    case peer = 1, noAnswer, operatorRequest, daemon, replaced, lifetime, account, configuration, failed

    init(_ cause: ClosingReason.Cause) {
        self =
            switch cause {
            case .peer: .peer
            case .noAnswer: .noAnswer
            case .operatorRequest: .operatorRequest
            case .shutDown: .daemon
            case .replaced: .replaced
            case .lifetime: .lifetime
            case .failure: .failed
            }
    }
}

/// One thing that observers are told.
package struct AccountingRecord: Hashable, Sendable {
    package enum Event: Hashable, Sendable {
        case start, interim
        case stop(AccountingCause, String)
        case lost(UInt64)
    }
    package var event: Event
    package var unixMilliseconds: Int64
    package var session = ""
    package var connection = ""
    package var user: [UInt8] = []
    package var identity = ""
    package var local: SocketAddress?
    package var remote: SocketAddress?
    package var inner: [IPAddress] = []
    package var isInitiator = false
    package var duration = Duration.zero
    package var totals = AccountingTotals()
    package init(_ event: Event, unixMilliseconds: Int64) { (self.event, self.unixMilliseconds) = (event, unixMilliseconds) }
}

package struct AccountingLedger {
    private struct Session {
        let name: String
        var status: IKESAStatus
        let began: Instant
        var children: Set<ChildSAID> = []
        /// Of the pairs of SAs that are gone.
        var gone = AccountingTotals()
        /// The most that was told.
        var told = AccountingTotals()
        var due: Instant
        var isAsked = false
        /// The record of its start, until it is told: the peer's addresses come with the first child.
        var start: AccountingRecord?
        /// Why it is to end, known before it does.
        var verdict: (cause: AccountingCause, reason: String)?
        /// It has ended, and pairs of it are still being counted.
        var ending: (cause: AccountingCause, reason: String, at: Instant)?
    }
    private var sessions: [UInt64: Session] = [:]
    private var bySA: [IKESAID: UInt64] = [:]
    private var byChild: [ChildSAID: UInt64] = [:]
    /// Whose start is not told yet.
    private var unannounced: Set<UInt64> = []
    private var last: UInt64 = 0
    private let prefix: String
    package var interval: Duration

    /// `life`: tells this life of the daemon from others.
    package init(life: UInt64, interval: Duration) {
        prefix = String(life, radix: 16)
        self.interval = interval
    }

    package var count: Int { sessions.count }

    // MARK: What the endpoints report

    package mutating func established(_ status: IKESAStatus, now: Instant, unix: Int64) {
        last += 1
        var session = Session(name: "\(prefix)-\(last)", status: status, began: now, due: interval > .zero ? now + interval : Instant(nanoseconds: .max))
        session.start = record(.start, session, now, unix)
        sessions[last] = session
        bySA[status.id] = last
        unannounced.insert(last)
    }

    /// Keys are new, the session is not.
    package mutating func rekeyed(_ old: IKESAID, _ new: IKESAStatus) {
        guard let number = bySA.removeValue(forKey: old) else { return }
        bySA[new.id] = number
        sessions[number]?.status = new
    }

    package mutating func moved(_ sa: IKESAID, local: SocketAddress, remote: SocketAddress) {
        guard let number = bySA[sa] else { return }
        sessions[number]?.status.local = local
        sessions[number]?.status.remote = remote
    }

    /// A pair of SAs carries packets of the session's.
    package mutating func childUp(_ child: ChildSAID, of sa: IKESAStatus) -> AccountingRecord? {
        guard let number = bySA[sa.id] else { return nil }
        byChild[child] = number
        sessions[number]?.children.insert(child)
        // Addresses may come with a later child.
        sessions[number]?.status.remoteVirtual = sa.remoteVirtual
        return announce(number)
    }

    /// Sessions that began before `before` and have no child yet.
    package mutating func childless(before: Instant) -> [AccountingRecord] {
        unannounced.sorted().filter { number in sessions[number].map { $0.began <= before } ?? true }.compactMap { announce($0) }
    }

    private mutating func announce(_ number: UInt64) -> AccountingRecord? {
        guard unannounced.remove(number) != nil, var start = sessions[number]?.start else { return nil }
        start.inner = sessions[number]?.status.remoteVirtual ?? []
        sessions[number]?.start = nil
        return start
    }

    /// Whoever ends an SA from here knows more of it than the SA.
    package mutating func willEnd(_ sa: IKESAID, _ cause: AccountingCause, _ reason: String) {
        if let number = bySA[sa] { sessions[number]?.verdict = (cause, reason) }
    }

    package mutating func willEnd(connection name: String, _ cause: AccountingCause, _ reason: String) {
        for (number, session) in sessions where session.status.connection == name { sessions[number]?.verdict = (cause, reason) }
    }

    package mutating func closed(_ sa: IKESAID, _ reason: ClosingReason, now: Instant, unix: Int64) -> [AccountingRecord] {
        guard let number = bySA.removeValue(forKey: sa), let session = sessions[number] else { return [] }
        let start = announce(number)
        // What the peer or silence has ended was not ended by what we were about to do.
        let verdict = reason.cause == .peer || reason.cause == .noAnswer ? nil : session.verdict
        sessions[number]?.ending = (verdict?.cause ?? AccountingCause(reason.cause), verdict?.reason ?? reason.text, now)
        return [start, finish(number, now: now, unix: unix)].compactMap(\.self)
    }

    // MARK: What the plane counts

    /// What a pair, or one SA of it, had carried when it was removed; `isLast` when nothing is left of the pair.
    package mutating func removed(_ child: ChildSAID, _ totals: AccountingTotals, isLast: Bool, now: Instant, unix: Int64) -> AccountingRecord? {
        guard let number = byChild[child], sessions[number] != nil else { return nil }
        sessions[number]?.gone.add(totals)
        guard isLast else { return nil }
        byChild[child] = nil
        sessions[number]?.children.remove(child)
        return finish(number, now: now, unix: unix)
    }

    /// Sessions whose interim record is due, with the pairs to be asked about; at most `limit`.
    package mutating func due(now: Instant, limit: Int) -> [(session: UInt64, children: [ChildSAID])] {
        guard interval > .zero else { return [] }
        let ready = sessions.filter { $0.value.due <= now && !$0.value.isAsked && $0.value.ending == nil }.sorted { $0.value.due < $1.value.due }.prefix(limit)
        return ready.map { number, session in
            sessions[number]?.isAsked = true
            return (number, Array(session.children))
        }
    }

    /// `counted`: what each pair that is still there has carried so far. One that went meanwhile has told itself.
    package mutating func counted(_ number: UInt64, _ counted: [ChildSAID: AccountingTotals], now: Instant, unix: Int64) -> AccountingRecord? {
        guard var session = sessions[number], session.isAsked else { return nil }
        session.isAsked = false
        session.due = now + interval
        session.told.rise(to: counted.reduce(session.gone) { session.children.contains($1.key) ? $0 + $1.value : $0 })
        sessions[number] = session
        return session.ending == nil ? record(.interim, session, now, unix) : nil
    }

    // MARK: The end

    /// Sessions that are over and whose pairs nobody has counted since `before`.
    package mutating func overdue(before: Instant, now: Instant, unix: Int64) -> [AccountingRecord] {
        sessions.filter { $0.value.ending.map { $0.at <= before } ?? false }.keys.sorted().compactMap { number in
            abandonChildren(of: number)
            return finish(number, now: now, unix: unix)
        }
    }

    /// Every session that is left, with its pairs: the daemon ends.
    package var rest: [(session: UInt64, children: [ChildSAID])] { sessions.sorted { $0.key < $1.key }.map { ($0.key, Array($0.value.children)) } }

    package mutating func ended(_ number: UInt64, _ counted: [ChildSAID: AccountingTotals], now: Instant, unix: Int64) -> [AccountingRecord] {
        guard let session = sessions[number] else { return [] }
        let start = announce(number)
        sessions[number]?.gone = counted.reduce(session.gone) { session.children.contains($1.key) ? $0 + $1.value : $0 }
        if session.ending == nil { sessions[number]?.ending = (session.verdict?.cause ?? .daemon, session.verdict?.reason ?? "the daemon is ending", now) }
        bySA[session.status.id] = nil
        abandonChildren(of: number)
        return [start, finish(number, now: now, unix: unix)].compactMap(\.self)
    }

    private mutating func abandonChildren(of number: UInt64) {
        for child in sessions[number]?.children ?? [] { byChild[child] = nil }
        sessions[number]?.children = []
    }

    private mutating func finish(_ number: UInt64, now: Instant, unix: Int64) -> AccountingRecord? {
        guard var session = sessions[number], let ending = session.ending, session.children.isEmpty else { return nil }
        sessions[number] = nil
        session.told.rise(to: session.gone)
        return record(.stop(ending.cause, ending.reason), session, ending.at, unix)
    }

    private func record(_ event: AccountingRecord.Event, _ session: Session, _ now: Instant, _ unix: Int64) -> AccountingRecord {
        var record = AccountingRecord(event, unixMilliseconds: unix)
        let status = session.status
        record.session = session.name
        record.connection = status.connection
        record.user = status.accountName
        record.identity = status.remoteIdentity?.description ?? ""
        (record.local, record.remote) = (status.local, status.remote)
        record.inner = status.remoteVirtual
        record.isInitiator = status.isInitiator
        record.duration = now.since(session.began)
        record.totals = session.told
        return record
    }
}

extension IKESAStatus {
    /// Who the peer is, for whoever counts.
    package var accountName: [UInt8] { user.map(\.eapIdentity) ?? [] }
}
