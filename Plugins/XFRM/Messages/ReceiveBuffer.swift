// What the kernel's datagrams are read into. They may hold keys: each is wiped when it was looked at. One thread at a time.

import CSecret

package final class ReceiveBuffer {
    private let memory: UnsafeMutableRawBufferPointer
    private let isLent: Bool

    package convenience init(byteCount: Int) { self.init(.allocate(byteCount: byteCount, alignment: 8), isLent: false) }

    /// In memory that is not freed with it where it `isLent`: by tests that look at what is left there.
    init(_ memory: UnsafeMutableRawBufferPointer, isLent: Bool) {
        self.memory = memory
        self.isLent = isLent
    }

    deinit {
        wipe(memory.count)
        if !isLent { memory.deallocate() }
    }

    private func wipe(_ count: Int) {
        if let base = memory.baseAddress { martlet_secret_wipe(base, min(count, memory.count)) }
    }

    /// One datagram, which `read` puts there, saying how long it is or a negative errno; it may say that it is longer than there is room. The errno, or nil.
    package func receive(_ read: (UnsafeMutableRawBufferPointer) -> Int, _ each: (ReceivedMessage) -> Void) -> Int32? {
        let count = read(memory)
        guard count >= 0 else {
            wipe(memory.count)
            return Int32(clamping: -count)
        }
        ReceivedMessage.each(in: UnsafeRawBufferPointer(rebasing: memory[..<min(count, memory.count)]), each)
        wipe(count)
        return nil
    }
}
