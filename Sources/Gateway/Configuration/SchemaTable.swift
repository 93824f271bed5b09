// Every section and key of swanctl.conf(5), and Martlet's own, with what becomes of it. The one place that knows them.

enum SchemaTable {
    static let root = SchemaSection(
        .exactly(""), "the configuration",
        sections: [
            SchemaSection(.exactly("connections"), "'connections'", sections: [connection]),
            SchemaSection(.exactly("secrets"), "'secrets'", sections: secrets),
            SchemaSection(.exactly("pools"), "'pools'", sections: [pool]),
            SchemaSection(.exactly("authorities"), "'authorities'", sections: [authority]),
            gateway, plugins,
        ])

    static let rootNames = root.sections.compactMap(\.name.spelling)

    private static let ikev1 = "it is for IKEv1, which Martlet does not speak"

    static let connection = SchemaSection(
        .any, "a connection",
        keys: [
            SchemaKey("version", .integer(0...2)),
            SchemaKey("local_addrs", .list), SchemaKey("remote_addrs", .list),
            SchemaKey("local_port", .integer(1...65535)), SchemaKey("remote_port", .integer(1...65535)),
            SchemaKey("proposals", .list),
            SchemaKey("encap", .boolean),
            SchemaKey("dpd_delay", .time), SchemaKey("mobike", .boolean),
            SchemaKey("keyingtries", .integer(0...1_000_000)),
            SchemaKey("unique", .choice(["no", "never", "keep", "replace"])), SchemaKey("sessions_per_user", .integer(0...1_000_000)),
            SchemaKey("rekey_time", .time), SchemaKey("reauth_time", .time), SchemaKey("over_time", .time), SchemaKey("rand_time", .time),
            SchemaKey("childless", .choice(["allow", "prefer", "force", "never"])),
            SchemaKey("crypto", .text),
            SchemaKey("vips", .list), SchemaKey("pools", .list),
            // `force` is of IKEv1: it means yes.
            SchemaKey("fragmentation", .choice(["yes", "accept", "no", "force"])),

            SchemaKey("aggressive", .boolean, .tunesOnly(ikev1), inert: ["no"]),
            SchemaKey("pull", .boolean, .tunesOnly(ikev1), inert: ["yes"]),
            SchemaKey("dpd_timeout", .time, .tunesOnly(ikev1), inert: ["0", "0s"]),
            SchemaKey("dscp", .text, .tunesOnly("IKE packets are not marked yet"), inert: ["000000"]),
            SchemaKey("send_certreq", .boolean), SchemaKey("send_cert", .choice(["ifasked", "always", "never"])),
            SchemaKey("ocsp", .choice(["reply", "request", "both", "never"]), .tunesOnly("OCSP answers are not carried in CERT payloads"), inert: ["never", "reply"]),

            SchemaKey("ppk_id", .text, .restricts("postquantum preshared keys (RFC 8784) are not there yet")),
            SchemaKey("ppk_required", .boolean, .restricts("postquantum preshared keys (RFC 8784) are not there yet"), inert: ["no"]),
            SchemaKey("if_id_in", .text), SchemaKey("if_id_out", .text),
            SchemaKey("mediation", .boolean, .restricts("mediation is not there"), inert: ["no"]),
            SchemaKey("mediated_by", .text, .restricts("mediation is not there")),
            SchemaKey("mediation_peer", .text, .restricts("mediation is not there")),
        ],
        sections: [
            SchemaSection(.prefix("local"), "the local side", keys: localKeys, sections: [certificate("cert")]),
            SchemaSection(.prefix("remote"), "the remote side", keys: remoteKeys, sections: [certificate("cert"), certificate("cacert")]),
            SchemaSection(.exactly("children"), "'children'", sections: [child]),
        ])

    private static let tokens = "tokens are not there yet: name a file"
    private static func certificate(_ name: String) -> SchemaSection {
        SchemaSection(
            .prefix(name), "a certificate",
            keys: [SchemaKey("file", .text)] + ["handle", "slot", "module"].map { SchemaKey($0, .text, .restricts(tokens)) })
    }

    private static let localKeys: [SchemaKey] = [
        SchemaKey("auth", .text), SchemaKey("id", .text),
        SchemaKey("round", .integer(0...255)),
        SchemaKey("certs", .credentials), SchemaKey("pubkeys", .credentials),
        SchemaKey("eap_id", .text),
        SchemaKey("xauth_id", .text, .tunesOnly(ikev1)),
        SchemaKey("aaa_id", .text),
    ]

