// Marks and numbers of interfaces that the configuration gives: `%unique` keeps out of their way, so that no stranger's packets take a way that the
// administrator has made for somebody. swanctl.conf(5), `if_id_in` and `mark_in`.

struct FixedNumbers {
    /// What is taken, of those bits that two numbers are compared in.
    private var taken: [UInt32: Set<UInt32>] = [:]
    /// Beyond so many in a row that are taken none is looked for: a shard does nothing else meanwhile.
    static let attempts = 1 << 14

    init(_ connections: [Connection] = []) {
        var fixed: [UInt32: Set<UInt32>] = [:], masks: Set<UInt32> = []
        for direction in connections.lazy.flatMap(\.children).flatMap({ [$0.carriage.inbound, $0.carriage.outbound] }) {
            if case .fixed(let number)? = direction.interfaceID { fixed[.max, default: []].insert(number) }
            if direction.interfaceID?.isFixed == false { masks.insert(.max) }
            for mark in [direction.mark, direction.setMark] {
                guard let mark else { continue }
                if case .fixed(let value) = mark.number { fixed[mark.mask, default: []].insert(value) } else { masks.insert(mark.mask) }
            }
        }
        // Where both look at no bit in common, nothing tells the two apart.
        for mask in masks { for (other, values) in fixed where mask & other != 0 { taken[mask & other, default: []].formUnion(values.map { $0 & mask & other }) } }
    }

    /// Whether what `%unique` makes of a number meets one that is given.
    func meet(_ number: UInt32) -> Bool {
        guard !taken.isEmpty else { return false }
        let values = [Carriage.Number.unique, .uniqueInEachDirection].flatMap { kind in [true, false].map { kind.value(of: number, isInbound: $0) } }
        return taken.contains { mask, numbers in values.contains { numbers.contains($0 & mask) } }
    }
}
