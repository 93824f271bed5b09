// What `martlet status` prints, for both widths, with and without colour.
import Foundation
import Testing

@testable import ClientView

@Suite struct StatusTests {
    static let gateways: [(String, GatewayStatus)] = [
        ("office", Sample.office()), ("renewed", Sample.renewed()), ("hundred", Sample.hundred()), ("disaster", Sample.disaster()), ("hostile", Sample.hostile()), ("empty", Sample.status([], [])),
    ]

    @Test(arguments: ["office", "renewed", "hundred", "disaster", "hostile", "empty"], [80, 200])
    func isWhatItWas(_ name: String, width: Int) throws {
        let status = try #require(Self.gateways.first { $0.0 == name }).1
        let lines = StatusPage(status, width: width).lines
        try Golden.expect(lines, width: width, "\(name)-\(width)")
        try Golden.expect(lines, colour: true, "\(name)-\(width)-colour")
    }

    @Test func detailIsWhatItWas() throws {
        let office = StatusDetail(Sample.office(), width: 80)
        try Golden.expect(try #require(office.lines("branch")), width: 80, "detail-branch")
        try Golden.expect(try #require(office.lines("datacentre")), width: 80, "detail-datacentre")
        try Golden.expect(try #require(office.lines("voice")), width: 80, "detail-branch")
        #expect(office.lines("nowhere") == nil)
    }

    @Test func certificatesThatExpireAreSaid() throws {
        let status = Sample.expiring()
        let text = StatusPage(status, width: 200).lines.map(\.plain).joined(separator: "\n")
        #expect(text.contains("Our certificate CN=gw") && text.contains("has expired on") && !text.contains("\u{1b}"))
        #expect(text.contains("The certificate of the authority CN=Root expires on"))
        let document = try #require(try JSONSerialization.jsonObject(with: Data(status.json.text.utf8)) as? [String: Any])
        let listed = try #require(document["expiring_certificates"] as? [[String: Any]])
        #expect(listed.map { $0["expired"] as? Bool } == [true, false] && listed.first?["not_after_seconds"] as? Int == 1_893_456_000)
    }

    /// Two users of one gateway whose devices name nothing but addresses.
    @Test func whoATunnelIsOfIsShown() throws {
        let status = Sample.users()
        let text = StatusPage(status, width: 80, form: .blocks).lines.map(\.plain).joined(separator: "\n")
        for line in ["user  CORP\\alice, alice in the directory\n", "user  bob\n", "user  carol in the directory\n"] { #expect(text.contains(line), "\(text)") }
        #expect(text.split(separator: "\n").count { $0.contains("user  ") } == 3)
        let detail = try #require(StatusDetail(status, width: 80).lines("rw")).map(\.plain).joined(separator: "\n")
        #expect(detail.contains("CORP\\alice, alice in the directory"), "\(detail)")
        let document = try #require(try JSONSerialization.jsonObject(with: Data(status.json.text.utf8)) as? [String: Any])
        let listed = try #require(document["ike_sas"] as? [[String: Any]])
        #expect(listed.map { $0["user"] as? String } == ["alice", nil, "carol", nil])
    }

    @Test func otherFormsAreThereForTheAsking() throws {
        try Golden.expect(StatusPage(Sample.office(), width: 80, form: .lines).lines, width: 80, "office-80-lines")
        try Golden.expect(StatusPage(Sample.hostile(), width: 80, form: .lines).lines, width: 80, "hostile-80-lines")
    }

    /// No width breaks a line or loses the summary, and nothing that steers a terminal is left.
    @Test func everyWidthHolds() {
        for (name, status) in Self.gateways {
            for width in [1, 20, 21, 30, 40, 59, 79, 81, 100, 132, 149, 150, 180, 400] {
                for form in [StatusPage.Form.automatic, .blocks, .lines] {
                    let lines = StatusPage(status, width: width, form: form).lines
                    #expect(!lines.isEmpty)
                    for line in lines {
                        #expect(line.width <= max(20, width), "\(name) at \(width): \(line.plain)")
                        #expect(line.plain == printable(line.plain), "\(name) at \(width): \(line.plain)")
                    }
                }
            }
        }
    }

    @Test func colourChangesNothingButColour() {
        for (_, status) in Self.gateways {
            let lines = StatusPage(status, width: 100).lines
            let stripped = lines.rendered(colour: true).replacing(#/\u{1b}\[[0-9]+m/#, with: "")
            #expect(stripped == lines.rendered(colour: false))
        }
    }

    @Test func aReplacedPairIsNoTunnel() throws {
        let status = Sample.renewed()
        let tunnels = status.tunnels
        #expect(tunnels.count == 1)
        #expect(tunnels.first?.childSA?.body["uniqueid"] == "8")
        #expect(status.replaced == 2)
    }

    @Test func ratesOutliveARekey() throws {
        var before = Sample.renewed().sas
        before[1].children.removeLast()
        let now = Sample.renewed()
        let rates = try #require(TrafficRates(from: TrafficSample(before, time: 1), to: TrafficSample(now.sas, time: 3)))
        // The old pair has not moved, the new one has counted 1000 bytes from zero.
        #expect(rates[TunnelKey(now.sas[1], now.sas[1].children[1])]?.inbound == 4_000)
        #expect(TrafficRates(from: TrafficSample(before, time: 1), to: TrafficSample(now.sas, time: 1)) == nil)
        // Nothing to compare with: no rate.
        #expect(TrafficRates(from: TrafficSample([], time: 1), to: TrafficSample(now.sas, time: 2))?.total == TrafficRates.Rate())
    }

    @Test func theJSONHasEveryFigureInPlainUnits() throws {
        let document = try #require(try JSONSerialization.jsonObject(with: Data(Sample.office().json.text.utf8)) as? [String: Any])
        #expect(document["uptime_seconds"] as? Int == 273_600)
        #expect(document["tunnels"] as? [String: Int] == ["up": 2, "connecting": 1, "closing": 0, "down": 4])
        let sa = try #require((document["ike_sas"] as? [[String: Any]])?.first)
        let child = try #require((sa["children"] as? [[String: Any]])?.first)
        let inbound = try #require(child["inbound"] as? [String: Any])
        #expect(inbound["bytes"] as? Int == 1_234_567_890)
        #expect(inbound["bits_per_second"] as? Int == 197_530_848)
        #expect(child["rekey_seconds"] as? Int == 2_500)
        #expect(child["replaced"] as? Bool == false)
    }
}

@Suite struct TextTests {
    @Test func widths() {
        for (text, width) in [("abc", 3), ("北京", 4), ("é", 1), ("e\u{301}", 1), ("한국", 4), ("☎", 1), ("👍", 2), ("ｶ", 1), ("Ａ", 2)] { #expect(columns(text) == width, "\(text)") }
    }

    @Test func clippingKeepsTheWidth() {
        for text in ["abcdefghij", "北京办事处", "a北b京c", "e\u{301}e\u{301}e\u{301}e\u{301}"] {
            for width in 0...12 { #expect(columns(clipped(text, to: width)) <= width) }
        }
        #expect(clipped("abcdefghij", to: 6) == "abcd..")
        #expect(clipped("北京办事处", to: 6) == "北京..")
    }

    @Test func nothingSteers() {
        #expect(printable("a\u{1b}[31m\u{202e}\u{200d}\u{85}") == "a\\u{1b}[31m\\u{202e}\\u{200d}\\u{85}")
        #expect(printable("e\u{301}\u{301}\u{301}") == "e\u{301}\u{301}\\u{301}")
        #expect(printable("\u{301}x") == "\\u{301}x")
    }

    @Test func numbersSortAsNumbers() {
        #expect(["net10", "net2", "Net1", "net", "net02", "a-1-10", "a-1-9"].sorted(by: naturallyPrecedes) == ["Net1", "a-1-9", "a-1-10", "net", "net02", "net2", "net10"])
    }

    @Test func units() {
        #expect(
            [0, 999, 1_000, 1_234, 99_949, 99_950, 999_499, 999_500, 1_234_567_890, .max].map(byteCount) == [
                "0 B", "999 B", "1.0 kB", "1.2 kB", "99.9 kB", "100 kB", "999 kB", "1.0 MB", "1.2 GB", "18.4 EB",
            ])
        #expect(bitRate(0) == "0 bit/s" && bitRate(1_250_000) == "1.3 Mbit/s")
        #expect([0, 59, 60, 599, 600, 3_600, 3_660, 90_000].map(duration) == ["0s", "59s", "1m", "9m 59s", "10m", "1h", "1h 1m", "1d 1h"])
    }
}
