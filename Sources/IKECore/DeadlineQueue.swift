// Which SA wants to be woken next: a binary heap of deadlines. Entries that no longer hold are skipped when they come up.

import IKEWire

struct DeadlineQueue {
    private var heap: [(at: Instant, spi: IKESPI)] = []

    var next: Instant? { heap.first?.at }
    var count: Int { heap.count }

    /// Drops the entries that do not hold any more.
    mutating func keep(_ holds: (Instant, IKESPI) -> Bool) {
        let all = heap
        heap = []
        for entry in all where holds(entry.at, entry.spi) { push(entry.at, entry.spi) }
    }

    mutating func push(_ at: Instant, _ spi: IKESPI) {
        heap.append((at, spi))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].at < heap[parent].at else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    /// Removes and returns the first entry that is due.
    mutating func pop(due now: Instant) -> IKESPI? {
        guard let first = heap.first, first.at <= now else { return nil }
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [parent * 2 + 1, parent * 2 + 2] where child < heap.count && heap[child].at < heap[least].at { least = child }
            guard least != parent else { return first.spi }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
