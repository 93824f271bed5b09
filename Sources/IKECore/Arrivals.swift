// What has come, in its order: taken from the front when its time is over. No RFC.

struct Arrivals<Element> {
    private var items: [(since: Instant, element: Element)] = []
    /// How many at the front are gone.
    private var gone = 0

    var count: Int { items.count - gone }
    var first: (since: Instant, element: Element)? { gone < items.count ? items[gone] : nil }

    mutating func append(_ element: Element, since: Instant) { items.append((since, element)) }

    mutating func removeFirst() {
        guard gone < items.count else { return }
        gone += 1
        if gone > 64, gone * 2 > items.count {
            items.removeFirst(gone)
            gone = 0
        }
    }
}
