// A pool of inner addresses as configured.

import IKEWire

/// A pool as configured: `pools { NAME { addrs = ... } }`.
package struct PoolConfiguration: Hashable, Sendable {
    package var name: String
    /// Both ends included.
    package var start: IPAddress
    package var end: IPAddress
    /// What else a client is told, as `dns` and its like say it.
    package var attributes: [Configuration.Attribute]

    package init(name: String, start: IPAddress, end: IPAddress, attributes: [Configuration.Attribute] = []) {
        (self.name, self.start, self.end, self.attributes) = (name, start, end, attributes)
    }

    /// Addresses in the pool, at most what 64 bits count.
    package var size: UInt64 {
        let last = end.value - start.value
        return last >= UInt128(UInt64.max) ? .max : UInt64(last) + 1
    }
    func contains(_ address: IPAddress) -> Bool { address.family == start.family && address.value >= start.value && address.value <= end.value }
}
