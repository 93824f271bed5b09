// What is tried, and in which order, where an SA may be in hardware. The kernel takes an SA for a device without such hardware as well, and does the work
// itself: whether it is the device's is read back.

package enum OffloadWish: Sendable {
    case no, automatic, crypto, packet

    /// Whether the device is to carry the packets whole, each attempt after the other.
    var attempts: [Bool] {
        switch self {
        case .no: []
        case .automatic: [true, false]
        case .crypto: [false]
        case .packet: [true]
        }
    }
    var insists: Bool { self == .crypto || self == .packet }
}

package enum OffloadLadder {
    package enum Outcome: Equatable {
        /// The SA is there: in that device, or the kernel's own.
        case added(OffloadDevice?)
        /// It is not there: no device does what is insisted on.
        case noHardware
        /// It is not there: the kernel refuses it with this errno, hardware or not.
        case refused(Int32)
    }

    /// `device`: the one with our outer address. `add` adds the SA, with a device or without, and says 0 or a negative errno; `isInDevice` whether the one
    /// that was added is; `remove` takes it away again.
    package static func climb(_ wish: OffloadWish, device: Int32?, add: (OffloadDevice?) -> Int32, isInDevice: () -> Bool, remove: () -> Void) -> Outcome {
        if let device {
            for takesPackets in wish.attempts {
                let attempt = OffloadDevice(index: device, takesPackets: takesPackets)
                guard add(attempt) == 0 else { continue }
                if isInDevice() { return .added(attempt) }
                // The kernel does the work itself: as good as any other where nobody insists and nothing is left to try.
                if !wish.insists, !takesPackets { return .added(nil) }
                remove()
            }
        }
        guard !wish.insists else { return .noHardware }
        let result = add(nil)
        return result == 0 ? .added(nil) : .refused(result)
    }
}
