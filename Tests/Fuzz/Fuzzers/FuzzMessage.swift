// Whatever bytes arrive: they are refused, or they are a message that is written and read again unchanged.

import IKEWire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMessage(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = UnsafeBufferPointer(start: start, count: count).span
    // The fuzzer rarely guesses the header's length: once as it is, once without the header.
    if let message = try? Message.parse(bytes) {
        let written = message.serialized()
        guard let again = try? Message.parse(written.span) else { fatalError("wrote what cannot be read: \(message)") }
        precondition(again.serialized() == written, "writing is not stable: \(message)")
        precondition(!message.summary.isEmpty)
    }
    guard let first = bytes.isEmpty ? nil : bytes[0] else { return 0 }
    if let chain = try? Payload.parseChain(first: PayloadType(rawValue: first), bytes.extracting(1..<count)) {
        let written = Payload.serializeChain(chain)
        guard let again = try? Payload.parseChain(first: written.first, written.bytes.span) else { fatalError("wrote what cannot be read: \(chain)") }
        precondition(Payload.serializeChain(again).bytes == written.bytes, "writing is not stable: \(chain)")
        for payload in chain { describe(payload) }
    }
    return 0
}

/// Everything that a log would print of a payload.
private func describe(_ payload: Payload) {
    switch payload {
    case .securityAssociation(let sa):
        for transform in sa.proposals.flatMap(\.transforms) {
            precondition(!transform.description.isEmpty)
            if let keyword = transform.keyword, !transform.hasUnknownAttribute { precondition(Transform(keyword: keyword) == transform) }
        }
    case .identificationInitiator(let id), .identificationResponder(let id):
        precondition(id.description.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7f })
    case .trafficSelectorInitiator(let selectors), .trafficSelectorResponder(let selectors):
        for selector in selectors {
            precondition(!selector.description.isEmpty)
            let prefixes = selector.prefixes()
            precondition(TrafficSelector(prefix: prefixes[0].0, length: prefixes[0].1).start == selector.start)
            precondition(TrafficSelector(prefix: prefixes[prefixes.count - 1].0, length: prefixes[prefixes.count - 1].1).end == selector.end)
        }
    default: break
    }
}
