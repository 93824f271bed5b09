// Certificates, CRLs, keys and authorities that clients of the control socket have loaded.

package struct LoadedCredentials: Sendable {
    private var items: [Credential] = []
    /// The certificates that came inside of connections, by their name: intermediate ones, mostly.
    var ofConnections: [String: [Credential]] = [:]
    package private(set) var authorities: [Authority] = []
    private var ofAuthorities: [String: [Credential]] = [:]

    var count: Int { items.count }
    /// In the order in which they came.
    var all: [Credential] { items + ofConnections.values.joined() + authorities.flatMap { ofAuthorities[$0.name] ?? [] } }
    package var keys: [Credential] { items.filter { $0.kind == .privateKey } }

    /// A CRL joins those of its issuer: it may be about other certificates.
    mutating func add(_ new: [Credential]) {
        for item in new {
            if let place = items.firstIndex(where: { $0.isSame(as: item) }) {
                if item.isTrusted { items[place] = item }
            } else {
                items.append(item)
            }
        }
    }

    mutating func remove(key id: [UInt8]) -> Bool {
        let before = items.count
        items.removeAll { $0.kind == .privateKey && $0.facts.keyID == id }
        return items.count < before
    }

    mutating func add(_ authority: Authority, _ new: [Credential]) {
        ofAuthorities[authority.name] = new
        if let place = authorities.firstIndex(where: { $0.name == authority.name }) { authorities[place] = authority } else { authorities.append(authority) }
    }

    mutating func remove(authority name: String) -> Bool {
        guard let place = authorities.firstIndex(where: { $0.name == name }) else { return false }
        authorities.remove(at: place)
        ofAuthorities[name] = nil
        return true
    }

    mutating func clear() -> Int {
        defer { items = [] }
        return items.count
    }
}
