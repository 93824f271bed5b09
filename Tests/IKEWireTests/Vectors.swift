// Reads the data files under Tests/Vectors/wire.

import Foundation
import Testing

/// A block of a data file: "== name | expectation", then hexadecimal.
struct Vector {
    var name: String
    var expectation: String
    /// What a "first" line says: the type of the first payload of a chain without a header.
    var first: UInt8?
    var bytes: [UInt8] = []

    static func load(_ file: String) throws -> [Vector] {
        var vectors: [Vector] = []
        for line in try lines(file) {
            if line.hasPrefix("== ") {
                let parts = line.dropFirst(3).components(separatedBy: " | ")
                vectors.append(Vector(name: parts[0], expectation: parts.count > 1 ? parts[1] : ""))
            } else if line.hasPrefix("first ") {
                vectors[vectors.count - 1].first = UInt8(line.dropFirst(6), radix: 16)
            } else {
                vectors[vectors.count - 1].bytes += try hexadecimal(line)
            }
        }
        return vectors
    }

    /// The lines of a file, without remarks and empty lines.
    static func lines(_ file: String) throws -> [String] {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../Vectors/wire")
        return try String(contentsOf: folder.appendingPathComponent(file), encoding: .utf8).components(separatedBy: "\n").compactMap {
            let text = ($0.components(separatedBy: " #").first ?? "").trimmingCharacters(in: .whitespaces)
            return text.isEmpty || text.hasPrefix("#") ? nil : text
        }
    }

    static func hexadecimal(_ text: String) throws -> [UInt8] {
        let digits = Array(text.filter { !$0.isWhitespace })
        try #require(digits.count % 2 == 0, "\(text)")
        return try stride(from: 0, to: digits.count, by: 2).map { try #require(UInt8(String(digits[$0...$0 + 1]), radix: 16), "\(text)") }
    }
}
