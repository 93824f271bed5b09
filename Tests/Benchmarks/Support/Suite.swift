// What the benchmarks of the protocol share: the algorithms of the OpenSSL plugin, as the daemon loads them, and jobs done on the spot.

import Gateway
import Glibc
import IKECore
import IKECrypto
import IKEWire

package enum Bench {
    package static func nanoseconds() -> UInt64 { Instant.now().nanoseconds }

    /// The folder of this program, where the build puts the plugins.
    static var folder: String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        let length = readlink("/proc/self/exe", &buffer, Int(PATH_MAX))
        let program = String(decoding: buffer.prefix(max(length, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return String(program[..<(program.lastIndex(of: "/") ?? program.startIndex)])
    }

    /// OpenSSL's algorithms through the loader and the plugin contract. Nil where the plugin is not beside this program.
    package static func crypto() -> Crypto? {
        guard let services = ServiceThread() else { return nil }
        let off = ["load": "no"]
        let plugins = PluginSet.load(
            paths: [folder], settings: PluginSettings(sections: ["tun": off, "gcrypt": off]), services: services, log: { level, line in if level <= .warning { print(line) } })
        return plugins.registry(order: ["openssl"]).map { Crypto(preferred: $0) }
    }

    package static let secret = Array("known to everybody who has read the benchmark".utf8)

    package static func identity(_ name: String) -> Identification { Identification(kind: .fqdn, data: Array(name.utf8)) }

    package static var ikeProposal: Proposal { Proposal(number: 1, protocolID: .ike, transforms: [.aesGCM16(256), .prfHMACSHA256, .curve25519]) }

    package static func espProposal(_ methods: [Transform] = []) -> Proposal {
        Proposal(number: 1, protocolID: .esp, transforms: [.aesGCM16(256)] + methods + [.noExtendedSequenceNumbers])
    }

    /// One end of a tunnel that never rekeys by itself and asks for no liveness.
    package static func connection(_ name: String, local: String, remote: String, localTS: TrafficSelector, remoteTS: TrafficSelector, pfs: [Transform] = []) -> Connection {
        let forever = Lifetime(rekeyTime: .zero, lifeTime: .zero, randTime: .zero)
        var connection = Connection(name: name, proposals: [ikeProposal])
        connection.local.identity = .exactly(identity(local))
        connection.remote.identity = .exactly(identity(remote))
        connection.lifetime = forever
        var child = ChildPolicy(name: "net", proposals: [espProposal(pfs)])
        child.localTS = [.fixed(localTS)]
        child.remoteTS = [.fixed(remoteTS)]
        child.lifetime = forever
        connection.children = [child]
        return connection
    }

    /// Does a job at once, with the one secret of the benchmarks.
    package static func run(_ job: Job) -> JobResult {
        do throws(CryptoError) {
            switch job {
            case .generateKey(let algorithm): return .keyGenerated(try algorithm.generate())
            case .agree(let key, let peer): return .agreed(SecretBox(try key.agree(peer.span)))
            case .generateAndAgree(let algorithm, let peer, _):
                let key = try algorithm.generate()
                return .generatedAndAgreed(publicValue: key.publicValue, SecretBox(try key.agree(peer.span)))
            case .sign(let request): return .signed(Authentication(method: .sharedKey, data: try proof(request)))
            case .findPaths: return .pathsFound([])
            case .lookUp: return .failed(.deadline)
            case .eap(let step): return .failed(.noMethod(step.method.name))
            case .verify(let request, let authentication): return try proof(request) == authentication.data ? .verified : .failed(.rejected)
            }
        } catch { return .failed(.crypto(error)) }
    }

    /// RFC 7296 section 2.15.
    private static func proof(_ request: AuthenticationRequest) throws(CryptoError) -> [UInt8] {
        let pad = Array("Key Pad for IKEv2".utf8)
        let key = try KeySchedule.prf(request.prf, key: secret.span, data: pad.span)
        let octets = request.message + request.nonce + request.macedIdentity
        let mac = try KeySchedule.prf(request.prf, key: key.span, data: octets.span)
        let bytes = mac.span
        return bytes.indices.map { bytes[$0] }
    }
}
