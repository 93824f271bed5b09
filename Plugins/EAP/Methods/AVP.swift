// An attribute of Diameter, as TTLS carries what is said inside. RFC 5281 section 10.

package struct AVP {
    enum Code { static let userName: UInt32 = 1, userPassword: UInt32 = 2, eapMessage: UInt32 = 79, challenge: UInt32 = 11, response: UInt32 = 25, success: UInt32 = 26 }
    static let microsoft: UInt32 = 311
    private static let most = 32
    package var vendor: UInt32 = 0
    package var code: UInt32
    package var data: [UInt8]

    package var bytes: [UInt8] {
        func octets(_ value: UInt32) -> [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> UInt32($0)) } }
        let length = UInt32(truncatingIfNeeded: (vendor == 0 ? 8 : 12) + data.count) & 0xff_ffff
        //= RFC 5281 §10.2: padded with zeros to four octets, which the length does not count.
        let padding = [UInt8](repeating: 0, count: (4 - data.count % 4) % 4)
        return octets(code) + octets((vendor == 0 ? 0x4000_0000 : 0xc000_0000) | length) + (vendor == 0 ? [] : octets(vendor)) + data + padding
    }

    /// Nil where the octets are no attributes, or one is mandatory and not known.
    package static func parse(_ bytes: [UInt8]) -> [AVP]? {
        var rest = bytes[...], pairs: [AVP] = []
        while !rest.isEmpty {
            guard rest.count >= 8, pairs.count < most else { return nil }
            func word(_ offset: Int) -> UInt32 { rest.dropFirst(offset).prefix(4).reduce(0) { $0 << 8 | UInt32($1) } }
            let flags = word(4) >> 24, length = Int(word(4) & 0xff_ffff), hasVendor = flags & 0x80 != 0
            let head = hasVendor ? 12 : 8
            guard length >= head, length <= rest.count else { return nil }
            let pair = AVP(vendor: hasVendor ? word(8) : 0, code: word(0), data: Array(rest.dropFirst(head).prefix(length - head)))
            let isKnown = pair.vendor == 0 ? [Code.userName, Code.userPassword, Code.eapMessage].contains(pair.code) : pair.vendor == microsoft
            //= RFC 5281 §10.1: an attribute that is mandatory and not understood ends the negotiation.
            if flags & 0x40 != 0, !isKnown { return nil }
            pairs.append(pair)
            rest = rest.dropFirst(min((length + 3) / 4 * 4, rest.count))
        }
        return pairs
    }
}

extension [AVP] {
    func first(_ vendor: UInt32 = 0, _ code: UInt32) -> [UInt8]? { first { $0.vendor == vendor && $0.code == code }?.data }
    /// A packet of EAP, in one attribute or several.
    var eap: [UInt8]? {
        let parts = filter { $0.vendor == 0 && $0.code == AVP.Code.eapMessage }
        return parts.isEmpty ? nil : parts.flatMap(\.data)
    }
}
