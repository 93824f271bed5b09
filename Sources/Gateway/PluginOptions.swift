// Hands the section `plugins` of a configuration to the plugin loader. Apart from both, so that each stands alone.

extension PluginConfiguration {
    /// As the plugin loader takes it: every key as text, `priority` and `load` among them.
    package var settings: PluginSettings {
        var settings = PluginSettings()
        for plugin in plugins {
            var keys: [String: String] = ["load": plugin.isLoaded ? "yes" : "no"]
            if let priority = plugin.priority { keys["priority"] = String(priority) }
            for option in plugin.options { keys[option.name] = option.value }
            settings.sections[plugin.name] = keys
        }
        return settings
    }
}
