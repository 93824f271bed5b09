// Real sockets on loopback: who gets which datagram, and who may have a port.

import CLinux
import Glibc
import IKECore
import IKEWire
import PluginABI
import Testing

@testable import Gateway

/// A UDP port of this machine that nobody uses, and the next one: below those that the kernel lends to whoever asks for any.
private func freePorts() -> (UInt16, UInt16) {
    while true {
        let port = UInt16.random(in: 20_000...32_000)
        let free = [port, port + 1].allSatisfy { port in
            var any = martlet_endpoint(SocketAddress(address: IPAddress(v4: 0), port: port))
            return martlet_udp_probe(&any) == 0
        }
        if free { return (port, port + 1) }
    }
}

private let loopback = IPAddress(v4: 0x7f00_0001)

private func options(workers: Int) -> SocketOptions {
    var options = SocketOptions()
    (options.port, options.natPort) = freePorts()
    options.listen = [loopback]
    options.workers = workers
    return options
}

/// Sends each payload from a socket of its own.
private func send(_ payloads: [[UInt8]], to port: UInt16) throws {
    for payload in payloads {
        var marked = false
        var local = martlet_endpoint(SocketAddress(address: loopback, port: 0))
        let fd = try check("open a socket", martlet_udp_open(&local, 0, 0, 0, &marked))
        defer { close(fd) }
        var item = martlet_outgoing()
        item.length = UInt32(payload.count)
        item.remote = martlet_endpoint(SocketAddress(address: loopback, port: port))
        martlet_udp_send(fd, payload, &item, 1)
        #expect(item.error == 0)
    }
}

/// What waits on a socket.
private func received(_ fd: Int32) -> [[UInt8]] {
    guard let inbox = martlet_inbox_create(64, 2048) else { return [] }
    defer { martlet_inbox_destroy(inbox) }
    let count = martlet_inbox_receive(inbox, fd)
    return (0..<UInt32(max(0, count))).map { index in
        var info = martlet_datagram_info()
        martlet_inbox_info(inbox, index, &info)
        return Array(UnsafeBufferPointer(start: martlet_inbox_bytes(inbox, index), count: Int(info.length)))
    }
}

private func esp(_ spi: UInt32) -> [UInt8] { [UInt8(spi >> 24), UInt8(spi >> 16 & 0xff), UInt8(spi >> 8 & 0xff), UInt8(spi & 0xff), 0, 0, 0, 1, 9, 9] }

@Suite struct PortGroupTests {
    @Test(arguments: [1, 2, 3]) func theGroupSeparatesIKEFromESP(workers: Int) throws {
        let options = options(workers: workers)
        let sockets = try SocketSet(options)
        defer { sockets.closeAll() }
        let control = try #require(sockets.ike.first { $0.isShared })
        let data = sockets.plane.filter { $0.kind == MARTLET_SOCKET_UDP_ENCAP.rawValue }
        let owners = data.map { Int($0.worker) }
        #expect(owners == Array(0..<workers))

        let ike: [[UInt8]] = [[0, 0, 0, 0] + [UInt8](repeating: 7, count: 28), [0xff], [], [0, 0, 0], [0, 0, 0, 0]]
        let spis: [UInt32] = (0..<24).map { 0x0100_0000 &+ $0 &* 2_654_435 } + [256, .max, 0xffff_fffe]
        try send(ike + spis.map(esp), to: options.natPort)

        #expect(Set(received(control.descriptor)) == Set(ike))
        for socket in data {
            let expected = spis.filter { $0 % UInt32(workers) == socket.worker }.map(esp)
            let came = received(socket.fd)
            #expect(Set(came) == Set(expected), "one of \(workers) workers")
        }
    }

