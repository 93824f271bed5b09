// Secrets in a plugin's own memory.

import CSecret

/// Overwrites memory; never optimised away.
public func wipe(_ memory: UnsafeMutableRawPointer, _ size: Int) { martlet_secret_wipe(memory, size) }

/// Whether two runs of `size` bytes are equal, in time that depends on `size` alone.
public func constantTimeEqual(_ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ size: Int) -> Bool { martlet_secret_equal(a, b, size) == 1 }
