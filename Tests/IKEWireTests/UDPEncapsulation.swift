// What a datagram on port 4500 carries. RFC 3948 section 2.

import Testing

@testable import IKEWire

@Suite struct UDPEncapsulationTests {
    @Test func datagramsAreTold() {
        for (bytes, expected) in [
            ([], .invalid), ([0xff], .keepalive), ([0xfe], .invalid), ([0xff, 0xff], .invalid), ([0, 0, 0], .invalid),
            ([0, 0, 0, 0], .invalid), ([0, 0, 0, 0, 1], .ike(offset: 4)), ([0, 0, 0, 1], .invalid),
            ([0, 0, 0, 1, 0, 0, 0], .invalid), ([0xc1, 0xc2, 0xc3, 0xc4, 0, 0, 0, 1], .esp(spi: 0xc1c2_c3c4)),
            ([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1], .esp(spi: 0xffff_ffff)),
        ] as [([UInt8], UDPEncapsulation.Datagram)] {
            #expect(UDPEncapsulation.classify(bytes.span) == expected, "\(bytes)")
        }
    }

    /// Section 2.3: one octet, 0xff.
    @Test func aKeepaliveIsOneOctet() {
        #expect(UDPEncapsulation.keepalive == [0xff])
        let octets = UDPEncapsulation.keepalive
        #expect(UDPEncapsulation.classify(octets.span) == .keepalive)
    }

    @Test func aMarkedMessageIsIKE() {
        let marked = UDPEncapsulation.marked([1, 2, 3])
        #expect(marked == [0, 0, 0, 0, 1, 2, 3])
        #expect(UDPEncapsulation.classify(marked.span) == .ike(offset: 4))
    }
}
