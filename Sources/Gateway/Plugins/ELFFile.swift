// Reads from a shared library, before the dynamic linker does, what compiler built it: the note of PluginKit and the libraries needed.
// ELF-64, little-endian. What is not that is left to the dynamic linker to refuse.

import Glibc

struct ELFFile: Equatable {
    /// The contents of the note that PluginKit puts into a Swift plugin.
    private(set) var swiftVersion: String?
    private(set) var neededLibraries: [String] = []

    var needsSwiftRuntime: Bool { neededLibraries.contains { $0.hasPrefix("libswiftCore.so") } }

    private struct Segment {
        var type: UInt32
        var offset: UInt64
        var address: UInt64
        var size: UInt64
    }

    /// Nil where the file is not a 64-bit little-endian ELF file.
    init?(descriptor: Int32) {
        guard let header = Self.read(descriptor, 0, 64), Array(header[0..<6]) == [0x7f, 0x45, 0x4c, 0x46, 2, 1] else { return nil }
        let tableOffset = header.number(32, 8), entrySize = header.number(54, 2), entryCount = header.number(56, 2)
        guard entrySize == 56, let table = Self.read(descriptor, tableOffset, Int(entryCount * entrySize)) else { return nil }
        let segments = (0..<Int(entryCount)).map { index in
            let start = index * 56
            return Segment(
                type: UInt32(table.number(start, 4)), offset: table.number(start + 8, 8), address: table.number(start + 16, 8), size: table.number(start + 32, 8))
        }
        for segment in segments where segment.type == UInt32(PT_NOTE) && segment.size <= 1 << 16 {
            guard let notes = Self.read(descriptor, segment.offset, Int(segment.size)) else { continue }
            swiftVersion = swiftVersion ?? Self.version(in: notes)
        }
        readNeeded(descriptor, segments)
    }

    private static func version(in notes: [UInt8]) -> String? {
        var offset = 0
        while offset + 12 <= notes.count {
            let nameSize = Int(notes.number(offset, 4)), size = Int(notes.number(offset + 4, 4)), type = notes.number(offset + 8, 4)
            let name = offset + 12
            let description = name + (nameSize + 3) / 4 * 4
            guard description + size <= notes.count else { return nil }
            if type == 1, notes.string(name, nameSize) == "Martlet" { return notes.string(description, size) }
            offset = description + (size + 3) / 4 * 4
        }
        return nil
    }

    private mutating func readNeeded(_ descriptor: Int32, _ segments: [Segment]) {
        guard let dynamic = segments.first(where: { $0.type == UInt32(PT_DYNAMIC) }), dynamic.size <= 1 << 16,
            let entries = Self.read(descriptor, dynamic.offset, Int(dynamic.size))
        else { return }
        var names: [UInt64] = []
        var stringsAddress: UInt64?, stringsSize: UInt64 = 0
        for start in stride(from: 0, to: entries.count - 15, by: 16) {
            let value = entries.number(start + 8, 8)
            switch Int32(truncatingIfNeeded: entries.number(start, 8)) {
            case DT_NEEDED: names.append(value)
            case DT_STRTAB: stringsAddress = value
            case DT_STRSZ: stringsSize = value
            default: break
            }
        }
        guard let stringsAddress, stringsSize <= 1 << 24,
            let home = segments.first(where: { $0.type == UInt32(PT_LOAD) && $0.address <= stringsAddress && stringsAddress - $0.address < $0.size }),
            let strings = Self.read(descriptor, home.offset &+ (stringsAddress - home.address), Int(stringsSize))
        else { return }
        neededLibraries = names.compactMap { $0 < UInt64(strings.count) ? strings.string(Int($0), strings.count - Int($0)) : nil }
    }

    private static func read(_ descriptor: Int32, _ offset: UInt64, _ count: Int) -> [UInt8]? {
        guard let start = off_t(exactly: offset), count >= 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: count)
        return pread(descriptor, &bytes, count, start) == count ? bytes : nil
    }
}

extension [UInt8] {
    /// `size` bytes as a number, the least significant first; 0 where they are not all there.
    fileprivate func number(_ offset: Int, _ size: Int) -> UInt64 {
        guard offset >= 0, offset + size <= count else { return 0 }
        return (0..<size).reduce(0) { $0 | UInt64(self[offset + $1]) << (8 * UInt64($1)) }
    }

    /// UTF-8 up to a zero byte or `size` bytes.
    fileprivate func string(_ offset: Int, _ size: Int) -> String {
        String(decoding: self[offset..<Swift.min(offset + size, count)].prefix { $0 != 0 }, as: UTF8.self)
    }
}
