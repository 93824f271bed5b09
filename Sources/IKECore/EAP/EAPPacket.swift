// One EAP packet as an EAP payload carries it: code, identifier, length, and in a request or response a type and its data.
// RFC 3748 section 4, RFC 7296 section 3.16.

package struct EAPPacket: Equatable {
    package enum Code: UInt8 { case request = 1, response, success, failure }
    package var code: Code
    package var identifier: UInt8
    /// Of a request or response; zero otherwise.
    package var type: UInt8 = 0
    package var data: [UInt8] = []

    /// Types that are no methods. RFC 3748 section 5.
    package static let identity: UInt8 = 1, notification: UInt8 = 2, nak: UInt8 = 3, expanded: UInt8 = 254
    private static let headerByteCount = 4

    package init(_ code: Code, _ identifier: UInt8, type: UInt8 = 0, data: [UInt8] = []) {
        self.code = code
        self.identifier = identifier
        self.type = type
        self.data = data
    }

    /// As configurations call a method; the number where none here has it.
    static func name(of type: UInt8) -> String {
        switch type {
        case 4: "eap-md5"
        case 6: "eap-gtc"
        case 13: "eap-tls"
        case 21: "eap-ttls"
        case 25: "eap-peap"
        case 26: "eap-mschapv2"
        default: "the EAP type \(type)"
        }
    }

    /// Nil where the octets are no packet.
    package init?(_ bytes: [UInt8]) {
        guard bytes.count >= Self.headerByteCount, let code = Code(rawValue: bytes[0]) else { return nil }
        //= RFC 7296 §3.16: the length is that of the payload without its header: nothing is left over, and nothing is missing.
        guard Int(bytes[2]) << 8 | Int(bytes[3]) == bytes.count else { return nil }
        self.code = code
        identifier = bytes[1]
        switch code {
        case .request, .response:
            //= RFC 3748 §4.1: a request or response has a type.
            guard bytes.count > Self.headerByteCount else { return nil }
            type = bytes[Self.headerByteCount]
            data = Array(bytes.dropFirst(Self.headerByteCount + 1))
        case .success, .failure:
            //= RFC 3748 §4.2: Success and Failure have no data.
            guard bytes.count == Self.headerByteCount else { return nil }
        }
    }

    package var bytes: [UInt8] {
        let body = code == .request || code == .response ? [type] + data : []
        let count = UInt16(clamping: Self.headerByteCount + body.count)
        return [code.rawValue, identifier, UInt8(count >> 8), UInt8(count & 0xff)] + body
    }
}
