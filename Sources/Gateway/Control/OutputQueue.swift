// Bytes on their way to one control client.

/// Frames in the order in which they go out; the first may be partly gone. Bounded by its user, who asks `bytes` and `frames`.
struct OutputQueue: Sendable {
    private var queue: [[UInt8]] = []
    private var head = 0
    /// How much of the first frame is gone.
    private var offset = 0
    private(set) var bytes = 0

    var isEmpty: Bool { head == queue.count }
    var frames: Int { queue.count - head }

    mutating func append(_ frame: [UInt8]) {
        guard !frame.isEmpty else { return }
        queue.append(frame)
        bytes += frame.count
    }

    /// What to write next.
    var front: ArraySlice<UInt8> { isEmpty ? [] : queue[head][offset...] }

    /// `count` bytes of `front` are gone.
    mutating func consume(_ count: Int) {
        guard !isEmpty, count > 0 else { return }
        let taken = min(count, queue[head].count - offset)
        offset += taken
        bytes -= taken
        guard offset == queue[head].count else { return }
        queue[head] = []
        head += 1
        offset = 0
        if head == queue.count {
            queue.removeAll(keepingCapacity: queue.count <= 1_024)
            head = 0
        } else if head >= 1_024 {
            queue.removeSubrange(..<head)
            head = 0
        }
    }
}
