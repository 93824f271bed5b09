// The fuzzer's first inputs, and the inputs that once broke something, on every test run.

import Foundation
import Testing

@testable import IKEWire

@Suite struct FuzzCorpus {
    @Test func everyInputIsRefusedOrStable() throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../Fuzz/Corpus/FuzzMessage")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        #expect(names.count >= 15)
        for name in names {
            let bytes = Array(try Data(contentsOf: folder.appendingPathComponent(name)))
            if let message = try? Message.parse(bytes.span) {
                let written = message.serialized()
                #expect(try Message.parse(written.span).serialized() == written, "\(name)")
            }
            // The fuzzer's second form: the type of the first payload, then the chain.
            guard let first = bytes.first, let chain = try? Payload.parseChain(first: PayloadType(rawValue: first), Array(bytes.dropFirst()).span)
            else { continue }
            let written = Payload.serializeChain(chain)
            #expect(Payload.serializeChain(try Payload.parseChain(first: written.first, written.bytes.span)).bytes == written.bytes, "\(name)")
            for case .securityAssociation(let sa) in chain {
                for transform in sa.proposals.flatMap(\.transforms) where !transform.hasUnknownAttribute {
                    #expect(transform.keyword.map { Transform(keyword: $0) == transform } ?? true, "\(name): \(transform)")
                }
            }
        }
    }
}
