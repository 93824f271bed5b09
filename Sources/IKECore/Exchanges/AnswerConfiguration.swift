// The Configuration payload as the responder: a gateway lends addresses and tells of its network, in IKE_AUTH and whenever it is asked later.
// RFC 7296 sections 2.19, 2.20, 3.15.1 to 3.15.4, RFC 8598 section 3.

import IKEWire

/// What one message may ask for and one answer may hold.
enum ConfigurationLimits {
    /// Addresses of one family that an IKE SA is lent.
    static let addressesPerFamily = ConnectionSettings.vipLimit
    /// Attributes beside addresses, and their bytes.
    static let attributes = 256
    static let bytes = 16_384
    /// Name servers and domains that a client takes.
    static let servers = 8
    static let domains = 32
}

extension Established {
    /// Beside a new child: as at any time, and a peer that has to have an address must have one, or ask for it.
    func answerConfigurationOfChild(_ payloads: [Payload]) throws(ChildRefusal) -> [Payload] {
        //= RFC 7296 §2.19: where an address is needed and none was asked for.
        if !sa.connection.pools.isEmpty, sa.leases.isEmpty, payloads.requested.allSatisfy({ $0.addressFamily == nil }) { throw ChildRefusal(Notify(.failedCPRequired), .addressNotAskedFor(sa)) }
        return try answerConfiguration(payloads)
    }

    /// The Configuration payloads of an answer, if the request has any.
    func answerConfiguration(_ payloads: [Payload]) throws(ChildRefusal) -> [Payload] {
        var answer: [Payload] = []
        if payloads.hasConfiguration(Configuration.request) {
            answer.append(.configuration(Configuration(kind: Configuration.reply, attributes: try reply(to: payloads.requested))))
        }
        //= RFC 7296 §3.15.1: of a CFG_SET nothing is taken, so CFG_ACK names nothing.
        if payloads.hasConfiguration(Configuration.set) { answer.append(.configuration(Configuration(kind: Configuration.acknowledgement, attributes: []))) }
        return answer
    }

    /// What a request for configuration after IKE_AUTH is answered with, an error included. RFC 7296 section 3.15.
    func configurationAnswer(_ payloads: [Payload]) -> [Payload] {
        guard phase == .active else { return [] }
        do throws(ChildRefusal) { return try answerConfiguration(payloads) } catch {
            if let failure = error.failure { context.emit(.report(.failed(failure, connection: sa.connection.name, ikeSA: sa.status))) }
            return [.notify(error.notify)]
        }
    }

