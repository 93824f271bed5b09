// The simple values of a configuration: booleans, numbers, times and sizes, as swanctl.conf(5) writes them.

func booleanValue(_ text: String) -> Bool? {
    switch text.lowercased() {
    case "yes", "true", "enabled", "1": true
    case "no", "false", "disabled", "0": false
    default: nil
    }
}

/// Decimal, or hexadecimal behind `0x`.
func integerValue(_ text: String) -> UInt64? {
    let lowered = text.lowercased()
    if lowered.hasPrefix("0x") {
        let digits = lowered.dropFirst(2)
        return digits.first?.isHexDigit == true ? UInt64(digits, radix: 16) : nil
    }
    return text.utf8.first.map { (0x30...0x39).contains($0) } == true ? UInt64(text) : nil
}

/// Seconds, or a number with s, m, h or d; at most ten years, so that no sum of two can overflow.
func timeValue(_ text: String) -> Duration? {
    guard let number = scaled(text, units: [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]), number <= 10 * 366 * 86_400 else { return nil }
    return .seconds(Int64(number))
}

/// Bytes, or a number with k, m or g, each 1024 times the one before.
func byteValue(_ text: String) -> UInt64? { scaled(text, units: [("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30)]) }

private func scaled(_ text: String, units: [(suffix: String, factor: UInt64)]) -> UInt64? {
    let lowered = text.lowercased()
    for (suffix, factor) in units where lowered.hasSuffix(suffix) {
        let digits = String(decoding: Array(lowered.utf8.dropLast())[...].trimmed, as: UTF8.self)
        guard let number = integerValue(digits) else { return nil }
        let (product, overflow) = number.multipliedReportingOverflow(by: factor)
        return overflow ? nil : product
    }
    return integerValue(lowered)
}

/// The bytes of `text`, two hexadecimal digits each; colons between them are allowed.
func hexBytes(_ text: some Sequence<UInt8>) -> [UInt8]? {
    var bytes: [UInt8] = []
    var high: UInt8?
    for character in text where character != UInt8(ascii: ":") {
        let digit: UInt8
        switch character {
        case 0x30...0x39: digit = character - 0x30
        case 0x41...0x46: digit = character - 0x41 + 10
        case 0x61...0x66: digit = character - 0x61 + 10
        default: return nil
        }
        if let first = high {
            bytes.append(first << 4 | digit)
            high = nil
        } else {
            high = digit
        }
    }
    return high == nil ? bytes : nil
}

/// RFC 4648 section 4, the padding optional.
func base64Bytes(_ text: some Sequence<UInt8>) -> [UInt8]? {
    var bytes: [UInt8] = []
    var buffer: UInt32 = 0
    var bits = 0
    var count = 0
    var padding = 0
    for character in text {
        let value: UInt8
        switch character {
        case 0x41...0x5a: value = character - 0x41
        case 0x61...0x7a: value = character - 0x61 + 26
        case 0x30...0x39: value = character - 0x30 + 52
        case UInt8(ascii: "+"): value = 62
        case UInt8(ascii: "/"): value = 63
        case UInt8(ascii: "="):
            padding += 1
            continue
        default: return nil
        }
        guard padding == 0 else { return nil }
        buffer = (buffer & 0x3f_ffff) << 6 | UInt32(value)
        bits += 6
        count += 1
        if bits >= 8 {
            bits -= 8
            bytes.append(UInt8(truncatingIfNeeded: buffer >> UInt32(bits)))
        }
    }
    // A lone last character says nothing; bits left over are zero, or the text was cut.
    guard count % 4 != 1, padding <= 2, buffer & ((1 << UInt32(bits)) - 1) == 0 else { return nil }
    return bytes
}

/// A URI as it may be shown: a user and a password before its host are left out.
func withoutUser(_ uri: String) -> String {
    guard let at = uri.lastIndex(of: "@") else { return uri }
    let start = uri.firstRange(of: "://")?.upperBound ?? uri.startIndex
    return start <= at ? uri[..<start] + "..." + uri[at...] : uri
}
