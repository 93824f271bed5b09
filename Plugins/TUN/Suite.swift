// The algorithms of an SA, through the host.

import IKECrypto
import IKEWire
import PluginABI
import PluginCrypto
import PluginKit

extension Host {
    /// What seals and opens the packets of an SA.
    enum Suite {
        case aead(PluginAEAD)
        case separate(PluginCipher, PluginMAC, PluginRandom)
    }
    struct Missing: Error { let description: String }

    func suite(encryption: UInt16, bits: UInt16, integrity: UInt16, provider: String?) throws(Missing) -> Suite {
        do throws(TableDefect) {
            if integrity == 0 {
                guard let table = aead(id: encryption, bits: bits, provider: provider) else {
                    throw TableDefect("no AEAD for transform \(encryption), \(bits) bits")
                }
                return .aead(try PluginAEAD(table))
            }
            guard let cipher = cipher(id: encryption, bits: bits, provider: provider) else {
                throw TableDefect("no cipher for transform \(encryption), \(bits) bits")
            }
            guard let mac = mac(id: integrity, provider: provider) else {
                throw TableDefect("no integrity algorithm for transform \(integrity)")
            }
            guard let random = random() else { throw TableDefect("no source of random bytes for IVs") }
            return .separate(try PluginCipher(cipher), try PluginMAC(mac), try PluginRandom(random))
        } catch { throw Missing(description: error.description) }
    }
}
