// Authentic fragments in any number and order: what is put together of them, and what is held.

import TestSupport

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzFragments(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    FuzzedInputs.fragments(Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
}
