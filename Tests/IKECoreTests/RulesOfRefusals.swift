// What an established SA refuses, and what it takes, at the edges: rules of RFC 7296 whose tests would not otherwise fail without the code.

import IKEWire
import TestSupport
import Testing

@testable import IKECore

@Suite struct RulesOfRefusals {
    /// RFC 7296 section 2.8.2: an SA that has been replaced makes nothing new.
    @Test func aReplacedSAMakesNothingNew() throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        target.handle(.rekey(.connection("site"), request: nil))
        let asked = try #require(target.sent.last).bytes
        var proposal = Fixtures.ikeProposal()
        proposal.spi = [1, 2, 3, 4, 5, 6, 7, 8]
        let answer: [Payload] = [.securityAssociation(SecurityAssociation(proposals: [proposal])), .nonce(peer.nonce), .keyExchange(KeyExchange(method: 31, data: peer.key.publicValue))]
        target.receive(try peer.seal(.createChildSA, answer, id: try Header.parse(asked.span).messageID, response: true))
        #expect(target.endpoint.status().count == 2)
        let jobs = target.jobs
        #expect(try peer.ask(target, .createChildSA, answer)?.notifications == [.temporaryFailure])
        #expect(try peer.ask(target, .createChildSA, peer.createChildPayloads())?.notifications == [.temporaryFailure])
        #expect(target.jobs == jobs && target.endpoint.status().count == 2 && target.installed.count == 1)
    }

    /// RFC 7296 section 2: 1280 octets are taken and sent, and 3000 as well.
    @Test(arguments: [1280, 3000, 60_000]) func longMessagesAreTaken(_ size: Int) throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let request = try peer.seal(.informational, [.vendorID(Array(repeating: 7, count: size))])
        #expect(request.count > size)
        #expect(target.receive(request).count == 1)
    }

    /// RFC 7296 sections 2.21.4 and 3.10.1: an error that a request tells of, known or not, is a hint: the SAs stay as they are.
    @Test(arguments: [
        Notify(.invalidSPI, data: [1, 2, 3, 4]), Notify(.invalidSelectors, protocolID: .esp, spi: [1, 2, 3, 4]), Notify(.invalidIKESPI), Notify(.noProposalChosen),
        Notify(NotifyType(rawValue: 8000)), Notify(NotifyType(rawValue: 40_001)),
    ]) func noWordOfAnErrorChangesAnSA(_ word: Notify) throws {
        let target = Target(), peer = try HostilePeer()
        try peer.connect(target)
        let before = try #require(target.endpoint.status().first)
        #expect(before.children.map(\.outboundSPI) == [0x0102_0304])
        #expect(try peer.ask(target, .informational, [.notify(word)]) == [])
        let after = target.endpoint.status()
        #expect(after.map(\.id) == [before.id] && after.map(\.state) == [.established])
        #expect(after.first?.children.map(\.outboundSPI) == [0x0102_0304] && after.first?.children.map(\.inboundSPI) == before.children.map(\.inboundSPI))
        #expect(target.stopped.isEmpty && target.closed == 0)
    }

    /// RFC 7296 section 2.1: octet for octet, as often as it is sent.
    @Test func whatIsSentAgainIsWhatWasSent() throws {
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
        let peer = try HostilePeer()
        try peer.connect(target)
        let before = target.sent.count
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        target.pass(.seconds(20))
        let sent = target.sent[before...].map(\.bytes)
        #expect(sent.count > 2 && Set(sent).count == 1)
    }

    /// RFC 7296 section 1.3: the group of the KE payload is one that a proposal has.
    @Test func theGroupOfTheKEIsInAProposal() throws {
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3, pfs: [.ecp256, .curve25519])) }
        let peer = try HostilePeer()
        try peer.connect(target)
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        let payloads = try peer.open(try #require(target.sent.last).bytes)
        var offered: [UInt16] = [], sent: [UInt16] = []
        for payload in payloads {
            if case .securityAssociation(let value) = payload { offered += value.proposals.keyExchangeMethods.map(\.id) }
            if case .keyExchange(let value) = payload { sent.append(value.method) }
        }
        #expect(offered == [19, 31] && sent == [19])
    }

    /// RFC 7296 section 1.3: a KE payload of another group than the one that was chosen is refused, and the answer names that one.
    @Test func theGroupThatIsWantedIsNamed() throws {
        let target = Target { $0.children[0].proposals = [Fixtures.espProposal([.curve25519])] }
        let peer = try HostilePeer()
        try peer.connect(target)
        var proposal = Fixtures.espProposal([.ecp256, .curve25519])
        proposal.spi = [0x0a, 0x0b, 0x0c, 0x0d]
        var request = peer.createChildPayloads()
        request[0] = .securityAssociation(SecurityAssociation(proposals: [proposal]))
        request.append(.keyExchange(KeyExchange(method: 19, data: [UInt8](repeating: 1, count: 64))))
        #expect(try peer.ask(target, .createChildSA, request) == [.notify(Notify(.invalidKEPayload, data: [0, 31]))])
    }

    /// RFC 7296 section 2.3: the peer's requests are answered while one of ours waits for its answer.
    @Test func aRequestIsAnsweredWhileOursIsUnderWay() throws {
        let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
        let peer = try HostilePeer()
        try peer.connect(target)
        target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        let asked = try #require(target.sent.last).bytes, header = try Header.parse(asked.span)
        #expect(header.exchangeType == .createChildSA && !header.isResponse)
        #expect(try peer.ask(target, .informational, []) == [])
        #expect(try peer.ask(target, .createChildSA, peer.createChildPayloads())?.notifications == [])
    }

    /// RFC 7296 section 2.8.1: what one end rekeys is due at a time that nobody can know.
    @Test func noTwoRekeysAreDueAtOneTime() throws {
        let target = Target { $0.children[0].lifetime = Lifetime(rekeyTime: .seconds(1000), lifeTime: .seconds(1200), randTime: .seconds(100)) }
        var due: Set<Instant> = []
        for seed in 1...8 as ClosedRange<UInt64> {
            let peer = try HostilePeer(seed: seed)
            try peer.connect(target)
            due.insert(try #require(target.endpoint.status().last?.children.first?.rekeyAt))
        }
        #expect(due.count == 8 && due.allSatisfy { $0 <= target.now + .seconds(1000) && $0 >= target.now + .seconds(900) })
    }

    /// RFC 7296 section 2.23: where a peer behind a NAT speaks from, without MOBIKE, it is spoken to from then on.
    @Test func aNewPlaceOfAPeerBehindANATIsKept() throws {
        let target = Target(), peer = try HostilePeer()
        let inside = SocketAddress(address: IPAddress(v4: 0x0a09_0001), port: 500), place = SocketAddress(address: HostilePeer.address.address, port: 4711)
        peer.announced = NATDetection.notifications(initiatorSPI: peer.spi, responderSPI: .none, local: inside, remote: target.node.local, hidden: false)
        try peer.connect(target)
        #expect(target.endpoint.status().first?.remoteBehindNAT == true && target.endpoint.status().first?.remote == HostilePeer.address)
        #expect(target.receive(try peer.seal(.informational, []), from: place).count == 1)
        #expect(target.endpoint.status().first?.remote == place)
        target.handle(.rekey(.connection("site"), request: nil))
        #expect(target.sent.last?.remote == place)
    }

    /// RFC 7296 section 3.3.5: ChaCha20-Poly1305 has one size of key, AES several.
    @Test func theKeyLengthIsSaidWhereThereAreSeveral() {
        #expect(Transform.chaCha20Poly1305.keyLength == nil && Transform(keyword: "chacha20poly1305") == .chaCha20Poly1305)
        #expect(Transform.aesGCM16(256).keyLength == 256 && Transform.aesCBC(128).keyLength == 128)
    }

    /// RFC 7296 sections 2.25.1 and 2.25.2: what crosses a request of ours is put off or done as usual, and an IKE SA that the peer closes is closed.
    @Test func whatCollidesIsPutOff() throws {
        var proposal = Fixtures.ikeProposal()
        proposal.spi = [1, 2, 3, 4, 5, 6, 7, 8]
        let gone: [Payload] = [.delete(Delete(protocolID: .ike))]
        for ours in 0..<4 {
            let target = Target { $0.children.append(Fixtures.child("second", local: 4, remote: 3)) }
            let peer = try HostilePeer()
            try peer.connect(target)
            switch ours {
            case 0:
                target.handle(.initiate(connection: "site", child: "second", packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
                let rekey: [Payload] = [.securityAssociation(SecurityAssociation(proposals: [proposal])), .nonce(peer.nonce), .keyExchange(KeyExchange(method: 31, data: peer.key.publicValue))]
                #expect(try peer.ask(target, .createChildSA, rekey)?.notifications == [.temporaryFailure])
            case 1:
                target.handle(.rekey(.connection("site"), request: nil))
                #expect(try peer.ask(target, .createChildSA, peer.createChildPayloads())?.notifications == [.temporaryFailure])
            case 2:
                // Of two rekeys of one child both are done, and the nonces say later which stays.
                target.handle(.rekey(.child("net", connection: nil), request: nil))
                let rekey = [.notify(Notify(.rekeySA, protocolID: .esp, spi: [1, 2, 3, 4]))] + peer.createChildPayloads()
                #expect(try peer.ask(target, .createChildSA, rekey)?.notifications == [])
            default: target.handle(.terminate(.connection("site"), request: RequestID(rawValue: 1)))
            }
            #expect(try peer.ask(target, .informational, gone) == [])
        }
    }
}
