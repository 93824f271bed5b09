// Test vectors from data files.

import Foundation
import Testing

enum Vectors {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Vectors")

    static func load<T: Decodable>(_ type: T.Type, _ name: String) throws -> T {
        try JSONDecoder().decode(type, from: Data(contentsOf: folder.appendingPathComponent(name)))
    }
}

/// A file of Project Wycheproof.
struct Wycheproof: Decodable {
    struct Group: Decodable {
        var ivSize: Int?
        var keySize: Int?
        var tagSize: Int?
        var tests: [Test]
    }

    struct Test: Decodable {
        var tcId: Int
        var comment: String
        var flags: [String]
        var result: String
        var key: String?
        var iv: String?
        var aad: String?
        var msg: String?
        var ct: String?
        var tag: String?
        var `public`: String?
        var `private`: String?
        var shared: String?
    }

    var numberOfTests: Int
    var testGroups: [Group]

    static func file(_ name: String) throws -> Wycheproof { try Vectors.load(Wycheproof.self, "wycheproof/\(name)_test.json") }
}

/// The bytes of a hexadecimal field.
func hex(_ string: String?) throws -> [UInt8] { try #require(string?.hexBytes) }
