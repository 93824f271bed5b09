// One netlink message under construction. RFC 3549; its memory is wiped when it goes, because it may hold keys.

import CSecret
import CXFRM
import IKEWire

package struct NetlinkMessage: ~Copyable {
    /// What the largest request here needs: an SA with its keys and a replay window of 4096 packets.
    package static let capacity = 4096

    private let memory: UnsafeMutableRawBufferPointer
    private let isLent: Bool
    package private(set) var count = 0
    /// Something did not fit; such a message must not be sent.
    package private(set) var isTruncated = false

    private static let headerBytes = MemoryLayout<nlmsghdr>.size

    /// The sequence number is the socket's to set.
    package init(type: UInt16, flags: UInt16, capacity: Int = NetlinkMessage.capacity) {
        self.init(type: type, flags: flags, memory: .allocate(byteCount: max(capacity, Self.headerBytes), alignment: 8), isLent: false)
    }

    /// In memory that is not freed with the message where it `isLent`: by tests that look at what is left there. It has room for the header.
    init(type: UInt16, flags: UInt16, memory: UnsafeMutableRawBufferPointer, isLent: Bool) {
        self.memory = memory
        self.isLent = isLent
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        count = Self.headerBytes
        var header = nlmsghdr()
        header.nlmsg_len = UInt32(count)
        header.nlmsg_type = type
        header.nlmsg_flags = UInt16(NLM_F_REQUEST) | flags
        memory.storeBytes(of: header, as: nlmsghdr.self)
    }

    deinit {
        if let base = memory.baseAddress { martlet_secret_wipe(base, memory.count) }
        if !isLent { memory.deallocate() }
    }

    /// The port is the sending socket's: what the kernel announces of the change carries it.
    package mutating func number(_ number: UInt32, port: UInt32) {
        memory.storeBytes(of: number, toByteOffset: 8, as: UInt32.self)
        memory.storeBytes(of: port, toByteOffset: 12, as: UInt32.self)
    }

    package mutating func setType(_ type: UInt16) { memory.storeBytes(of: type, toByteOffset: 4, as: UInt16.self) }

    /// The fixed part of the message. Once, before any attribute.
    package mutating func body<T>(_ value: T) {
        let start = count
        withUnsafeBytes(of: value) { append($0) }
        clearPadding(of: T.self, at: start)
        finish()
    }

    package mutating func attribute<T>(_ type: xfrm_attr_type_t, _ value: T) {
        let start = count + 4
        withUnsafeBytes(of: value) { attribute(type, $0, UnsafeRawBufferPointer(start: nil, count: 0)) }
        clearPadding(of: T.self, at: start)
    }

    private func clearPadding<T>(of type: T.Type, at start: Int) {
        guard let padded = type as? any Padded.Type, !isTruncated else { return }
        for range in padded.padding { for place in range { memory[start + place] = 0 } }
    }

    package mutating func attribute(_ number: UInt32, bytes: [UInt8]) {
        bytes.withUnsafeBytes { attribute(xfrm_attr_type_t(rawValue: number), $0, UnsafeRawBufferPointer(start: nil, count: 0)) }
    }

    /// An attribute of attributes, those that `body` appends.
    package mutating func nest(_ number: UInt32, _ body: (inout NetlinkMessage) -> Void) {
        let start = count
        attribute(number | UInt32(NLA_F_NESTED), bytes: [])
        body(&self)
        guard !isTruncated, let length = UInt16(exactly: count - start) else { return isTruncated = true }
        memory.storeBytes(of: length, toByteOffset: start, as: UInt16.self)
    }

    /// An attribute of two parts, the second one of any length: a structure and its key.
    package mutating func attribute(_ type: xfrm_attr_type_t, _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer) {
        let length = 4 + first.count + second.count
        guard length <= Int(UInt16.max), count + Self.padded(length) <= memory.count else { return isTruncated = true }
        var head = nlattr()
        head.nla_len = UInt16(length)
        head.nla_type = UInt16(truncatingIfNeeded: type.rawValue)
        withUnsafeBytes(of: head) { append($0) }
        append(first)
        append(second)
        finish()
    }

    /// Lends the value of an attribute that is there, to be changed at its size. False where there is none.
    package mutating func change(_ type: xfrm_attr_type_t, after fixed: Int, _ body: (UnsafeMutableRawBufferPointer) -> Void) -> Bool {
        var offset = Self.headerBytes + Self.padded(fixed)
        while offset + 4 <= count {
            let head = memory.loadUnaligned(fromByteOffset: offset, as: nlattr.self), length = Int(head.nla_len)
            guard length >= 4, offset + length <= count else { return false }
            if head.nla_type == UInt16(type.rawValue) {
                body(UnsafeMutableRawBufferPointer(rebasing: memory[(offset + 4)..<(offset + length)]))
                return true
            }
            offset += Self.padded(length)
        }
        return false
    }

    package func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result { body(UnsafeRawBufferPointer(rebasing: memory[..<count])) }

    private mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard count + bytes.count <= memory.count else { return isTruncated = true }
        guard !bytes.isEmpty else { return }
        UnsafeMutableRawBufferPointer(rebasing: memory[count..<(count + bytes.count)]).copyMemory(from: bytes)
        count += bytes.count
    }

    /// Pads with the zeros that are there, and says how long the message is now.
    private mutating func finish() {
        count = min(Self.padded(count), memory.count)
        memory.storeBytes(of: UInt32(count), as: UInt32.self)
    }

    private static func padded(_ length: Int) -> Int { (length + 3) & ~3 }
}

// MARK: The kernel's values

extension xfrm_address_t {
    package init(_ address: IPAddress) {
        self.init()
        let bytes = address.bytes
        withUnsafeMutableBytes(of: &self) { raw in
            for (index, byte) in bytes.enumerated() where index < raw.count { raw[index] = byte }
        }
    }

    /// Nil for a family that is neither IPv4 nor IPv6.
    package func address(_ family: UInt16) -> IPAddress? {
        switch Int32(family) {
        case AF_INET: withUnsafeBytes(of: self) { IPAddress(bytes: Array($0.prefix(4))) }
        case AF_INET6: withUnsafeBytes(of: self) { IPAddress(bytes: Array($0.prefix(16))) }
        default: nil
        }
    }
}

extension IPAddress.Family {
    package var kernel: UInt16 { UInt16(self == .v4 ? AF_INET : AF_INET6) }
}

/// XFRM_INF, a limit that is none.
package let unlimited = UInt64.max
