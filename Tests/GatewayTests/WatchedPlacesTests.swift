// Which names in which folders decide what a file holds.

import Foundation
import Testing

@testable import Gateway

@Suite struct WatchedPlacesTests {
    @Test func linksAreFollowedToTheirEnds() throws {
        let root = FileManager.default.temporaryDirectory.appendingPathComponent("martlet-\(UUID().uuidString)").resolvingSymlinksInPath().path
        defer { try? FileManager.default.removeItem(atPath: root) }
        for folder in ["archive", "live", "etc", "mount/..1"] { try FileManager.default.createDirectory(atPath: root + "/" + folder, withIntermediateDirectories: true) }
        for file in ["archive/cert1.pem", "mount/..1/tls.crt"] { #expect(FileManager.default.createFile(atPath: root + "/" + file, contents: Data())) }
        func link(_ name: String, _ target: String) throws { try FileManager.default.createSymbolicLink(atPath: root + "/" + name, withDestinationPath: target) }
        try link("live/cert.pem", "../archive/cert1.pem")
        try link("etc/own.pem", root + "/live/cert.pem")
        try link("mount/..data", "..1")
        try link("mount/tls.crt", "..data/tls.crt")
        try link("etc/loop", "loop")

        let places = WatchedPlaces(files: ["/etc/own.pem", "/mount/tls.crt", "/etc/missing.pem", "/etc/loop", "/nowhere/x.pem"].map { root + $0 }, folders: [root + "/folder"])
        #expect(places.watches("own.pem", in: root + "/etc"))
        #expect(places.watches("missing.pem", in: root + "/etc"))
        #expect(!places.watches("other.pem", in: root + "/etc"))
        // What the links lead to, by what lies between.
        #expect(places.watches("cert.pem", in: root + "/live/../live") || places.watches("cert.pem", in: root + "/live"))
        #expect(places.folders.contains { $0.key.hasSuffix("/archive") && places.watches("cert1.pem", in: $0.key) })
        #expect(places.watches("..data", in: root + "/mount") && places.watches("tls.crt", in: root + "/mount/..1"))
        // A folder that is to come, and everything in it then.
        #expect(places.watches("folder", in: root) && places.watches("anything", in: root + "/folder"))
        #expect(places.watches("nowhere", in: root))
        #expect(!places.watches("etc", in: root))
    }

    @Test func aFolderThatIsWatchedAsAWholeStaysSo() {
        let places = WatchedPlaces(files: ["/no-such-place/x509/a.pem"], folders: ["/no-such-place/x509"])
        #expect(places.watches("b.pem", in: "/no-such-place/x509"))
    }
}
