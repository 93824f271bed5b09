// Narrowing: what both ends allow.
// RFC 7296 sections 2.9 and 3.13.

import IKEWire

extension TrafficSelector {
    /// What both selectors allow; nil when that is nothing.
    package func intersection(_ other: TrafficSelector) -> TrafficSelector? {
        guard start.family == other.start.family, start.family == end.family else { return nil }
        guard ipProtocol == other.ipProtocol || ipProtocol == 0 || other.ipProtocol == 0 else { return nil }
        let low = max(start.value, other.start.value), high = min(end.value, other.end.value)
        guard low <= high else { return nil }
        let ports: (UInt16, UInt16)
        if isOpaque || other.isOpaque {
            // OPAQUE meets itself and "any".
            func any(_ selector: TrafficSelector) -> Bool { selector.startPort == 0 && selector.endPort == 65535 }
            guard (isOpaque || any(self)) && (other.isOpaque || any(other)) else { return nil }
            ports = (65535, 0)
        } else {
            ports = (max(startPort, other.startPort), min(endPort, other.endPort))
            guard ports.0 <= ports.1 else { return nil }
        }
        return TrafficSelector(
            ipProtocol: ipProtocol == 0 ? other.ipProtocol : ipProtocol, startPort: ports.0, endPort: ports.1,
            start: IPAddress(family: start.family, value: low), end: IPAddress(family: start.family, value: high))
    }

    /// Whether everything that `other` allows is allowed.
    package func contains(_ other: TrafficSelector) -> Bool { intersection(other) == other }
}

package enum TrafficSelectors {
    /// The most selectors kept of what a peer offers.
    package static let limit = 255

    /// The selectors that both lists allow, in our order; empty when there are none.
    package static func narrow(configured: [TrafficSelector], offered: [TrafficSelector]) -> [TrafficSelector] {
        var result: [TrafficSelector] = []
        for ours in configured {
            for theirs in offered {
                guard let common = ours.intersection(theirs), !result.contains(where: { $0.contains(common) }) else { continue }
                result.removeAll { common.contains($0) }
                result.append(common)
                if result.count == limit { return result }
            }
        }
        return result
    }

    /// Whether each of `selectors` lies within one of `bounds`: the initiator's check of an answer.
    package static func within(_ selectors: [TrafficSelector], _ bounds: [TrafficSelector]) -> Bool {
        !selectors.isEmpty && selectors.allSatisfy { selector in bounds.contains { $0.contains(selector) } }
    }

    /// Whether `selectors` together allow everything that `others` do, however the two are cut.
    package static func cover(_ selectors: [TrafficSelector], _ others: [TrafficSelector]) -> Bool {
        others.allSatisfy { other in
            var left = [other]
            for selector in selectors {
                left = left.flatMap { $0.without(selector) }
                if left.isEmpty { return true }
                // A peer's lists must not make this long: what is cut so small counts as not covered.
                if left.count > pieces { return false }
            }
            return false
        }
    }
    private static let pieces = 1024
}

extension TrafficSelector {
    /// What is left of the selector without what `other` allows.
    fileprivate func without(_ other: TrafficSelector) -> [TrafficSelector] {
        guard let common = intersection(other) else { return [self] }
        // "Any" is not the sum of protocols, nor of OPAQUE and ports.
        guard common.ipProtocol == ipProtocol, common.isOpaque == isOpaque else { return [self] }
        var rest: [TrafficSelector] = []
        func piece(_ low: UInt128, _ high: UInt128, _ first: UInt16, _ last: UInt16) {
            rest.append(
                TrafficSelector(
                    ipProtocol: ipProtocol, startPort: first, endPort: last, start: IPAddress(family: start.family, value: low), end: IPAddress(family: start.family, value: high)))
        }
        if start.value < common.start.value { piece(start.value, common.start.value - 1, startPort, endPort) }
        if end.value > common.end.value { piece(common.end.value + 1, end.value, startPort, endPort) }
        guard !isOpaque else { return rest }
        if startPort < common.startPort { piece(common.start.value, common.end.value, startPort, common.startPort - 1) }
        if endPort > common.endPort { piece(common.start.value, common.end.value, common.endPort + 1, endPort) }
        return rest
    }
}

extension SelectorPattern {
    /// The selector, or `ends` in the place of `dynamic`.
    package func resolved(_ ends: [TrafficSelector]) -> [TrafficSelector] {
        switch self {
        case .fixed(let selector): [selector]
        case .dynamic(let ipProtocol, let startPort, let endPort):
            ends.map { TrafficSelector(ipProtocol: ipProtocol, startPort: startPort, endPort: endPort, start: $0.start, end: $0.end) }
        }
    }
}
