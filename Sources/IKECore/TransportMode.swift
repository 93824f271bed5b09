// Transport mode: one address at each end, and what a NAT does to them.
// RFC 7296 sections 1.3.1 and 2.23.1.

import IKEWire

/// What the two ends called their addresses before a NAT changed them: a data plane mends checksums with it.
struct OriginalAddresses: Hashable {
    let local: IPAddress
    let remote: IPAddress
}

enum TransportMode {
    /// Both selectors as they stand at this end, with the addresses of the IKE SA in the place of those that a NAT has changed; nil where
    /// either names more than one address, or another than the IKE SA's.
    //= RFC 7296 §2.23.1: done before the selectors serve for anything else.
    static func substitute(local: [TrafficSelector], remote: [TrafficSelector], _ sa: IKESA) -> (local: [TrafficSelector], remote: [TrafficSelector], originals: OriginalAddresses?)? {
        //= RFC 7296 §2.23.1: exactly one address at each end.
        guard let originalLocal = local.onlyAddress, let originalRemote = remote.onlyAddress else { return nil }
        let hidden = sa.nat.localBehindNAT || sa.nat.remoteBehindNAT
        let ours = sa.nat.localBehindNAT ? local.placed(at: sa.local.address) : local
        let theirs = sa.nat.remoteBehindNAT ? remote.placed(at: sa.remote.address) : remote
        //= RFC 7296 §2.23.1: the addresses are those of the IKE SA.
        guard ours.onlyAddress == sa.local.address, theirs.onlyAddress == sa.remote.address else { return nil }
        return (ours, theirs, hidden ? OriginalAddresses(local: originalLocal, remote: originalRemote) : nil)
    }
}

extension [TrafficSelector] {
    /// The one address that all of them name.
    var onlyAddress: IPAddress? {
        guard let address = first?.start, allSatisfy({ $0.start == address && $0.end == address }) else { return nil }
        return address
    }

    /// The same protocols and ports, of one host.
    func placed(at address: IPAddress) -> [TrafficSelector] {
        map { TrafficSelector(ipProtocol: $0.ipProtocol, startPort: $0.startPort, endPort: $0.endPort, start: address, end: address) }
    }
}
