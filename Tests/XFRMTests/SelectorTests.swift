// Selectors of the kernel from traffic selectors, and which of them wins.

import CXFRM
import ESPCore
import IKEWire
import Testing

@testable import XFRMMessages

func selector(_ from: String, _ to: String? = nil, _ ipProtocol: UInt8 = 0, _ ports: ClosedRange<UInt16> = 0...65535) throws -> TrafficSelector {
    let start = try #require(IPAddress(from)), end = try #require(IPAddress(to ?? from))
    return TrafficSelector(ipProtocol: ipProtocol, startPort: ports.lowerBound, endPort: ports.upperBound, start: start, end: end)
}

struct SelectorTests {
    @Test func portRangesBecomeBlocksUnderMasks() {
        #expect(PortBlock.covering(0...65535) == [.any])
        #expect(PortBlock.covering(80...80) == [PortBlock(port: 80, mask: 0xffff)])
        #expect(PortBlock.covering(1000...1007) == [PortBlock(port: 1000, mask: 0xfff8)])
        for (first, last) in [(0, 1), (1, 65535), (1024, 65535), (5000, 5010), (65535, 65535), (0, 65534)] as [(UInt16, UInt16)] {
            let blocks = PortBlock.covering(first...last)
            for port in UInt16.min...UInt16.max where blocks.filter({ port & $0.mask == $0.port }).count != (port >= first && port <= last ? 1 : 0) {
                Issue.record("port \(port) of \(first)-\(last)")
                break
            }
        }
    }

    @Test func everyPairOfRangesBecomesItsPrefixes() throws {
        let made = try KernelSelector.outbound(
            local: [selector("10.1.0.0", "10.1.255.255"), selector("fd01::", "fd01::ffff")], remote: [selector("10.2.0.1", "10.2.0.6"), selector("fd02::1")])
        #expect(made.map { "\(IPAddress(family: $0.family, value: $0.destination.value))/\($0.destination.length)" } == ["10.2.0.1/32", "10.2.0.2/31", "10.2.0.4/31", "10.2.0.6/32", "fd02::1/128"])
        #expect(made.allSatisfy { $0.source.length == ($0.family == .v4 ? 16 : 112) })
    }

    @Test func protocolsThatDifferLeaveNothing() throws {
        #expect(try KernelSelector.outbound(local: [selector("10.1.0.1", nil, 6)], remote: [selector("10.2.0.1", nil, 17)]).isEmpty)
        let made = try KernelSelector.outbound(local: [selector("10.1.0.1")], remote: [selector("10.2.0.1", nil, 6, 80...80)])
        #expect(made.map(\.ipProtocol) == [6] && made.map(\.destinationPort) == [PortBlock(port: 80, mask: 0xffff)] && made.map(\.sourcePort) == [.any])
        #expect(made.first?.reversed.sourcePort == PortBlock(port: 80, mask: 0xffff))
    }

    @Test func typesOfICMPStayWhereTheyAreOnTheWayBack() throws {
        let echo = try KernelSelector.outbound(local: [selector("10.1.0.1", nil, 1, 0x0800...0x08ff)], remote: [selector("10.2.0.1", nil, 1)])
        #expect(echo.map(\.sourcePort) == [PortBlock(port: 8, mask: 0xffff)] && echo.map(\.destinationPort) == [.any])
        #expect(echo.first?.reversed.sourcePort == PortBlock(port: 8, mask: 0xffff))
        let code = try KernelSelector.outbound(local: [selector("10.1.0.1", nil, 1, 0x0304...0x0304)], remote: [selector("10.2.0.1", nil, 1, 0x0304...0x0304)])
        #expect(code.map(\.destinationPort) == [PortBlock(port: 4, mask: 0xffff)])
        #expect(throws: SelectorDefect.self) { try KernelSelector.outbound(local: [selector("10.1.0.1", nil, 1, 0x0304...0x0502)], remote: [selector("10.2.0.1", nil, 1)]) }
    }

    @Test func whatNoMaskExpressesIsRefused() throws {
        let opaque = TrafficSelector(ipProtocol: 6, startPort: 65535, endPort: 0, start: IPAddress(v4: 1), end: IPAddress(v4: 1))
        #expect(throws: SelectorDefect.notExpressible("OPAQUE ports")) { try KernelSelector.outbound(local: [opaque], remote: [selector("10.2.0.1")]) }
        // 62 prefixes at each end are more than a child may have.
        #expect(throws: SelectorDefect.tooMany) { try KernelSelector.outbound(local: [selector("0.0.0.1", "255.255.255.254")], remote: [selector("0.0.0.1", "255.255.255.254")]) }
    }

