// The parameters that are not translated, and what becomes of a line that has one. Those that are translated stand in ConnTranslator.
// A parameter that restricts who, what or how takes its connection out: without it the result would let in more.

struct ParameterRule {
    enum Effect { case leavesOut, isDropped, hasNone }
    var effect: Effect
    var reason: String
    /// Values that mean what Martlet does anyway.
    var inert: Set<String> = []
    /// Whether it only chooses among the traffic of the selectors, so that narrower selectors can stand for it.
    var narrows = false

    static func narrows(_ reason: String, inert: Set<String> = []) -> ParameterRule { ParameterRule(effect: .leavesOut, reason: reason, inert: inert, narrows: true) }
    static func leavesOut(_ reason: String, inert: Set<String> = []) -> ParameterRule { ParameterRule(effect: .leavesOut, reason: reason, inert: inert) }
    static func dropped(_ reason: String, inert: Set<String> = []) -> ParameterRule { ParameterRule(effect: .isDropped, reason: reason, inert: inert) }
    static func noEffect(_ reason: String, inert: Set<String> = []) -> ParameterRule { ParameterRule(effect: .hasNone, reason: reason, inert: inert) }
}

enum Parameters {
    private static let ikev1 = "it is for IKEv1, which Martlet does not speak"
    private static let certificates = "certificates are not translated yet"
    private static let interfaces = "an interface of its own for a connection is not there yet, and without it the connection would take all traffic of its networks"
    private static let keys = "with preshared keys it has no effect"
    private static let peerDecides = "it is a matter of this host's kernel; Martlet's data plane decides by itself"

