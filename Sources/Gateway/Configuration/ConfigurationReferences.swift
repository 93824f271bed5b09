// Follows section references: `name : reference, reference { ... }` inherits settings and sections of the named sections.
// strongswan.conf(5), "Referencing other sections".

/// Settings that a section has itself come first, then those of its references from left to right, then those that the sections
/// around it inherit. The first setting of a name wins, also one that clears.
struct ReferenceResolver {
    private let root: ConfigurationSection
    private let limits: ConfigurationLimits
    private var diagnostics: Diagnostics
    /// The names at the root that some reference begins with.
    private(set) var referencedNames: Set<String> = []
    private var steps = 0
    /// The references being followed.
    private var active: Set<SourcePosition> = []
    /// The sections being merged, from the outermost one in.
    private var merging: [SourcePosition] = []

    init(root: ConfigurationSection, limits: ConfigurationLimits, diagnostics: Diagnostics) {
        self.root = root
        self.limits = limits
        self.diagnostics = diagnostics
    }

    /// The tree without references; `complaints` gets what is wrong with them.
    static func resolve(_ root: ConfigurationSection, names: [String], limits: ConfigurationLimits, diagnostics: inout Diagnostics) -> (
        tree: ConfigurationSection, referencedNames: Set<String>
    ) {
        var resolver = ReferenceResolver(root: root, limits: limits, diagnostics: diagnostics)
        var tree = ConfigurationSection(name: "", position: root.position)
        for name in names {
            if let section = root.section(name) { tree.extend(with: resolver.merge(name, [section], depth: 1)) }
        }
        diagnostics = resolver.diagnostics
        return (tree, resolver.referencedNames)
    }

    private mutating func merge(_ name: String, _ layers: [ConfigurationSection], depth: Int) -> ConfigurationSection {
        var merged = ConfigurationSection(name: name, position: layers.first?.position ?? root.position)
        guard mayGoOn(at: merged.position) else { return merged }
        guard depth <= limits.sectionDepth else {
            diagnostics.error(at: merged.position, "the references of this section lead back to itself, or nest it more than \(limits.sectionDepth) deep")
            return merged
        }
        let all = expand(layers)
        let places = all.map(\.position)
        merging += places
        defer { merging.removeLast(places.count) }
        var names: [String] = []
        var known: Set<String> = []
        for layer in all {
            for setting in layer.settings where merged.setting(setting.name) == nil && mayGoOn(at: setting.position) { merged.set(setting) }
            for section in layer.sections where known.insert(section.name).inserted { names.append(section.name) }
        }
        for inner in names {
            merged.extend(with: merge(inner, all.compactMap { $0.section(inner) }, depth: depth + 1))
        }
        return merged
    }

    /// Each layer followed by what it refers to, and what that refers to.
    private mutating func expand(_ layers: [ConfigurationSection]) -> [ConfigurationSection] {
        var all: [ConfigurationSection] = []
        for layer in layers {
            guard mayGoOn(at: layer.position) else { break }
            all.append(layer)
            for reference in layer.references { all += find(reference) }
        }
        return all
    }

    private mutating func find(_ reference: ConfigurationSection.Reference) -> [ConfigurationSection] {
        guard mayGoOn(at: reference.position) else { return [] }
        guard active.count < 32, active.insert(reference.position).inserted else {
            diagnostics.error(at: reference.position, "the reference to \(quoted(reference.path.joined(separator: "."))) leads back to itself, or is one of a chain of more than 32")
            return []
        }
        defer { active.remove(reference.position) }
        if let first = reference.path.first { referencedNames.insert(first) }
        var layers = [root]
        for (index, name) in reference.path.enumerated() {
            layers = (index == 0 ? layers : expand(layers)).compactMap { $0.section(name) }
        }
        guard !layers.contains(where: { merging.contains($0.position) }) else {
            diagnostics.error(at: reference.position, "the reference to \(quoted(reference.path.joined(separator: "."))) leads back to a section around it")
            return []
        }
        guard !layers.isEmpty else {
            let text = reference.path.joined(separator: ".")
            let hint = reference.path.count == 1 ? nearest(to: text, among: root.sections.map(\.name)) : nil
            diagnostics.error(at: reference.position, "there is no section \(quoted(text))" + suggestion(hint))
            return []
        }
        return expand(layers)
    }

    private mutating func mayGoOn(at position: SourcePosition) -> Bool {
        steps += 1
        if steps == 4 * limits.items { diagnostics.error(at: position, "the references between sections multiply to more than can be read") }
        return steps < 4 * limits.items
    }
}
