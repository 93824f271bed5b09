// The first two looks at a datagram, before anything is known of its sender: which kind it is, and its header.

import IKEWire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzDatagram(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = UnsafeBufferPointer(start: start, count: count).span
    switch UDPEncapsulation.classify(bytes) {
    case .ike(let offset): _ = try? Header.parse(bytes.extracting(offset..<count))
    case .esp(let spi): precondition(spi != 0 && count >= 8)
    case .keepalive: precondition(count == 1)
    case .invalid: precondition(count < 8)
    }
    if let header = try? Header.parse(bytes) {
        let again = Message(header: header, payloads: []).serialized()
        guard let header2 = try? Header.parse(again.span) else { fatalError("wrote a header that cannot be read: \(header)") }
        precondition(header2.messageID == header.messageID && header2.flags == header.flags && header2.exchangeType == header.exchangeType)
    } else {
        precondition(count < Header.byteCount)
    }
    return 0
}