    /// Of a `conn`, without those of one side.
    static let connection: [String: ParameterRule] = [
        "ah": .leavesOut("AH is not there: ESP with the same integrity protects as much"),
        "phase2": .leavesOut("AH is not there", inert: ["esp"]),
        "sha256-96": .leavesOut("the truncation of an old draft is not offered", inert: ["no"]),
        "sha2-truncbug": .leavesOut("the truncation of an old draft is not offered", inert: ["no"]),
        "tfc": .leavesOut("packets would show their length; padding is not there yet", inert: ["0"]),
        "vti-interface": .narrows(interfaces), "ipsec-interface": .narrows(interfaces, inert: ["no"]),
        "vti-routing": .noEffect("it belongs to vti-interface"), "vti-shared": .noEffect("it belongs to vti-interface"),
        "reqid": .leavesOut("it cannot be chosen yet, and firewall rules that name it would not match", inert: ["0"]),
        "priority": .leavesOut("another connection could win over this one", inert: ["0"]),
        "installpolicy": .leavesOut("selectors are always enforced", inert: ["yes"]),
        "mediation": .leavesOut("mediation is not there", inert: ["no"]),
        "mediated-by": .leavesOut("mediation is not there"), "me-peerid": .noEffect("it belongs to mediation"),
        "ppk": .leavesOut("postquantum preshared keys are not there yet", inert: ["no", "never"]), "ppk-ids": .noEffect("it belongs to ppk"),
        "sec-label": .leavesOut("security labels are not there yet"), "policy-label": .leavesOut("security labels are not there yet"),
        "pam-authorize": .leavesOut("PAM is not asked", inert: ["no"]),
        "iptfs": .leavesOut("IP-TFS is not there", inert: ["no"]),
        "failureshunt": .leavesOut("traffic of a tunnel that is down would leave unprotected; a shunt for it is not there yet", inert: ["none", "passthrough"]),
        "enable-tcp": .leavesOut("IKE over TCP is not there", inert: ["no", "fallback"]),
        "xauthby": .noEffect(ikev1), "xauthfail": .noEffect(ikev1),

        "negotiationshunt": .dropped("there are no shunts yet: packets are not held while a tunnel comes up"),
        "inactivity": .dropped("an idle child stays up", inert: ["0", "0s"]),
        "ikedscp": .dropped("IKE packets are not marked yet", inert: ["000000"]),
        "compress": .dropped("nothing is compressed; the tunnel comes up without", inert: ["no"]),
        "nat-keepalive": .dropped("keepalives are a setting of the whole gateway", inert: ["yes"]),
        "retransmit-timeout": .dropped("retransmission is a setting of the whole gateway"), "retransmit-interval": .dropped("retransmission is a setting of the whole gateway"),
        "intermediate": .dropped("IKE_INTERMEDIATE is not there yet", inert: ["no"]),
        "metric": .dropped(peerDecides), "mtu": .dropped(peerDecides), "nflog-group": .dropped(peerDecides),
        "overlapip": .dropped(peerDecides, inert: ["no"]),
        "accept-redirect": .dropped("redirects are not followed", inert: ["no"]), "accept-redirect-to": .dropped("redirects are not followed"),
        "send-redirect": .dropped("nobody is redirected", inert: ["no"]), "redirect-to": .dropped("nobody is redirected"),
        "narrowing": .noEffect("selectors are always narrowed to what both sides have"),

        "dpdtimeout": .noEffect("with IKEv2 unanswered requests tell that a peer is gone: retransmit_tries in section gateway"),
        "aggressive": .noEffect(ikev1, inert: ["no"]), "aggrmode": .noEffect(ikev1, inert: ["no"]), "modeconfig": .noEffect(ikev1), "xauth": .noEffect(ikev1),
        "xauth-identity": .noEffect(ikev1), "nat-ikev1-method": .noEffect(ikev1), "ikepad": .noEffect(ikev1), "remote-peer-type": .noEffect(ikev1),
        "cisco-unity": .noEffect(ikev1), "cisco-split": .noEffect(ikev1), "modecfgpull": .noEffect(ikev1), "initial-contact": .noEffect(ikev1), "ikev1-policy": .noEffect(ikev1),
        "eap-identity": .noEffect("it belongs to EAP"), "aaa-identity": .noEffect("it belongs to EAP"), "eap": .noEffect("strongSwan 5 does not use it"),
        "auth": .noEffect("strongSwan 5 does not use it", inert: ["esp"]), "pfsgroup": .noEffect("groups stand in the proposals of esp"),
        "fake-strongswan": .noEffect("it only greets"), "send-vendorid": .noEffect("it only greets"), "ms-dh-downgrade": .noEffect("groups stand in the proposals"),
        "connaddrfamily": .noEffect("addresses tell their family"), "hostaddrfamily": .noEffect("addresses tell their family"), "clientaddrfamily": .noEffect("addresses tell their family"),
        "dns-match-id": .noEffect(certificates), "require-id-on-certificate": .noEffect(certificates), "debug": .noEffect("the log has a level of its own"),
        "ignore-peer-dns": .noEffect("gateway.resolver = no keeps name servers of a gateway away from this host"), "modecfgbanner": .noEffect(ikev1),
    ]

    /// Of one side, without `left` or `right`. `isLocal` where only ours counts.
    static func side(_ name: String, isLocal: Bool) -> ParameterRule? {
        if !isLocal, localOnly.contains(name) { return .noEffect("it counts at the local side alone") }
        return sides[name]
    }

    private static let localOnly: Set<String> = ["firewall", "hostaccess", "updown", "nexthop", "sendcert", "interface-ip", "vti", "modecfgclient", "xauthclient"]

