// What the kernel selects packets by: one prefix at each end, one protocol, ports under a mask. Traffic selectors are ranges, so that one pair
// of them may become several of these. RFC 4301 section 4.4.1.1, RFC 7296 section 3.13.1.

import CXFRM
import ESPCore
import IKEWire

package struct PortBlock: Hashable, Sendable {
    package var port: UInt16
    package var mask: UInt16
    package static let any = PortBlock(port: 0, mask: 0)

    package init(port: UInt16, mask: UInt16) {
        self.port = port
        self.mask = mask
    }

    /// The fewest blocks that cover exactly the ports of a range; none for one that is empty.
    package static func covering(_ range: ClosedRange<UInt16>) -> [PortBlock] {
        var blocks: [PortBlock] = []
        var next = UInt32(range.lowerBound)
        let end = UInt32(range.upperBound)
        while next <= end {
            var size: UInt32 = next == 0 ? 1 << 16 : 1 << UInt32(next.trailingZeroBitCount)
            while next + size - 1 > end { size /= 2 }
            blocks.append(PortBlock(port: UInt16(next), mask: UInt16(truncatingIfNeeded: 0x1_0000 - size)))
            next += size
        }
        return blocks
    }
}

package struct KernelSelector: Hashable, Sendable {
    package var source: Prefix
    package var destination: Prefix
    package var ipProtocol: UInt8
    package var sourcePort: PortBlock
    package var destinationPort: PortBlock

    package init(source: Prefix, destination: Prefix, ipProtocol: UInt8 = 0, sourcePort: PortBlock = .any, destinationPort: PortBlock = .any) {
        self.source = source
        self.destination = destination
        self.ipProtocol = ipProtocol
        self.sourcePort = sourcePort
        self.destinationPort = destinationPort
    }

    package var family: IPAddress.Family { source.family }

    /// The same packets on their way back. Type and code of an ICMP message stay where they are: they belong to no end.
    package var reversed: KernelSelector {
        let isICMP = Self.hasTypes(ipProtocol)
        return KernelSelector(
            source: destination, destination: source, ipProtocol: ipProtocol, sourcePort: isICMP ? sourcePort : destinationPort, destinationPort: isICMP ? destinationPort : sourcePort)
    }

    package var contract: xfrm_selector {
        var selector = xfrm_selector()
        selector.family = family.kernel
        selector.saddr = xfrm_address_t(IPAddress(family: family, value: source.value))
        selector.daddr = xfrm_address_t(IPAddress(family: family, value: destination.value))
        selector.prefixlen_s = UInt8(source.length)
        selector.prefixlen_d = UInt8(destination.length)
        selector.proto = ipProtocol
        selector.sport = sourcePort.port.bigEndian
        selector.sport_mask = sourcePort.mask.bigEndian
        selector.dport = destinationPort.port.bigEndian
        selector.dport_mask = destinationPort.mask.bigEndian
        return selector
    }

    /// The kernel takes the policy with the lowest number first. The narrower remote end wins, then the narrower local end, then a protocol,
    /// then ports. Selectors of which this makes the same number never take the same packet, or are the same.
    package func priority(isOutbound: Bool) -> UInt32 {
        let remote = isOutbound ? destination : source, local = isOutbound ? source : destination
        let remotePort = isOutbound ? destinationPort : sourcePort, localPort = isOutbound ? sourcePort : destinationPort
        var width = UInt32(128 - remote.length)
        width = width << 8 | UInt32(128 - local.length)
        width = width << 1 | (ipProtocol == 0 ? 1 : 0)
        width = width << 5 | UInt32(16 - remotePort.mask.nonzeroBitCount)
        width = width << 5 | UInt32(16 - localPort.mask.nonzeroBitCount)
        return Self.lowestPriority + width
    }

    /// Leaves room for what must come before everything.
    package static let lowestPriority: UInt32 = 1000

    /// ICMP, ICMPv6 and Mobility Header, whose types stand where others have ports.
    package static func hasTypes(_ ipProtocol: UInt8) -> Bool { ipProtocol == 1 || ipProtocol == 58 || ipProtocol == 135 }
}

