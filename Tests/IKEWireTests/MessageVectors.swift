// Messages written out octet by octet against the values they stand for.

import Testing

@testable import IKEWire

@Suite struct MessageVectors {
    @Test func valuesAndOctetsAgree() throws {
        let vectors = try Vector.load("messages.txt")
        #expect(vectors.count == Self.messages.count + Self.chains.count)
        for vector in vectors {
            if let first = vector.first.map(PayloadType.init(rawValue:)) {
                let expected = try #require(Self.chains[vector.name], "\(vector.name)")
                #expect(try Payload.parseChain(first: first, vector.bytes.span) == expected, "\(vector.name)")
                let chain = Payload.serializeChain(expected)
                #expect(chain.first == first && chain.bytes == vector.bytes, "\(vector.name)")
            } else {
                let expected = try #require(Self.messages[vector.name], "\(vector.name)")
                #expect(try Message.parse(vector.bytes.span) == expected, "\(vector.name)")
                #expect(expected.serialized() == vector.bytes, "\(vector.name)")
            }
        }
    }

    @Test func oddMessagesAreRead() throws {
        for vector in try Vector.load("tolerated.txt") {
            let message = try Message.parse(vector.bytes.span)
            #expect(message.summary == vector.expectation, "\(vector.name)")
        }
    }

    @Test func malformedMessagesAreRefused() throws {
        for vector in try Vector.load("malformed.txt") {
            let error = #expect(throws: WireError.self, "\(vector.name)") { try Message.parse(vector.bytes.span) }
            #expect(error.map { String(describing: $0) } == vector.expectation, "\(vector.name)")
        }
    }

    @Test func reservedFieldsAreZeroWhenSent() throws {
        let bytes = try #require(try Vector.load("tolerated.txt").first).bytes
        let written = try Message.parse(bytes.span).serialized()
        #expect(written[19] == 0x08)
        #expect(written[29] == 0)
        #expect(Array(written[34..<36]) == [0, 0])
    }

    /// RFC 7296 section 3.5.
    @Test func theKindsOfIdentitiesHaveTheirNumbers() throws {
        let kinds: [(UInt8, Identification.Kind)] = [(1, .ipv4), (2, .fqdn), (3, .rfc822), (5, .ipv6), (9, .derDN), (10, .derGN), (11, .keyID)]
        for (number, kind) in kinds {
            let body: [UInt8] = [number, 0, 0, 0, 10, 1, 0, 1], chain: [UInt8] = [0, 0, 0, 12] + body
            let payload = Payload.identificationInitiator(Identification(kind: kind, data: [10, 1, 0, 1]))
            #expect(try Payload.parseChain(first: .identificationInitiator, chain.span) == [payload])
            #expect(Payload.serializeChain([payload]).bytes == chain)
        }
    }

    @Test func aTransformWithAnUnknownAttributeIsFlagged() throws {
        let bytes = try #require(try Vector.load("tolerated.txt").last).bytes
        guard case .securityAssociation(let sa)? = try Message.parse(bytes.span).payloads.first else { Issue.record("no SA"); return }
        #expect(sa.proposals.first?.transforms == [Transform(type: .encryption, id: 12, keyLength: 256, hasUnknownAttribute: true)])
    }

    @Test func aHeaderOfAnotherVersionIsRead() throws {
        let bytes = try #require(try Vector.load("malformed.txt").first { $0.name == "version 3" }).bytes
        let header = try Header.parse(bytes.span)
        #expect(header.majorVersion == 3 && header.initiatorSPI.description == "a1b2c3d4e5f60718")
    }

    @Test func countsHaveCaps() {
        let header = Header(initiatorSPI: .none, responderSPI: .none, exchangeType: .informational, flags: [], messageID: 0)
        let many = { (count: Int) in Message(header: header, payloads: Array(repeating: .vendorID([]), count: count)).serialized() }
        #expect(throws: Never.self) { try Message.parse(many(WireLimits.payloads).span) }
        #expect(throws: WireError.tooMany(WireLimits.payloads + 1)) { try Message.parse(many(WireLimits.payloads + 1).span) }
        let attributes = Array(repeating: Configuration.Attribute(type: 1, value: []), count: WireLimits.configurationAttributes + 1)
        let chain = Payload.serializeChain([.configuration(Configuration(kind: 1, attributes: attributes))])
        #expect(throws: WireError.tooMany(attributes.count)) { try Payload.parseChain(first: chain.first, chain.bytes.span) }
        let spis = [UInt32](repeating: 1, count: WireLimits.deletedSPIs + 1)
        let deletes = Payload.serializeChain([.delete(Delete(protocolID: .esp, spis: spis))])
        #expect(throws: WireError.tooMany(spis.count)) { try Payload.parseChain(first: deletes.first, deletes.bytes.span) }
    }
}

extension MessageVectors {
    private static let spiI = IKESPI(rawValue: 0xa1b2_c3d4_e5f6_0718)
    private static let spiR = IKESPI(rawValue: 0x1122_3344_5566_7788)
    private static let icv: [UInt8] = Array(0xa0...0xaf)

