// What the tests of the configuration share: files in memory, and plugins that can do what the real ones do.

import Glibc
import IKEWire
@testable import Gateway

/// Files in memory; paths that are not there are looked for in `disk`, if there is one.
final class MemoryFiles: FileReader {
    private let files: [String: [UInt8]]
    private let readableByOthers: Set<String>
    init(_ files: [String: String], readableByOthers: Set<String> = []) {
        self.files = files.mapValues { Array($0.utf8) }
        self.readableByOthers = readableByOthers
    }
    init(bytes: [String: [UInt8]]) {
        files = bytes
        readableByOthers = []
    }

    func read(_ path: String, limit: Int) throws(FileFailure) -> FileContent {
        guard let bytes = files[path] else { throw .system(errno: ENOENT) }
        guard bytes.count <= limit else { throw .tooLarge(limit: limit) }
        return FileContent(bytes: bytes, identity: path, isReadableByOthers: readableByOthers.contains(path))
    }
    func files(matching pattern: String) -> [String] {
        files.keys.filter { fnmatch(pattern, $0, FNM_PATHNAME | FNM_PERIOD) == 0 }.sorted()
    }
}

/// What the shipped plugins serve.
let servedTransforms: Set<Transform> = [
    .aesGCM16(128), .aesGCM16(256), .chaCha20Poly1305, .aesCBC(128), .aesCBC(256), .prfHMACSHA256, .prfHMACSHA384, .prfHMACSHA512, .integrityNone,
    .hmacSHA256_128, .hmacSHA384_192, .hmacSHA512_256, .keyExchangeNone, .modp2048, .modp3072, .modp4096, .ecp256, .ecp384, .ecp521, .curve25519,
    .noExtendedSequenceNumbers, .extendedSequenceNumbers,
]

func load(_ files: any FileReader, _ path: String = "m.conf", serves: @escaping (Transform) -> Bool = servedTransforms.contains) -> ConfigurationResult {
    ConfigurationLoader.load(path: path, reader: files, serves: serves, providers: ["openssl", "gcrypt"], methods: ["psk"])
}

func load(_ text: String) -> ConfigurationResult { load(MemoryFiles(["m.conf": text])) }

/// A connection that is right, with more keys for it and its child.
func site(connection: String = "", child: String = "") -> String {
    """
    connections { site { remote_addrs = 192.0.2.2
    local { auth = psk
    id = @east.example }
    remote { auth = psk
    id = @west.example }
    \(connection)
    children { net {
    local_ts = 10.1.0.0/16
    remote_ts = 10.2.0.0/16
    \(child)
    } } } }
    secrets { ike-site { id-1 = @east.example
    id-2 = @west.example
    secret = "sixteen bytes, or more" } }
    """
}