// MARK: From traffic selectors

/// Why selectors cannot be policies of the kernel.
package enum SelectorDefect: Error, Equatable {
    /// More policies than a child may have.
    case tooMany
    /// OPAQUE ports, or types and codes of ICMP in a shape that no mask has.
    case notExpressible(String)
}

extension KernelSelector {
    /// Policies of one child, or of one policy without SAs.
    package static let limit = 1024

    /// What leaves here: from `local` to `remote`, without repetition.
    package static func outbound(local: [TrafficSelector], remote: [TrafficSelector]) throws(SelectorDefect) -> [KernelSelector] {
        var all: [KernelSelector] = []
        var seen: Set<KernelSelector> = []
        for ours in local {
            for theirs in remote where ours.start.family == theirs.start.family {
                // Of two different protocols no packet is.
                guard ours.ipProtocol == 0 || theirs.ipProtocol == 0 || ours.ipProtocol == theirs.ipProtocol else { continue }
                let ipProtocol = ours.ipProtocol == 0 ? theirs.ipProtocol : ours.ipProtocol
                guard let sources = Prefix.covering(from: ours.start, to: ours.end, limit: limit), let destinations = Prefix.covering(from: theirs.start, to: theirs.end, limit: limit) else {
                    throw .tooMany
                }
                let ports = try hasTypes(ipProtocol) ? types(ours, theirs) : portPairs(ours, theirs)
                guard sources.count * destinations.count * ports.count <= limit else { throw .tooMany }
                for source in sources {
                    for destination in destinations {
                        for pair in ports {
                            let selector = KernelSelector(source: source, destination: destination, ipProtocol: ipProtocol, sourcePort: pair.0, destinationPort: pair.1)
                            if seen.insert(selector).inserted { all.append(selector) }
                        }
                    }
                }
                guard all.count <= limit else { throw .tooMany }
            }
        }
        return all
    }

    private static func portPairs(_ ours: TrafficSelector, _ theirs: TrafficSelector) throws(SelectorDefect) -> [(PortBlock, PortBlock)] {
        guard ours.startPort <= ours.endPort, theirs.startPort <= theirs.endPort else { throw .notExpressible("OPAQUE ports") }
        let sources = PortBlock.covering(ours.startPort...ours.endPort), destinations = PortBlock.covering(theirs.startPort...theirs.endPort)
        return sources.flatMap { source in destinations.map { (source, $0) } }
    }

    /// RFC 4301 section 4.4.1.1: the type is the upper byte of the port field, the code the lower one. The kernel compares the type with the
    /// source's port and the code with the destination's.
    private static func types(_ ours: TrafficSelector, _ theirs: TrafficSelector) throws(SelectorDefect) -> [(PortBlock, PortBlock)] {
        func isAny(_ selector: TrafficSelector) -> Bool { selector.startPort == 0 && selector.endPort == UInt16.max }
        if isAny(ours) && isAny(theirs) { return [(.any, .any)] }
        let own = isAny(ours) ? theirs : ours, other = isAny(theirs) ? own : theirs
        guard own.startPort == other.startPort, own.endPort == other.endPort, own.startPort <= own.endPort else { throw .notExpressible("types of ICMP that differ between the ends") }
        let first = own.startPort >> 8, last = own.endPort >> 8, code = own.startPort & 0xff, lastCode = own.endPort & 0xff
        if code == 0 && lastCode == 0xff {
            return PortBlock.covering(first...last).map { ($0, .any) }
        }
        guard first == last else { throw .notExpressible("a range of types of ICMP with codes") }
        return PortBlock.covering(code...lastCode).map { (PortBlock(port: first, mask: 0xffff), $0) }
    }
}
