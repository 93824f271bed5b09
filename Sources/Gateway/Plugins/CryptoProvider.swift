// A provider's algorithms as the core's, each tested before it is offered.

import IKECrypto
import IKEWire
import PluginABI
import PluginCrypto

struct CryptoProvider: @unchecked Sendable {
    let name: String
    private(set) var aeads: [any AEADAlgorithm] = []
    private(set) var ciphers: [any CipherAlgorithm] = []
    private(set) var macs: [any MACAlgorithm] = []
    private(set) var prfs: [any PRFAlgorithm] = []
    private(set) var keyExchanges: [any KeyExchangeAlgorithm] = []
    private(set) var random: (any RandomSource)?
    private var settled: [AlgorithmStatus] = []
    private let log: PluginLog
    /// The plugin's own names of deferred algorithms.
    private var names: [Transform: String] = [:]
    /// Tables of what passed, for other plugins. Key exchanges that wait for their test are not among them.
    private(set) var tables: [UnsafePointer<martlet_algorithm>] = []

    /// Throws where the provider's own table is unusable; an unusable algorithm is disabled alone.
    init(name: String, table raw: UnsafeRawPointer, log: @escaping PluginLog) throws(TableDefect) {
        self.name = name
        self.log = log
        let size = raw.load(as: UInt32.self)
        guard size >= UInt32(MemoryLayout<martlet_crypto_provider>.size) else {
            throw TableDefect("the table of crypto:\(name) has \(size) bytes, the daemon needs \(MemoryLayout<martlet_crypto_provider>.size)")
        }
        let provider = raw.assumingMemoryBound(to: martlet_crypto_provider.self).pointee
        guard provider.algorithm_count <= 256 else { throw TableDefect("crypto:\(name) has \(provider.algorithm_count) algorithms, at most 256 are taken") }
        for index in 0..<provider.algorithm_count {
            guard let list = provider.algorithms, let algorithm = list[index] else { throw TableDefect("algorithm \(index) of crypto:\(name) is null") }
            add(algorithm)
        }
    }

    private mutating func add(_ table: UnsafePointer<martlet_algorithm>) {
        guard Int(table.pointee.struct_size) >= MemoryLayout<martlet_algorithm>.size else {
            return note("?", "?", nil, "its table has \(table.pointee.struct_size) bytes, the daemon needs more")
        }
        // Nothing but the head may be read before the adapter has checked the size for the kind.
        let raw = UnsafeRawPointer(table)
        do throws(TableDefect) {
            switch table.pointee.kind {
            case MARTLET_AEAD.rawValue:
                let algorithm = try PluginAEAD(raw.assumingMemoryBound(to: martlet_aead.self))
                if settle(table, "aead", algorithm.transform, SelfTest.failure(of: algorithm)) { aeads.append(algorithm) }
            case MARTLET_CIPHER.rawValue:
                let algorithm = try PluginCipher(raw.assumingMemoryBound(to: martlet_cipher.self))
                if settle(table, "cipher", algorithm.transform, SelfTest.failure(of: algorithm)) { ciphers.append(algorithm) }
            case MARTLET_MAC.rawValue:
                let algorithm = try PluginMAC(raw.assumingMemoryBound(to: martlet_mac.self))
                if settle(table, "mac", algorithm.transform, SelfTest.failure(of: algorithm)) { macs.append(algorithm) }
            case MARTLET_PRF.rawValue:
                let algorithm = try PluginPRF(raw.assumingMemoryBound(to: martlet_prf.self))
                if settle(table, "prf", algorithm.transform, SelfTest.failure(of: algorithm)) { prfs.append(algorithm) }
            case MARTLET_KEY_EXCHANGE.rawValue:
                let algorithm = try PluginKeyExchange(raw.assumingMemoryBound(to: martlet_key_exchange.self))
                if DeferredTest.isSlow(algorithm.transform) {
                    let (provider, label, log) = (name, String(cString: table.pointee.name), log)
                    keyExchanges.append(DeferredTest(algorithm) { reason in log(.error, Self.line(provider, label, "key exchange", reason)) })
                    names[algorithm.transform] = label
                } else if settle(table, "key exchange", algorithm.transform, SelfTest.failure(of: algorithm)) {
                    keyExchanges.append(algorithm)
                }
            case MARTLET_RANDOM.rawValue:
                let algorithm = try PluginRandom(raw.assumingMemoryBound(to: martlet_random.self))
                if settle(table, "random", nil, SelfTest.failure(of: algorithm)) { random = random ?? algorithm }
            default:
                note("?", "kind \(table.pointee.kind)", nil, "the daemon knows no such kind")
            }
        } catch {
            note("?", "kind \(table.pointee.kind), transform \(table.pointee.transform_id)", nil, error.description)
        }
    }

    /// Whether the algorithm is offered.
    private mutating func settle(_ table: UnsafePointer<martlet_algorithm>, _ kind: String, _ transform: Transform?, _ failure: String?) -> Bool {
        note(String(cString: table.pointee.name), kind, transform, failure)
        if failure == nil { tables.append(table) }
        return failure == nil
    }

    private mutating func note(_ algorithm: String, _ kind: String, _ transform: Transform?, _ failure: String?) {
        settled.append(AlgorithmStatus(provider: name, name: algorithm, kind: kind, transform: transform, disabledBecause: failure))
        if let failure { log(.error, Self.line(name, algorithm, kind, failure)) }
    }

    private static func line(_ provider: String, _ algorithm: String, _ kind: String, _ reason: String) -> String {
        "algorithm \(algorithm) (\(kind)) of \(provider) is disabled: \(reason)"
    }

    /// Algorithms whose tests wait for their first use.
    var deferred: [DeferredTest] { keyExchanges.compactMap { $0 as? DeferredTest } }

    /// Every algorithm with what is known of it now.
    var statuses: [AlgorithmStatus] {
        settled
            + deferred.map {
                AlgorithmStatus(provider: name, name: names[$0.transform] ?? "?", kind: "key exchange", transform: $0.transform, disabledBecause: $0.failure, isTested: $0.isTested)
            }
    }
}
