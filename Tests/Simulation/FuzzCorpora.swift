// The first inputs of the fuzzers that have an endpoint, and those that once broke something, on every run of the tests.

import Foundation
import TestSupport
import Testing

@Suite struct FuzzCorpora {
    @Test(arguments: ["FuzzDecrypted", "FuzzFragments", "FuzzEvents", "FuzzEAPExchange"]) func everyInputEndsWithNothingLeft(_ fuzzer: String) throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../Fuzz/Corpus/\(fuzzer)")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        #expect(names.count >= 20)
        for name in names {
            let bytes = Array(try Data(contentsOf: folder.appendingPathComponent(name)))
            // A precondition of FuzzedEndpoint fails where something is left.
            switch fuzzer {
            case "FuzzDecrypted": FuzzedInputs.decrypted(bytes)
            case "FuzzFragments": FuzzedInputs.fragments(bytes)
            case "FuzzEAPExchange": FuzzedEAP.exchange(bytes)
            default: FuzzedInputs.events(bytes)
            }
        }
    }
}
