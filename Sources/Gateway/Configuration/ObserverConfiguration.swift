// The section `plugins { observer { } }`: its keys, and what is wrong with it before it runs.

enum ObserverConfiguration {
    static let section = SchemaSection(
        .exactly("observer"), "the accounting plugin",
        keys: [SchemaKey("priority", .integer(0...1_000_000)), SchemaKey("load", .boolean), SchemaKey("accounting_file", .text)])

    static func check(_ plugins: PluginConfiguration, _ diagnostics: inout Diagnostics) {
        guard let plugin = plugins.plugin("observer"), plugin.isLoaded, plugin.option("accounting_file")?.isEmpty ?? true else { return }
        diagnostics.error(at: plugin.position, "the accounting plugin has no file: write accounting_file = /var/log/martlet-accounting.jsonl")
    }
}
