// The NT hash of a password: MD4 (RFC 1320) over it in UTF-16LE. OpenSSL has MD4 in its legacy provider alone, which is often not there.
// RFC 2759 section 8.3.

import PluginKit

package enum NTHash {
    /// 16 bytes.
    package static func of(_ password: SecretMemory) -> SecretMemory {
        let wide = utf16(password)
        return withExtendedLifetime(wide) { MD4.digest(wide.bytes) }
    }

    /// UTF-8 as UTF-16LE; octets that are no UTF-8 one by one.
    private static func utf16(_ password: SecretMemory) -> SecretMemory {
        var units: [UInt16] = []
        units.reserveCapacity(password.count)
        let isInvalid = transcode(password.bytes.makeIterator(), from: UTF8.self, to: UTF16.self, stoppingOnError: true) { units.append($0) }
        if isInvalid {
            wipe(&units, units.count * 2)
            units = password.bytes.map(UInt16.init)
        }
        let wide = SecretMemory(count: units.count * 2)
        for (index, unit) in units.enumerated() {
            wide.pointer[index * 2] = UInt8(truncatingIfNeeded: unit)
            wide.pointer[index * 2 + 1] = UInt8(truncatingIfNeeded: unit >> 8)
        }
        wipe(&units, units.count * 2)
        return wide
    }
}

/// RFC 1320. For nothing but NT hashes.
package enum MD4 {
    package static func digest(_ message: UnsafeBufferPointer<UInt8>) -> SecretMemory {
        let padded = SecretMemory(count: (message.count + 8) / 64 * 64 + 64)
        if let base = message.baseAddress { padded.pointer.update(from: base, count: message.count) }
        padded.pointer[message.count] = 0x80
        let bits = UInt64(message.count) &* 8
        for index in 0..<8 { padded.pointer[padded.count - 8 + index] = UInt8(truncatingIfNeeded: bits >> UInt64(8 * index)) }
        var state: (UInt32, UInt32, UInt32, UInt32) = (0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476)
        for start in stride(from: 0, to: padded.count, by: 64) { block(padded.pointer + start, &state) }
        let output = SecretMemory(count: 16)
        for (index, word) in [state.0, state.1, state.2, state.3].enumerated() {
            for byte in 0..<4 { output.pointer[index * 4 + byte] = UInt8(truncatingIfNeeded: word >> UInt32(8 * byte)) }
        }
        return output
    }

    private static func block(_ bytes: UnsafeMutablePointer<UInt8>, _ state: inout (UInt32, UInt32, UInt32, UInt32)) {
        func word(_ index: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(bytes[index * 4 + $1]) << UInt32(8 * $1) } }
        var (a, b, c, d) = state
        func turn(_ value: UInt32, _ count: UInt32) -> UInt32 { value << count | value >> (32 - count) }
        let shifts: [[UInt32]] = [[3, 7, 11, 19], [3, 5, 9, 13], [3, 9, 11, 15]]
        let third = [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15]
        for step in 0..<48 {
            let round = step / 16, within = step % 16
            let mixed: UInt32, index: Int
            switch round {
            case 0: (mixed, index) = ((b & c) | (~b & d), within)
            case 1: (mixed, index) = (((b & c) | (b & d) | (c & d)) &+ 0x5a82_7999, within % 4 * 4 + within / 4)
            default: (mixed, index) = ((b ^ c ^ d) &+ 0x6ed9_eba1, third[within])
            }
            let next = turn(a &+ mixed &+ word(index), shifts[round][within % 4])
            (a, b, c, d) = (d, next, b, c)
        }
        state = (state.0 &+ a, state.1 &+ b, state.2 &+ c, state.3 &+ d)
    }
}