    static let messages: [String: Message] = [
        "IKE_SA_INIT request": Message(
            header: Header(
                initiatorSPI: spiI, responderSPI: .none, nextPayload: .securityAssociation, exchangeType: .ikeSAInit, flags: .initiator,
                messageID: 0, length: 272),
            payloads: [
                .securityAssociation(
                    SecurityAssociation(proposals: [
                        Proposal(number: 1, protocolID: .ike, transforms: [.aesGCM16(256), .prfHMACSHA256, .curve25519, .ecp256]),
                        Proposal(
                            number: 2, protocolID: .ike,
                            transforms: [.aesCBC(128), .hmacSHA256_128, Transform(type: .keyExchange, id: 14, keyLength: 1)]),
                    ])),
                .keyExchange(KeyExchange(method: 31, data: Array(0..<32))),
                .nonce(Array(0x20...0x2f)),
                .notify(Notify(.natDetectionSourceIP, data: Array(0..<20))),
                .notify(Notify(.natDetectionDestinationIP, data: Array((0..<20).reversed()))),
                .notify(Notify(.signatureHashAlgorithms, data: [0, 2, 0, 3, 0, 4, 0, 5])),
                .vendorID(Array("martlet-test".utf8)),
                .unknown(PayloadType(rawValue: 128), critical: true, body: [0xca, 0xfe, 0xba, 0xbe]),
            ]),
        "IKE_SA_INIT response that asks for a cookie": Message(
            header: Header(
                initiatorSPI: spiI, responderSPI: .none, nextPayload: .notify, exchangeType: .ikeSAInit, flags: .response, messageID: 0,
                length: 40),
            payloads: [.notify(Notify(.cookie, data: [0xc0, 0xff, 0xee, 0x11]))]),
        "IKE_AUTH response, encrypted": Message(
            header: Header(
                initiatorSPI: spiI, responderSPI: spiR, nextPayload: .encrypted, exchangeType: .ikeAuth, flags: .response, messageID: 1,
                length: 56),
            payloads: [.encrypted(first: .identificationResponder, body: [0, 0, 0, 0, 0, 0, 0, 1] + icv)]),
        "INFORMATIONAL request, encrypted and empty": Message(
            header: Header(
                initiatorSPI: spiI, responderSPI: spiR, nextPayload: .encrypted, exchangeType: .informational, flags: .initiator,
                messageID: 7, length: 57),
            payloads: [.encrypted(first: .none, body: [0, 0, 0, 0, 0, 0, 0, 2, 0] + icv)]),
        "IKE_AUTH request, fragment 2 of 3": Message(
            header: Header(
                initiatorSPI: spiI, responderSPI: spiR, nextPayload: .encryptedFragment, exchangeType: .ikeAuth, flags: .initiator,
                messageID: 1, length: 60),
            payloads: [.encryptedFragment(first: .none, number: 2, total: 3, body: [0, 0, 0, 0, 0, 0, 0, 3] + icv)]),
    ]

    private static func v4(_ value: UInt32) -> IPAddress { IPAddress(v4: value) }
    private static let prefix6: UInt128 = 0x2001_0db8 << 96

    static let chains: [String: [Payload]] = [
        "IKE_AUTH request, inner chain": [
            .identificationInitiator(Identification(kind: .fqdn, data: Array("moon.example".utf8))),
            .certificate(Certificate(encoding: 4, data: [0x30, 0x02, 0x05, 0x00])),
            .certificateRequest(CertificateRequest(encoding: 4, authorities: Array(0..<20))),
            .identificationResponder(Identification(kind: .ipv4, data: [192, 0, 2, 1])),
            .authentication(Authentication(method: .sharedKey, data: [0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x22, 0x22])),
            .configuration(
                Configuration(
                    kind: 1,
                    attributes: [
                        .init(type: 1, value: []), .init(type: 8, value: IPAddress(family: .v6, value: prefix6 | 1).bytes + [64]),
                    ])),
            .securityAssociation(
                SecurityAssociation(proposals: [
                    Proposal(
                        number: 1, protocolID: .esp, spi: [0xc1, 0xc2, 0xc3, 0xc4],
                        transforms: [.aesGCM16(256), .noExtendedSequenceNumbers])
                ])),
            .trafficSelectorInitiator([
                TrafficSelector(start: v4(0x0a01_0000), end: v4(0x0a01_ffff)),
                TrafficSelector(ipProtocol: 6, startPort: 80, endPort: 80, start: v4(0x0a01_0001), end: v4(0x0a01_0001)),
            ]),
            .trafficSelectorResponder([
                TrafficSelector(
                    ipProtocol: 17, startPort: 65535, endPort: 0, start: IPAddress(family: .v6, value: prefix6),
                    end: IPAddress(family: .v6, value: prefix6 | UInt128(UInt64.max)))
            ]),
            .notify(Notify(.rekeySA, protocolID: .esp, spi: [0xc1, 0xc2, 0xc3, 0xc4])),
            .eap([1, 1, 0, 5, 1]),
        ],
        "INFORMATIONAL request, inner chain of deletes": [
            .delete(Delete(protocolID: .esp, spis: [0xc1c2_c3c4, 0xd1d2_d3d4])),
            .delete(Delete(protocolID: .ike)),
        ],
    ]
}
