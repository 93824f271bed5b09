// Cuts a byte stream into packets.
// Source: strongSwan's src/libcharon/plugins/vici/README.md, "Transport protocol".

/// Collects bytes as they arrive and hands out whole frames.
///
/// Holds at most one frame that is not complete plus what one `append` brought, provided that the caller drains it with `next` in
/// between. After a throw the stream has no frame boundary any more and must be closed.
package struct ViciFramer: Sendable {
    private var buffer: [UInt8] = []
    /// The first byte not handed out yet.
    private var start = 0

    package init() {}

    /// Bytes that wait for the rest of their frame.
    package var pendingBytes: Int { buffer.count - start }

    package mutating func append(_ bytes: ArraySlice<UInt8>) {
        if start == buffer.count {
            buffer.removeAll(keepingCapacity: buffer.capacity <= 65_536)
            start = 0
        } else if start >= 65_536 || buffer.count + bytes.count > buffer.capacity {
            move(room: bytes.count)
        }
        buffer.append(contentsOf: bytes)
    }

    /// Takes what waits elsewhere, with room for more, and leaves nothing behind: it may be part of a secret.
    private mutating func move(room: Int) {
        var next: [UInt8] = []
        next.reserveCapacity(max(2 * pendingBytes, pendingBytes + room))
        next.append(contentsOf: buffer[start...])
        forget(all: buffer.count)
        buffer = next
        start = 0
    }

    /// The next whole frame without its length field, or nil until more bytes come. Throws `emptyPacket` and, before any of the
    /// packet's own bytes are kept, `oversizePacket`.
    package mutating func next() throws(ViciError) -> ArraySlice<UInt8>? {
        guard pendingBytes >= 4 else { return nil }
        var length = 0
        for index in start..<start + 4 { length = length << 8 | Int(buffer[index]) }
        guard length > 0 else { throw .emptyPacket }
        guard length <= ViciLimits.packetBytes else { throw .oversizePacket(length) }
        let body = start + 4
        guard buffer.count - body >= length else { return nil }
        start = body + length
        return buffer[body..<body + length]
    }

    /// Overwrites what was handed out. No slice of it may be alive, else that keeps its bytes.
    package mutating func forgetTaken() { forget(all: start) }

    /// Overwrites all of it: the stream has ended.
    package mutating func forget() {
        forget(all: buffer.count)
        start = buffer.count
    }

    private mutating func forget(all count: Int) { for index in 0..<count { buffer[index] = 0 } }
}
