// One entry as a directory has sent it, bounded, and what it says of the account. Nothing here believes that a directory is right.

package struct DirectoryEntry: Sendable {
    package let distinguishedName: String
    /// By name in small letters, without options (`;binary`).
    private var attributes: [String: [[UInt8]]] = [:]
    private var size = 0

    /// What an entry may have altogether.
    package static let sizeLimit = 1 << 20

    package init(distinguishedName: String) { self.distinguishedName = distinguishedName }

    /// False where the entry is too large: then it is not to be used.
    package mutating func add(_ name: String, _ value: [UInt8]) -> Bool {
        size += name.utf8.count + value.count + 16
        guard size <= Self.sizeLimit else { return false }
        attributes[String(name.prefix { $0 != ";" }).lowercased(), default: []].append(value)
        return true
    }

    package func values(_ name: String) -> [[UInt8]] { attributes[name.lowercased()] ?? [] }
    package func texts(_ name: String) -> [String] { values(name).compactMap { String(validating: $0, as: UTF8.self) } }
    package func has(_ name: String) -> Bool { !values(name).isEmpty }
}

/// What an entry says of its account.
package enum AccountState: Hashable, Sendable {
    case good
    case disabled(String)
    case locked(String)
    case expired(String)
    case passwordExpired(String)
    /// The entry contradicts its schema, or keeps from us what has to be known.
    case unclear(String)

    /// `now` is in seconds since 1970. The worst of what is found counts, in the order of the cases.
    package init(of entry: DirectoryEntry, _ schema: DirectorySchema, now: Int64) {
        let found = schema.checks.map { Self.judge($0, entry, schema, now) }
        self = found.filter { $0 != .good }.min { $0.rank < $1.rank } ?? .good
    }

    private var rank: Int {
        switch self {
        case .unclear: 0
        case .disabled: 1
        case .locked: 2
        case .expired: 3
        case .passwordExpired: 4
        case .good: 5
        }
    }

    private static func judge(_ check: DirectorySchema.Check, _ entry: DirectoryEntry, _ schema: DirectorySchema, _ now: Int64) -> Self {
        let name = check.attribute
        guard let raw = entry.values(name).first else {
            switch check {
            case .accountControl, .sambaFlags: return .unclear("the entry shows no \(name): the service account may have to be allowed to read it")
            default: return .good
            }
        }
        guard let text = String(validating: raw, as: UTF8.self) else { return .unclear("\(name) is no text") }
        func number() -> Int64? { Int64(text) }
        let isNoNumber = Self.unclear("\(name) is no number")
        switch check {
        case .disabled:
            switch text.lowercased() {
            case "true": return .disabled("\(name) is TRUE")
            case "false": return .good
            default: return .unclear("\(name) is neither TRUE nor FALSE")
            }
        case .lockedTime:
            guard let time = DirectoryTime.generalized(text) else { return .unclear("\(name) is no time") }
            // The year 0 is OpenLDAP's lock without an end.
            if schema.lockTime > 0, time > 0, time.addingReportingOverflow(schema.lockTime).partialValue <= now { return .good }
            return .locked("\(name) is set")
        case .expiry(_, let format), .passwordExpiry(_, let format):
            guard let value = DirectoryTime.parse(text, format) else { return .unclear("\(name) is no time") }
            guard case .at(let time) = value, time <= now else { return .good }
            if case .expiry = check { return .expired("\(name) has passed") }
            return .passwordExpired("\(name) has passed")
        case .sambaFlags:
            guard entry.values(name).count == 1 else { return .unclear("\(name) is there twice") }
            guard text.hasPrefix("["), text.hasSuffix("]") else { return .unclear("\(name) is no set of flags") }
            if text.contains("D") { return .disabled("\(name) has D") }
            return text.contains("L") ? .locked("\(name) has L") : .good
        case .accountControl:
            guard entry.values(name).count == 1 else { return .unclear("\(name) is there twice") }
            guard let flags = number() else { return isNoNumber }
            return flags & 0x2 != 0 ? .disabled("\(name) has ACCOUNTDISABLE") : .good
        case .computedControl:
            guard let flags = number() else { return isNoNumber }
            if flags & 0x10 != 0 { return .locked("\(name) has LOCKOUT") }
            return flags & 0x80_0000 != 0 ? .passwordExpired("\(name) has PASSWORD_EXPIRED") : .good
        case .lockoutTime:
            // The server itself counts how long it lasts, where it tells.
            let isComputed = schema.checks.contains { if case .computedControl(let other) = $0 { entry.has(other) } else { false } }
            guard let value = DirectoryTime.parse(text, .fileTime) else { return isNoNumber }
            guard !isComputed, case .at(let time) = value else { return .good }
            if schema.lockTime > 0, time.addingReportingOverflow(schema.lockTime).partialValue <= now { return .good }
            return .locked("\(name) is set")
        case .passwordLastSet:
            guard let time = number() else { return isNoNumber }
            return time == 0 ? .passwordExpired("\(name) is 0: the password has to be changed first") : .good
        }
    }
}

/// MD4 of nothing: no user has an empty password.
private let hashOfEmptyPassword: [UInt8] = [0x31, 0xd6, 0xcf, 0xe0, 0xd1, 0x6a, 0xe9, 0x31, 0xb7, 0x3c, 0x59, 0xd7, 0xe0, 0xc0, 0x89, 0xc0]

/// The NT hash in an attribute's value: 32 hexadecimal digits (Samba) or 16 bytes (FreeIPA). Nil for anything else, and for that of an empty password.
package func ntHash(in value: [UInt8]) -> [UInt8]? {
    if value.count == 16 { return value == hashOfEmptyPassword ? nil : value }
    guard value.count == 32 else { return nil }
    var hash: [UInt8] = []
    for index in stride(from: 0, to: 32, by: 2) {
        guard let high = hexadecimalDigit(value[index]), let low = hexadecimalDigit(value[index + 1]) else { return nil }
        hash.append(high << 4 | low)
    }
    return hash == hashOfEmptyPassword ? nil : hash
}
