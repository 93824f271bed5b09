// Sessions as observers are told of them: one from the proof of identity to the end, through rekeys, with everything that its pairs carried.

import Gateway
@testable import IKECore
import IKEWire
import Testing

/// A ledger that expectations can change.
private final class Book {
    private var ledger: AccountingLedger
    init(life: UInt64, interval: Duration) { ledger = AccountingLedger(life: life, interval: interval) }
    var count: Int { ledger.count }
    var rest: [(session: UInt64, children: [ChildSAID])] { ledger.rest }
    func established(_ status: IKESAStatus, now: Instant, unix: Int64) { ledger.established(status, now: now, unix: unix) }
    func rekeyed(_ old: IKESAID, _ new: IKESAStatus) { ledger.rekeyed(old, new) }
    @discardableResult func childUp(_ child: ChildSAID, of sa: IKESAStatus) -> AccountingRecord? { ledger.childUp(child, of: sa) }
    func willEnd(_ sa: IKESAID, _ cause: AccountingCause, _ reason: String) { ledger.willEnd(sa, cause, reason) }
    func childless(before: Instant) -> [AccountingRecord] { ledger.childless(before: before) }
    func closed(_ sa: IKESAID, _ reason: ClosingReason, now: Instant, unix: Int64) -> [AccountingRecord] { ledger.closed(sa, reason, now: now, unix: unix) }
    func removed(_ child: ChildSAID, _ totals: AccountingTotals, isLast: Bool, now: Instant, unix: Int64) -> AccountingRecord? {
        ledger.removed(child, totals, isLast: isLast, now: now, unix: unix)
    }
    func due(now: Instant, limit: Int) -> [(session: UInt64, children: [ChildSAID])] { ledger.due(now: now, limit: limit) }
    func counted(_ number: UInt64, _ counted: [ChildSAID: AccountingTotals], now: Instant, unix: Int64) -> AccountingRecord? { ledger.counted(number, counted, now: now, unix: unix) }
    func overdue(before: Instant, now: Instant, unix: Int64) -> [AccountingRecord] { ledger.overdue(before: before, now: now, unix: unix) }
    func ended(_ number: UInt64, _ counted: [ChildSAID: AccountingTotals], now: Instant, unix: Int64) -> [AccountingRecord] { ledger.ended(number, counted, now: now, unix: unix) }
}

@Suite struct AccountingTests {
    private let start = Instant(nanoseconds: 1_000_000_000)
    private let address = SocketAddress(address: IPAddress(v4: 0xc000_0201), port: 4500)

    private func status(_ id: UInt64, user: String? = "alice", connection: String = "rw") -> IKESAStatus {
        var status = IKESAStatus(
            id: IKESAID(rawValue: id), connection: connection, state: .established, local: address, remote: address, localIdentity: nil,
            remoteIdentity: Identification(kind: .fqdn, data: Array("laptop.example".utf8)), isInitiator: false, initiatorSPI: IKESPI(rawValue: 1), responderSPI: IKESPI(rawValue: id),
            localBehindNAT: false, remoteBehindNAT: false, transforms: [], provider: nil, unique: .no, children: [])
        status.remoteEAPIdentity = user.map { Identification(eap: Array($0.utf8)) }
        status.remoteVirtual = [IPAddress(v4: 0x0a03_0001)]
        return status
    }

    private func child(_ id: UInt64) -> ChildSAID { ChildSAID(rawValue: id) }
    private func traffic(_ bytesIn: UInt64, _ bytesOut: UInt64) -> AccountingTotals { AccountingTotals(bytesIn: bytesIn, bytesOut: bytesOut, packetsIn: bytesIn / 10, packetsOut: bytesOut / 10) }

    @Test func aSessionOutlivesItsKeysAndCountsAllOfThem() throws {
        let ledger = Book(life: 0xabc, interval: .seconds(60))
        var bare = status(1)
        bare.remoteVirtual = []
        ledger.established(bare, now: start, unix: 5000)
        // The addresses come with the child.
        let began = try #require(ledger.childUp(child(10), of: status(1)))
        #expect(began.event == .start && began.session == "abc-1" && began.user == Array("alice".utf8) && began.identity.contains("laptop.example"))
        #expect(began.inner.map(\.description) == ["10.3.0.1"] && began.totals == AccountingTotals() && began.unixMilliseconds == 5000)
        // The child's keys are new: what the old pair carried stays.
        #expect(ledger.childUp(child(11), of: status(1)) == nil)
        #expect(ledger.removed(child(10), traffic(0, 200), isLast: false, now: start, unix: 0) == nil)
        #expect(ledger.removed(child(10), traffic(100, 0), isLast: true, now: start, unix: 0) == nil)
        // And those of the IKE SA.
        ledger.rekeyed(IKESAID(rawValue: 1), status(2))
        #expect(ledger.closed(IKESAID(rawValue: 1), ClosingReason(.replaced, "it was rekeyed"), now: start, unix: 0).isEmpty)
        let later = start + .seconds(61)
        let due = ledger.due(now: later, limit: 10)
        #expect(due.map(\.session) == [1] && due.first?.children == [child(11)])
        #expect(ledger.due(now: later, limit: 10).isEmpty, "it is asked twice at once")
        let interim = try #require(ledger.counted(1, [child(11): traffic(30, 40)], now: later, unix: 66_000))
        #expect(interim.event == .interim && interim.session == "abc-1" && interim.totals == traffic(130, 240) && interim.duration == .seconds(61))
        // The end waits for the last pair, and is told as of when it was.
        let ended = later + .seconds(9)
        #expect(ledger.closed(IKESAID(rawValue: 2), ClosingReason(.peer, "the peer closed it"), now: ended, unix: 75_000).isEmpty)
        #expect(ledger.removed(child(11), traffic(0, 50), isLast: false, now: ended, unix: 75_000) == nil)
        let stop = try #require(ledger.removed(child(11), traffic(60, 0), isLast: true, now: ended + .seconds(1), unix: 76_000))
        #expect(stop.event == .stop(.peer, "the peer closed it") && stop.totals == traffic(160, 250) && stop.duration == .seconds(70))
        #expect(ledger.count == 0)
        #expect(ledger.due(now: ended + .seconds(100), limit: 10).isEmpty)
    }

