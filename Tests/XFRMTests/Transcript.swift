// Selectors of the kernel from traffic selectors.

import ESPCore
import IKEWire
import Testing

@testable import XFRMMessages

struct SelectorTests {
    @Test func portRangesBecomeBlocksUnderMasks() {
        #expect(PortBlock.covering(0...65535) == [.any])
        #expect(PortBlock.covering(80...80) == [PortBlock(port: 80, mask: 0xffff)])
        #expect(PortBlock.covering(1000...1007) == [PortBlock(port: 1000, mask: 0xfff8)])
        for (first, last) in [(0, 1), (1, 65535), (1024, 65535), (5000, 5010), (65535, 65535), (0, 65534)] as [(UInt16, UInt16)] {
            let blocks = PortBlock.covering(first...last)
            for port in UInt16.min...UInt16.max where blocks.filter({ port & $0.mask == $0.port }).count != (port >= first && port <= last ? 1 : 0) {
                Issue.record("port \(port) of \(first)-\(last)")
                break
            }
        }
    }
}
