// What the plugin contract costs on the data path: AES-256-GCM over 64, 1,400 and 16,384 bytes, OpenSSL called directly and through
// the loader, the table and the adapter, as the TUN plane calls it. Best of many batches, because other work shares the cores.
//
//     swift build -c release && .build/release/SealBenchmark

import COpenSSL
import Gateway
import Glibc
import IKECrypto
import IKEWire

func nanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// The cost of one call, of the best of 200 batches of 500.
func best(_ body: () -> Void) -> Double {
    var least = UInt64.max
    for _ in 0..<200 {
        let start = nanoseconds()
        for _ in 0..<500 { body() }
        least = min(least, nanoseconds() - start)
    }
    return Double(least) / 500
}

func rounded(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }

/// The folder of this program, where the build puts the plugins.
var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
let length = readlink("/proc/self/exe", &buffer, Int(PATH_MAX))
let program = String(decoding: buffer.prefix(max(length, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
let folder = String(program[..<(program.lastIndex(of: "/") ?? program.startIndex)])

guard let services = ServiceThread() else { exit(1) }
let started = nanoseconds()
let plugins = PluginSet.load(
    paths: [folder], settings: PluginSettings(sections: ["tun": ["load": "no"]]), services: services,
    log: { level, line in if level <= .warning { print(line) } })
print("plugins loaded and their algorithms tested in \((nanoseconds() - started) / 1_000_000) ms")

let key = [UInt8](repeating: 1, count: 32)
let aad = [UInt8](repeating: 2, count: 8)
print("bytes  direct  openssl  gcrypt   (ns for one seal)")
for size in [64, 1400, 16384] {
    var nonce = [UInt8](repeating: 3, count: 12)
    var text = [UInt8](repeating: 4, count: size)
    var tag = [UInt8](repeating: 0, count: 16)

    guard let cipher = EVP_CIPHER_fetch(nil, "AES-256-GCM", nil), let context = EVP_CIPHER_CTX_new(), EVP_EncryptInit_ex2(context, cipher, key, nil, nil) == 1 else { exit(1) }
    let direct = text.withUnsafeMutableBufferPointer { text in
        best {
            nonce[11] &+= 1
            var written: Int32 = 0
            guard EVP_EncryptInit_ex2(context, nil, nil, nonce, nil) == 1, EVP_EncryptUpdate(context, nil, &written, aad, 8) == 1,
                EVP_EncryptUpdate(context, text.baseAddress, &written, text.baseAddress, Int32(size)) == 1, EVP_EncryptFinal_ex(context, &tag, &written) == 1,
                EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, &tag) == 1
            else { exit(1) }
        }
    }
    var columns = [rounded(direct)]
    for provider in ["openssl", "gcrypt"] {
        guard let algorithm = plugins.registry(order: [], provider: provider)?.aead(.aesGCM16(256)), let context = try? algorithm.makeContext(key: key.span, sealing: true) else {
            columns.append("-")
            continue
        }
        columns.append(
            rounded(
                best {
                    nonce[11] &+= 1
                    var textSpan = text.mutableSpan, tagSpan = tag.mutableSpan
                    do { try context.seal(nonce: nonce.span, aad: aad.span, text: &textSpan, tag: &tagSpan) } catch { exit(1) }
                }))
    }
    print("\(size)  \(columns.joined(separator: "  "))")
}
