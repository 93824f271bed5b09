// The JSON of `martlet status`: snake_case keys that stay.
import ViciWire

extension GatewayStatus {
    package var json: JSON {
        let tunnels = tunnels
        let up = Set(sas.filter(\.isUp).map(\.name))
        let children = Dictionary(sas.map { ($0.name, Set($0.children.filter(\.isUp).map(\.name))) }, uniquingKeysWith: { $0.union($1) })
        return .object([
            ("uptime_seconds", .integer(stats["martlet-uptime"])),
            ("tunnels", .object(Tunnel.State.allCases.map { state in (state.word, .integer(tunnels.count { $0.state == state })) })),
            ("ike_sas", .array(sas.map { $0.json(rates) })),
            ("connections", .array(connections.map { $0.json(isUp: up.contains($0.name), childrenUp: children[$0.name] ?? []) })),
            ("last_refusal", failureJSON(lastRefusal)),
            (
                "expiring_certificates",
                .array(
                    expiring.map { item in
                        .object([
                            ("subject", .text(item["subject"])), ("origin", .text(item["origin"])), ("authority", .bool(item.boolean("authority"))), ("expired", .bool(item.boolean("expired"))),
                            ("not_after", .text(item["not-after"])), ("not_after_seconds", .integer(item["not-after-seconds"])),
                        ])
                    })
            ),
            ("drops", .object((stats.section("martlet-drops")?.elements ?? []).map { ($0.name, .integer(stats.section("martlet-drops")?[$0.name])) })),
        ])
    }
}

extension IKESA {
    func json(_ rates: TrafficRates?) -> JSON {
        func end(_ side: String) -> JSON {
            .object([
                ("host", .text(body["\(side)-host"])), ("port", .integer(body["\(side)-port"])), ("id", .text(body["\(side)-id"])),
                ("behind_nat", .bool(body.boolean("nat-\(side)"))),
            ])
        }
        return .object([
            ("name", .string(name)),
            ("unique_id", .integer(body["uniqueid"])),
            ("state", .string(state)),
            ("version", .integer(body["version"])),
            ("initiator", .bool(body.boolean("initiator"))),
            ("local", end("local")),
            ("remote", end("remote")),
            ("initiator_spi", .text(body["initiator-spi"])),
            ("responder_spi", .text(body["responder-spi"])),
            ("encryption", .text(body["encr-alg"])),
            ("encryption_bits", .integer(body["encr-keysize"])),
            ("integrity", .text(body["integ-alg"])),
            ("prf", .text(body["prf-alg"])),
            ("key_exchange", .text(body["dh-group"])),
            ("provider", .text(body["martlet-provider"])),
            ("shard", .integer(body["martlet-shard"])),
            ("mobike", .bool(body.boolean("martlet-mobike"))),
            ("remote_eap_id", .text(body["remote-eap-id"])),
            ("user", .text(body["martlet-user"])),
            ("moved_from", .strings(body.list("martlet-moved-from"))),
            ("established_seconds", .integer(body["established"])),
            ("rekey_seconds", .integer(body["rekey-time"])),
            ("life_seconds", .integer(body["martlet-life-time"])),
            ("tasks_queued", .strings(body.list("tasks-queued"))),
            ("tasks_active", .strings(body.list("tasks-active"))),
            ("tasks_passive", .strings(body.list("tasks-passive"))),
            ("replaced", .bool(isReplaced)),
            ("children", .array(children.map { $0.json(rates?[TunnelKey(self, $0)]) })),
        ])
    }
}

extension ChildSA {
    /// Rates are those of the tunnel: a pair that is being replaced and its successor share them.
    func json(_ rate: TrafficRates.Rate?) -> JSON {
        func direction(_ side: String, _ rate: Double?) -> JSON {
            .object([
                ("spi", .text(body["spi-\(side)"])), ("bytes", .integer(body["bytes-\(side)"])),
                ("packets", .integer(body["packets-\(side)"])), ("idle_seconds", .integer(body["use-\(side)"])),
                ("tunnel_bytes", .integer(body["martlet-tunnel-bytes-\(side)"])), ("tunnel_packets", .integer(body["martlet-tunnel-packets-\(side)"])),
                ("bits_per_second", rate.map { .integer(UInt64($0)) } ?? .null),
            ])
        }
        return .object([
            ("name", .string(name)),
            ("unique_id", .integer(body["uniqueid"])),
            ("request_id", .integer(body["reqid"])),
            ("state", .string(state)),
            ("replaced", .bool(state == "REKEYED")),
            ("mode", .text(body["mode"])),
            ("protocol", .text(body["protocol"])),
            ("udp_encapsulated", .bool(body.boolean("encap"))),
            ("local_selectors", .strings(localSelectors)),
            ("remote_selectors", .strings(remoteSelectors)),
            ("encryption", .text(body["encr-alg"])),
            ("encryption_bits", .integer(body["encr-keysize"])),
            ("integrity", .text(body["integ-alg"])),
            ("key_exchange", .text(body["dh-group"])),
            ("extended_sequence_numbers", .bool(body["esn"] == "1")),
            ("provider", .text(body["martlet-provider"])),
            ("inbound", direction("in", rate?.inbound)),
            ("outbound", direction("out", rate?.outbound)),
            ("replayed", .integer(body["martlet-replayed"])),
            ("failed_integrity", .integer(body["martlet-failed-integrity"])),
            ("outside_selectors", .integer(body["martlet-outside-selectors"])),
            ("malformed", .integer(body["martlet-malformed"])),
            ("rekey_seconds", .integer(body["rekey-time"])),
            ("life_seconds", .integer(body["life-time"])),
            ("installed_seconds", .integer(body["install-time"])),
            ("tunnel_seconds", .integer(body["martlet-tunnel-time"])),
        ])
    }
}

extension ConfiguredConnection {
    func json(isUp: Bool, childrenUp: Set<String>) -> JSON {
        .object([
            ("name", .string(name)),
            ("up", .bool(isUp)),
            ("origin", .text(body["martlet-origin"])),
            ("version", .text(body["version"])),
            ("local_addresses", .strings(body.list("local_addrs"))),
            ("remote_addresses", .strings(body.list("remote_addrs"))),
            ("local_id", .text(body.section("local-1")?["id"])),
            ("remote_id", .text(body.section("remote-1")?["id"])),
            ("last_failure", failureJSON(lastFailure)),
            (
                "children",
                .array(
                    children.map { one in
                        let (name, child) = (one.name, one.body)
                        return .object([
                            ("name", .string(name)),
                            ("up", .bool(childrenUp.contains(name))),
                            ("mode", .text(child["mode"])),
                            ("start_action", .text(child["martlet-start-action"])),
                            ("local_selectors", .strings(child.list("local-ts"))),
                            ("remote_selectors", .strings(child.list("remote-ts"))),
                            ("last_failure", failureJSON(child.section("martlet-last-failure"))),
                        ])
                    })
            ),
        ])
    }
}

package func failureJSON(_ failure: ViciMessage?) -> JSON {
    guard let failure else { return .null }
    return .object([
        ("code", .text(failure["code"])),
        ("summary", .text(failure["summary"])),
        ("evidence", .strings(failure.list("evidence"))),
        ("advice", .strings(failure.list("advice"))),
        ("age_seconds", .integer(failure["age"])),
    ])
}
