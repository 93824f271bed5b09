// How a directory writes users and groups: four presets, each part of which a configuration may replace.

package struct DirectorySchema: Hashable, Sendable {
    package enum Preset: String, Sendable, CaseIterable {
        /// RFC 2307 and inetOrgPerson (RFC 2798), with OpenLDAP's password policy.
        case posix
        /// The same with Samba's attributes.
        case samba
        case freeipa
        /// Active Directory.
        case ad
    }

    /// What of an entry says that the account is not to be used.
    package enum Check: Hashable, Sendable {
        /// TRUE: disabled.
        case disabled(String)
        /// There at all: locked. A time in it ends the lock after `lockTime`.
        case lockedTime(String)
        /// The account's end.
        case expiry(String, DirectoryTime.Format)
        case passwordExpiry(String, DirectoryTime.Format)
        /// Samba's letters: D is disabled, L locked.
        case sambaFlags(String)
        /// Active Directory's userAccountControl, which has to be there, and what the server computes of it.
        case accountControl(String)
        case computedControl(String)
        /// Active Directory's lockoutTime: counts only where the server computes nothing. 0 is not locked.
        case lockoutTime(String)
        /// Active Directory's pwdLastSet: 0 is a password that has to be changed.
        case passwordLastSet(String)

        package var attribute: String {
            switch self {
            case .disabled(let name), .lockedTime(let name), .expiry(let name, _), .passwordExpiry(let name, _), .sambaFlags(let name), .accountControl(let name),
                .computedControl(let name), .lockoutTime(let name), .passwordLastSet(let name):
                name
            }
        }
    }

    package var preset: Preset
    /// `%u` is the user's name.
    package var userFilter: String
    /// The user's name as the directory writes it.
    package var userAttribute: String
    /// 32 hexadecimal digits or 16 bytes; nil where the directory never has it.
    package var ntHashAttribute: String?
    /// `%d` is the user's distinguished name, `%u` the name as the directory writes it; nil for none.
    package var groupFilter: String?
    /// Groups that a group of the name `%d` is in; nil where `groupFilter` or `memberOfAttribute` has them all.
    package var nestedGroupFilter: String?
    package var groupNameAttribute = "cn"
    /// Names of groups in the user's own entry.
    package var memberOfAttribute: String?
    package var checks: [Check]
    /// Whether `CORP\alice` is alice.
    package var stripsDomain = false
    /// Seconds after which a lock with a time has ended; 0 for never.
    package var lockTime: Int64 = 0

    package init(_ preset: Preset) {
        self.preset = preset
        let members = "(|(member=%d)(uniqueMember=%d)(memberUid=%u))"
        let nested = "(|(member=%d)(uniqueMember=%d))"
        switch preset {
        case .posix:
            (userFilter, userAttribute, groupFilter, nestedGroupFilter) = ("(&(|(objectClass=posixAccount)(objectClass=inetOrgPerson))(uid=%u))", "uid", members, nested)
            checks = [.lockedTime("pwdAccountLockedTime"), .expiry("shadowExpire", .days)]
        case .samba:
            (userFilter, userAttribute, groupFilter, nestedGroupFilter) = ("(&(objectClass=sambaSamAccount)(uid=%u))", "uid", members, nested)
            ntHashAttribute = "sambaNTPassword"
            checks = [.sambaFlags("sambaAcctFlags"), .expiry("sambaKickoffTime", .seconds), .lockedTime("pwdAccountLockedTime"), .expiry("shadowExpire", .days)]
        case .freeipa:
            // Its memberOf has the groups of groups as well.
            (userFilter, userAttribute, memberOfAttribute) = ("(&(objectClass=posixAccount)(uid=%u))", "uid", "memberOf")
            ntHashAttribute = "ipaNTHash"
            checks = [.disabled("nsAccountLock"), .expiry("krbPrincipalExpiration", .generalized), .passwordExpiry("krbPasswordExpiration", .generalized)]
        case .ad:
            userFilter = "(&(objectCategory=person)(objectClass=user)(|(sAMAccountName=%u)(userPrincipalName=%u)))"
            userAttribute = "sAMAccountName"
            // LDAP_MATCHING_RULE_IN_CHAIN: the server follows groups of groups.
            groupFilter = "(&(objectClass=group)(member:1.2.840.113556.1.4.1941:=%d))"
            checks = [
                .accountControl("userAccountControl"), .computedControl("msDS-User-Account-Control-Computed"), .lockoutTime("lockoutTime"), .expiry("accountExpires", .fileTime),
                .passwordLastSet("pwdLastSet"),
            ]
            stripsDomain = true
        }
    }

    /// The attributes that a user's entry is asked for.
    package func attributes(withHash: Bool) -> [String] {
        var names = [userAttribute] + checks.map(\.attribute)
        if let memberOfAttribute { names.append(memberOfAttribute) }
        if withHash, let ntHashAttribute { names.append(ntHashAttribute) }
        return names
    }

    /// Why there is no NT hash, and what to do instead.
    package var advice: String {
        guard ntHashAttribute == nil else { return "" }
        return switch preset {
        case .ad:
            "Active Directory hands out no NT hash, so EAP-MSCHAPv2 cannot be verified: use EAP-TLS with a look-up of the user, or a password by EAP-GTC or EAP-TTLS with PAP, which are verified by a bind"
        default:
            "the schema \(preset.rawValue) has no NT hash, so EAP-MSCHAPv2 cannot be verified: name the attribute (nt_hash_attribute), or use EAP-TLS, EAP-GTC or EAP-TTLS with PAP"
        }
    }
}
