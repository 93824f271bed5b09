// An HTTP server on loopback that answers as a test says: with octets, with a status, with a redirection, or never.

import Foundation
import Synchronization

final class TestServer: Sendable {
    enum Answer: Sendable {
        case octets([UInt8])
        case status(Int)
        case redirect(String)
        /// More octets than anybody wants.
        case flood
        /// Takes the request and says nothing.
        case silence
    }
    let port: UInt16
    private let socket: Int32
    private let seen = Mutex<[String]>([])
    private let handler: @Sendable (String, [UInt8]) -> Answer

    /// `handler` is given the path and the body.
    init(_ handler: @escaping @Sendable (String, [UInt8]) -> Answer) throws {
        self.handler = handler
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let (descriptor, length) = (socket, size)
        let isListening = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) == 0 && listen(descriptor, 64) == 0 && getsockname(descriptor, $0, &size) == 0 }
        }
        guard isListening else { throw CocoaError(.featureUnsupported) }
        port = UInt16(bigEndian: address.sin_port)
        Thread { [self] in
            while true {
                let client = accept(descriptor, nil, nil)
                guard client >= 0 else { return }
                Thread { [self] in serve(client) }.start()
            }
        }.start()
    }

    func uri(_ path: String) -> String { "http://127.0.0.1:\(port)/\(path)" }
    /// The paths that were asked for.
    var requests: [String] { seen.withLock { $0 } }
    /// Nobody listens any more.
    func stop() { shutdown(socket, Int32(SHUT_RDWR)) }

    private func serve(_ client: Int32) {
        var bytes: [UInt8] = []
        func more() -> Bool {
            var part = [UInt8](repeating: 0, count: 4096)
            let got = recv(client, &part, part.count, 0)
            if got > 0 { bytes += part.prefix(got) }
            return got > 0
        }
        let end: [UInt8] = [13, 10, 13, 10]
        while bytes.firstRange(of: end) == nil { guard more() else { close(client); return } }
        guard let break_ = bytes.firstRange(of: end) else { return }
        let head = String(decoding: bytes[..<break_.lowerBound], as: UTF8.self)
        let length = head.split(separator: "\r\n").first { $0.lowercased().hasPrefix("content-length:") }.flatMap { Int($0.split(separator: ":")[1].trimmingCharacters(in: .whitespaces)) } ?? 0
        while bytes.count < break_.upperBound + length { guard more() else { close(client); return } }
        let path = String(head.split(separator: " ")[1].dropFirst())
        seen.withLock { $0.append(path) }
        func reply(_ line: String, _ headers: String = "", _ body: [UInt8] = []) {
            let all = Array("HTTP/1.1 \(line)\r\nContent-Length: \(body.count)\r\nConnection: close\r\n\(headers)\r\n".utf8) + body
            var sent = 0
            while sent < all.count {
                let count = all.withUnsafeBytes { send(client, $0.baseAddress?.advanced(by: sent), all.count - sent, Int32(MSG_NOSIGNAL)) }
                if count <= 0 { break }
                sent += count
            }
            close(client)
        }
        switch handler(path, Array(bytes[break_.upperBound...])) {
        case .octets(let body): reply("200 OK", "", body)
        case .flood: reply("200 OK", "", [UInt8](repeating: 0x30, count: 70_000))
        case .status(let number): reply("\(number) No")
        case .redirect(let place): reply("302 Found", "Location: \(place)\r\n")
        case .silence:
            // Until the other end has had enough.
            while more() {}
            close(client)
        }
    }
}
