// What people call codepoints, in logs and in configurations.

import Testing

@testable import IKEWire

@Suite struct Names {
    @Test func keywordsAndNamesAgree() throws {
        for line in try Vector.lines("transforms.txt") {
            let fields = line.split(separator: " ").map(String.init)
            let transform = try #require(Transform(keyword: fields[0]), "\(line)")
            let expected = Transform(
                type: TransformType(rawValue: try #require(UInt8(fields[1]))), id: try #require(UInt16(fields[2])), keyLength: UInt16(fields[3]))
            #expect(transform == expected, "\(line)")
            #expect(transform.description == fields[4], "\(line)")
            #expect(Transform(keyword: fields[0].uppercased()) == expected, "\(line)")
            #expect(transform.keyword.flatMap(Transform.init(keyword:)) == expected, "\(line)")
        }
    }

    @Test func wordsThatNameNothingAreRefused() {
        for word in ["", "aes#", "aes257", "aes512", "sha3", "aes 128", "aes128gcm17", "x25519 ", "ecp25", "modp", "prf", "128"] {
            #expect(Transform(keyword: word) == nil, "\(word)")
        }
    }

    @Test func everyRegistryEntryIsFoundByItsKeyword() {
        for entry in TransformEntry.all {
            #expect(TransformEntry.find(entry.type, entry.id)?.name == entry.name, "\(entry.name) is there twice")
            for bits in entry.keyLengths.isEmpty ? [nil] : entry.keyLengths.map(Optional.init) {
                let transform = Transform(type: entry.type, id: entry.id, keyLength: bits)
                guard !entry.keywords.isEmpty else {
                    #expect(transform.keyword == nil)
                    continue
                }
                #expect(transform.keyword.flatMap(Transform.init(keyword:)) == transform, "\(entry.name)")
            }
        }
    }

    @Test func unknownCodepointsKeepTheirNumbers() {
        #expect(Transform(type: .encryption, id: 1027, keyLength: 256).description == "ENCR(1027)_256")
        #expect(Transform(type: TransformType(rawValue: 241), id: 1).description == "TRANSFORM(241)(1)")
        #expect(Transform(type: TransformType(rawValue: 6), id: 36).description == "ML_KEM_768")
        // The word would be read as a transform of type 4.
        #expect(Transform(type: TransformType(rawValue: 6), id: 36).keyword == nil)
        #expect(TransformType(rawValue: 6).description == "ADDKE1")
        #expect(Transform(type: .encryption, id: 12, keyLength: 256, hasUnknownAttribute: true).description == "AES_CBC_256(unknown attribute)")
        #expect(Transform(type: .encryption, id: 12).keyword == nil)
        #expect(Transform(type: .encryption, id: 12, keyLength: 100).keyword == nil)
        #expect(NotifyType(rawValue: 40960).name == "(40960)")
        #expect(ExchangeType(rawValue: 33).name == "(33)")
        #expect(PayloadType(rawValue: 99).name == "(99)")
    }

    @Test func protocolWordsAreTheRegistrys() {
        #expect(NotifyType.noProposalChosen.name == "NO_PROPOSAL_CHOSEN")
        #expect(NotifyType.childSANotFound.name == "CHILD_SA_NOT_FOUND")
        #expect(NotifyType.signatureHashAlgorithms.name == "SIGNATURE_HASH_ALGORITHMS")
        #expect("\(ExchangeType.ikeSAInit) \(ExchangeType.createChildSA)" == "IKE_SA_INIT CREATE_CHILD_SA")
        #expect("\(PayloadType.trafficSelectorResponder) \(PayloadType.encryptedFragment)" == "TSr SKF")
        #expect("\(ProtocolID.esp) \(Authentication.Method.sharedKey)" == "ESP SHARED_KEY")
        let proposal = Proposal(number: 1, protocolID: .esp, spi: [1, 2, 3, 4], transforms: [.aesGCM16(256), .curve25519, .noExtendedSequenceNumbers])
        #expect(proposal.description == "ESP:AES_GCM_16_256/CURVE_25519/NO_EXT_SEQ")
    }
}
