"""The section of a directory when the configuration is read again: one is added, changed and taken away at a gateway that runs, and one that is wrong changes nothing."""

import signal

from lab import expect, wait
from test_directory import BASE, BIND_PASSWORD, SERVICE, SERVICE_PASSWORD, client, connection, directory
from test_eap import keeps_secrets, reload

OWN = "the words of nobody else 74"


def test_a_directory_comes_and_changes_and_goes():
    users = f'secrets {{ eap-own {{ id = someone\n secret = "{OWN}" }} }}\n'
    with directory(client("carol", BIND_PASSWORD, ("gtc",)), connection("gtc", "gtc"), gateway=users, plugin=lambda slapd: "") as (_, a, b, slapd):
        without = b.file.read_text()
        password = b.folder / "ldap.secret"
        password.write_text(SERVICE_PASSWORD + "\n")
        password.chmod(0o600)
        section = slapd.plugin().replace(f'bind_password = "{SERVICE_PASSWORD}"', "bind_password_file = ldap.secret")

        def comes_in():
            a.up("gtc")
            wait(lambda: b.children(), "carol is in")
            a.down("gtc")
            wait(lambda: not b.sas(), "carol is gone")

        def stays_out(reason):
            before = b.log().count(reason)
            expect(a.up("gtc", check=False).returncode != 0, "carol came in")
            wait(lambda: b.log().count(reason) > before, f"the gateway says: {reason}")

        def refused(text, *words):
            """A reload of what is wrong: said with its line, and nothing changes."""
            b.write(text)
            before = b.log().count("the running one stays")
            b.signal(signal.SIGHUP)
            wait(lambda: b.log().count("the running one stays") > before, "the reload is refused")
            for word in words:
                expect(word in b.log(), f"the log does not say: {word}")

        stays_out("is no user of `secrets`")
        b.write(section + without)
        reload(b)
        expect("the directories are asked as the configuration says now: ldap" in b.log(), "the log does not say that there is a directory")
        expect("directory:ldap" in b.cli("plugins").stdout, lambda: b.cli("plugins").stdout)
        comes_in()
        # What can never work is an error, as at a start; the directory that there is goes on.
        refused(section.replace("schema = samba", 'schema = samba\n user_filter = "(uid=%u"') + without, "'user_filter' is a filter in parentheses that match")
        refused(section.replace(slapd.uri, "ldap://") + without, "the directory cannot be used")
        refused(section.replace("schema = samba", "schema = ad") + without.replace("auth = eap-gtc", "auth = eap-mschapv2").replace(users, ""), "Active Directory hands out no NT hash")
        comes_in()
        # A password that has changed in its file alone.
        slapd.change(f"dn: {SERVICE}\nchangetype: modify\nreplace: userPassword\nuserPassword: another {SERVICE_PASSWORD}\n")
        password.write_text(f"another {SERVICE_PASSWORD}\n")
        b.write(section + without)
        asked = b.log().count("the directories are asked as")
        reload(b)
        expect(b.log().count("the directories are asked as") == asked + 1, "a new password in the file is not seen")
        comes_in()
        # Nothing has changed: nobody is asked anew.
        b.signal(signal.SIGHUP)
        wait(lambda: "nothing has changed" in b.log(), "nothing has changed")
        expect(b.log().count("the directories are asked as") == asked + 1, "a directory was made anew without a reason")
        # Elsewhere in the directory.
        b.write(section.replace(f'base = "{BASE}"', f'base = "ou=partners,{BASE}"') + without)
        reload(b)
        stays_out("there is no user carol")
        b.write(without)
        reload(b)
        expect("there is no directory of users any more" in b.log(), "the log does not say that the directory is gone")
        stays_out("is no user of `secrets`")
        expect("only the log takes effect now" not in b.log(), "a restart is asked for")
        keeps_secrets(b, secrets=(BIND_PASSWORD, SERVICE_PASSWORD, OWN))