    private static let remoteKeys: [SchemaKey] = [
        SchemaKey("auth", .text), SchemaKey("id", .text),
        SchemaKey("round", .integer(0...255)),
        SchemaKey("eap_id", .text),
        SchemaKey("groups", .list), SchemaKey("user_lookup", .boolean), SchemaKey("directory", .text),
        SchemaKey("cert_policy", .list),
        SchemaKey("certs", .credentials), SchemaKey("cacerts", .credentials), SchemaKey("pubkeys", .credentials),
        SchemaKey("ca_id", .text),
        SchemaKey("revocation", .choice(["strict", "ifuri", "relaxed"])),
    ]

    static let modes = ["tunnel", "transport", "transport_proxy", "beet", "iptfs", "pass", "drop"]

    static let child = SchemaSection(
        .any, "a child",
        keys: [
            SchemaKey("local_ts", .list), SchemaKey("remote_ts", .list),
            SchemaKey("esp_proposals", .list),
            SchemaKey("mode", .choice(modes)),
            SchemaKey("start_action", .text), SchemaKey("close_action", .text), SchemaKey("dpd_action", .text),
            SchemaKey("rekey_time", .time), SchemaKey("life_time", .time), SchemaKey("rand_time", .time),
            SchemaKey("rekey_bytes", .bytes), SchemaKey("life_bytes", .bytes), SchemaKey("rand_bytes", .bytes),
            SchemaKey("rekey_packets", .integer(0...UInt64.max)), SchemaKey("life_packets", .integer(0...UInt64.max)),
            SchemaKey("rand_packets", .integer(0...UInt64.max)),
            SchemaKey("replay_window", .integer(0...4096)),
            SchemaKey("hw_offload", .choice(["no", "yes", "auto", "crypto", "packet"])),
            SchemaKey("copy_df", .boolean), SchemaKey("copy_ecn", .boolean), SchemaKey("copy_dscp", .choice(["out", "in", "yes", "no"])),
            SchemaKey("mark_in", .text), SchemaKey("mark_in_sa", .boolean), SchemaKey("mark_out", .text),
            SchemaKey("set_mark_in", .text), SchemaKey("set_mark_out", .text),
            SchemaKey("if_id_in", .text), SchemaKey("if_id_out", .text),

            SchemaKey("hostaccess", .boolean, .tunesOnly("it is for updown scripts, which are not run"), inert: ["no"]),
            SchemaKey("policies_fwd_out", .boolean, .tunesOnly("the data plane forwards by its own selectors"), inert: ["no"]),
            SchemaKey("ipcomp", .boolean, .tunesOnly("nothing is compressed"), inert: ["no"]),
            SchemaKey("inactivity", .time, .tunesOnly("an idle child stays up"), inert: ["0", "0s"]),
            SchemaKey("per_cpu_sas", .text, .tunesOnly("one SA pair serves every core"), inert: ["no"]),
            SchemaKey("pcpu_queues", .boolean, .tunesOnly("one SA pair serves every core"), inert: ["no"]),
            SchemaKey("iptfs_max_queue_size", .text, .tunesOnly("IP-TFS is not there")),
            SchemaKey("iptfs_pkt_size", .text, .tunesOnly("IP-TFS is not there")),
            SchemaKey("iptfs_reorder_window", .text, .tunesOnly("IP-TFS is not there")),
            SchemaKey("iptfs_init_delay", .text, .tunesOnly("IP-TFS is not there")),
            SchemaKey("iptfs_drop_time", .text, .tunesOnly("IP-TFS is not there")),

            SchemaKey("ah_proposals", .list, .restricts("AH is not there, write esp_proposals")),
            SchemaKey("sha256_96", .boolean, .restricts("the truncation of an old draft is not offered"), inert: ["no"]),
            SchemaKey("updown", .text, .restricts("scripts are not run yet, and a firewall that one would set up would be missing")),
            SchemaKey("policies", .boolean, .restricts("selectors are always enforced"), inert: ["yes"]),
            SchemaKey("reqid", .integer(0...UInt64(UInt32.max)), .restricts("it cannot be chosen yet, and what refers to it would not match"), inert: ["0"]),
            SchemaKey("priority", .integer(0...UInt64(UInt32.max)), .restricts("another child could win over this one"), inert: ["0"]),
            SchemaKey("interface", .text, .restricts("traffic is not limited to an interface yet")),
            SchemaKey("label", .text, .restricts("security labels are not there yet")),
            SchemaKey("label_mode", .choice(["system", "simple", "selinux"]), .restricts("security labels are not there yet"), inert: ["system"]),
            SchemaKey("tfc_padding", .text, .restricts("packets would show their length; padding is not there yet"), inert: ["0"]),
        ])

