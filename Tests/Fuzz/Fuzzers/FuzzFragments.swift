// Authentic fragments in any number and order: what is put together of them, and what is held.

import FuzzCounters
import TestSupport

@_cdecl("LLVMFuzzerInitialize")
public func initialize(_ count: UnsafeMutablePointer<CInt>?, _ arguments: UnsafeMutableRawPointer?) -> CInt {
    FuzzedInputs.isSetUp = { martlet_fuzz_counters_reset() }
    return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzFragments(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    FuzzedInputs.fragments(Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
}
