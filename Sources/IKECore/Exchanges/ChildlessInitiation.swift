// IKE_AUTH without a child, as the initiator: the children follow in exchanges of their own.
// RFC 6023.

import IKEWire

extension Established {
    func completeWithoutChild(_ payloads: [Payload], _ work: Initiation) {
        channel.nonces = ([], [])
        if sa.replaces == nil { answer(work.requests, .success("the IKE SA is up (SPIs \(sa.initiatorSPI) and \(sa.responderSPI))")) }
        do throws(Failure) {
            try takeAddresses(payloads)
            for want in work.wanted { createChild(want.policy, requests: want.requests) }
        } catch {
            context.emit(.report(.failed(error, connection: sa.connection.name, ikeSA: sa.status)))
            for want in work.wanted { answer(want.requests, .failure(error)) }
            enqueue(.deleteIKE([], reason: "it has no inner address"))
        }
    }
}

extension Failure {
    static func childlessNotServed(_ sa: IKESA) -> Failure {
        Failure(
            .peerRefused, "\(sa.remote.address) does not bring up an IKE SA without a child",
            evidence: ["its IKE_SA_INIT answer has no CHILDLESS_IKEV2_SUPPORTED (RFC 6023)", Wording.ends(sa)],
            advice: [sa.connection.childless == .force ? "Write `childless = prefer` or `allow` in \(sa.connection.name)." : "Name a child, or have the peer serve childless IKE SAs."])
    }

    static func childNotTakenInAuth(_ sa: IKESA) -> Failure {
        Failure(
            .notConfigured, "\(sa.remote.address) asked for a child in IKE_AUTH, and \(sa.connection.name) takes none there", evidence: [Wording.ends(sa)],
            advice: ["`childless = force` wants it so: write `allow` or `prefer`, or have the peer initiate without a child."])
    }
}
