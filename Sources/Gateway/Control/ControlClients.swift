// What the control server knows of each client, and how an answer that comes later finds its way back.
import Glibc
import IKECore
import ViciWire

extension ControlServer {
    /// A client and what the server knows about it.
    final class Client {
        let fd: Int32
        /// Tells this client from a later one with the same descriptor.
        let serial: UInt64
        /// `pid 12 uid 0 gid 0`.
        let peer: String
        var session: ControlSession
        var interest: ControlInterest = .read
        var command: Command?
        /// The change that is under way, as it was logged.
        var audited: (id: ControlSession.CommandID, text: String)?
        /// Set once the peer closed or broke the protocol.
        var isClosing = false
        /// Set while its requests are being taken: an answer that comes at once does not start them again.
        var isServing = false
        /// Makes the next page of a list, while one goes to the client.
        var refill: (() -> Void)?
        /// A page is being made.
        var isRefilling = false

        init(fd: Int32, serial: UInt64, peer: String, limits: ControlLimits) {
            self.fd = fd
            self.serial = serial
            self.peer = peer
            session = ControlSession(limits: limits)
        }
    }

    /// The open command of a client, as far as it changes something.
    struct Command {
        var id: ControlSession.CommandID
        var description: String
        var logLevel: Int
        /// Connections whose log lines the client reads meanwhile.
        var followed: Set<String> = []
        var deadline: Instant?
    }

    /// Finds its way back to a command that may be gone.
    struct Reply: Sendable {
        weak let server: ControlServer?
        let fd: Int32
        let serial: UInt64
        let command: ControlSession.CommandID

        private func target() -> (ControlServer, Client)? {
            guard let server, let client = server.clients[fd], client.serial == serial else { return nil }
            return (server, client)
        }

        func send(_ message: ViciMessage) {
            guard let (server, client) = target() else { return }
            server.answer(client, command, message)
        }

        func stream(_ name: ControlEventName, _ events: [ViciMessage]) {
            guard let (server, client) = target() else { return }
            guard client.session.respond(command, streaming: events, as: name) else { return }
            server.finish(client, command)
        }

        /// Sends the list page by page, as fast as the client reads it.
        func stream<Element>(_ name: ControlEventName, _ listing: Listing<Element>, _ messages: @escaping @Sendable (Element) -> [ViciMessage]) {
            guard let (server, client) = target(), client.session.openStream(command, as: name) else { return }
            client.refill = {
                client.isRefilling = true
                listing.next { page in
                    guard let (server, client) = target() else { return }
                    client.isRefilling = false
                    switch page {
                    case .success(let elements)?:
                        client.session.feed(command, elements.flatMap(messages))
                        return server.serve(client)
                    case .failure(let failure)?: client.session.endStream(command, OutcomeMessages.loaded(.failure(failure)))
                    case nil: client.session.endStream(command, ViciMessage())
                    }
                    client.refill = nil
                    server.finish(client, command)
                }
            }
            // A client that has not registered gets the response alone, as the protocol has it.
            if !client.session.isRegistered(name) {
                client.refill = nil
                client.session.endStream(command, ViciMessage())
                return server.finish(client, command)
            }
            server.serve(client)
        }

        var progress: ControlProgress {
            ControlProgress(
                follow: { connection in
                    guard let (_, client) = target(), client.command?.id == command else { return }
                    client.command?.followed.insert(connection)
                },
                line: { entry in
                    guard let (server, client) = target(), client.command?.id == command else { return }
                    server.sendProgress(client, entry)
                })
        }
    }
}
