// What is kept of pairs that are gone, and for how long.
import IKECore
import PluginABI
import Testing

@testable import Gateway

@Suite struct TunnelHistoryTests {
    private func counters(_ bytes: UInt64, _ packets: UInt64) -> martlet_sa_counters {
        var counters = martlet_sa_counters()
        counters.bytes = bytes
        counters.packets = packets
        return counters
    }

    private func pair(_ id: UInt64) -> ChildSAID { ChildSAID(rawValue: id) }

    @Test func knowsThePairsThatATunnelHasNow() {
        var history = TunnelHistory()
        let now = Instant(nanoseconds: 5)
        let tunnel = history.added(7, pair(1), now: now)
        _ = history.added(7, pair(2), now: now)
        _ = history.added(7, pair(3), now: now)
        #expect(history.pairs(of: tunnel) == [pair(1), pair(2), pair(3)])
        history.forgotten(tunnel, pair(1))
        #expect(history.pairs(of: tunnel) == [pair(2), pair(3)])
        history.forgotten(tunnel, pair(3))
        #expect(history.pairs(of: tunnel) == [pair(2)])
        #expect(history.pairs(of: tunnel + 1).isEmpty)
    }

    @Test func keepsWhatGoneSAsHadCountedWhileThePairsFollowEachOther() {
        var history = TunnelHistory()
        let start = Instant(nanoseconds: 5)
        let tunnel = history.added(7, pair(1), now: start)
        #expect(history.added(7, pair(2), now: start + .seconds(60)) == tunnel)
        #expect(history.added(8, pair(3), now: start) != tunnel)
        history.removed(tunnel, counters(100, 2), isInbound: false)
        history.ended(tunnel)
        history.removed(tunnel, counters(50, 1), isInbound: true)
        history.removed(tunnel, nil, isInbound: true)
        #expect(history[tunnel] == TunnelTotals(since: start, inboundBytes: 50, inboundPackets: 1, outboundBytes: 100, outboundPackets: 2))
    }

    @Test func aTunnelThatCameUpAnewBeginsAtNothing() {
        var history = TunnelHistory()
        let first = history.added(7, pair(1), now: Instant(nanoseconds: 5))
        history.removed(first, counters(100, 2), isInbound: false)
        history.ended(first)
        #expect(history[first] == nil)
        let second = history.added(7, pair(2), now: Instant(nanoseconds: 9))
        // The first one's inbound SA goes seconds later.
        history.removed(first, counters(50, 1), isInbound: true)
        #expect(second != first && history[second] == TunnelTotals(since: Instant(nanoseconds: 9)))
        history.ended(first)
        #expect(history[second] != nil)
    }
}
