// AUTH where EAP has proven who the initiator is: made with the method's key, or with SK_pi and SK_pr where it gives none.
// RFC 7296 sections 2.15 and 2.16.

import IKECrypto
import IKEWire

extension AuthenticationRequest {
    /// AUTH = prf(prf(Shared Secret, "Key Pad for IKEv2"), <signed octets>).
    func proof(key: Span<UInt8>) throws(CryptoError) -> [UInt8] {
        let pad = Array("Key Pad for IKEv2".utf8)
        let padded = try KeySchedule.prf(prf, key: key, data: pad.span)
        let octets = message + nonce + macedIdentity
        let mac = try KeySchedule.prf(prf, key: padded.span, data: octets.span)
        let bytes = mac.span
        return bytes.indices.map { bytes[$0] }
    }
}

extension SecureChannel {
    /// The AUTH data of one end. `key`: the MSK.
    func eapProof(_ request: AuthenticationRequest, key: SecretBox?, ofInitiator: Bool) throws(CryptoError) -> [UInt8] {
        //= RFC 7296 §2.16: where the method gives a key, AUTH of both ends is made with it; else with SK_pi and SK_pr.
        guard let key else { return try withProofKey(ofInitiator: ofInitiator) { (secret) throws(CryptoError) in try request.proof(key: secret) } }
        let proof = try key.withSecret { (secret: borrowing SecretBytes) throws(CryptoError) -> [UInt8] in try request.proof(key: secret.span) }
        guard let proof else { throw .invalid }
        return proof
    }

    /// Whether `authentication` is that of the peer. In time that does not depend on its octets.
    func verifyEAPProof(_ authentication: Authentication, _ request: AuthenticationRequest, key: SecretBox?) throws(CryptoError) -> Bool {
        let expected = try eapProof(request, key: key, ofInitiator: !isInitiator)
        let data = authentication.data
        return authentication.method == .sharedKey && constantTimeEqual(expected.span, data.span)
    }
}

/// What an AUTH payload covers beside the identity: the messages and nonces of IKE_SA_INIT. RFC 7296 section 2.15.
struct InitExchange {
    var request: [UInt8]
    var response: [UInt8]
    var initiatorNonce: [UInt8]
    var responderNonce: [UInt8]
}

extension IKESA {
    /// What is signed for one of the two ends.
    func authenticationRequest(_ exchange: InitExchange, _ channel: SecureChannel, method: String, ofInitiator: Bool) throws(CryptoError) -> AuthenticationRequest {
        guard let own = localIdentity, let peer = remoteIdentity else { throw .invalid }
        return AuthenticationRequest(
            method: method, connection: connection.name, local: own, remote: peer, prf: channel.suite.prf, message: ofInitiator ? exchange.request : exchange.response,
            nonce: ofInitiator ? exchange.responderNonce : exchange.initiatorNonce,
            macedIdentity: try channel.macedIdentity(ofInitiator == isInitiator ? own : peer, ofInitiator: ofInitiator), peerHashes: peerHashes)
    }
}

extension [Payload] {
    /// The message of EAP, of which there is one.
    var eapMessage: [UInt8]? {
        for case .eap(let bytes) in self { return bytes }
        return nil
    }

    var authentication: Authentication? {
        for case .authentication(let value) in self { return value }
        return nil
    }

    /// A payload that we do not know and should.
    var criticalUnknown: PayloadType? {
        for case .unknown(let type, critical: true, _) in self { return type }
        return nil
    }

    var firstError: Notify? {
        for case .notify(let notify) in self where notify.type.isError { return notify }
        return nil
    }

    /// Of the answer to IKE_AUTH: the first error that is not about the child alone.
    var fatalError: Notify? {
        for case .notify(let notify) in self where notify.type.isError && !notify.type.leavesIKESA { return notify }
        return nil
    }
}
