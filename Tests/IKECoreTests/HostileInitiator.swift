// An initiator that breaks every rule, against a responder that must neither trap, nor believe, nor keep anything.

@testable import IKECore
import IKECrypto
import IKEWire
import Testing
import TestSupport

@Suite struct HostileInitiator {
    @Test func theScriptedPeerIsUnderstoodWhenItBehaves() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        #expect(target.endpoint.status().map(\.state) == [.established])
        #expect(try peer.ask(target, .createChildSA, peer.createChildPayloads())?.contains { $0.type == .securityAssociation } == true)
        #expect(target.installed.count == 2)
        #expect(try peer.ask(target, .informational, [.delete(Delete(protocolID: .ike))]) == [])
        #expect(target.remnants == [])
    }

    @Test func mutatedInitRequestsLeaveNothing() throws {
        let control = try HostilePeer()
        for (name, payloads) in mutations(control.initPayloads) {
            let target = Target(), peer = try HostilePeer()
            let request = peer.initRequest(payloads)
            for answer in target.receive(request) {
                #expect(answer.count <= request.count, "\(name): amplified")
                let message = try Message.parse(answer.span)
                #expect(message.payloads.notifications.first?.isError == true, "\(name): \(message.payloads)")
            }
            #expect(target.endpoint.ikeSACount == 0, "\(name)")
            #expect(target.jobs == 0, "\(name)")
            #expect(target.remnants == [], "\(name)")
        }
    }

    @Test func mutatedAuthRequestsEstablishNothing() throws {
        let names = try { () -> [String] in
            let target = Target(), peer = try HostilePeer()
            try peer.begin(target)
            return mutations(try peer.authPayloads()).map(\.0)
        }()
        for index in names.indices {
            let target = Target(), peer = try HostilePeer()
            try peer.begin(target)
            let (name, payloads) = mutations(try peer.authPayloads())[index]
            let answer = try #require(try peer.ask(target, .ikeAuth, payloads), "\(name)")
            #expect(answer.notifications.first?.isError == true, "\(name): \(answer)")
            // A request without what it must have is INVALID_SYNTAX, which ends the SA at both ends. RFC 7296 section 2.21.3.
            if name.hasSuffix("absent") { #expect([.invalidSyntax, .authenticationFailed].contains(try #require(answer.notifications.first)), "\(name)") }
            #expect(!target.endpoint.status().contains { $0.state == .established }, "\(name)")
            #expect(target.installed.isEmpty, "\(name)")
            #expect(target.remnants == [], "\(name)")
        }
    }

    @Test func mutatedChildRequestsInstallNothing() throws {
        let control = try HostilePeer()
        for (name, payloads) in mutations(control.createChildPayloads()) {
            let target = Target(), peer = try HostilePeer()
            try peer.connect(target)
            let answer = try #require(try peer.ask(target, .createChildSA, payloads), "\(name)")
            #expect(answer.notifications.first?.isError == true, "\(name): \(answer)")
            #expect(target.installed.count == 1, "\(name)")
            #expect(target.held.inboundSPIs <= 1, "\(name)")
            _ = try peer.ask(target, .informational, [.delete(Delete(protocolID: .ike))])
            #expect(target.remnants == [], "\(name)")
        }
    }

    @Test func mutatedInformationalRequestsAreSurvived() throws {
        let payloads: [Payload] = [
            .delete(Delete(protocolID: .esp, spis: [1, 2, 3])), .delete(Delete(protocolID: .ah, spis: [1])), .notify(Notify(.invalidSelectors, protocolID: .esp, spi: [1, 2, 3, 4])),
            .configuration(Configuration(kind: 9, attributes: [])),
        ]
        for (name, payloads) in mutations(payloads) {
            let target = Target(), peer = try HostilePeer()
            try peer.connect(target)
            _ = try #require(try peer.ask(target, .informational, payloads), "\(name)")
            _ = try peer.ask(target, .informational, [.delete(Delete(protocolID: .ike))])
            #expect(target.remnants == [], "\(name)")
        }
    }

    /// Another SPI, or another end that chose it, is another IKE SA: there is none. RFC 7296 section 2.21.4.
    private func isUnknown(_ index: Int, _ answers: [[UInt8]]) -> Bool {
        (index < 16 || index == 19) && answers.count == 1 && answers.allSatisfy { (try? Message.parse($0.span))?.payloads.notifications == [.invalidIKESPI] }
    }

    @Test func everyFlippedBitIsAForgery() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.begin(target)
        let request = try peer.seal(.ikeAuth, try peer.authPayloads())
        for index in request.indices {
            var flipped = request
            flipped[index] ^= 1 << (index % 8)
            let answers = target.receive(flipped)
            #expect(answers.isEmpty || isUnknown(index, answers), "byte \(index)")
        }
        #expect(target.endpoint.halfOpenCount == 1)
        #expect(target.receive(request).count == 1)
        #expect(target.endpoint.status().map(\.state) == [.established])
        let liveness = try peer.seal(.informational, [], id: 2)
        for index in liveness.indices {
            var flipped = liveness
            flipped[index] ^= 0x80 >> (index % 8)
            // The byte of the version is answered without a look at the rest: INVALID_MAJOR_VERSION, RFC 7296 section 2.5.
            let answers = target.receive(flipped)
            #expect(answers.count == (flipped[17] >> 4 > 2 ? 1 : 0) || isUnknown(index, answers), "byte \(index)")
        }
        #expect(target.receive(liveness).count == 1)
    }

    @Test func everyTruncationIsSurvived() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.begin(target)
        let request = try peer.seal(.ikeAuth, try peer.authPayloads())
        for count in request.indices { #expect(target.receive(Array(request.prefix(count))) == []) }
        #expect(target.endpoint.halfOpenCount == 1)
        #expect(target.remnants == [])
    }

    @Test func replayedRequestsGetTheSameBytes() throws {
        let target = Target(), peer = try HostilePeer()
        func twice(_ request: [UInt8], _ name: String) throws -> [UInt8] {
            let answer = try #require(target.receive(request).first, "\(name)")
            let jobs = target.jobs
            for _ in 0..<5 { #expect(target.receive(request) == [answer], "\(name)") }
            #expect(target.jobs == jobs, "\(name)")
            return answer
        }
        try peer.take(initResponse: try twice(peer.initRequest(), "IKE_SA_INIT"))
        _ = try twice(try peer.seal(.ikeAuth, try peer.authPayloads(), id: 1), "IKE_AUTH")
        _ = try twice(try peer.seal(.createChildSA, peer.createChildPayloads(), id: 2), "CREATE_CHILD_SA")
        #expect(target.installed.count == 2)
        _ = try twice(try peer.seal(.informational, [], id: 3), "INFORMATIONAL")
        _ = try twice(try peer.seal(.informational, [.delete(Delete(protocolID: .ike))], id: 4), "Delete")
        #expect(target.closed == 1)
        #expect(target.remnants == [])
    }

    @Test func messagesOutOfTurnAreIgnored() throws {
        let target = Target(), peer = try HostilePeer()
        for exchange: ExchangeType in [.ikeAuth, .createChildSA, .informational] {
            #expect(target.receive(Message(header: peer.header(exchange, id: 0, response: false), payloads: peer.initPayloads).serialized()) == [])
        }
        try peer.begin(target)
        for id: UInt32 in [0, 2, 3, .max] { #expect(target.receive(try peer.seal(.ikeAuth, try peer.authPayloads(), id: id)) == [], "\(id)") }
        #expect(target.receive(try peer.seal(.createChildSA, peer.createChildPayloads())) == [])
        #expect(target.receive(try peer.seal(.informational, [.delete(Delete(protocolID: .ike))])) == [])
        #expect(target.receive(try peer.seal(.ikeAuth, try peer.authPayloads(), response: true)) == [])
        #expect(target.endpoint.halfOpenCount == 1)
        #expect(try peer.ask(target, .ikeAuth, try peer.authPayloads()) != nil)
        for id: UInt32 in [0, 1, 3, 4, .max] { #expect(target.receive(try peer.seal(.informational, [.delete(Delete(protocolID: .ike))], id: id)) == [], "\(id)") }
        // An answer that nobody asked for.
        #expect(target.receive(try peer.seal(.informational, [.delete(Delete(protocolID: .ike))], response: true)) == [])
        #expect(target.endpoint.status().map(\.state) == [.established])
    }

    @Test func whatWasSentComesBackAndIsNotBelieved() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        for datagram in target.sent { #expect(target.receive(datagram.bytes) == []) }
        #expect(target.endpoint.status().map(\.state) == [.established])
    }

    @Test func theIdentityIsProvenAsItWasSent() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.begin(target)
        peer.identityBody = [2, 0xaa, 0xbb, 0xcc] + Array("east.example".utf8)
        peer.identity = .unknown(.identificationInitiator, critical: false, body: peer.identityBody)
        let answer = try #require(try peer.ask(target, .ikeAuth, try peer.authPayloads()))
        #expect(answer.contains { $0.type == .authentication }, "\(answer)")
        // Ours are zero.
        guard case .identificationResponder(let own)? = answer.first(where: { $0.type == .identificationResponder }) else { throw HostilePeer.Broken(what: "no IDr") }
        #expect(Array(own.body[1...3]) == [0, 0, 0])
    }

    @Test func anEmptySelectorListIsUnacceptableNotMalformed() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        var payloads = peer.createChildPayloads()
        // One selector of the type that labels have: understood by nobody here.
        payloads[1] = .unknown(.trafficSelectorInitiator, critical: false, body: [1, 0, 0, 0, 10, 0, 0, 8, 1, 2, 3, 4])
        #expect(try peer.ask(target, .createChildSA, payloads)?.notifications == [.tsUnacceptable])
        #expect(target.endpoint.status().map(\.state) == [.established])
    }
}
