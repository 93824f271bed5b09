// Narrowing against a model that looks at every address, port and protocol of a small world.
// RFC 7296 section 2.9.

import IKECore
import IKEWire
import Testing
import TestSupport

@Suite struct Narrowing {
    private struct Packet: Hashable { let address: UInt128, port: UInt16, ipProtocol: UInt8 }

    private func packets(_ selectors: [TrafficSelector]) -> Set<Packet> {
        var all: Set<Packet> = []
        for selector in selectors {
            for address in selector.start.value...selector.end.value {
                for port in selector.startPort...min(selector.endPort, 7) {
                    for ipProtocol: UInt8 in [6, 17] where selector.ipProtocol == 0 || selector.ipProtocol == ipProtocol { all.insert(Packet(address: address, port: port, ipProtocol: ipProtocol)) }
                }
            }
        }
        return all
    }

    @Test func bothListsAllowWhatIsLeft() {
        for seed in 1...3000 as ClosedRange<UInt64> {
            let random = NullRandom(seed: seed)
            func number(_ count: UInt64) -> UInt64 { random.next() % count }
            func list() -> [TrafficSelector] {
                (0...number(3)).map { _ in
                    let a = UInt32(number(16)), b = UInt32(number(16)), wide = number(2) == 0
                    let p = UInt16(number(8)), q = UInt16(number(8))
                    return TrafficSelector(
                        ipProtocol: [0, 6, 17][Int(number(3))], startPort: wide ? 0 : min(p, q), endPort: wide ? 65535 : max(p, q), start: IPAddress(v4: min(a, b)), end: IPAddress(v4: max(a, b)))
                }
            }
            let ours = list(), theirs = list()
            let narrowed = TrafficSelectors.narrow(configured: ours, offered: theirs)
            #expect(packets(narrowed) == packets(ours).intersection(packets(theirs)), "seed \(seed)")
            if !narrowed.isEmpty {
                #expect(TrafficSelectors.within(narrowed, ours) && TrafficSelectors.within(narrowed, theirs), "seed \(seed)")
            }
            for (index, one) in narrowed.enumerated() { for (other, two) in narrowed.enumerated() where index != other { #expect(!one.contains(two), "seed \(seed)") } }
        }
    }

    @Test func familiesDoNotMeet() {
        let four = TrafficSelector(start: IPAddress(v4: 0), end: IPAddress(v4: .max))
        let six = TrafficSelector(start: IPAddress(family: .v6, value: 0), end: IPAddress(family: .v6, value: .max))
        #expect(TrafficSelectors.narrow(configured: [four], offered: [six]).isEmpty)
        #expect(TrafficSelectors.narrow(configured: [four, six], offered: [six, four]) == [four, six])
    }

    @Test func opaqueMeetsItselfAndAny() {
        let any = Fixtures.network(1)
        var opaque = any, web = any
        (opaque.startPort, opaque.endPort) = (65535, 0)
        (web.startPort, web.endPort) = (80, 80)
        #expect(opaque.intersection(opaque) == opaque)
        #expect(opaque.intersection(any) == opaque)
        #expect(opaque.intersection(web) == nil)
        #expect(!web.contains(opaque) && !opaque.contains(web))
    }

    @Test func nothingLiesWithinNothing() {
        #expect(!TrafficSelectors.within([], [Fixtures.network(1)]))
        #expect(!TrafficSelectors.within([Fixtures.network(1)], []))
        #expect(!TrafficSelectors.within([Fixtures.network(1), Fixtures.network(2)], [Fixtures.network(1)]))
    }

    @Test func aPeersListHasALimit() {
        let offered = (0..<1000 as Range<UInt32>).map { TrafficSelector(start: IPAddress(v4: $0 * 4), end: IPAddress(v4: $0 * 4 + 1)) }
        #expect(TrafficSelectors.narrow(configured: [TrafficSelector(start: IPAddress(v4: 0), end: IPAddress(v4: .max))], offered: offered).count == TrafficSelectors.limit)
    }
}
