// What an authenticated peer has inside one message: to IKE_AUTH and to an established SA, in both roles.

import FuzzCounters
import TestSupport

@_cdecl("LLVMFuzzerInitialize")
public func initialize(_ count: UnsafeMutablePointer<CInt>?, _ arguments: UnsafeMutableRawPointer?) -> CInt {
    FuzzedInputs.isSetUp = { martlet_fuzz_counters_reset() }
    return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzDecrypted(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    FuzzedInputs.decrypted(Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
}
