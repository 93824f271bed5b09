// The algorithms that may be offered, in order of preference. Immutable once built; shared by every shard.

import IKEWire

package struct Registry: Sendable {
    package private(set) var aeads: [any AEADAlgorithm] = []
    package private(set) var ciphers: [any CipherAlgorithm] = []
    package private(set) var macs: [any MACAlgorithm] = []
    package private(set) var prfs: [any PRFAlgorithm] = []
    package private(set) var keyExchanges: [any KeyExchangeAlgorithm] = []
    package let random: any RandomSource

    package init(random: any RandomSource) { self.random = random }

    /// Appends; the first provider of a transform wins.
    package mutating func add(_ algorithm: any AEADAlgorithm) { aeads.append(algorithm) }
    package mutating func add(_ algorithm: any CipherAlgorithm) { ciphers.append(algorithm) }
    package mutating func add(_ algorithm: any MACAlgorithm) { macs.append(algorithm) }
    package mutating func add(_ algorithm: any PRFAlgorithm) { prfs.append(algorithm) }
    package mutating func add(_ algorithm: any KeyExchangeAlgorithm) { keyExchanges.append(algorithm) }

    package func aead(_ transform: Transform) -> (any AEADAlgorithm)? { aeads.first { $0.transform == transform } }
    package func cipher(_ transform: Transform) -> (any CipherAlgorithm)? { ciphers.first { $0.transform == transform } }
    package func mac(_ transform: Transform) -> (any MACAlgorithm)? { macs.first { $0.transform == transform } }
    package func prf(_ transform: Transform) -> (any PRFAlgorithm)? { prfs.first { $0.transform == transform } }
    package func keyExchange(_ transform: Transform) -> (any KeyExchangeAlgorithm)? { keyExchanges.first { $0.transform == transform } }

    /// Whether some provider serves `transform`. ESN values and "none" need no provider.
    package func serves(_ transform: Transform) -> Bool {
        switch transform.type {
        case .encryption: aead(transform) != nil || cipher(transform) != nil
        case .prf: prf(transform) != nil
        case .integrity: transform.id == 0 || mac(transform) != nil
        case .keyExchange: transform.id == 0 || keyExchange(transform) != nil
        case .extendedSequenceNumbers: transform.id <= 1
        default: false
        }
    }
}
