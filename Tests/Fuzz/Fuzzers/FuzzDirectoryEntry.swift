// What a directory answers: an entry's name and attributes, from which the state of an account, a hash and the names of groups are read;
// and what a peer writes into a filter. The first byte chooses the schema, then each line is an attribute or, without a colon, a name.

import LDAPSchema

private func check(_ condition: Bool, _ what: @autoclosure () -> String) { precondition(condition, what()) }

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzDirectoryEntry(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    let presets = DirectorySchema.Preset.allCases
    var schema = DirectorySchema(presets[Int(bytes.first ?? 0) % presets.count])
    schema.lockTime = (bytes.first ?? 0) & 0x80 == 0 ? 0 : 1800
    var entry = DirectoryEntry(distinguishedName: "uid=a")
    for line in bytes.dropFirst().split(separator: 10, omittingEmptySubsequences: true) {
        if let colon = line.firstIndex(of: UInt8(ascii: ":")) {
            _ = entry.add(String(decoding: line[..<colon], as: UTF8.self), Array(line[(colon + 1)...]))
        } else {
            let name = Array(line)
            let filter = FilterText.filled(schema.userFilter, user: name)
            check(FilterText.isBalanced(filter) && filter.utf8.count { $0 == UInt8(ascii: "(") } == schema.userFilter.utf8.count { $0 == UInt8(ascii: "(") }, filter)
            check(filter.utf8.allSatisfy { (0x20..<0x7f).contains($0) }, filter)
            // What is escaped for a name comes back from it.
            if let text = String(validating: name, as: UTF8.self), UserName.complaint(about: name, limit: 4096) == nil, !text.hasPrefix("#") {
                check(NameText.firstValue(of: "uid=" + NameText.escaped(name) + ",dc=x") == text, text)
            }
            _ = NameText.firstValue(of: String(decoding: line, as: UTF8.self))
            _ = FilterText.complaint(about: String(decoding: line, as: UTF8.self), needed: "u")
        }
    }
    // An account is good only where nothing of it says otherwise.
    if AccountState(of: entry, schema, now: 1_700_000_000) == .good {
        for check in schema.checks {
            if case .disabled(let name) = check, let value = entry.texts(name).first { precondition(value.lowercased() != "true", value) }
            if case .accountControl(let name) = check { precondition((entry.texts(name).first.flatMap { Int64($0) } ?? 2) & 2 == 0) }
        }
    }
    if let value = schema.ntHashAttribute.flatMap({ entry.values($0).first }), let hash = ntHash(in: value) { precondition(hash.count == 16) }
    return 0
}
