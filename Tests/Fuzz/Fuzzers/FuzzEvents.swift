// A whole life: messages of the peer's, datagrams of strangers, time, jobs, the data plane and operators, in any order.

import FuzzCounters
import TestSupport

@_cdecl("LLVMFuzzerInitialize")
public func initialize(_ count: UnsafeMutablePointer<CInt>?, _ arguments: UnsafeMutableRawPointer?) -> CInt {
    FuzzedInputs.isSetUp = { martlet_fuzz_counters_reset() }
    return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzEvents(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    FuzzedInputs.events(Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
}
