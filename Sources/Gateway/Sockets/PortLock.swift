// Makes a second daemon fail loudly: with SO_REUSEPORT it would silently take half of the first one's datagrams.

import CLinux
import Glibc
import IKEWire

/// Why a port is not ours.
package struct PortTaken: Error, Hashable, Sendable, CustomStringConvertible {
    package let port: UInt16
    package let reason: String
    package var description: String { "UDP port \(port) cannot be had: \(reason)" }
}

package enum PortLock {
    /// Looks whether anybody is bound to the port on one of `addresses`, and takes the lock on it in this network namespace: a
    /// descriptor, held as long as it is open, even against SIGKILL.
    package static func acquire(port: UInt16, addresses: [IPAddress]) throws(PortTaken) -> Int32 {
        let result = martlet_namespace_lock("martlet/udp/\(port)")
        guard result >= 0 else {
            throw PortTaken(port: port, reason: result == -EADDRINUSE ? "it is in use by another martletd in this network namespace" : errorText(-result))
        }
        for address in addresses {
            var local = martlet_endpoint(SocketAddress(address: address, port: port))
            let probed = martlet_udp_probe(&local)
            // A host without IPv6 has no such socket at all.
            guard probed < 0, probed != -EAFNOSUPPORT else { continue }
            close(result)
            let place = address.isUnspecified ? "every address" : "\(address)"
            throw PortTaken(
                port: port,
                reason: probed == -EADDRINUSE
                    ? "it is in use by another program on \(place), see `ss -ulpn sport = :\(port)`"
                    : "binding it on \(place): \(errorText(-probed))\(probed == -EACCES ? " (a port below 1024 needs CAP_NET_BIND_SERVICE)" : "")")
        }
        return result
    }
}
