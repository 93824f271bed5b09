// Whose ipsec.conf it is. The syntax is one, but defaults and the meaning of some parameters differ.

package enum Dialect: String, CaseIterable, Sendable {
    case strongSwan = "strongswan"
    case libreswan

    package var name: String { self == .strongSwan ? "strongSwan" : "libreswan" }

    /// Whose parameters the files use; where none tells, strongSwan's. `evidence` is the first of them.
    static func detected(in settings: [Setting]) -> (dialect: Dialect, evidence: Setting?) {
        let libreswan = settings.filter(isOfLibreswanAlone)
        let strongSwan = settings.filter(isOfStrongSwanAlone)
        return libreswan.count > strongSwan.count ? (.libreswan, libreswan.first) : (.strongSwan, strongSwan.first)
    }

    private static func isOfLibreswanAlone(_ setting: Setting) -> Bool {
        if libreswanSpellings.contains(Setting.plain(setting.spelling)) || libreswanSpellings.contains(sideless(setting.name)) { return true }
        switch setting.name {
        case "ike", "esp": return setting.value.contains(";") || setting.value.contains("+") || setting.value.contains("aes_") || setting.value.contains("sha2_")
        case "auto": return ["ondemand", "up", "keep"].contains(setting.value)
        case "leftauth", "rightauth": return ["secret", "rsasig", "null", "eaponly", "never"].contains(setting.value)
        default: return false
        }
    }

    private static func isOfStrongSwanAlone(_ setting: Setting) -> Bool {
        if strongSwanSpellings.contains(Setting.plain(setting.spelling)) || strongSwanSpellings.contains(sideless(setting.name)) { return true }
        switch setting.name {
        case "ike", "esp": return setting.value.hasSuffix("!")
        case "leftauth", "rightauth": return setting.value.hasPrefix("psk") || setting.value.hasPrefix("pubkey") || setting.value.hasPrefix("eap-")
        case "dpdaction": return setting.value == "none"
        default: return false
        }
    }

    /// Without `left` or `right`; where there is none, no name.
    private static func sideless(_ name: String) -> String {
        for side in ["left", "right"] where name.hasPrefix(side) && name.count > side.count { return "*" + name.dropFirst(side.count) }
        return ""
    }

    private static let libreswanSpellings: Set<String> = [
        "phase2", "phase2alg", "salifetime", "ipsec-lifetime", "ikev2", "encapsulation", "nat-ikev1-method", "narrowing", "ikepad", "esn", "ipsec-interface",
        "vti-interface", "vti-routing", "initial-contact", "cisco-unity", "protostack", "virtual-private", "logfile", "plutodebug", "overlapip", "retransmit-timeout",
        "sha2-truncbug", "modecfgpull", "nic-offload", "failureshunt", "negotiationshunt", "ikev1-policy", "dnssec-enable", "replay-window-size", "*subnets",
        "*xauthserver", "*xauthclient", "*modecfgserver", "*modecfgclient", "*addresspool", "*nexthop", "*interface-ip", "*vti", "*cat", "*autheap", "*ckaid",
    ]
    private static let strongSwanSpellings: Set<String> = [
        "charondebug", "cachecrls", "strictcrlpolicy", "closeaction", "lifebytes", "marginbytes", "lifepackets", "marginpackets", "inactivity", "reauth",
        "installpolicy", "modeconfig", "margintime", "eap-identity", "aaa-identity", "mark-in", "ikedscp", "mediation", "forceencaps", "*firewall",
        "*hostaccess", "*dns", "*groups", "*auth2", "*id2", "*sigkey", "*certpolicy", "*allowany",
    ]
}
