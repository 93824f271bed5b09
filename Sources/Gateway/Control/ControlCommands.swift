// Sends each request of a client to the backend, and the answer back.
import IKECore
import ViciWire

extension ControlServer {
    func perform(_ id: ControlSession.CommandID, _ request: ControlRequest, _ client: Client) {
        if let audited = request.audited {
            log(0, "control: \(audited), by \(client.peer)")
            client.audited = (id, audited)
        }
        guard let backend else { return answer(client, id, OutcomeMessages.refusal("the daemon is going down", code: "shutting-down")) }
        let reply = Reply(server: self, fd: client.fd, serial: client.serial, command: id)
        switch request {
        case .version:
            answer(client, id, ConfigurationMessages.version(daemonVersion: backend.daemonVersion))
        case .stats:
            backend.stats { reply.send(ConfigurationMessages.stats($0)) }
        case .listSAs(let filter):
            backend.listSAs(filter) { result in
                switch result {
                case .success(let all): reply.stream(.listSA, all) { sa in filter.matches(sa) ? SAMessages.list(sa, children: sa.children.filter(filter.matches)) : [] }
                case .failure(let failure): reply.send(OutcomeMessages.loaded(.failure(failure)))
                }
            }
        case .listConnections(let name):
            backend.listConnections { all in
                reply.stream(.listConnection, Listing(all.filter { name == nil || name == $0.name })) { [ConfigurationMessages.connection($0)] }
            }
        case .listPolicies(let filter):
            reply.stream(.listPolicy, backend.policies.filter(filter.matches).map(ConfigurationMessages.policy))
        case .initiate(let request, let wait):
            begin(client, id, wait, request.child.map { "initiating child \($0)" } ?? "initiating \(request.ike ?? "")")
            backend.initiate(request, reply.progress) { reply.send(OutcomeMessages.initiated($0)) }
            answerAtOnce(client, id, wait)
        case .terminate(let request, let wait):
            begin(client, id, wait, "terminating" + request.filter.arguments)
            backend.terminate(request, reply.progress) { reply.send(OutcomeMessages.selected($0, verb: "terminate", count: "terminated")) }
            answerAtOnce(client, id, wait)
        case .rekey(let request):
            begin(client, id, ControlWait(limit: .forever, logLevel: 1), "rekeying" + request.filter.arguments)
            backend.rekey(request, reply.progress) { reply.send(OutcomeMessages.selected($0, verb: "rekey", count: "martlet-rekeyed")) }
        case .algorithms:
            backend.algorithms { reply.send(ConfigurationMessages.algorithms($0)) }
        case .counters(let selection):
            backend.counters(selection) { reply.send(OutcomeMessages.counters($0, selection)) }
        case .resetCounters(let selection):
            backend.resetCounters(selection) { reply.send($0 ? OutcomeMessages.loaded(.success([])) : OutcomeMessages.noCounters(selection)) }
        case .install, .uninstall, .reloadSettings, .loadConnection, .unloadConnection, .loadedConnections, .loadShared, .unloadShared, .loadedShared, .loadPool, .unloadPool, .pools,
            .loadCertificate, .loadKey, .unloadKey, .loadedKeys, .loadAuthority, .unloadAuthority, .loadedAuthorities, .clearCredentials, .flushCertificates:
            configure(id, request, client, backend, reply)
        case .listCertificates(let filter):
            let all = backend.certificates, keys = Set(all.filter { $0.kind == .privateKey }.map(\.facts.keyID))
            reply.stream(.listCertificate, all.filter(filter.matches).map { CertificateMessages.certificate($0, hasKey: $0.kind == .certificate && keys.contains($0.facts.keyID)) })
        case .listAuthorities(let name):
            let all = backend.certificates
            reply.stream(
                .listAuthority,
                backend.authorities.filter { name == nil || $0.name == name }.map { authority in
                    CertificateMessages.authority(authority, subject: all.first { $0.kind == .certificate && $0.der == authority.certificate }?.facts.subjectText ?? "")
                })
        case .emptyList(let name):
            answer(client, id, OutcomeMessages.list(name, []))
        case .emptyStream(let name):
            reply.stream(name, [])
        case .allAlgorithms:
            backend.algorithms { reply.send(ConfigurationMessages.allAlgorithms($0)) }
        case .plugins:
            backend.plugins { reply.send(ConfigurationMessages.plugins($0)) }
        case .logBacklog(let limit):
            client.session.respond(
                id,
                streaming: backlog.suffix(limit).map { ConfigurationMessages.log($0.entry, sequence: $0.sequence, withThread: true) },
                as: .logBacklog)
        case .unsupported(let reason):
            answer(client, id, OutcomeMessages.refusal(reason, code: "unsupported-command"))
        case .invalid(let reason):
            answer(client, id, OutcomeMessages.refusal(reason, code: "invalid-argument"))
        case .unknown:
            client.session.respondUnknown(id)
        }
    }