    /// RFC 7296 section 2.23: UDP carries ESP on port 4500 alone.
    @Test func portOf500HasNoESP() throws {
        let options = options(workers: 2)
        let sockets = try SocketSet(options)
        defer { sockets.closeAll() }
        let inUDP = sockets.plane.filter { $0.kind == MARTLET_SOCKET_UDP_ENCAP.rawValue }
        #expect(inUDP.count == 2 && inUDP.allSatisfy { $0.port == options.natPort })
        let plain = try #require(sockets.ike.first { !$0.isShared })
        let packets = (0..<8).map { esp(0x0100_0000 + $0) }
        try send(packets, to: options.port)
        #expect(Set(received(plain.descriptor)) == Set(packets))
        for socket in sockets.plane { #expect(received(socket.fd).isEmpty) }
    }

    @Test func aSecondSetOnTheSamePortsIsRefusedByName() throws {
        let options = options(workers: 2)
        let sockets = try SocketSet(options)
        defer { sockets.closeAll() }
        do {
            let second = try SocketSet(options)
            second.closeAll()
            Issue.record("the second set got the ports")
        } catch {
            #expect(error.description.contains("\(options.port)"))
            #expect(error.description.contains("martletd"))
        }
    }

    @Test func anotherProgramOnThePortIsNoticed() throws {
        let options = options(workers: 2)
        var other = martlet_endpoint(SocketAddress(address: loopback, port: options.natPort))
        var marked = false
        // Even one that would share the port.
        let fd = try check("open a socket", martlet_udp_open(&other, MARTLET_UDP_SHARED.rawValue, 0, 0, &marked))
        defer { close(fd) }
        do {
            let set = try SocketSet(options)
            set.closeAll()
            Issue.record("the port was taken from another program")
        } catch {
            #expect(error.description.contains("\(options.natPort)"))
        }
        // What the failed attempt had taken is free again.
        let lock = try PortLock.acquire(port: options.port, addresses: [loopback])
        close(lock)
    }

    @Test func aDatagramSaysWhichAddressItCameTo() throws {
        var options = options(workers: 0)
        options.listen = []
        let sockets = try SocketSet(options)
        defer { sockets.closeAll() }
        let socket = try #require(sockets.ike.first { !$0.isShared && $0.address.family == .v4 })
        let other = IPAddress(v4: 0x7f00_0002)
        var marked = false
        var local = martlet_endpoint(SocketAddress(address: loopback, port: 0))
        let fd = try check("open a socket", martlet_udp_open(&local, 0, 0, 0, &marked))
        defer { close(fd) }
        var item = martlet_outgoing()
        item.length = 1
        item.remote = martlet_endpoint(SocketAddress(address: other, port: options.port))
        martlet_udp_send(fd, [1], &item, 1)
        let inbox = try #require(martlet_inbox_create(4, 64))
        defer { martlet_inbox_destroy(inbox) }
        #expect(martlet_inbox_receive(inbox, socket.descriptor) == 1)
        var info = martlet_datagram_info()
        martlet_inbox_info(inbox, 0, &info)
        #expect(info.local.socketAddress == SocketAddress(address: other, port: options.port))
        #expect(info.remote.socketAddress?.address == loopback)

        // The answer leaves from the address that was asked.
        let peer = try #require(info.remote.socketAddress)
        let log = try Log(level: .error)
        Transport(sockets, log: log).send([OutgoingDatagram(local: SocketAddress(address: other, port: options.port), remote: peer, isShared: false, bytes: [2])])
        #expect(martlet_inbox_receive(inbox, fd) == 1)
        martlet_inbox_info(inbox, 0, &info)
        #expect(info.remote.socketAddress == SocketAddress(address: other, port: options.port))
    }
}

@Suite struct ShardRouterTests {
    private func message(initiator: UInt64, responder: UInt64, flags: HeaderFlags) -> [UInt8] {
        func bytes(_ value: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(56 - 8 * $0)) } }
        return bytes(initiator) + bytes(responder) + [33, 0x20, 34, flags.rawValue] + [UInt8](repeating: 0, count: 8)
    }

    @Test func ourSPINamesTheShard() {
        let router = ShardRouter(count: 4, seed: 1)
        // We answered: the responder's SPI is ours.
        #expect(router.shard(of: message(initiator: 0x0100_0000_0000_0001, responder: 0x0300_0000_0000_0001, flags: .initiator), from: loopback) == 3)
        // We began: the initiator's SPI is ours, in requests and responses of the peer.
        #expect(router.shard(of: message(initiator: 0x0100_0000_0000_0001, responder: 0x0300_0000_0000_0001, flags: .response), from: loopback) == 1)
        #expect(router.shard(of: message(initiator: 0x0200_0000_0000_0001, responder: 0, flags: .response), from: loopback) == 2)
        // No shard has it: a request is told so by any of them, a response is nobody's.
        #expect(router.shard(of: message(initiator: 1, responder: 0x0400_0000_0000_0001, flags: .initiator), from: loopback) == router.shard(forRequestFrom: loopback, initiatorSPI: 1))
        #expect(router.shard(of: message(initiator: 1, responder: 0x0400_0000_0000_0001, flags: [.initiator, .response]), from: loopback) == nil)
        #expect(router.shard(of: message(initiator: 0, responder: 0, flags: .response), from: loopback) == nil)
        #expect(router.shard(of: [1, 2, 3], from: loopback) == nil)
    }

    @Test func requestsSpreadAndStay() {
        let router = ShardRouter(count: 4, seed: 7)
        var counts = [Int: Int]()
        for number in 0..<4000 {
            let request = message(initiator: 1000 + UInt64(number), responder: 0, flags: .initiator)
            let shard = router.shard(of: request, from: loopback)
            #expect(shard == router.shard(of: request, from: loopback))
            counts[shard ?? -1, default: 0] += 1
        }
        #expect(Set(counts.keys) == [0, 1, 2, 3])
        #expect(counts.values.allSatisfy { $0 > 800 })
        let other = ShardRouter(count: 4, seed: 8)
        let moved = (0..<100).count { router.shard(forRequestFrom: loopback, initiatorSPI: $0) != other.shard(forRequestFrom: loopback, initiatorSPI: $0) }
        #expect(moved > 40)
    }
}
