// Inner packets from the TUN device or a peer: parsed, matched, clamped, marked and answered.

import ESPCore
import IKEWire

private let everything = Selectors(
    local: [TrafficSelector(start: IPAddress(v4: 0), end: IPAddress(v4: .max)), TrafficSelector(start: IPAddress(family: .v6, value: 0), end: IPAddress(family: .v6, value: .max))],
    remote: [TrafficSelector(start: IPAddress(v4: 0), end: IPAddress(v4: .max)), TrafficSelector(start: IPAddress(family: .v6, value: 0), end: IPAddress(family: .v6, value: .max))])
private let ports = Selectors(
    local: [TrafficSelector(ipProtocol: 6, startPort: 80, endPort: 90, start: IPAddress(v4: 0), end: IPAddress(v4: .max))],
    remote: [TrafficSelector(startPort: 65535, endPort: 0, start: IPAddress(v4: 0), end: IPAddress(v4: .max))])
private let table = SelectorTable([ports, everything])

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzInnerPacket(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    var bytes = Array(UnsafeBufferPointer(start: start, count: count))
    guard let inner = try? InnerPacket(bytes.span) else { return 0 }
    precondition(inner.length <= count && inner.transportOffset <= inner.length)
    precondition(everything.inbound(inner) == .inside && everything.outbound(inner) == .inside)
    if case .policy(let index) = table.match(inner) { precondition(index == 1 || ports.outbound(inner) == .inside) } else { preconditionFailure("no match") }
    var answer = [UInt8](repeating: 0, count: PacketTooBig.maximumLength)
    do {
        var target = answer.mutableSpan
        if let length = PacketTooBig.build(for: bytes.span, inner, mtu: 1400, into: &target) {
            guard let error = try? InnerPacket(answer.span.extracting(0..<length)) else { preconditionFailure("an error nobody can read") }
            precondition(error.length == length && error.destination == inner.source)
        }
    }
    var packet = bytes.mutableSpan
    SegmentSize.clamp(&packet, inner, mtu: 1400)
    let again = SegmentSize.clamp(&packet, inner, mtu: 1400)
    precondition(!again)
    CongestionNotification.set(3, in: &packet)
    precondition((try? InnerPacket(bytes.span))?.trafficClass == inner.trafficClass | 3)
    return 0
}