    @Test func theNarrowerRemoteEndComesFirst() throws {
        func priority(_ local: TrafficSelector, _ remote: TrafficSelector) throws -> UInt32 { try #require(KernelSelector.outbound(local: [local], remote: [remote]).first).priority(isOutbound: true) }
        let net = try selector("10.0.0.0", "10.255.255.255"), host = try selector("10.1.0.1"), all = try selector("0.0.0.0", "255.255.255.255")
        let order = [
            try priority(all, host), try priority(host, selector("10.0.0.0", "10.255.255.255", 6, 80...80)), try priority(host, selector("10.0.0.0", "10.255.255.255", 6)), try priority(host, net),
            try priority(all, net), try priority(host, all), try priority(all, all),
        ]
        #expect(order == order.sorted() && Set(order).count == order.count)
        let one = try #require(KernelSelector.outbound(local: [host], remote: [net]).first)
        #expect(one.priority(isOutbound: true) == one.reversed.priority(isOutbound: false))
    }
}

struct PolicyTableTests {
    private let template = PolicyTemplate(source: IPAddress(v4: 1), destination: IPAddress(v4: 2), reqid: 0x4d00_0001)
    private func key(_ last: UInt32, _ direction: PolicyDirection = .outbound) -> PolicyKey {
        PolicyKey(direction, KernelSelector(source: Prefix(family: .v4, value: 0x0a01_0000, length: 16), destination: Prefix(family: .v4, value: UInt128(last), length: 32)))
    }

    @Test func theHigherRankIsInstalledAndTheOtherComesBack() {
        var table = PolicyTable()
        var operations: [PolicyTable.Operation] = []
        let apply = { (operation: PolicyTable.Operation) in
            operations.append(operation)
            return true
        }
        let active = PolicyClaim(.active, .protect(template)), drop = PolicyClaim(.drop, .drop)
        _ = table.set(1, [(key(7), drop)], apply: apply)
        _ = table.set(2, [(key(7), active)], apply: apply)
        _ = table.set(1, [], apply: apply)
        _ = table.set(1, [(key(7), drop)], apply: apply)
        #expect(table.installed.map(\.content) == [.protect(template)])
        _ = table.set(2, [], apply: apply)
        #expect(table.installed.map(\.content) == [.drop])
        _ = table.set(1, [], apply: apply)
        let contents: [PolicyContent?] = operations.map {
            switch $0 {
            case .add(let policy), .change(let policy): policy.content
            case .remove: nil
            }
        }
        #expect(contents == [.drop, .protect(template), .drop, nil] && table.installed.isEmpty)
    }

    @Test func whatTheKernelRefusesIsNotInstalledAndNotRemoved() {
        var table = PolicyTable()
        let isComplete = table.set(1, [(key(7), PolicyClaim(.pass, .pass)), (key(8), PolicyClaim(.pass, .pass))]) {
            if case .add(let policy) = $0 { policy.selector.destination.value == 8 } else { true }
        }
        #expect(!isComplete)
        var removed: [UInt32] = []
        _ = table.set(1, []) {
            if case .remove(let policy) = $0 {
                removed.append(policy.index)
                return PolicyTable.isOurs(index: policy.index) && policy.index & 7 == UInt32(policy.direction.rawValue)
            }
            return false
        }
        #expect(removed.count == 1)
    }

    @Test func newOnesComeBeforeOldOnesGo() {
        var table = PolicyTable()
        _ = table.set(1, [(key(7), PolicyClaim(.active, .protect(template)))]) { _ in true }
        var kinds: [String] = []
        _ = table.set(1, [(key(8), PolicyClaim(.active, .protect(template)))]) {
            switch $0 {
            case .add: kinds.append("add")
            case .change: kinds.append("change")
            case .remove: kinds.append("remove")
            }
            return true
        }
        #expect(kinds == ["add", "remove"])
    }
}

extension PolicyTable {
    /// One after the other.
    fileprivate mutating func set(_ owner: UInt64, _ wanted: [(key: PolicyKey, claim: PolicyClaim)], apply: (Operation) -> Bool) -> Bool {
        set(owner, wanted) { operations, _ in operations.map(apply) }
    }
}

extension PolicyTableTests {
    /// What a change of many policies tells the kernel goes in two parts: what comes, and what goes.
    @Test func aChangeIsToldInTwoParts() {
        var table = PolicyTable()
        var told: [(count: Int, isLast: Bool)] = []
        func set(_ wanted: [UInt32]) -> Bool {
            told = []
            return table.set(1, wanted.map { (key($0), PolicyClaim(.pass, .pass)) }) { operations, isLast in
                told.append((operations.count, isLast))
                return operations.map { _ in true }
            }
        }
        #expect(set([1, 2, 3]) && told.map(\.count) == [3] && told.map(\.isLast) == [true])
        #expect(set([3, 4, 5]) && told.map(\.count) == [2, 2] && told.map(\.isLast) == [false, true])
        #expect(set([3, 4, 5]) && told.isEmpty)
        #expect(set([]) && told.map(\.count) == [3] && table.installed.isEmpty)
        // Who answers too little has taken too little.
        let isComplete = table.set(1, [(key(1), PolicyClaim(.pass, .pass)), (key(2), PolicyClaim(.pass, .pass))]) { _, _ in [true] }
        #expect(!isComplete && table.installed.count == 1)
    }

