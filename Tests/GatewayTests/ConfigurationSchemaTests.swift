// The table of keys: complete beside swanctl.conf(5), and closed: what restricts and is not there is refused, whatever key it is.

import Foundation
import Testing
@testable import Gateway

/// A key of the table with the section it stands in, written out.
private struct Place: CustomTestStringConvertible, Sendable {
    var key: SchemaKey
    var path: [String]
    var testDescription: String { (path + [key.name]).joined(separator: ".") }

    static func all(in section: SchemaSection, _ path: [String] = []) -> [Place] {
        section.keys.map { Place(key: $0, path: path) }
            + section.sections.flatMap { inner in all(in: inner, path + [inner.name.spelling ?? "name"]) }
    }

    func configuration(_ value: String) -> String {
        let opening = path.map { "\($0) {\n" }.joined()
        return opening + "\(key.name) = \(value)\n" + String(repeating: "}\n", count: path.count)
    }

    /// A value of the right form that asks for something Martlet does not do.
    var demandingValue: String? {
        switch key.kind {
        case .text, .list, .credentials: "7"
        case .boolean: key.inert.contains("no") ? "yes" : "no"
        case .integer: "7"
        case .time: "7h"
        case .bytes: "7k"
        case .choice(let words): words.first { !key.inert.contains($0) }
        case .secret: nil
        }
    }
}

private let places = Place.all(in: SchemaTable.root)
private let restricting = places.filter { if case .restricts = $0.key.status { true } else { false } }
private let tuning = places.filter { if case .tunesOnly = $0.key.status { true } else { false } }

private func check(_ text: String) -> [ConfigurationError] { ConfigurationLoader.read(path: "m.conf", reader: MemoryFiles(["m.conf": text])).diagnostics }

@Suite struct ConfigurationSchemaTests {
    /// `tuning` shrinks as features come; whoever brings one lowers its number by that.
    @Test func theTableIsNoStub() { #expect(restricting.count >= 28 && tuning.count >= 18 && places.count >= 240, "\(restricting.count), \(tuning.count), \(places.count)") }

    @Test(arguments: restricting) private func restrictionsFailClosed(place: Place) throws {
        let value = try #require(place.demandingValue)
        let errors = check(place.configuration(value)).filter { $0.severity == .error }
        #expect(errors.count == 1)
        #expect(errors.first?.message.contains("'\(place.key.name)' restricts") == true)
        #expect(errors.first?.line == place.path.count + 1)
    }

    @Test(arguments: tuning) private func tuningWarns(place: Place) throws {
        // Those of a section that is not used as a whole are covered by its own warning.
        guard place.path.first != "secrets", place.path.first != "pools" else { return }
        let value = try #require(place.demandingValue)
        let diagnostics = check(place.configuration(value))
        #expect(diagnostics.map(\.severity) == [.warning])
        #expect(diagnostics.first?.message.contains("'\(place.key.name)' has no effect") == true)
    }

    @Test(arguments: restricting + tuning) private func inertValuesAreSilent(place: Place) {
        for value in place.key.inert { #expect(check(place.configuration(value)) == []) }
    }

    @Test(arguments: places) private func everyKeyHasItsForm(place: Place) {
        let wrong: String
        switch place.key.kind {
        case .text, .list, .secret, .credentials: return
        case .boolean, .integer, .time, .bytes, .choice: wrong = "%wrong%"
        }
        guard place.path.first != "secrets" else { return }
        let errors = check(place.configuration(wrong)).filter { $0.severity == .error }
        #expect(errors.count == 1)
        #expect(errors.first?.message.contains("'%wrong%'") == true)
        #expect(errors.first?.column == place.key.name.count + 4)
    }

    @Test func everyKeyOfSwanctlIsKnown() throws {
        let text = try String(contentsOf: configurationVectors.appending(path: "swanctl-keys.txt"), encoding: .utf8)
        let lines = text.split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(lines.count > 150)
        for line in lines {
            let path = line.prefix { $0 != " " }.split(separator: ".").map { String($0).replacing("<suffix>", with: "-1") }
            var section = SchemaTable.root
            var isCovered = false
            for (index, name) in path.enumerated() {
                if index == path.count - 1, section.key(name) != nil || section.takesAnyKey { break }
                let inner = try #require(section.section(name), "\(line)")
                if case .implemented = inner.status {} else { isCovered = true }
                if isCovered { break }
                section = inner
            }
        }
    }

    /// The defaults that the manual page names are among the values that change nothing, or are what a key without value means.
    @Test func defaultsOfSwanctlAreAcceptedWritten() throws {
        let text = try String(contentsOf: configurationVectors.appending(path: "swanctl-keys.txt"), encoding: .utf8)
        for line in text.split(separator: "\n") where line.hasPrefix("connections.") {
            guard let bracket = line.range(of: " ["), line.hasSuffix("]") else { continue }
            let path = line[..<bracket.lowerBound].split(separator: ".").map { String($0).replacing("<suffix>", with: "").replacing("<conn>", with: "c").replacing("<child>", with: "k") }
            let value = line[bracket.upperBound...].dropLast()
            // A default that is worked out from other values is no value that can be written.
            if value.isEmpty || value.contains("time") || value.contains("bytes") || value.contains("packets") || value == "id" || value == "remote-id" { continue }
            let written = path.dropLast().map { "\($0) {\n" }.joined() + "\(path.last ?? "") = \(value)\n" + String(repeating: "}\n", count: path.count - 1)
            let errors = check(written).filter { $0.severity == .error }
            #expect(errors == [], "\(line)")
        }
    }
}
