// A scripted peer that speaks MOBIKE, and an endpoint whose addresses a test changes.
// RFC 4555.

import IKECrypto
import IKEWire
import TestSupport
import Testing

@testable import IKECore

enum Mobike {
    static let local = SocketAddress(address: Fixtures.westAddress, port: 4500)
    static let peer = SocketAddress(address: Fixtures.eastAddress, port: 4500)
    /// Another address of the endpoint's host, and others of the peer's.
    static let second = IPAddress(v4: 0xc633_6405)
    static let elsewhere = SocketAddress(address: IPAddress(v4: 0xcb00_7109), port: 4500)
    static let supported = Payload.notify(Notify(.mobikeSupported))
    static let update = Payload.notify(Notify(.updateSAAddresses))
    static func cookie(_ bytes: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]) -> Payload { .notify(Notify(.cookie2, data: bytes)) }
    static func address(_ address: IPAddress) -> Payload { .notify(Notify(address.family == .v4 ? .additionalIP4Address : .additionalIP6Address, data: address.bytes)) }

    /// The endpoint as responder, its peer connected with MOBIKE; `nat` what IKE_SA_INIT said of NAT traversal.
    static func responder(
        limits: Limits = Limits(), natTraversal: Bool = true, addresses: [IPAddress] = [Fixtures.westAddress], auth: [Payload] = [supported], _ change: (inout Connection) -> Void = { _ in }
    )
        throws -> (Target, HostilePeer)
    {
        let target = Target(limits: limits, change), peer = try HostilePeer()
        target.handle(.localAddressesChanged(addresses))
        let nat = NATDetection.notifications(initiatorSPI: peer.spi, responderSPI: .none, local: HostilePeer.address, remote: target.node.local, hidden: false)
        let offer = peer.initPayloads + (natTraversal ? nat : [])
        var response = try #require(target.receive(peer.initRequest(offer)).first)
        let cookies = try Message.parse(response.span).payloads.filter { [$0].notifications == [.cookie] }
        if !cookies.isEmpty { response = try #require(target.receive(peer.initRequest(cookies + offer)).first) }
        try peer.take(initResponse: response)
        let answer = try #require(try peer.ask(target, .ikeAuth, try peer.authPayloads() + auth, from: Mobike.peer, to: local))
        try #require(answer.contains { $0.type == .authentication })
        return (target, peer)
    }

    /// The endpoint as initiator, established with a peer that speaks MOBIKE.
    static func initiator(
        limits: Limits = Limits(), natTraversal: Bool = true, addresses: [IPAddress] = [Fixtures.westAddress], auth: [Payload] = [supported], hidden: Bool = false,
        _ change: (inout Connection) -> Void = { _ in }
    ) throws -> (Target, HostilePeer) {
        let target = Target(east: true, limits: limits, change), peer = try HostilePeer(isInitiator: false)
        target.handle(.localAddressesChanged(addresses))
        target.handle(.initiate(connection: "site", child: nil, packet: nil, local: target.node.local, remote: HostilePeer.address, request: RequestID(rawValue: 1)))
        let request = try #require(target.sent.last).bytes
        let spi = try Header.parse(request.span).initiatorSPI
        // A destination hash that does not match says that the endpoint is behind a NAT.
        let seen = hidden ? SocketAddress(address: Fixtures.natAddress, port: 61) : target.node.local
        let nat = NATDetection.notifications(initiatorSPI: spi, responderSPI: peer.spi, local: HostilePeer.address, remote: seen, hidden: false)
        target.receive(try peer.initResponse(to: request, peer.initPayloads + (natTraversal ? nat : [])))
        let sent = try #require(target.sent.last)
        try #require(Header.parse(sent.bytes.span).exchangeType == .ikeAuth)
        target.receive(try peer.seal(.ikeAuth, try peer.authPayloads() + auth, id: 1, response: true), from: sent.remote, to: sent.local)
        try #require(target.endpoint.status().first?.children.first?.state == .installed)
        peer.nextID = 0
        return (target, peer)
    }
}

extension HostilePeer {
    /// A request over other addresses, and its answer.
    func ask(_ target: Target, _ exchange: ExchangeType, _ payloads: [Payload], from remote: SocketAddress, to local: SocketAddress) throws -> [Payload]? {
        let sent = target.receive(try seal(exchange, payloads), from: remote, to: local)
        guard let bytes = sent.first(where: { (try? Header.parse($0.span))?.isResponse == true }) else { return nil }
        nextID += 1
        return try open(bytes)
    }

    /// The endpoint's last request of its own, opened.
    func lastRequest(of target: Target) throws -> (datagram: Datagram, id: UInt32, payloads: [Payload]) {
        let datagram = try #require(target.sent.last { (try? Header.parse($0.bytes.span))?.isResponse == false })
        return (datagram, try Header.parse(datagram.bytes.span).messageID, try open(datagram.bytes))
    }

    /// Answers the endpoint's last request, from where it went.
    func answerLast(_ target: Target, _ payloads: [Payload], cookie: Bool = true, from remote: SocketAddress? = nil, to local: SocketAddress? = nil) throws {
        let request = try lastRequest(of: target)
        let echo = request.payloads.filter { if case .notify(let notify) = $0 { cookie && notify.type == .cookie2 } else { false } }
        target.receive(try seal(.informational, payloads + echo, id: request.id, response: true), from: remote ?? request.datagram.remote, to: local ?? request.datagram.local)
    }
}

extension Target {
    /// Lets the endpoint have a datagram on the port that ESP shares.
    @discardableResult
    func receive(_ bytes: [UInt8], from remote: SocketAddress, to local: SocketAddress) -> [[UInt8]] {
        let before = sent.count
        handle(.datagramReceived(Datagram(local: local, remote: remote, marked: local.port == 4500, bytes: bytes)))
        return sent[before...].map(\.bytes)
    }

    var status: IKESAStatus? { endpoint.status().first }
}
