// The syntax: values, quoting, comments, includes, references, and what it refuses.

import IKECore
import Testing
@testable import Gateway

private func tree(_ files: [String: String], _ path: String = "m.conf", limits: ConfigurationLimits = ConfigurationLimits()) -> ParsedFiles {
    ConfigurationParser.parse(path, reader: MemoryFiles(files), limits: limits)
}

private func messages(_ parsed: ParsedFiles) -> [String] { parsed.diagnostics.items.map(\.description) }

@Suite struct ConfigurationSyntaxTests {
    @Test func valuesAreWordsAndStringsUpToTheEndOfTheLine() {
        let parsed = tree([
            "m.conf": #"""
            a = plain
            b = two   words	and tabs   # a comment
            c = "quoted # with } marks" and more
            d = "line \
            continued\tand\nescaped \"x\" \\ \q"
            e =
            f = ""
            g = x { y %any:500 = z }
            h {k=v}i=w
            """#
        ])
        #expect(messages(parsed) == ["m.conf:8:24: error: this '}' closes nothing"])
        func text(_ name: String) -> String? { parsed.root.value(name)?.text }
        #expect(text("a") == "plain")
        #expect(text("b") == "two words and tabs")
        #expect(text("c") == "quoted # with } marks and more")
        #expect(text("d") == "line continued\tand\nescaped \"x\" \\ q")
        #expect(parsed.root.setting("e") != nil && text("e") == nil)
        #expect(text("f") == "")
        #expect(text("g") == "x { y %any:500 = z")
        #expect(parsed.root.section("h")?.value("k")?.text == "v")
        #expect(text("i") == "w")
    }

    @Test func everythingKnowsItsPlace() throws {
        let parsed = tree(["dir/m.conf": "# ü\ns {\n\tkey = \"é\" a, b ,c\n}\n"], "dir/m.conf")
        let section = try #require(parsed.root.section("s"))
        #expect(section.position == SourcePosition(file: "dir/m.conf", line: 2, column: 1))
        let setting = try #require(section.setting("key"))
        #expect(setting.position == SourcePosition(file: "dir/m.conf", line: 3, column: 2))
        let elements = try #require(setting.value?.elements)
        #expect(elements.map(\.text) == ["é a", "b", "c"])
        #expect(elements.dropFirst().map(\.position.column) == [15, 18])
        #expect(elements.allSatisfy { $0.position.line == 3 })
    }

    @Test func bracesMayStandOnTheNextLine() {
        let parsed = tree(["m.conf": "\u{feff}a\r\n{\r\n  b = c\r\n}\r\n"])
        #expect(messages(parsed) == [])
        #expect(parsed.root.section("a")?.value("b")?.text == "c")
    }

    @Test func laterSectionsExtendEarlierOnes() {
        let parsed = tree(["m.conf": "a { x = 1\n y = 1\n i { p = 1\n} }\na { y = 2\n i { q = 2\n} }"])
        #expect(messages(parsed) == [])
        let a = parsed.root.section("a")
        #expect(a?.value("x")?.text == "1" && a?.value("y")?.text == "2")
        #expect(a?.section("i")?.value("p")?.text == "1" && a?.section("i")?.value("q")?.text == "2")
        #expect(a?.settings.map(\.name) == ["x", "y"])
    }

    @Test func secretsLeaveTheTreeOfTexts() {
        let parsed = tree(["m.conf": "secrets { ike { secret = 'pass word' \"more\"\n pin = 1234\n} }\nplugins { x { secret = told\n} }"])
        let ike = parsed.root.section("secrets")?.section("ike")
        #expect(ike?.value("secret")?.text == "")
        let bytes = ike?.value("secret")?.secret?.withSecret { secret in secret.span.indices.map { secret.span[$0] } }
        #expect(bytes == Array("'pass word' more".utf8))
        #expect(ike?.value("pin")?.text == "" && ike?.value("pin")?.secret != nil)
        #expect(parsed.root.section("plugins")?.section("x")?.value("secret")?.text == "told")
    }

    @Test func noMessageRepeatsASecret() {
        let result = load("secrets { ike-a { secret = 0xhunter2hunter2\n} ike { secret = \"hunter2\n} }")
        #expect(result.errors.count >= 2)
        #expect(result.diagnostics.allSatisfy { !$0.description.contains("hunter2") })
    }
}

@Suite struct ConfigurationIncludeTests {
    @Test func patternsAreRelativeToTheirFileAndSorted() {
        let parsed = tree(
            [
                "etc/m.conf": "s {\n  order = main\n  include conf.d/*.conf\n}\n",
                "etc/conf.d/20.conf": "order = twenty\nlast = 20",
                "etc/conf.d/10.conf": "order = ten\ninclude more/x.conf # nested",
                "etc/conf.d/more/x.conf": "deep = yes",
                "etc/conf.d/.hidden.conf": "hidden = yes",
                "etc/conf.d/30.conf.bak": "backup = yes",
            ], "etc/m.conf")
        #expect(messages(parsed) == [])
        let section = parsed.root.section("s")
        #expect(section?.value("order")?.text == "twenty")
        #expect(section?.value("deep")?.position.file == "etc/conf.d/more/x.conf")
        #expect(section?.value("hidden") == nil && section?.value("backup") == nil)
        #expect(parsed.files.map(\.path) == ["etc/m.conf", "etc/conf.d/10.conf", "etc/conf.d/more/x.conf", "etc/conf.d/20.conf"])
    }

    @Test func namesMayBeQuotedOrEscaped() {
        let parsed = tree(["m.conf": "include \"a file.conf\"\ninclude b\\ file.conf\ninclude = value\n", "a file.conf": "a = 1", "b file.conf": "b = 2"])
        #expect(messages(parsed) == [])
        #expect(parsed.root.value("a")?.text == "1" && parsed.root.value("b")?.text == "2" && parsed.root.value("include")?.text == "value")
    }

    @Test func aPatternMayMatchNothingButANameMustBeThere() {
        let parsed = tree(["m.conf": "include none/*.conf\n  include gone.conf\n"])
        #expect(messages(parsed) == ["m.conf:2:3: error: cannot read 'gone.conf': No such file or directory"])
    }

    @Test func circlesAreRefused() {
        let parsed = tree(["m.conf": "include a.conf", "a.conf": "x = 1\ninclude m.conf"])
        #expect(messages(parsed) == ["a.conf:2:1: error: 'm.conf' includes itself"])
    }

    @Test func depthNumberAndSizeAreCapped() {
        var limits = ConfigurationLimits()
        limits.includeDepth = 3
        let chain = Dictionary(uniqueKeysWithValues: (0..<9).map { ("\($0).conf", "include \($0 + 1).conf") })
        #expect(messages(tree(chain, "0.conf", limits: limits)) == ["2.conf:1:1: error: files include each other more than 3 deep"])

        limits = ConfigurationLimits()
        limits.includedFiles = 4
        var many = Dictionary(uniqueKeysWithValues: (0..<9).map { ("d/\($0).conf", "") })
        many["m.conf"] = "include d/*.conf"
        #expect(messages(tree(many, limits: limits)) == ["m.conf:1:1: error: more than 4 files are included"])

        limits = ConfigurationLimits()
        limits.fileBytes = 10
        #expect(messages(tree(["m.conf": "# a comment that is long"], limits: limits)) == ["m.conf:1:1: error: cannot read the file: larger than 10 bytes"])
        limits = ConfigurationLimits()
        limits.totalBytes = 60
        let two = ["m.conf": "include a.conf\ninclude a.conf\n", "a.conf": String(repeating: "#", count: 20)]
        #expect(messages(tree(two, limits: limits)) == ["m.conf:2:1: error: cannot read 'a.conf': larger than 10 bytes"])
    }

    @Test func anIncludedFileClosesItsOwnSections() {
        let parsed = tree(["m.conf": "a {\ninclude i.conf\n}\n", "i.conf": "b {\n"])
        #expect(messages(parsed) == ["i.conf:1:1: error: the section 'b' is never closed: a '}' is missing"])
        #expect(messages(tree(["m.conf": "a {\ninclude i.conf\n}\n", "i.conf": "}\n"])) == ["i.conf:1:1: error: this '}' closes nothing"])
    }
}

@Suite struct ConfigurationReferenceTests {
    private func resolve(_ text: String, limits: ConfigurationLimits = ConfigurationLimits()) -> (tree: ConfigurationSection, messages: [String]) {
        let parsed = tree(["m.conf": text])
        var diagnostics = parsed.diagnostics
        let resolved = ReferenceResolver.resolve(parsed.root, names: ["connections"], limits: limits, diagnostics: &diagnostics)
        return (resolved.tree, diagnostics.items.map(\.description))
    }

    @Test func ownValuesComeFirstThenReferencesFromLeftToRight() throws {
        let (tree, messages) = resolve(
            """
            a { x = a
             y = a
             z = a
             local { id = a
             auth = a
             } }
            b { x = b
             y = b
             w = b
             remote { } }
            connections { c : a, b { x = c
             z =
             own { }
             local { id = c
             } } }
            """)
        #expect(messages == [])
        let c = try #require(tree.section("connections")?.section("c"))
        #expect(c.value("x")?.text == "c" && c.value("y")?.text == "a" && c.value("w")?.text == "b")
        #expect(c.setting("z") != nil && c.value("z") == nil)
        #expect(c.section("local")?.value("id")?.text == "c" && c.section("local")?.value("auth")?.text == "a")
        // Inherited sections follow the own ones.
        #expect(c.sections.map(\.name) == ["own", "local", "remote"])
        #expect(c.value("y")?.position == SourcePosition(file: "m.conf", line: 2, column: 6))
    }

    /// The example of strongswan.conf(5), "Referencing other sections".
    @Test func referencesReachThroughReferences() {
        let (tree, messages) = resolve(
            """
            conn-defaults { p = conn }
            eap-defaults { p = eap
             q = eap }
            child-defaults { ts = child }
            connections {
              conn-a : conn-defaults, eap-defaults {
                children { child-a : child-defaults { } }
              }
              conn-b : conn-defaults { children { child-b : child-defaults { } } }
              conn-c : connections.conn-a { }
              conn-d { children { child-d : connections.conn-c.children.child-a { } } }
            }
            """)
        #expect(messages == [])
        let connections = tree.section("connections")
        let c = connections?.section("conn-c")
        #expect(c?.value("p")?.text == "conn" && c?.value("q")?.text == "eap")
        #expect(c?.section("children")?.section("child-a")?.value("ts")?.text == "child")
        #expect(connections?.section("conn-b")?.value("q") == nil)
        #expect(connections?.section("conn-d")?.section("children")?.section("child-d")?.value("ts")?.text == "child")
    }

    @Test func theOrderOfSectionsInTheFileDoesNotMatter() {
        let (tree, messages) = resolve("connections { c : late { } }\nlate { x = 1\n}\nlate { x = 2\n}")
        #expect(messages == [])
        #expect(tree.section("connections")?.section("c")?.value("x")?.text == "2")
    }

    @Test(arguments: [
        "connections { a : connections.a { } }", "connections { a : connections { } }", "connections { a : connections.b { }\n b : connections.a { } }",
        "connections { a : t { } }\nt { u : connections { } }", "connections { a : t { } }\nt : t.u { u { } }",
        "connections { a : t { } }\nt : u { }\nu : t.x { }",
    ]) func circlesAreErrors(text: String) {
        let (_, messages) = resolve(text)
        #expect(!messages.isEmpty)
        #expect(messages.allSatisfy { $0.contains("leads back") || $0.contains("there is no section") || $0.contains("lead back") })
    }

    @Test func multiplicationIsBounded() {
        // Each section refers twice to the next one: 2^30 layers without a bound.
        var text = "connections { a : s0, s0 { } }\n"
        for level in 0..<30 { text += "s\(level) : s\(level + 1), s\(level + 1) { }\n" }
        text += "s30 { x = 1\n}\n"
        var limits = ConfigurationLimits()
        limits.items = 10_000
        let (_, messages) = resolve(text, limits: limits)
        #expect(messages.contains { $0.contains("multiply") })
    }
}
