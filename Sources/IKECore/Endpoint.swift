// One shard's IKE SAs: finds the SA that a datagram, a job or a timer is for, and creates SAs.

import IKECrypto
import IKEWire

/// The crypto that an endpoint may use: by provider name, nil for the gateway's own choice.
package struct Crypto: Sendable {
    package var preferred: Registry
    package var providers: [String: Registry]
    package init(preferred: Registry, providers: [String: Registry] = [:]) {
        self.preferred = preferred
        self.providers = providers
    }
    package func registry(_ provider: String?) -> Registry { provider.flatMap { providers[$0] } ?? preferred }
}

package final class Endpoint {
    /// The shard's number, which every SPI chosen here carries in its most significant byte.
    package let shard: UInt8

    package init(shard: UInt8, crypto: Crypto, connections: [Connection], limits: Limits) {
        self.shard = shard
    }

    /// Takes one event; returns what to do, in order.
    package func handle(_ event: Event, now: Instant) -> [Action] { [] }

    /// When `Event.deadlineReached` should be sent; nil while nothing waits.
    package var nextDeadline: Instant? { nil }

    /// Every IKE SA with its children, as they stand.
    package func status() -> [IKESAStatus] { [] }

    package var ikeSACount: Int { 0 }
    package var halfOpenCount: Int { 0 }
}
