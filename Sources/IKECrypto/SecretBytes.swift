// Key material: raw memory with one owner, wiped when it goes.

import CSecret

/// Bytes that must not be copied by accident, printed, or left behind. Wiped in `deinit`; compared in constant time.
@safe package struct SecretBytes: ~Copyable, @unchecked Sendable {
    /// Nil where there are no bytes.
    private let memory: UnsafeMutableRawPointer?

    /// `count` zero bytes.
    package init(count: Int) {
        // One owner from here to `deinit`; the pointer never leaves this file.
        unsafe memory = count > 0 ? UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 8) : nil
        unsafe memory?.initializeMemory(as: UInt8.self, repeating: 0, count: count)
        self.count = count
    }

    /// A copy of `bytes`.
    package init(copying bytes: Span<UInt8>) {
        self.init(count: bytes.count)
        unsafe bytes.withUnsafeBufferPointer { source in
            // Both hold `count` bytes.
            if let from = source.baseAddress { unsafe memory?.copyMemory(from: from, byteCount: count) }
        }
    }

    deinit {
        // The memory belongs to this value alone.
        if let memory = unsafe memory { unsafe martlet_secret_wipe(memory, count) }
        unsafe memory?.deallocate()
    }

    package let count: Int

    package var span: Span<UInt8> {
        @_lifetime(borrow self)
        borrowing get {
            // The memory lives as long as `self`, which the lifetime override says.
            let bytes = unsafe UnsafeBufferPointer(start: memory?.assumingMemoryBound(to: UInt8.self), count: count)
            return unsafe _overrideLifetime(Span(_unsafeElements: bytes), borrowing: self)
        }
    }

    package var mutableSpan: MutableSpan<UInt8> {
        @_lifetime(&self)
        mutating get {
            // As above; exclusive access to `self` is exclusive access to the memory.
            let bytes = unsafe UnsafeMutableBufferPointer(start: memory?.assumingMemoryBound(to: UInt8.self), count: count)
            return unsafe _overrideLifetime(MutableSpan(_unsafeElements: bytes), mutating: &self)
        }
    }

    package borrowing func copy() -> SecretBytes { SecretBytes(copying: span) }

    /// Bytes `range` as a secret of their own.
    package borrowing func slice(_ offset: Int, _ count: Int) -> SecretBytes { SecretBytes(copying: span.extracting(offset..<offset + count)) }
}

/// Whether two runs of bytes are equal, in time that depends on their length alone.
package func constantTimeEqual(_ a: Span<UInt8>, _ b: Span<UInt8>) -> Bool {
    guard a.count == b.count else { return false }
    return unsafe a.withUnsafeBufferPointer { x in
        unsafe b.withUnsafeBufferPointer { y in
            guard let x = x.baseAddress, let y = y.baseAddress else { return true }
            // Both pointers cover `a.count` bytes.
            return unsafe martlet_secret_equal(x, y, a.count) == 1
        }
    }
}
