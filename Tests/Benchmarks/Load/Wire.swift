// Two UDP sockets for all peers, read and written in batches: port 500, and port 4500 with the non-ESP marker, where peers with MOBIKE move.

import CLinux
import Glibc
import IKECore
import IKEWire

final class Wire {
    let local: SocketAddress
    private var sockets: [Socket] = []
    private static let batch: UInt32 = 64

    private struct Socket {
        let descriptor: Int32
        let inbox: OpaquePointer
        let isMarked: Bool
        var buffer: [UInt8] = []
        var items: [martlet_outgoing] = []
    }

    init?(local: IPAddress) {
        self.local = SocketAddress(address: local, port: 500)
        for (port, isMarked) in [(500, false), (4500, true)] as [(UInt16, Bool)] {
            var address = Self.endpoint(SocketAddress(address: local, port: port))
            var hasMark = false
            let descriptor = martlet_udp_open(&address, 0, 0, 0, &hasMark)
            guard descriptor >= 0, let inbox = martlet_inbox_create(Self.batch, 4096) else { return nil }
            sockets.append(Socket(descriptor: descriptor, inbox: inbox, isMarked: isMarked))
        }
    }

    private static func endpoint(_ address: SocketAddress) -> martlet_endpoint {
        var endpoint = martlet_endpoint()
        endpoint.family = UInt16(AF_INET)
        endpoint.port = address.port
        withUnsafeMutableBytes(of: &endpoint.bytes) { bytes in for (index, byte) in address.address.bytes.enumerated() { bytes[index] = byte } }
        return endpoint
    }

    func send(_ datagram: Datagram) {
        let index = datagram.marked ? 1 : 0
        let bytes = datagram.marked ? UDPEncapsulation.marked(datagram.bytes) : datagram.bytes
        var item = martlet_outgoing()
        item.offset = UInt32(sockets[index].buffer.count)
        item.length = UInt32(bytes.count)
        item.remote = Self.endpoint(datagram.remote)
        sockets[index].buffer += bytes
        sockets[index].items.append(item)
    }

    func flush() {
        for index in sockets.indices where !sockets[index].items.isEmpty {
            martlet_udp_send(sockets[index].descriptor, sockets[index].buffer, &sockets[index].items, UInt32(sockets[index].items.count))
            sockets[index].buffer.removeAll(keepingCapacity: true)
            sockets[index].items.removeAll(keepingCapacity: true)
        }
    }

    /// What is there, after at most `milliseconds`: messages without the marker, and whether they had one.
    func receive(milliseconds: Int32, _ body: ([UInt8], _ marked: Bool) -> Void) {
        var entries = sockets.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        guard poll(&entries, nfds_t(entries.count), milliseconds) > 0 else { return }
        for (socket, entry) in zip(sockets, entries) where entry.revents != 0 {
            let count = martlet_inbox_receive(socket.inbox, socket.descriptor)
            for index in 0..<UInt32(max(count, 0)) {
                var info = martlet_datagram_info()
                martlet_inbox_info(socket.inbox, index, &info)
                guard let bytes = martlet_inbox_bytes(socket.inbox, index) else { continue }
                let skipped = socket.isMarked ? 4 : 0
                guard Int(info.length) > skipped else { continue }
                body(Array(UnsafeBufferPointer(start: bytes, count: Int(info.length))[skipped...]), socket.isMarked)
            }
        }
    }
}
