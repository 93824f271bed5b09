"""A kernel with ESP of its own, for tests: User-Mode-Linux, with this machine's files as its own, which it can only read.

`in_guest("module.function")` boots it, runs that function there with all of this folder's means, and takes what came of it. The guest has no network and no disk; what it
writes is in its memory. Modules come from the package user-mode-linux.
"""

import ctypes
import importlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

if __name__ == "__main__":
    # In the guest, before `lab` looks for it.
    os.environ["MARTLET_BUILD"] = sys.argv[2]

from lab import BUILD, Failed, Skipped  # noqa: E402

KERNEL = Path("/usr/bin/linux.uml")
# Of the running kernel, in the guest.
UML_MODULES = Path("/usr/lib/uml/modules") / platform.release()
MODULES = (
    "jitterentropy_rng drbg esp4 esp6 xfrm_user veth tun gcm ccm ctr cbc hmac sha256_generic sha512_generic aes_generic ghash-generic seqiv echainiv authenc authencesn chacha20poly1305 chacha_generic "
    "poly1305_generic camellia_generic cmac xcbc nf_tables iptable_nat xt_MASQUERADE"
)
BEGIN, OK, FAILED = "@@ the guest begins", "@@ the guest is done", "@@ the guest has failed"


def in_guest(test, seconds=240):
    """Runs `module.function` in the guest. Fails with what it printed if it fails, or takes longer than `seconds`; returns what it printed."""
    if not KERNEL.exists():
        raise Skipped(f"there is no {KERNEL}: the package user-mode-linux is not installed (make deps)")
    with tempfile.TemporaryDirectory(prefix="martlet-uml-") as folder:
        command = [
            KERNEL, "mem=512M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", "con=null", "con0=null,fd:1", f"uml_dir={folder}/", "umid=guest",
            f"init={sys.executable}", "--", Path(__file__).resolve(), test, BUILD,
        ]
        guest = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, env=dict(os.environ, TMPDIR=folder))
        try:
            output = guest.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            os.killpg(guest.pid, signal.SIGKILL)
            raise Failed(f"the guest did not end in {seconds} s:\n{shown(guest.communicate()[0])}") from None
        except BaseException:
            os.killpg(guest.pid, signal.SIGKILL)
            raise
    return result(shown(output), guest.returncode)


def result(text, status):
    """What the guest has printed between its beginning and its end."""
    # With no sign of Python either, it is the kernel that did not come so far.
    if not any(sign in text for sign in (BEGIN, FAILED, "Traceback")):
        raise Skipped(f"the guest does not start here, status {status}: {' / '.join(text.splitlines()[-4:])}")
    if OK not in text or FAILED in text:
        raise Failed(f"in the guest:\n{text}")
    return text[text.index(BEGIN) + len(BEGIN) : text.index(OK)].strip()


def shown(output):
    return output.decode(errors="replace").replace("\r", "")


# In the guest, as its first process


def load_modules(folder, names):
    needs = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        file, _, others = line.partition(":")
        needs[Path(file).stem.replace("-", "_")] = [file, *others.split()]
    libc = ctypes.CDLL(None, use_errno=True)
    for name in names.split():
        # What a module needs stands behind it, the deepest last. A module that is missing is part of the kernel, or the test will say what it lacks.
        for file in reversed(needs.get(name.replace("-", "_"), [])):
            with open(folder / file, "rb") as module:
                libc.syscall(313, module.fileno(), b"", 0)  # finit_module, on x86-64


def prepare(folder, names):
    if not os.statvfs("/").f_flag & os.ST_RDONLY:
        raise Failed("the guest could write to this machine's files")
    os.environ.update(PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME="/run", TMPDIR="/run/tmp", PYTHONDONTWRITEBYTECODE="1")
    for kind, place in (("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/run")):
        subprocess.run(["mount", "-t", kind, kind, place], check=True)
    for place in ("/run/tmp", "/run/netns", "/run/lock"):
        os.mkdir(place)
    load_modules(folder, names)


def guest(test, folder=None):
    """`folder`: of the modules, where the kernel is a distribution's."""
    print(BEGIN, flush=True)
    if folder:
        import vm

        prepare(Path(folder), vm.MODULES)
    else:
        prepare(UML_MODULES, MODULES)
    module, _, function = test.rpartition(".")
    getattr(importlib.import_module(module), function)()
    print(OK, flush=True)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    try:
        # User-Mode-Linux has words of its own behind ours.
        guest(sys.argv[1], next((word for word in sys.argv[3:] if word.startswith("/")), None))
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        print(FAILED, flush=True)
    sys.stdout.flush()
    ctypes.CDLL(None).reboot(0x4321FEDC)
