// The files under etc/ are what they say: right, and each the other's mirror.

import Foundation
import IKECore
import IKEWire
import Testing
@testable import Gateway

private let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

@Suite struct ConfigurationDemoTests {
    private func demo(_ name: String) throws -> GatewayConfiguration {
        let result = load(SystemFileReader(), repository + "/etc/demo/\(name).conf")
        #expect(result.errors == [])
        return try #require(result.configuration)
    }

    @Test func demoFilesMirrorEachOther() throws {
        let east = try demo("east")
        let west = try demo("west")
        let toWest = try #require(east.connection(named: "west"))
        let toEast = try #require(west.connection(named: "east"))
        let x25519 = Proposal(number: 1, protocolID: .ike, transforms: [.aesGCM16(256), .prfHMACSHA256, .curve25519])
        #expect(toWest.proposals == [x25519] && toEast.proposals == [x25519])
        #expect(toWest.localAddresses == toEast.remoteAddresses && toWest.remoteAddresses == toEast.localAddresses)
        #expect(toWest.localAddresses == [.range(IPAddress(v4: 0xc000_0201), IPAddress(v4: 0xc000_0201))])
        #expect(toWest.local == toEast.remote && toWest.remote == toEast.local)
        #expect(toWest.local.identity == .exactly(Identification(kind: .fqdn, data: Array("east.example".utf8))))
        let ours = try #require(toWest.child(named: "site"))
        let theirs = try #require(toEast.child(named: "site"))
        #expect(ours.localTS == theirs.remoteTS && ours.remoteTS == theirs.localTS)
        #expect(ours.localTS.count == 2 && ours.startAction.isEmpty)
        #expect(toWest.dpdDelay == .seconds(10))
        let eastID = Identification(kind: .fqdn, data: Array("east.example".utf8))
        let westID = Identification(kind: .fqdn, data: Array("west.example".utf8))
        let mine = try #require(east.secrets.best(local: eastID, remote: westID))
        let yours = try #require(west.secrets.best(local: westID, remote: eastID))
        let mineBytes = mine.secret.withSecret { secret in secret.span.indices.map { secret.span[$0] } }
        let yoursBytes = yours.secret.withSecret { secret in secret.span.indices.map { secret.span[$0] } }
        #expect(mineBytes == yoursBytes && mineBytes?.isEmpty == false)
        #expect(east.gateway.control != west.gateway.control)
        #expect(east.plugins.settings.sections["tun"]?["interface"] == "martlet0")
    }

    @Test func shippedFileIsTheDefaults() throws {
        let result = load(SystemFileReader(), repository + "/etc/martlet.conf")
        #expect(result.diagnostics == [])
        let configuration = try #require(result.configuration)
        #expect(configuration.gateway == GatewaySettings())
        #expect(configuration.connections.isEmpty)
    }

    @Test func everyCommentedSettingOfTheShippedFileIsTheDefault() throws {
        let text = try String(contentsOfFile: repository + "/etc/martlet.conf", encoding: .utf8)
        // Without the marks, except where the comment is an example and says so.
        let examples = ["listen", "crypto", "file", "path", "openssl", "gcrypt", "tun"]
        let settings = text.split(separator: "\n", omittingEmptySubsequences: false).map { line -> String in
            let bare = line.drop { $0 == " " }
            guard bare.hasPrefix("# "), bare.contains(" = ") else { return String(line) }
            let setting = bare.dropFirst(2)
            let key = setting.prefix { $0 != " " }
            guard key.allSatisfy({ $0.isLowercase || $0 == "_" }), !examples.contains(String(key)), !setting.hasPrefix("include") else { return String(line) }
            return String(setting)
        }
        let result = load(MemoryFiles(["etc/martlet.conf": settings.joined(separator: "\n")]), "etc/martlet.conf")
        #expect(result.errors == [])
        #expect(settings.joined().contains("cookie_threshold = 100"))
        #expect(result.configuration?.gateway == GatewaySettings())
    }
}
