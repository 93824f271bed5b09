// What operators and the configuration want of an endpoint: initiate, terminate, rekey, end.

import IKEWire

extension Endpoint {
    private func answer(_ request: RequestID?, _ result: Result<String, Failure>) { if let request { context.emit(.answer(request, result)) } }

    func initiate(_ name: String, _ childName: String?, _ packet: TriggeringPacket?, _ local: SocketAddress, _ remote: SocketAddress, _ request: RequestID?) {
        guard !shuttingDown else { return answer(request, .failure(Failure(.closed, "The daemon is ending"))) }
        guard let connection = context.connections.first(where: { $0.name == name }) else { return answer(request, .failure(Failure(.notConfigured, "There is no connection \(name)"))) }
        var child = childName.map { connection.child(named: $0) } ?? connection.children.first(where: \.mode.isNegotiated)
        // A connection without children comes up alone, where that is allowed. RFC 6023.
        guard child != nil || (childName == nil && connection.children.isEmpty && connection.childless != .never) else {
            return answer(request, .failure(Failure(.notConfigured, childName.map { "The connection \(name) has no child \($0)" } ?? "The connection \(name) has no children")))
        }
        if let child, !child.mode.isNegotiated { return answer(request, .failure(.noTunnel(child))) }
        child?.trigger = packet
        let existing = sas.values.filter { sa in
            guard sa.connection.name == name, sa.established?.predecessor?.peerSuccessor == nil else { return false }
            // One that is being replaced takes no more children: the other one does.
            guard sa.replacement?.isDead ?? true else { return false }
            return sa.isConnecting || sa.established.map { $0.phase == .active && !$0.isToBeDeleted } == true
        }.min { $0.id.rawValue < $1.id.rawValue }
        if let existing {
            guard let child else { return answer(request, .success("the IKE SA is up already, or coming up")) }
            return touch(existing) { existing.enqueue(child, request) }
        }
        guard sas.count < limits.ikeSAs else { return answer(request, .failure(Failure(.limit, "There are \(sas.count) IKE SAs, which is the limit"))) }
        let sa = IKESA(
            context: context, connection: connection, isInitiator: true, localSPI: context.newIKESPI(), remoteSPI: .none, local: local, remote: remote,
            marked: local.port == limits.natPort && local.port != 500)
        add(sa)
        let work = Initiation(child: child, request: request, nonce: context.randomBytes(32), deadline: context.now + limits.jobTime)
        touch(sa) {
            context.emit(.report(.initiating(sa.status)))
            sa.state = GeneratingKey.begin(sa, work)
        }
    }

    /// The children meant, with their SAs; whole SAs where `selection` names those.
    private func selected(_ selection: SASelection, evenLeaving: Bool = false) -> (whole: [IKESA], children: [(IKESA, ChildSA)]) {
        // An SA whose rekey collision is not decided is not an operator's business yet.
        func isMeant(_ child: ChildSA) -> Bool { child.isCurrent || evenLeaving && child.state == .deleting }
        func decided(_ sa: IKESA) -> Bool { sa.established?.predecessor?.peerSuccessor == nil }
        var all: [IKESA] { inOrder(where: decided) }
        switch selection {
        case .connection(let name): return (all.filter { $0.connection.name == name }, [])
        case .ikeSA(let id):
            // One that was rekeyed meanwhile is meant in what it has become.
            return (spis[id].flatMap { sas[$0] }.map(Established.current).map { decided($0) ? [$0] : [] } ?? [], [])
        case .child(let name, let connection):
            return (
                [],
                all.filter { connection == nil || $0.connection.name == connection }.flatMap { sa in (sa.established?.children ?? []).filter { $0.policy.name == name && isMeant($0) }.map { (sa, $0) }
                }
            )
        case .childSA(let id):
            guard let sa = context.childOwner(id).flatMap({ sas[$0] }), decided(sa), let child = sa.established?.children.first(where: { $0.id == id }), isMeant(child) else { return ([], []) }
            return ([], [(sa, child)])
        }
    }

    func terminate(_ selection: SASelection, _ request: RequestID?, _ reason: ClosingReason) {
        let (whole, children) = selected(selection)
        let requests = request.map { [$0] } ?? []
        var begun = 0
        for sa in whole {
            if let established = sa.established {
                guard established.phase == .active else { continue }
                begun += 1
                touch(sa) {
                    established.enqueueFirst(.deleteIKE(begun == 1 ? requests : [], reason: reason))
                    sa.state = established.settled()
                }
            } else if sa.isConnecting {
                begun += 1
                touch(sa) { sa.abandon(Failure(.closed, "The initiation was ended by the operator")) }
                if begun == 1 { answer(request, .success("the initiation was ended")) }
            }
        }
        for (sa, child) in children {
            guard let established = sa.established else { continue }
            begun += 1
            touch(sa) {
                established.endChild(child, begun == 1 ? requests : [])
                sa.state = established.settled()
            }
        }
        if begun == 0 { answer(request, .failure(Failure(.notConfigured, "Nothing of that name is up"))) }
    }

    func terminateAtOnce(_ selection: SASelection, _ request: RequestID?) {
        let (whole, children) = selected(selection, evenLeaving: true)
        var ended = children.count
        for sa in whole {
            if let established = sa.established {
                touch(sa) {
                    established.endAtOnce(ClosingReason(.operatorRequest, "closed by the operator, without waiting for the peer"))
                    sa.state = established.settled()
                }
            } else if sa.isConnecting {
                touch(sa) { sa.abandon(Failure(.closed, "The initiation was ended by the operator")) }
            } else {
                continue
            }
            ended += 1
        }
        for (sa, child) in children {
            guard let established = sa.established else { continue }
            touch(sa) { established.endAtOnce(child) }
        }
        answer(request, ended == 0 ? .failure(Failure(.notConfigured, "Nothing of that name is up")) : .success("closed"))
    }

    func rekey(_ selection: SASelection, _ request: RequestID?) {
        let (whole, children) = selected(selection)
        let requests = request.map { [$0] } ?? []
        var begun = 0
        for sa in whole {
            guard let established = sa.established, established.phase == .active else { continue }
            begun += 1
            touch(sa) {
                established.enqueue(.rekeyIKE(begun == 1 ? requests : []))
                sa.state = established.settled()
            }
        }
        for (sa, child) in children {
            guard let established = sa.established else { continue }
            begun += 1
            touch(sa) {
                established.enqueue(.rekeyChild(child.id, begun == 1 ? requests : []))
                sa.state = established.settled()
            }
        }
        if begun == 0 { answer(request, .failure(Failure(.notConfigured, "Nothing of that name is up"))) }
    }

    func reauthenticate(_ selection: SASelection, _ request: RequestID?) {
        let requests = request.map { [$0] } ?? []
        var begun = 0
        for sa in selected(selection).whole {
            guard let established = sa.established, established.phase == .active else { continue }
            begun += 1
            touch(sa) {
                established.reauthenticate(begun == 1 ? requests : [])
                sa.state = established.settled()
            }
        }
        if begun == 0 { answer(request, .failure(Failure(.notConfigured, "Nothing of that name is up"))) }
    }

    func shutDown() {
        shuttingDown = true
        for sa in inOrder() {
            if let established = sa.established {
                touch(sa) {
                    established.enqueueFirst(.deleteIKE([], reason: ClosingReason(.shutDown, "the daemon is ending")))
                    established.hurry()
                    sa.state = established.settled()
                }
            } else {
                touch(sa) { sa.abandon(Failure(.closed, "The daemon is ending")) }
            }
        }
    }
}