    private static let sides: [String: ParameterRule] = [
        "firewall": .dropped("no firewall rules are set: accept the forwarded traffic of these networks in your own", inert: ["no"]),
        "hostaccess": .dropped("no firewall rules are set: accept this host's traffic with these networks in your own", inert: ["no"]),
        "dns": .dropped("name servers are not asked for yet"),
        "nexthop": .noEffect("routes lead to the peer"),
        "cert": .leavesOut(certificates), "cert2": .leavesOut(certificates), "ca": .leavesOut(certificates), "ca2": .leavesOut(certificates),
        "certpolicy": .leavesOut(certificates), "groups": .leavesOut("group membership is not checked yet"), "groups2": .leavesOut("group membership is not checked yet"),
        "auth2": .leavesOut("a second authentication round (RFC 4739) is not there yet"), "id2": .noEffect("it belongs to a second authentication round"),
        "autheap": .leavesOut("EAP is not there yet", inert: ["none"]),
        "sendcert": .noEffect(keys), "sigkey": .noEffect(keys), "ecdsakey": .noEffect(keys), "eddsakey": .noEffect(keys), "pubkey": .noEffect(keys), "ckaid": .noEffect(keys),
        "addresspool": .leavesOut("addresses are lent to the other side"),
        "cat": .leavesOut("traffic is not translated", inert: ["no"]), "interface-ip": .leavesOut(interfaces), "vti": .leavesOut(interfaces),
        "xauthserver": .noEffect(ikev1, inert: ["no"]), "xauthclient": .noEffect(ikev1, inert: ["no"]), "xauthusername": .noEffect(ikev1), "username": .noEffect("it belongs to EAP and XAUTH"),
    ]

    /// Of `config setup`.
    static let setup: [String: ParameterRule] = [
        "charondebug": .noEffect("the log has a level of its own: gateway { log { level } }"), "plutodebug": .noEffect("the log has a level of its own: gateway { log { level } }"),
        "logfile": .noEffect("the log's place is gateway { log { file } }"), "logtime": .noEffect("lines always have their time"),
        "cachecrls": .noEffect(certificates), "strictcrlpolicy": .noEffect("connections with certificates are left out anyway"), "crlcheckinterval": .noEffect(certificates),
        "protostack": .noEffect("Martlet has a data plane of its own"), "virtual-private": .noEffect(ikev1), "nat-traversal": .noEffect("a NAT is always looked for"),
        "interfaces": .noEffect("the kernel's routes choose the interface"), "dumpdir": .noEffect("the service says where it may dump"), "oe": .noEffect("opportunistic encryption is not there"),
        "charonstart": .noEffect("it was for older releases"), "plutostart": .noEffect("it was for older releases"), "klipsdebug": .noEffect("it was for older releases"),
        "plutostderrlog": .noEffect("the log's place is gateway { log { file } }"), "nhelpers": .noEffect("threads are counted by themselves"), "uniqueids": .noEffect("it was read"),
        "listen": .dropped("name the addresses in gateway { listen = ... } of martlet.conf"),
        "logappend": .noEffect("the log's place is gateway { log { file } }"), "logip": .noEffect("the log names addresses"), "audit-log": .noEffect("the log is the only one"),
        "dnssec-enable": .noEffect("names are looked up by the system"), "dnssec-anchors": .noEffect("names are looked up by the system"),
        "dnssec-rootkey-file": .noEffect("names are looked up by the system"), "crl-strict": .noEffect("connections with certificates are left out anyway"),
        "ocsp-enable": .noEffect(certificates), "ocsp-strict": .noEffect("connections with certificates are left out anyway"), "seccomp": .noEffect("the service confines the daemon"),
        "ddos-mode": .dropped("write gateway { cookie_threshold = 0 } to ask every stranger for a cookie", inert: ["auto"]),
        "shuntlifetime": .noEffect("there are no shunts yet"), "xfrmlifetime": .noEffect("Martlet has a data plane of its own"),
        "listen-udp": .dropped("IKE is always heard over UDP", inert: ["yes"]), "listen-tcp": .dropped("IKE over TCP is not there", inert: ["no"]),
        "ikev1-policy": .noEffect(ikev1, inert: ["drop", "reject"]), "keep-alive": .dropped("write gateway { keepalive = ... }"),
    ]

    /// A comment, for both daemons.
    static func isComment(_ name: String) -> Bool { name.hasPrefix("x-") }
}
