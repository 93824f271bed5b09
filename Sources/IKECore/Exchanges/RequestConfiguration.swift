// The Configuration payload as the initiator: a client asks for inner addresses and takes what it is given.
// RFC 7296 sections 2.19 and 3.15, RFC 8598 section 3.

import IKEWire

extension IKESA {
    /// The Configuration payload that asks for the connection's `vips`, with the name servers that go with them.
    var addressRequest: [Payload] {
        guard !connection.vips.isEmpty else { return [] }
        var attributes: [Configuration.Attribute] = []
        //= RFC 7296 §3.15.1: the address of a connection before this one is asked for again.
        var before = context.previousAddresses[connection.name] ?? []
        for address in connection.vips {
            var wish = address
            if wish.value == 0, let index = before.firstIndex(where: { $0.family == address.family }) { wish = before.remove(at: index) }
            attributes.append(Configuration.Attribute(wishing: wish))
        }
        for family in Set(connection.vips.map(\.family)).sorted(by: { $0.rawValue < $1.rawValue }) {
            attributes.append(Configuration.Attribute(type: family == .v4 ? Configuration.internalIP4DNS : Configuration.internalIP6DNS, value: []))
        }
        //= RFC 8598 §3.1: with the servers, the domains that they are for.
        attributes.append(Configuration.Attribute(type: Configuration.internalDNSDomain, value: []))
        return [.configuration(Configuration(kind: Configuration.request, attributes: attributes))]
    }
}

extension Established {
    /// Takes the addresses that came back, before the first child needs them.
    func takeAddresses(_ payloads: [Payload]) throws(Failure) {
        let vips = sa.connection.vips
        guard !vips.isEmpty else { return }
        var servers: [IPAddress] = [], domains: [String] = [], networks: [String] = []
        for case .configuration(let reply) in payloads where reply.kind == Configuration.reply {
            for attribute in reply.attributes {
                if attribute.addressFamily != nil {
                    //= RFC 7296 §2.19: no more than was asked for. The gateway's own address would cut this host off from it.
                    guard let address = attribute.address, address.isUnicast, address != sa.remote.address, !sa.localVirtual.contains(address),
                        sa.localVirtual.count(where: { $0.family == address.family }) < vips.count(where: { $0.family == address.family })
                    else { continue }
                    sa.localVirtual.append(address)
                } else if let server = attribute.nameServer {
                    if server.isUnicast, servers.count < ConfigurationLimits.servers, !servers.contains(server) { servers.append(server) }
                } else if let domain = attribute.domain {
                    if domains.count < ConfigurationLimits.domains, !domains.contains(domain) { domains.append(domain) }
                } else if let network = attribute.network, networks.count < Wording.lines {
                    networks.append(network)
                }
            }
        }
        guard !sa.localVirtual.isEmpty else {
            for case .notify(let notify) in payloads where notify.type.isError { throw .addressRefused(notify, sa) }
            throw .noAddressGiven(sa)
        }
        for address in sa.localVirtual {
            context.note(.notice, "the gateway lends us \(address)", sa)
            context.emit(.addAddress(address))
        }
        for family in Set(vips.map(\.family)) where !sa.localVirtual.contains(where: { $0.family == family }) {
            context.note(.notice, "the gateway lends us no IPv\(family.rawValue) address, which vips asks for", sa)
        }
        sa.ownAddresses = sa.localVirtual
        context.previousAddresses[sa.connection.name] = sa.localVirtual
        if !networks.isEmpty { context.note(.info, "the gateway protects \(networks.joined(separator: ", ")); what goes through the tunnel is what remote_ts says", sa) }
        guard !servers.isEmpty else { return }
        let names = NameServers(connection: sa.connection.name, addresses: sa.localVirtual, servers: servers, domains: domains)
        let what = domains.isEmpty ? "every name" : domains.joined(separator: ", ")
        context.note(.notice, "the gateway names the name servers \(servers.map(\.description).joined(separator: ", ")) for \(what)", sa)
        sa.nameServers = names
        context.emit(.useNameServers(names))
    }
}
