// Packets of EAP in any order, to the layer that asks and to the one that answers: identities, identifiers, Nak, Notification, Success and Failure around methods that the tests script.

import TestSupport

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzEAPExchange(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    FuzzedEAP.exchange(Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
}
