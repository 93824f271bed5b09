// Every socket of the gateway: IKE on both ports and families, the plane's data sockets in the same port group, raw ESP.
// RFC 7296 section 2.23, RFC 3948. The host opens all of them; the plane reads and writes its own.

import CLinux
import Glibc
import IKEWire
import PluginABI

/// A socket that IKE is read from and sent through.
struct IKESocket: Sendable {
    let descriptor: Int32
    /// Unspecified for every address of its family.
    let address: IPAddress
    let port: UInt16
    /// IKE travels behind the non-ESP marker here.
    let isShared: Bool
}

package struct SocketOptions: Sendable {
    /// Empty: every address.
    package var listen: [IPAddress] = []
    package var port: UInt16 = 500
    package var natPort: UInt16 = 4500
    /// Threads of the plane; 0 opens no sockets for one.
    package var workers = 0
    /// Whether the kernel takes ESP off the port that IKE shares with it.
    package var takesKernelUDP = false
    package init() {}

    var addresses: [IPAddress] { listen.isEmpty ? [IPAddress(family: .v4, value: 0), IPAddress(family: .v6, value: 0)] : listen }
}

/// Why the sockets could not be opened.
package enum SocketSetError: Error, CustomStringConvertible {
    case taken(PortTaken)
    case system(SystemError)
    package var description: String {
        switch self {
        case .taken(let error): error.description
        case .system(let error): error.description
        }
    }
}

package final class SocketSet: @unchecked Sendable {
    /// What the daemon's packets carry, so that the tunnel's routes leave them alone.
    package static let mark: UInt32 = 0x4d52_0001

    let ike: [IKESocket]
    /// For the plane, in the order of its workers.
    let plane: [martlet_socket]
    /// What people should know about how it went.
    let notes: [String]
    private let locks: [Int32]

    package init(_ options: SocketOptions) throws(SocketSetError) {
        var opened: [Int32] = []
        do throws(SocketSetError) {
            var ike: [IKESocket] = [], plane: [martlet_socket] = [], notes: [String] = []
            for port in [options.port, options.natPort] { opened.append(try Self.hold(port, options.addresses)) }
            let locks = opened
            var isMarked = true
            for address in options.addresses {
                let main = try Self.open(address, options.port, shared: false, workers: 0, &isMarked)
                guard let main else {
                    notes.append("this host has no \(address.family == .v4 ? "IPv4" : "IPv6"): no socket for \(address)")
                    continue
                }
                opened.append(main)
                ike.append(IKESocket(descriptor: main, address: address, port: options.port, isShared: false))
                // The control socket first: the group's program sends IKE to index 0. It brings the program before it is bound, so no
                // datagram is ever spread without it.
                guard let nat = try Self.open(address, options.natPort, shared: options.workers > 0, workers: UInt32(options.workers), &isMarked) else { continue }
                opened.append(nat)
                ike.append(IKESocket(descriptor: nat, address: address, port: options.natPort, isShared: true))
                if options.takesKernelUDP {
                    let result = martlet_udp_kernel_esp(nat)
                    if result != 0 { notes.append("the kernel takes no ESP in UDP over \(address.family == .v4 ? "IPv4" : "IPv6"): \(errorText(-result))") }
                }
                for worker in 0..<options.workers {
                    guard let data = try Self.open(address, options.natPort, shared: true, workers: 0, &isMarked) else { continue }
                    opened.append(data)
                    plane.append(
                        martlet_socket(
                            fd: data, kind: MARTLET_SOCKET_UDP_ENCAP.rawValue, worker: UInt32(worker), family: address.family.socketFamily, port: options.natPort))
                }
            }
            for family in Set(options.addresses.map(\.family)) {
                for worker in 0..<options.workers {
                    var marked = false
                    let raw = martlet_esp_open(family.socketFamily, Self.mark, UInt32(worker), UInt32(options.workers), &marked)
                    guard raw >= 0 else {
                        if worker == 0, raw != -EAFNOSUPPORT { notes.append("no raw \(family == .v4 ? "IPv4" : "IPv6") socket for ESP: \(errorText(-raw)); ESP travels in UDP alone") }
                        continue
                    }
                    isMarked = isMarked && marked
                    opened.append(raw)
                    plane.append(
                        martlet_socket(
                            fd: raw, kind: (family == .v4 ? MARTLET_SOCKET_ESP4 : MARTLET_SOCKET_ESP6).rawValue, worker: UInt32(worker), family: family.socketFamily, port: 0))
                }
            }
            guard !ike.isEmpty else { throw .system(SystemError("open a UDP socket", EAFNOSUPPORT)) }
            if !isMarked { notes.append("packets cannot be marked (CAP_NET_ADMIN is missing): a child with 0.0.0.0/0 or ::/0 would carry the tunnel's own packets") }
            self.ike = ike
            self.plane = plane
            self.notes = notes
            self.locks = locks
        } catch {
            for descriptor in opened { close(descriptor) }
            throw error
        }
    }

    /// Closes everything; after the plane and the readers have ended.
    func closeAll() {
        for socket in ike { close(socket.descriptor) }
        for socket in plane { close(socket.fd) }
        for lock in locks { close(lock) }
    }

    /// The namespace's lock on a port, after a look whether somebody else is bound to it.
    private static func hold(_ port: UInt16, _ addresses: [IPAddress]) throws(SocketSetError) -> Int32 {
        do throws(PortTaken) {
            return try PortLock.acquire(port: port, addresses: addresses)
        } catch {
            throw .taken(error)
        }
    }

    /// Nil where the host does not have the family.
    private static func open(_ address: IPAddress, _ port: UInt16, shared: Bool, workers: UInt32, _ isMarked: inout Bool) throws(SocketSetError) -> Int32? {
        var local = martlet_endpoint(SocketAddress(address: address, port: port))
        var marked = false
        let result = martlet_udp_open(&local, shared ? MARTLET_UDP_SHARED.rawValue : 0, mark, workers, &marked)
        if result == -EAFNOSUPPORT { return nil }
        if result == -EADDRINUSE { throw .taken(PortTaken(port: port, reason: "it is in use by another program on \(address)")) }
        guard result >= 0 else { throw .system(SystemError("bind UDP port \(port) on \(address)", -result)) }
        isMarked = isMarked && marked
        return result
    }
}