    private func configure(_ id: ControlSession.CommandID, _ request: ControlRequest, _ client: Client, _ backend: any ControlBackend, _ reply: Reply) {
        func done(_ result: LoadResult) { answer(client, id, OutcomeMessages.loaded(result)) }
        switch request {
        case .loadConnection(let message):
            do throws(MessageTreeProblem) {
                let (name, root) = try MessageTree.connection(message)
                backend.loadConnection(name, root) { reply.send(OutcomeMessages.loaded($0)) }
            } catch {
                done(.failure(FailureSnapshot(code: "configuration-refused", summary: "\(error.position): \(error.reason)")))
            }
        case .install(let child, let ike): backend.installPolicy(child: child, connection: ike) { reply.send(OutcomeMessages.loaded($0)) }
        case .uninstall(let child, let ike): done(backend.uninstallPolicy(child: child, connection: ike))
        case .unloadConnection(let name): done(backend.unloadConnection(name))
        case .loadedConnections: answer(client, id, OutcomeMessages.list("conns", backend.loadedConnections))
        case .loadShared(let key): done(backend.loadSecret(key.kind, id: key.id, owners: key.owners, data: key.data))
        case .unloadShared(let name): done(backend.unloadSecret(id: name))
        case .loadedShared: answer(client, id, OutcomeMessages.list("keys", backend.loadedSecrets))
        case .loadPool(let message):
            do throws(MessageTreeProblem) {
                let (name, root) = try MessageTree.pool(message)
                backend.loadPool(name, root) { reply.send(OutcomeMessages.loaded($0)) }
            } catch {
                done(.failure(FailureSnapshot(code: "configuration-refused", summary: "\(error.position): \(error.reason)")))
            }
        case .unloadPool(let name): done(backend.unloadPool(name))
        case .pools(let withLeases): answer(client, id, ConfigurationMessages.pools(backend.pools(withLeases: withLeases)))
        case .loadCertificate(let kind, let data): done(backend.loadCertificate(kind, data: data.box))
        case .loadKey(let data):
            switch backend.loadKey(data: data.box) {
            case .success(let key):
                var message = OutcomeMessages.loaded(.success([]))
                message.add("id", key)
                answer(client, id, message)
            case .failure(let failure): done(.failure(failure))
            }
        case .unloadKey(let key): done(backend.unloadKey(id: key))
        case .loadedKeys: answer(client, id, OutcomeMessages.list("keys", backend.loadedKeys))
        case .loadAuthority(let message):
            do throws(MessageTreeProblem) {
                let (name, root) = try MessageTree.authority(message)
                done(backend.loadAuthority(name, root))
            } catch {
                done(.failure(FailureSnapshot(code: "configuration-refused", summary: "\(error.position): \(error.reason)")))
            }
        case .unloadAuthority(let name): done(backend.unloadAuthority(name))
        case .loadedAuthorities: answer(client, id, OutcomeMessages.list("authorities", backend.loadedAuthorities))
        case .clearCredentials:
            backend.clearSecrets()
            done(.success([]))
        case .flushCertificates(let fetched):
            backend.forget(fetched)
            done(.success([]))
        case .reloadSettings: backend.reloadFiles { reply.send(OutcomeMessages.loaded($0)) }
        default: break
        }
    }

    private func begin(_ client: Client, _ id: ControlSession.CommandID, _ wait: ControlWait, _ description: String) {
        var command = Command(id: id, description: description, logLevel: wait.logLevel)
        if case .limited(let duration) = wait.limit { command.deadline = now() + duration }
        client.command = command
    }

    /// `timeout = -1`: begun is done.
    private func answerAtOnce(_ client: Client, _ id: ControlSession.CommandID, _ wait: ControlWait) {
        guard wait.limit == .none else { return }
        var message = ViciMessage()
        message.add("success", "yes")
        answer(client, id, message)
    }

    /// Ends a command. What became of a change is logged as the change was.
    func answer(_ client: Client, _ id: ControlSession.CommandID, _ message: ViciMessage) {
        guard client.session.respond(id, message) else { return }
        if let audited = client.audited, audited.id == id {
            // Words of a client's own may be in the reason.
            let reason = message["success"] == "no" ? "failed: " + quoted(message["errmsg"] ?? "") : "done"
            log(0, "control: \(audited.text), by \(client.peer): \(reason)")
            client.audited = nil
        }
        finish(client, id)
    }

    func finish(_ client: Client, _ id: ControlSession.CommandID) {
        if client.command?.id == id { client.command = nil }
        serve(client)
    }

    func sendProgress(_ client: Client, _ entry: LogEntrySnapshot) {
        guard let command = client.command, entry.level <= command.logLevel else { return }
        offer(client, .controlLog, ConfigurationMessages.log(entry, sequence: nil, withThread: false))
    }
}
