// What waits for its time in a simulated world: a binary heap, in order of time and then of arrival.

import IKECore

struct EventQueue<Item> {
    private struct Entry {
        let at: Instant
        let order: Int
        let item: Item
        static func < (a: Entry, b: Entry) -> Bool { (a.at, a.order) < (b.at, b.order) }
    }
    private var heap: [Entry] = []
    private var order = 0

    var next: Instant? { heap.first?.at }
    var count: Int { heap.count }

    mutating func push(_ item: Item, at: Instant) {
        order += 1
        heap.append(Entry(at: at, order: order, item: item))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child] < heap[parent] else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    mutating func pop() -> Item? {
        guard let first = heap.first else { return nil }
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [parent * 2 + 1, parent * 2 + 2] where child < heap.count && heap[child] < heap[least] { least = child }
            guard least != parent else { return first.item }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