    @Test func whoEndsASessionSaysWhyUnlessThePeerWasFirst() throws {
        for (reason, cause, text) in [
            (ClosingReason(.operatorRequest, "closed by the operator"), AccountingCause.account, "disabled"), (ClosingReason(.peer, "the peer closed it"), .peer, "the peer closed it"),
            (ClosingReason(.noAnswer, "the peer does not answer"), .noAnswer, "the peer does not answer"),
        ] {
            let ledger = Book(life: 1, interval: .zero)
            ledger.established(status(1), now: start, unix: 0)
            ledger.willEnd(IKESAID(rawValue: 1), .account, "disabled")
            // The verdict follows the session through a rekey.
            ledger.rekeyed(IKESAID(rawValue: 1), status(2))
            #expect(ledger.closed(IKESAID(rawValue: 2), reason, now: start, unix: 0).map(\.event) == [.start, .stop(cause, text)])
        }
        for cause in [ClosingReason.Cause.peer, .noAnswer, .operatorRequest, .shutDown, .replaced, .lifetime, .failure] {
            let ledger = Book(life: 1, interval: .zero)
            ledger.established(status(1, user: nil), now: start, unix: 0)
            let stop = try #require(ledger.closed(IKESAID(rawValue: 1), ClosingReason(cause, "x"), now: start, unix: 0).last)
            #expect(stop.user == Array("laptop.example".utf8))
            guard case .stop(let told, "x") = stop.event else { return #expect(Bool(false), "\(stop)") }
            #expect(
                told == ["peer": .peer, "noAnswer": .noAnswer, "operatorRequest": .operatorRequest, "shutDown": .daemon, "replaced": .replaced, "lifetime": .lifetime, "failure": .failed]["\(cause)"])
        }
    }

    @Test func aDaemonThatEndsTellsTheRest() throws {
        let ledger = Book(life: 1, interval: .seconds(60))
        ledger.established(status(1), now: start, unix: 0)
        ledger.established(status(2), now: start, unix: 0)
        ledger.childUp(child(10), of: status(1))
        #expect(ledger.rest.map(\.children) == [[child(10)], []])
        #expect(ledger.ended(1, [child(10): traffic(10, 20)], now: start, unix: 0).last?.totals == traffic(10, 20))
        #expect(ledger.ended(2, [:], now: start, unix: 0).map(\.event) == [.start, .stop(.daemon, "the daemon is ending")])
        #expect(ledger.ended(1, [:], now: start, unix: 0).isEmpty && ledger.count == 0)
        // Nothing comes of what the plane says afterwards.
        #expect(ledger.removed(child(10), traffic(10, 20), isLast: true, now: start, unix: 0) == nil)
    }

    @Test func aPlaneThatNeverCountsHoldsUpNoStop() throws {
        let ledger = Book(life: 1, interval: .seconds(60))
        ledger.established(status(1), now: start, unix: 0)
        ledger.childUp(child(10), of: status(1))
        #expect(ledger.closed(IKESAID(rawValue: 1), ClosingReason(.peer, "x"), now: start, unix: 0).isEmpty)
        #expect(ledger.overdue(before: Instant(nanoseconds: start.nanoseconds - 1), now: start, unix: 0).isEmpty)
        #expect(ledger.overdue(before: start, now: start, unix: 0).map(\.event) == [.stop(.peer, "x")])
        #expect(ledger.count == 0)
    }

    @Test func aSessionWithoutAChildIsToldAsWell() {
        let ledger = Book(life: 1, interval: .zero)
        ledger.established(status(1), now: start, unix: 7)
        #expect(ledger.childless(before: Instant(nanoseconds: start.nanoseconds - 1)).isEmpty)
        #expect(ledger.childless(before: start).map(\.unixMilliseconds) == [7])
        #expect(ledger.childless(before: start).isEmpty && ledger.childUp(child(1), of: status(1)) == nil)
    }

    @Test func countersNeverGoBack() throws {
        let ledger = Book(life: 1, interval: .seconds(60))
        ledger.established(status(1), now: start, unix: 0)
        ledger.childUp(child(10), of: status(1))
        _ = ledger.due(now: start + .seconds(60), limit: 1)
        #expect(ledger.counted(1, [child(10): traffic(500, 0)], now: start + .seconds(60), unix: 0)?.totals == traffic(500, 0))
        _ = ledger.due(now: start + .seconds(120), limit: 1)
        // The plane did not know the pair this time.
        #expect(ledger.counted(1, [:], now: start + .seconds(120), unix: 0)?.totals == traffic(500, 0))
        // Nobody asked.
        #expect(ledger.counted(1, [:], now: start + .seconds(120), unix: 0) == nil)
    }
}
