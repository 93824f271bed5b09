// Whatever the kernel says over netlink: answers, dumps and events of XFRM; routes, rules, links and addresses.

import KernelReplies

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzKernelReplies(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    KernelReplies.take(Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
}
