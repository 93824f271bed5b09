// What an endpoint wants done, in order. The shell's driver is the one interpreter.

import IKECrypto
import IKEWire

package enum Action: Sendable {
    case transmit(Datagram)
    /// Sends the one-byte keepalive of RFC 3948 section 2.3 from the port that ESP shares.
    case transmitKeepalive(local: SocketAddress, remote: SocketAddress)
    case run(JobID, Job)
    /// Adds the inbound SA, then the outbound one; answered by `Event.childSAInstalled`. Traffic moves to it before the answer where
    /// `ChildSAParameters.activates`, so that nobody is told of a child that does not carry packets; else with `activateChildSA`.
    case installChildSA(ChildSAParameters)
    case activateChildSA(ChildSAID)
    /// Removes the outbound SA, or both.
    case removeChildSA(ChildSAID, keepInbound: Bool)
    /// New outer addresses for a child.
    case moveChildSA(ChildSAID, local: SocketAddress, remote: SocketAddress, encapsulated: Bool)
    case queryUse(ChildSAID)
    /// Where these host names lead, each answered by `Event.nameFound`.
    case lookUpNames([String])
    /// An inner address that the gateway gave us: this host has it until it is removed as often as it was added.
    case addAddress(IPAddress)
    case removeAddress(IPAddress)
    /// This host asks these name servers while the tunnel stands: until it is told to forget them as often as to use them.
    case useNameServers(NameServers)
    case forgetNameServers(NameServers)
    /// Means no IKE SA of this shard: for the next one.
    case handOn(Hint, shardsLeft: Int)
    case report(Report)
    /// Ends an operator's request.
    case answer(RequestID, Result<String, Failure>)
    /// The connection (and child) should be tried again after the delay: resolve names, then send `Event.initiate`.
    /// `packet`: the one that asks for the child.
    case initiateAgain(connection: String, child: String?, packet: TriggeringPacket?, after: Duration, request: RequestID?)
    /// Keys for a protocol analyser. Only with `Limits.exportKeys`.
    case exportKeys(ExportedKeys)
}

/// One pair of child SAs, as the data plane needs it.
package struct ChildSAParameters: Sendable {
    package var id: ChildSAID
    package var ikeSA: IKESAID
    /// The number of the policy instance: the same before and after a rekey.
    package var reqid: UInt32
    package var name: String
    package var inboundSPI: UInt32
    package var outboundSPI: UInt32
    package var encryption: Transform
    /// Nil with an AEAD.
    package var integrity: Transform?
    package var extendedSequenceNumbers: Bool
    /// Transport mode: the packets' own addresses are the outer ones.
    package var isTransport: Bool
    package var localTS: [TrafficSelector]
    package var remoteTS: [TrafficSelector]
    /// In transport mode behind a NAT: what the peer called the two ends. The checksums inside are made with these. RFC 7296 section 2.23.1.
    package var originalLocal: IPAddress?
    package var originalRemote: IPAddress?
    package var local: SocketAddress
    package var remote: SocketAddress
    /// ESP in UDP.
    package var encapsulated: Bool
    package var replayWindow: Int
    package var carriage: Carriage
    package var softBytes: UInt64, hardBytes: UInt64
    package var softPackets: UInt64, hardPackets: UInt64
    /// After which a data plane ends the SAs of a daemon that no longer does; 0 for none.
    package var hardSeconds: UInt64 = 0
    package var provider: String?
    /// Who is at the other end, as it has proven.
    package var peer: Identification?
    /// It has proven that with a shared key, which others may have, and with it the name: behind a NAT often the same private address.
    package var sharesKey: Bool = false
    /// A new child carries traffic as soon as it is installed; one that replaces another waits for its turn.
    package var activates: Bool
    /// The peer asked for this new child. Where another pair with the same peer's address and the same selectors carries the traffic, that goes on with
    /// it for a while, or until it is removed: the peer may be authenticating anew, and take packets of the new pair only when it has our answer.
    package var yields: Bool = false
    /// The pair that this one renews the keys of: once this one carries traffic, that one's turn does not come any more.
    package var replaces: ChildSAID?
    /// Key and salt of an AEAD, or the encryption key.
    package var inboundKey: SecretBox
    package var inboundIntegrityKey: SecretBox
    package var outboundKey: SecretBox
    package var outboundIntegrityKey: SecretBox
}

/// Something that people and event listeners should know.
package enum Report: Sendable {
    case initiating(IKESAStatus)
    case ikeSAEstablished(IKESAStatus)
    /// `previous` was replaced by `current`.
    case ikeSARekeyed(previous: IKESAStatus, current: IKESAStatus)
    /// The peer has moved to another address, or we have; the status is the one before.
    case ikeSAMoved(IKESAStatus, local: SocketAddress, remote: SocketAddress)
    case ikeSAClosed(IKESAStatus, reason: ClosingReason)
    case childSAUp(IKESAStatus, ChildSAStatus)
    case childSARekeyed(IKESAStatus, previous: ChildSAStatus, current: ChildSAStatus)
    case childSADown(IKESAStatus, ChildSAStatus)
    case failed(Failure, connection: String?, ikeSA: IKESAStatus?)
    /// One line for the log.
    case note(NoteLevel, String, connection: String?, ikeSA: IKESAID?)
}

package enum NoteLevel: Int, Sendable { case warning, notice, info, debug }

/// Keys of one SA for a protocol analyser.
package enum ExportedKeys: Sendable {
    case ike(initiatorSPI: IKESPI, responderSPI: IKESPI, encryption: Transform, integrity: Transform?, ei: SecretBox, er: SecretBox, ai: SecretBox, ar: SecretBox)
    case esp(source: IPAddress, destination: IPAddress, spi: UInt32, encryption: Transform, integrity: Transform?, key: SecretBox, integrityKey: SecretBox)
}