    private static func secret(_ name: String, keys: [SchemaKey], status: KeyStatus) -> SchemaSection {
        SchemaSection(.prefix(name), "a secret", status: status, keys: keys)
    }
    private static let sharedKeys = [SchemaKey("secret", .secret), SchemaKey("id", .text, isPrefix: true)]
    /// `private`, `pkcs8` and `pkcs12` before names that they begin with.
    private static let secrets: [SchemaSection] =
        [secret("ike", keys: sharedKeys, status: .implemented)]
        + ["eap", "xauth", "ntlm"].map { secret($0, keys: sharedKeys, status: .implemented) }
        + [secret("ppk", keys: sharedKeys, status: .tunesOnly("postquantum preshared keys are not there yet"))]
        + ["private", "rsa", "ecdsa", "pkcs8", "pkcs12"].map {
            secret($0, keys: [SchemaKey("file", .text), SchemaKey("secret", .secret)], status: .implemented)
        }
        + [secret("token", keys: [], status: .tunesOnly("tokens are not there yet"))]

    private static let pool = SchemaSection(
        .any, "a pool",
        keys: [SchemaKey("addrs", .text), SchemaKey(PoolBuilder.domainKey, .list)] + PoolBuilder.attributes.map { SchemaKey($0.key, .list) }
            + [
                SchemaKey("split_exclude", .list, .restricts("it is of IKEv1 alone: leave the networks out of local_ts"))
            ],
        takesAnyKey: true)

    private static let authority = SchemaSection(
        .any, "an authority",
        keys: [
            SchemaKey("cacert", .credentials), SchemaKey("file", .text),
            SchemaKey("cert_uri_base", .text, .tunesOnly("certificates are sent whole, never as hash and URL")),
            SchemaKey("crl_uris", .list), SchemaKey("ocsp_uris", .list),
        ] + ["handle", "slot", "module"].map { SchemaKey($0, .text, .restricts(tokens)) })

    static let logLevels = ["error", "info", "detail", "debug", "trace"]

    private static let gateway = SchemaSection(
        .exactly("gateway"), "'gateway'",
        keys: [
            SchemaKey("listen", .list),
            SchemaKey("port", .integer(1...65535)), SchemaKey("nat_port", .integer(1...65535)),
            SchemaKey("plane", .text),
            SchemaKey("control", .text),
            SchemaKey("state", .text), SchemaKey("leases", .text), SchemaKey("resolver", .choice(ResolverChoice.allCases.map(\.rawValue))),
            SchemaKey("shards", .integer(0...255)),
            SchemaKey("crypto", .list),
            SchemaKey("cookie_threshold", .integer(0...1_000_000)),
            SchemaKey("half_open_limit", .integer(1...1_000_000)), SchemaKey("half_open_per_address", .integer(1...1_000_000)), SchemaKey("half_open_per_prefix", .integer(1...1_000_000)),
            SchemaKey("half_open_time", .time),
            SchemaKey("retransmit_initial", .text), SchemaKey("retransmit_growth", .text), SchemaKey("retransmit_tries", .integer(1...100)),
            SchemaKey("fragment_size", .integer(256...9000)),
            SchemaKey("keepalive", .time), SchemaKey("return_routability", .choice(["before", "after", "no"])),
            SchemaKey("directory_check", .time), SchemaKey("accounting_interval", .time),
            SchemaKey("debug_export_keys", .text),
        ],
        sections: [
            SchemaSection(
                .exactly("log"), "'log'",
                keys: [SchemaKey("level", .choice(logLevels + ["0", "1", "2", "3", "4"])), SchemaKey("file", .text)])
        ])

    private static let plugins = SchemaSection(
        .exactly("plugins"), "'plugins'",
        keys: [SchemaKey("path", .list)],
        sections: [
            DirectoryConfiguration.section, ObserverConfiguration.section,
            SchemaSection(.any, "a plugin", keys: [SchemaKey("priority", .integer(0...1_000_000)), SchemaKey("load", .boolean)], takesAnyKey: true),
        ])
}