    private func reply(to requested: [Configuration.Attribute]) throws(ChildRefusal) -> [Configuration.Attribute] {
        let pools = sa.connection.pools
        let types = Set(requested.map(\.type))
        var attributes = try addresses(for: requested).map(Configuration.Attribute.init(assigning:))
        // Who asks for no address has asked for just these.
        let isForAddress = !attributes.isEmpty
        attributes += others(pools, types, asking: !isForAddress)
        //= RFC 7296 §2.20: our version is nobody's business: an empty string.
        if types.contains(Configuration.applicationVersion), !attributes.contains(where: { $0.type == Configuration.applicationVersion }) {
            attributes.append(Configuration.Attribute(type: Configuration.applicationVersion, value: []))
        }
        //= RFC 7296 §3.15.1: two bytes for each type that we know.
        if types.contains(Configuration.supportedAttributes) {
            attributes.append(Configuration.Attribute(type: Configuration.supportedAttributes, value: Configuration.understood.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xff)] }))
        }
        return attributes
    }

    /// The addresses that the peer has asked for and has from now on.
    private func addresses(for requested: [Configuration.Attribute]) throws(ChildRefusal) -> [IPAddress] {
        let pools = sa.connection.pools
        guard !pools.isEmpty, let identity = sa.account ?? sa.remoteEAPIdentity ?? sa.remoteIdentity else { return [] }
        var given: [IPAddress] = [], families: [IPAddress.Family] = []
        for family in [IPAddress.Family.v4, .v6] {
            //= RFC 7296 §3.15.1: not more of them than were asked for.
            let wishes = requested.filter { $0.addressFamily == family }.prefix(ConfigurationLimits.addressesPerFamily)
            guard !wishes.isEmpty else { continue }
            families.append(family)
            //= RFC 7296 §3.15.3: what it has been lent is its for as long as the IKE SA lives: who asks again is told the same.
            var own = sa.leases.map(\.address).filter { $0.family == family }
            for wish in wishes.dropFirst(own.count) {
                guard let address = lend(family, asking: wish.address.flatMap { $0.value == 0 ? nil : $0 }, to: identity) else { break }
                own.append(address)
            }
            given += own.prefix(wishes.count)
        }
        guard !families.isEmpty else { return [] }
        sa.remoteVirtual = sa.leases.map(\.address)
        let missing = families.filter { family in !given.contains { $0.family == family } }
        let served = missing.filter { context.pools.serves($0, pools) }
        //= RFC 7296 §3.15.4: only where no address can be assigned; a family that is not served is left out.
        guard !given.isEmpty else {
            throw ChildRefusal(Notify(.internalAddressFailure), served.isEmpty ? .addressFamilyNotServed(families, sa) : .poolsExhausted(served, sa))
        }
        if !served.isEmpty {
            let failure = Failure.poolsExhausted(served, sa)
            context.note(.notice, ([failure.summary] + failure.evidence.dropLast()).joined(separator: "; "), sa)
        }
        return given
    }

    private func lend(_ family: IPAddress.Family, asking: IPAddress?, to identity: Identification) -> IPAddress? {
        // From an older SA that will go, and from no other: `IdentityIndex` judges by the same. With `unique = never` it stays, and so does its address.
        let takingOver: LeaseRequest.Takeover =
            if sa.initialContact, sa.connection.unique != .never { .ofPeer(before: sa.begun) } else if sa.connection.unique == .replace { .ofConnection } else { .nothing }
        let origin = Lease.Origin(connection: sa.connection.name, local: sa.localIdentity, remote: sa.remote, at: sa.now)
        let request = LeaseRequest(family, from: sa.connection.pools, to: identity, origin: origin, asking: asking, takingOver: takingOver, beside: sa.leases.map(\.address))
        guard let lease = context.pools.lease(request) else { return nil }
        sa.leases.append(lease)
        sa.userSession?.lent(sa.leases.map(\.address))
        context.note(.info, "\(identity) is lent \(lease.address) of the pool \(lease.pool)", sa)
        return lease.address
    }

    /// What the pools tell beside addresses. `asking`: of these types alone.
    private func others(_ pools: [String], _ types: Set<UInt16>, asking: Bool) -> [Configuration.Attribute] {
        let families = Set(sa.leases.map(\.address.family))
        var chosen: [Configuration.Attribute] = [], bytes = 0, hasNetmask = false
        for attribute in context.pools.attributes(of: pools) {
            if let family = attribute.family, !families.contains(family) { continue }
            switch attribute.type {
            //= RFC 7296 §3.15.1: one netmask, beside an IPv4 address.
            case Configuration.internalIP4Netmask:
                guard !hasNetmask, !asking else { continue }
                hasNetmask = true
            //= RFC 8598 §3.1: to those alone that have asked for it.
            case Configuration.internalDNSDomain, Configuration.internalDNSSECTrustAnchor:
                guard types.contains(Configuration.internalDNSDomain) else { continue }
            default: if asking, !types.contains(attribute.type) { continue }
            }
            bytes += attribute.value.count + 4
            guard bytes <= ConfigurationLimits.bytes, chosen.count < ConfigurationLimits.attributes else { break }
            chosen.append(attribute)
        }
        //= RFC 8598 §3.2: a domain is nothing without a server for it.
        if !chosen.contains(where: { $0.nameServer != nil }) { chosen.removeAll { $0.type == Configuration.internalDNSDomain || $0.type == Configuration.internalDNSSECTrustAnchor } }
        return chosen
    }
}

extension Configuration {
    /// The attributes that we know, for SUPPORTED_ATTRIBUTES.
    fileprivate static let understood = [
        internalIP4Address, internalIP4Netmask, internalIP4DNS, internalIP4NBNS, internalIP4DHCP, applicationVersion, internalIP6Address, internalIP6DNS, internalIP6DHCP, internalIP4Subnet,
        supportedAttributes, internalIP6Subnet, internalDNSDomain,
    ]
}

extension [Payload] {
    fileprivate func hasConfiguration(_ kind: UInt8) -> Bool { contains { if case .configuration(let configuration) = $0 { configuration.kind == kind } else { false } } }

    /// The attributes of every CFG_REQUEST.
    var requested: [Configuration.Attribute] {
        flatMap { payload -> [Configuration.Attribute] in
            guard case .configuration(let configuration) = payload, configuration.kind == Configuration.request else { return [] }
            return configuration.attributes
        }
    }
}
