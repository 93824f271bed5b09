// Output as it was judged once, in files: Tests/Vectors/status. With MARTLET_WRITE_GOLDEN=1 they are written anew, to be read before they
// are committed. An escape character stands there as ^[.
import ClientView
import Foundation
import Testing

struct Golden {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Vectors/status")

    static func expect(_ lines: [StyledText], colour: Bool = false, width: Int? = nil, _ name: String, _ location: SourceLocation = #_sourceLocation) throws {
        if let width { for line in lines { #expect(line.width <= width, "\(line.plain)", sourceLocation: location) } }
        let text = (lines.rendered(colour: colour) + "\n").replacingOccurrences(of: "\u{1b}", with: "^[")
        let file = folder.appendingPathComponent(name + ".txt")
        if ProcessInfo.processInfo.environment["MARTLET_WRITE_GOLDEN"] == "1" {
            try text.write(to: file, atomically: true, encoding: .utf8)
        }
        let expected = try String(contentsOf: file, encoding: .utf8)
        #expect(text == expected, "\(name) is not what it was:\n\(text)", sourceLocation: location)
    }
}
