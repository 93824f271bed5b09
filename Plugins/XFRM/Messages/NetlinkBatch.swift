// Several requests in one datagram: the kernel carries them out one after the other and acknowledges each. RFC 3549 section 2.2.

import CSecret
import CXFRM

package struct NetlinkBatch: ~Copyable {
    /// The acknowledgements of so many find room in a socket's buffer of the usual size.
    package static let limit = 64
    private static let capacity = 64 << 10

    private let memory: UnsafeMutableRawBufferPointer
    private let isLent: Bool
    private var size = 0
    private var offsets: [Int] = []
    package var count: Int { offsets.count }

    package init() { self.init(.allocate(byteCount: Self.capacity, alignment: 8), isLent: false) }

    /// In memory that is not freed with the batch where it `isLent`: by tests that look at what is left there.
    init(_ memory: UnsafeMutableRawBufferPointer, isLent: Bool) {
        self.memory = memory
        self.isLent = isLent
    }

    deinit {
        if let base = memory.baseAddress { martlet_secret_wipe(base, size) }
        if !isLent { memory.deallocate() }
    }

    /// Whether another message of any size has room.
    package var hasRoom: Bool { offsets.count < Self.limit && memory.count - size >= NetlinkMessage.capacity }

    /// False where it has none, or where the message is not whole. It must ask to be acknowledged, but for the ends of a transaction.
    package mutating func append(_ message: consuming NetlinkMessage) -> Bool {
        guard hasRoom, !message.isTruncated else { return false }
        let start = size
        size = message.withBytes { bytes in
            UnsafeMutableRawBufferPointer(rebasing: memory[start..<(start + bytes.count)]).copyMemory(from: bytes)
            return start + bytes.count
        }
        offsets.append(start)
        return true
    }

    /// The messages have the sequence numbers from this one on, and the sending socket's port.
    package mutating func number(from first: UInt32, port: UInt32) {
        for (place, offset) in offsets.enumerated() {
            memory.storeBytes(of: first &+ UInt32(place), toByteOffset: offset + 8, as: UInt32.self)
            memory.storeBytes(of: port, toByteOffset: offset + 12, as: UInt32.self)
        }
    }

    package func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result { body(UnsafeRawBufferPointer(rebasing: memory[..<size])) }
}
