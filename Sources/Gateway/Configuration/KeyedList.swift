// Elements in the order in which they first came, each found by its key: thousands of them change one by one.

/// Finding is of constant and logarithmic time; adding and replacing happen in place. Removing moves what comes after, without looking at it.
struct KeyedList<Key: Hashable & Sendable, Element: Sendable>: Sendable {
    private(set) var elements: [Element] = []
    /// For each element the number that it came with: they only grow, so that a place is found by halving.
    private var numbers: [Int] = []
    private var numberOf: [Key: Int] = [:]
    private var last = 0

    init() {}

    func contains(_ key: Key) -> Bool { numberOf[key] != nil }
    subscript(_ key: Key) -> Element? { place(of: key).map { elements[$0] } }

    /// Adds an element at the end, or replaces the one of its key. Returns the one that was there.
    @discardableResult
    mutating func set(_ element: Element, for key: Key) -> Element? {
        if let place = place(of: key) {
            let before = elements[place]
            elements[place] = element
            return before
        }
        last += 1
        numberOf[key] = last
        numbers.append(last)
        elements.append(element)
        return nil
    }

    mutating func remove(_ key: Key) -> Element? {
        guard let place = place(of: key) else { return nil }
        numberOf[key] = nil
        numbers.remove(at: place)
        return elements.remove(at: place)
    }

    private func place(of key: Key) -> Int? {
        guard let number = numberOf[key] else { return nil }
        var low = 0, high = numbers.count
        while low < high {
            let middle = (low + high) / 2
            if numbers[middle] < number { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
