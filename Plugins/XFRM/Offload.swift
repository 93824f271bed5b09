// SAs in hardware: which device has our outer address, whether it takes the SA, and what is done where it does not. The kernel takes an SA for a
// device without such hardware as well, and does the work itself: whether it is the device's is read back.

import CXFRM
import Glibc
import IKEWire
import PlaneKit
import PluginABI
import XFRMMessages

enum MartletOffload {
    case no, automatic, crypto, packet
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
    func install(_ sa: inout SADescription, _ algorithm: KeyedAlgorithm, _ offload: MartletOffload, _ local: IPAddress, _ name: String, _ description: martlet_sa) throws(PlaneError) {
        var whole = [Bool]()
        switch offload {
        case .no: break
        case .automatic: whole = [true, false]
        case .crypto: whole = [false]
        case .packet: whole = [true]
        }
        let device = whole.isEmpty ? nil : Self.device(of: local)
        if let device {
            for takesPackets in whole {
                sa.offload = OffloadDevice(index: device.index, takesPackets: takesPackets)
                guard socket.request(SAMessages.add(sa, algorithm)) == 0 else { continue }
                var isOffloaded = false
                _ = socket.exchange(SAMessages.query(spi: sa.spi, destination: sa.path.destination, mark: sa.mark), .single) { isOffloaded = SAReport($0)?.isOffloaded ?? false }
                if isOffloaded { return }
                // The kernel does the work itself: as good as any other where nobody insists.
                sa.offload = nil
                if offload == .automatic { return }
                _ = socket.request(SAMessages.delete(spi: sa.spi, destination: sa.path.destination, mark: sa.mark))
            }
        }
        sa.offload = nil
        guard offload == .no || offload == .automatic else {
            throw .unsupported(
                "\(name): \(device.map { "the device \($0.name) has no hardware for" } ?? "no device with the address \(local) for") hw_offload = \(offload == .packet ? "packet" : "crypto")")
        }
        let result = socket.request(SAMessages.add(sa, algorithm))
        guard result == 0 else { throw refusal(result, name, description) }
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
