// Files of certificates, CRLs and keys, on the control loop: tells when one of them has changed, once for what changes together.

import CLinux
import Glibc
import IKECore

/// Watches folders by inotify. Belongs to the control loop.
final class FileWatch {
    private let descriptor: Int32
    private let loop: EventLoop
    private let changed: () -> Void
    private var places = WatchedPlaces()
    /// The number of each folder's watch, and back: several paths may lead to one folder.
    private var watches: [String: Int32] = [:]
    private var folders: [Int32: [String]] = [:]
    private var timer: EventLoop.TimerID?
    private var began: Instant?
    /// A certificate and its key are renewed one after the other: they are waited for so long, and no longer than the second where it goes on and on.
    private static let settling = Duration.milliseconds(500)
    private static let patience = Duration.seconds(5)

    init(_ loop: EventLoop, changed: @escaping () -> Void) throws(SystemError) {
        self.loop = loop
        self.changed = changed
        descriptor = try check("watch files", martlet_folders_watch())
        try loop.watch(descriptor, MARTLET_READABLE) { [unowned self] _ in read() }
    }

    deinit { close(descriptor) }

    /// In place of what was watched before. Folders that could not be watched, with the reason.
    func watch(_ new: WatchedPlaces) -> [String] {
        var found: [String: Int32] = [:], problems: [String] = []
        for folder in new.folders.keys.sorted() {
            let number = martlet_folders_add(descriptor, folder)
            if number >= 0 {
                found[folder] = number
            } else if number != -ENOENT {
                problems.append(SystemError("watch \(folder)", -number).description)
            }
        }
        let kept = Set(found.values)
        for number in Set(watches.values) where !kept.contains(number) { martlet_folders_remove(descriptor, number) }
        (places, watches) = (new, found)
        folders = Dictionary(grouping: found.keys) { found[$0] ?? -1 }
        return problems
    }

    private func read() {
        let me = Unmanaged.passUnretained(self).toOpaque()
        martlet_folders_read(
            descriptor,
            { context, number, name in
                guard let context, let name else { return }
                Unmanaged<FileWatch>.fromOpaque(context).takeUnretainedValue().happened(number, String(cString: name))
            }, me)
    }

    private func happened(_ number: Int32, _ name: String) {
        guard number == -1 || folders[number]?.contains(where: { places.watches(name, in: $0) }) == true else { return }
        let now = Instant.now(), first = began ?? now
        began = first
        if let timer { loop.cancel(timer) }
        timer = loop.arm(at: min(now + Self.settling, first + Self.patience)) { [unowned self] in
            (timer, began) = (nil, nil)
            changed()
        }
    }
}
