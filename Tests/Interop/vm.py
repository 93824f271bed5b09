"""A distribution's kernel, for what User-Mode-Linux has not: nf_tables for IP, XFRM interfaces. QEMU without hardware's help boots it, with this machine's files, which it can only read.

It takes about half a minute to come up; so one boot does everything there is for it. Packages: linux-image-amd64, qemu-system-x86, busybox-static. Without them the tests are skipped.
"""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from lab import BUILD, Skipped
from uml import result, shown

# What is not part of the kernel, and needed before there are any files.
EARLY = "virtio_pci 9pnet_virtio 9p"
MODULES = (
    "virtio_rng crc32c_generic jitterentropy_rng drbg sha512_generic esp4 esp6 xfrm_user xfrm_interface veth tun gcm ctr cbc hmac sha256_generic aesni_intel aes_generic ghash_generic seqiv echainiv authenc authencesn nf_tables nft_xfrm"
)
# For a machine that has the packages somewhere else than installed.
PREFIX = Path(os.environ.get("MARTLET_VM", "/"))


def in_vm(test, seconds=900):
    """Runs `module.function` there, as `uml.in_guest` does."""
    busybox, qemu = PREFIX / "bin/busybox", PREFIX / "usr/bin/qemu-system-x86_64"
    kernels = sorted(kernel for kernel in PREFIX.glob("boot/vmlinuz-*") if modules(kernel).is_dir())
    for what, name in ((qemu.exists(), "qemu-system-x86"), (busybox.exists(), "busybox-static"), (kernels, "linux-image-amd64")):
        if not what:
            raise Skipped(f"the package {name} is not installed, which boots a kernel with nf_tables and XFRM interfaces")
    with tempfile.TemporaryDirectory(prefix="martlet-vm-") as folder:
        initial = Path(folder) / "initial"
        initial.write_bytes(initial_files(busybox, kernels[-1], test))
        libraries = {} if PREFIX == Path("/") else {"LD_LIBRARY_PATH": f"{PREFIX}/usr/lib/x86_64-linux-gnu:{PREFIX}/lib/x86_64-linux-gnu"}
        command = [
            qemu, "-L", PREFIX / "usr/share/qemu", "-L", PREFIX / "usr/share/seabios", "-nodefaults", "-no-user-config", "-machine", "q35,accel=tcg", "-cpu", "max", "-m", "768M", "-display", "none", "-serial", "stdio", "-no-reboot",
            "-kernel", kernels[-1], "-initrd", initial, "-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on", "-device", "virtio-rng-pci",
            "-fsdev", "local,id=files,path=/,security_model=none,readonly=on,multidevs=remap", "-device", "virtio-9p-pci,fsdev=files,mount_tag=files",
        ]
        guest = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, env=dict(os.environ, **libraries))
        try:
            output = guest.communicate(timeout=seconds)[0]
        except BaseException:
            os.killpg(guest.pid, signal.SIGKILL)
            print(shown(guest.communicate()[0]), file=sys.stderr)
            raise
    return result(shown(output), guest.returncode)


def modules(kernel):
    return PREFIX / "lib/modules" / kernel.name.removeprefix("vmlinuz-")


def closure(folder, names):
    """The files of modules and of what they need, in the order in which they are to be loaded."""
    needs, files = {}, []
    for line in (folder / "modules.dep").read_text().splitlines() if (folder / "modules.dep").exists() else ():
        file, _, others = line.partition(":")
        needs[Path(file).name.split(".")[0].replace("-", "_")] = [file, *others.split()]
    for name in names:
        files += [folder / file for file in reversed(needs.get(name, []))]
    return list(dict.fromkeys(files))


def initial_files(busybox, kernel, test):
    """A cpio archive with the shell that finds this machine's files and leaves the rest to `uml.py`."""
    early = closure(modules(kernel), EARLY.split())
    script = "\n".join([
        "#!/bin/busybox sh",
        "/bin/busybox mkdir -p /files",
        *(f"/bin/busybox insmod /{file.name}" for file in early),
        "/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose files /files",
        "/bin/busybox mount -t devtmpfs dev /files/dev",
        f"exec /bin/busybox switch_root /files {sys.executable} {Path(__file__).with_name('uml.py')} {test} {BUILD} {modules(kernel)}",
        "",
    ])
    entries = [("bin", stat.S_IFDIR | 0o755, b""), ("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()), ("init", stat.S_IFREG | 0o755, script.encode())]
    entries += [(file.name, stat.S_IFREG | 0o644, file.read_bytes()) for file in early]
    entries += [("dev", stat.S_IFDIR | 0o755, b""), ("TRAILER!!!", 0, b"")]
    archive = b""
    for number, (name, mode, content) in enumerate(entries, 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        archive += head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)
    return archive
