// Addresses and proposal words from a configuration or a control client.

import IKEWire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzAddress(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
    if let address = IPAddress(text) {
        precondition(IPAddress(address.description) == address && IPAddress(bytes: address.bytes) == address, "\(text)")
    }
    if let transform = Transform(keyword: text) {
        precondition(transform.keyword.flatMap(Transform.init(keyword:)) == transform, "\(text)")
    }
    return 0
}