    /// Of what differs in mark or interface alone each has a policy of its own.
    @Test func marksKeepPoliciesApart() {
        var table = PolicyTable()
        let marked = PolicyScope(mark: KernelMark(value: 1, mask: 0xff)), numbered = PolicyScope(interfaceID: 42)
        for (owner, scope) in [(1, PolicyScope()), (2, marked), (3, numbered)] as [(UInt64, PolicyScope)] {
            let isSet = table.set(owner, [(PolicyKey(.outbound, key(7).selector, scope), PolicyClaim(.pass, .pass))], apply: { _ in true })
            #expect(isSet)
        }
        #expect(Set(table.installed.map(\.scope)) == [PolicyScope(), marked, numbered] && Set(table.installed.map(\.index)).count == 3)
    }

    /// A batch is as its messages are, with numbers that count on; it takes no more than the answers of which have room.
    @Test func aBatchIsItsMessages() {
        var batch = NetlinkBatch()
        while batch.hasRoom {
            let isTaken = batch.append(PolicyMessages.delete(index: PolicyTable.mark | 9, direction: .outbound))
            #expect(isTaken)
        }
        let count = batch.count
        #expect(count == NetlinkBatch.limit)
        let isTaken = batch.append(PolicyMessages.dump())
        #expect(!isTaken)
        batch.number(from: .max, port: 7)
        let bytes = batch.withBytes { Array($0) }
        var numbers: [UInt32] = []
        bytes.withUnsafeBytes { raw in ReceivedMessage.each(in: raw) { numbers.append($0.header.nlmsg_seq) } }
        #expect(numbers == [.max] + (0..<63).map { UInt32($0) })
        // What is announced of the changes says whose they are.
        bytes.withUnsafeBytes { raw in ReceivedMessage.each(in: raw) { #expect($0.header.nlmsg_pid == 7) } }
        var other = NetlinkBatch()
        var truncated = NetlinkMessage(type: 0x10, flags: 0, capacity: 64)
        truncated.body(xfrm_usersa_info())
        let isWhole = other.append(truncated)
        let taken = other.count
        #expect(!isWhole && taken == 0)
    }

    /// Two peers with the same selectors: the one that came last carries the packets, whoever has new keys, until it goes.
    @Test func theOneThatCameLastCarries() throws {
        let selector = KernelSelector(source: Prefix(family: .v4, value: 0x0a01_0000, length: 16), destination: Prefix(family: .v4, value: 0x0a02_0000, length: 16))
        func protecting(_ spi: UInt32, _ rank: PolicyRank = .active) -> [(key: PolicyKey, claim: PolicyClaim)] {
            let end = IPAddress(v4: 0xc000_0201)
            return [(PolicyKey(.outbound, selector), PolicyClaim(rank, .protect(PolicyTemplate(source: end, destination: end, reqid: spi, spi: spi))))]
        }
        var table = PolicyTable()
        func carrying() -> UInt32? {
            guard case .protect(let template) = table.installed.first?.content else { return nil }
            return template.spi
        }
        #expect(table.set(1, protecting(0x100), apply: { _ in true }) && table.rivals(of: 1).isEmpty)
        #expect(table.set(2, protecting(0x200), apply: { _ in true }) && carrying() == 0x200)
        #expect(table.rivals(of: 2) == [1] && table.rivals(of: 1) == [2])
        #expect(table.set(1, protecting(0x101), apply: { _ in true }) && carrying() == 0x200)
        #expect(table.set(2, protecting(0x201), apply: { _ in true }) && carrying() == 0x201)
        // Its SA is gone, and with it its turn; when it comes again it is the last.
        #expect(table.set(2, protecting(0, .standing), apply: { _ in true }) && carrying() == 0x101 && table.rivals(of: 1).isEmpty)
        #expect(table.set(2, protecting(0x202), apply: { _ in true }) && carrying() == 0x202)
        #expect(table.set(2, [], apply: { _ in true }) && carrying() == 0x101)
    }
}
