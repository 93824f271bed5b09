// Hardware that takes an SA, or part of the work, or nothing: what is tried, and what is left in the kernel. No such hardware is needed.

import Glibc
import Testing

@testable import XFRMMessages

struct OffloadTests {
    /// A kernel with one device. What it was asked for, and which SA it has.
    private final class Kernel {
        /// Refusals of an SA with packets, of one with its ciphers in the device, and of one without any.
        var packets: Int32 = 0, crypto: Int32 = 0, plain: Int32 = 0
        /// What of those that it takes is really the device's.
        var carriesPackets = false, encrypts = false
        var asked: [String] = []
        var holds: String?

        func climb(_ wish: OffloadWish, device: Int32? = 7) -> OffloadLadder.Outcome {
            OffloadLadder.climb(
                wish, device: device,
                add: { device in
                    let what = device.map { $0.takesPackets ? "packet" : "crypto" } ?? "none"
                    asked.append(what)
                    if let device { #expect(device.index == 7) }
                    guard holds == nil else { return -EEXIST }
                    let result = device.map { $0.takesPackets ? packets : crypto } ?? plain
                    if result == 0 { holds = what }
                    return result
                },
                isInDevice: { holds == "packet" ? carriesPackets : holds == "crypto" && encrypts },
                remove: { holds = nil })
        }
    }

    private let whole = OffloadDevice(index: 7, takesPackets: true), ciphers = OffloadDevice(index: 7, takesPackets: false)

    @Test func whoAsksForNothingHasNone() {
        let kernel = Kernel()
        #expect(kernel.climb(.no) == .added(nil) && kernel.asked == ["none"] && kernel.holds == "none")
    }

    @Test func asMuchAsTheDeviceDoes() {
        let able = Kernel()
        (able.carriesPackets, able.encrypts) = (true, true)
        #expect(able.climb(.automatic) == .added(whole) && able.asked == ["packet"])
        // An older kernel, or a device, that knows no whole packets.
        for refusal in [-EINVAL, -EOPNOTSUPP] {
            let half = Kernel()
            (half.packets, half.encrypts) = (refusal, true)
            #expect(half.climb(.automatic) == .added(ciphers) && half.asked == ["packet", "crypto"] && half.holds == "crypto")
        }
        // One that takes packets in name alone.
        let deceiving = Kernel()
        deceiving.encrypts = true
        #expect(deceiving.climb(.automatic) == .added(ciphers) && deceiving.asked == ["packet", "crypto"] && deceiving.holds == "crypto")
    }

    @Test func withoutHardwareTheKernelDoesIt() {
        let refuses = Kernel()
        (refuses.packets, refuses.crypto) = (-EINVAL, -EOPNOTSUPP)
        #expect(refuses.climb(.automatic) == .added(nil) && refuses.asked == ["packet", "crypto", "none"] && refuses.holds == "none")
        // Taken for the device, and done in software.
        let software = Kernel()
        software.packets = -EINVAL
        #expect(software.climb(.automatic) == .added(nil) && software.asked == ["packet", "crypto"] && software.holds == "crypto")
        let homeless = Kernel()
        #expect(homeless.climb(.automatic, device: nil) == .added(nil) && homeless.asked == ["none"])
    }

    @Test(arguments: [OffloadWish.crypto, .packet]) func whatIsInsistedOnIsDoneOrNothingIs(_ wish: OffloadWish) {
        let able = Kernel()
        (able.carriesPackets, able.encrypts) = (true, true)
        #expect(able.climb(wish) == .added(wish == .packet ? whole : ciphers) && able.asked.count == 1)
        for refusal in [0, -EINVAL, -EOPNOTSUPP] as [Int32] {
            let kernel = Kernel()
            (kernel.packets, kernel.crypto) = (refusal, refusal)
            #expect(kernel.climb(wish) == .noHardware && kernel.holds == nil && !kernel.asked.contains("none"))
        }
        let homeless = Kernel()
        #expect(homeless.climb(wish, device: nil) == .noHardware && homeless.asked.isEmpty)
    }

    @Test func whatTheKernelRefusesAnywayIsSaid() {
        let kernel = Kernel()
        (kernel.packets, kernel.crypto, kernel.plain) = (-ENOSYS, -ENOSYS, -ENOSYS)
        #expect(kernel.climb(.automatic) == .refused(-ENOSYS) && kernel.climb(.no) == .refused(-ENOSYS) && kernel.holds == nil)
    }
}
