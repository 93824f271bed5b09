// What a directory of users can do, as far as a configuration has to know it.

package struct DirectoryAbilities: Sendable {
    package let name: String
    /// Whether it can say that a password is right.
    package let verifiesPasswords: Bool
    package let hasNTHashes: Bool
    /// Why it cannot do what it cannot, and what to do instead.
    package let advice: String

    package init(name: String, verifiesPasswords: Bool, hasNTHashes: Bool, advice: String) {
        (self.name, self.verifiesPasswords, self.hasNTHashes, self.advice) = (name, verifiesPasswords, hasNTHashes, advice)
    }
}
