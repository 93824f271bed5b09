// What the commands ask the daemon for more than once.
import ClientView
import ViciWire

extension ViciConnection {
    func listSAs() throws(OperationFailure) -> [IKESA] { IKESA.read(try list("list-sas", event: "list-sa")) }
    func listConnections() throws(OperationFailure) -> [ConfiguredConnection] { ConfiguredConnection.read(try list("list-conns", event: "list-conn")) }

    func status() throws(OperationFailure) -> GatewayStatus {
        GatewayStatus(sas: try listSAs(), connections: try listConnections(), stats: try call("stats"))
    }
}
