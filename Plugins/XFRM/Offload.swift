// SAs in hardware: which device has our outer address, and what is said where it does not take them. In which order what is tried: OffloadLadder.

import CXFRM
import Glibc
import IKEWire
import PlaneKit
import PluginABI
import XFRMMessages

extension OffloadWish {
    init(_ contract: UInt8) {
        switch UInt32(contract) {
        case MARTLET_OFFLOAD_AUTO.rawValue: self = .automatic
        case MARTLET_OFFLOAD_CRYPTO.rawValue: self = .crypto
        case MARTLET_OFFLOAD_PACKET.rawValue: self = .packet
        default: self = .no
        }
    }
}

extension Plane {
    /// Adds the SA, in hardware where that is asked for; `sa` says then where it is.
    func install(_ sa: inout SADescription, _ algorithm: KeyedAlgorithm, _ wish: OffloadWish, _ local: IPAddress, _ name: String, _ description: martlet_sa) throws(PlaneError) {
        let device = wish == .no ? nil : Self.device(of: local)
        let base = sa
        let outcome = OffloadLadder.climb(
            wish, device: device?.index,
            add: { device in
                var attempt = base
                attempt.offload = device
                return socket.request(SAMessages.add(attempt, algorithm))
            },
            isInDevice: {
                var isOffloaded = false
                _ = socket.exchange(SAMessages.query(spi: base.spi, destination: base.path.destination, mark: base.mark), .single) { isOffloaded = SAReport($0)?.isOffloaded ?? false }
                return isOffloaded
            },
            remove: { _ = socket.request(SAMessages.delete(spi: base.spi, destination: base.path.destination, mark: base.mark)) })
        switch outcome {
        case .added(let device): sa.offload = device
        case .noHardware:
            throw .unsupported(
                "\(name): \(device.map { "the device \($0.name) has no hardware for" } ?? "no device with the address \(local) for") hw_offload = \(wish == .packet ? "packet" : "crypto")")
        case .refused(let result): throw refusal(result, name, description)
        }
    }

    /// The interface that has an address of ours.
    private static func device(of address: IPAddress) -> (index: Int32, name: String)? {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else { return nil }
        defer { freeifaddrs(list) }
        var next = list
        while let entry = next {
            defer { next = entry.pointee.ifa_next }
            guard let socket = entry.pointee.ifa_addr, let name = entry.pointee.ifa_name else { continue }
            let bytes: [UInt8]
            switch Int32(socket.pointee.sa_family) {
            case AF_INET: bytes = socket.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { withUnsafeBytes(of: $0.pointee.sin_addr) { Array($0) } }
            case AF_INET6: bytes = socket.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { withUnsafeBytes(of: $0.pointee.sin6_addr) { Array($0) } }
            default: continue
            }
            let index = if_nametoindex(name)
            if IPAddress(bytes: bytes) == address, index > 0 { return (Int32(index), String(cString: name)) }
        }
        return nil
    }
}
