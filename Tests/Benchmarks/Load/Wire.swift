// One UDP socket for all peers, read and written in batches.

import CLinux
import Glibc
import IKEWire

final class Wire {
    let local: SocketAddress
    private let descriptor: Int32
    private let inbox: OpaquePointer
    private var buffer: [UInt8] = []
    private var items: [martlet_outgoing] = []
    private static let batch: UInt32 = 64

    init?(local: SocketAddress) {
        var address = Self.endpoint(local)
        var isMarked = false
        let descriptor = martlet_udp_open(&address, 0, 0, 0, &isMarked)
        guard descriptor >= 0, let inbox = martlet_inbox_create(Self.batch, 4096) else { return nil }
        self.local = local
        self.descriptor = descriptor
        self.inbox = inbox
    }

    private static func endpoint(_ address: SocketAddress) -> martlet_endpoint {
        var endpoint = martlet_endpoint()
        endpoint.family = UInt16(AF_INET)
        endpoint.port = address.port
        withUnsafeMutableBytes(of: &endpoint.bytes) { bytes in for (index, byte) in address.address.bytes.enumerated() { bytes[index] = byte } }
        return endpoint
    }

    func send(_ bytes: [UInt8], to remote: SocketAddress) {
        var item = martlet_outgoing()
        item.offset = UInt32(buffer.count)
        item.length = UInt32(bytes.count)
        item.remote = Self.endpoint(remote)
        buffer += bytes
        items.append(item)
    }

    func flush() {
        guard !items.isEmpty else { return }
        martlet_udp_send(descriptor, buffer, &items, UInt32(items.count))
        buffer.removeAll(keepingCapacity: true)
        items.removeAll(keepingCapacity: true)
    }

    /// What is there, after at most `milliseconds`.
    func receive(milliseconds: Int32, _ body: ([UInt8]) -> Void) {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&entry, 1, milliseconds) > 0 else { return }
        let count = martlet_inbox_receive(inbox, descriptor)
        for index in 0..<UInt32(max(count, 0)) {
            var info = martlet_datagram_info()
            martlet_inbox_info(inbox, index, &info)
            guard let bytes = martlet_inbox_bytes(inbox, index) else { continue }
            body(Array(UnsafeBufferPointer(start: bytes, count: Int(info.length))))
        }
    }
}
