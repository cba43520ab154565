"""The conditions of a run: device, versions, threads, date."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
from jax.extend import backend

PACKAGES = ("jaxnn-functional", "jax", "jaxlib", "numpy", "optax", "flax", "equinox", "dm-haiku", "torch")


def describe(**options: Any) -> dict[str, Any]:
    """The conditions under which a number holds; ``options`` are those of the program."""
    device = jax.devices()[0]
    return {
        "device": processor() if device.platform == "cpu" else device.device_kind,
        "platform": device.platform,
        "devices": devices(),
        "backend": backend.get_backend().platform_version,
        "threads": threads(),
        "vectors": vectors(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: found for name in PACKAGES if (found := installed(name))},
        "revision": revision(),
        "matmul_precision": str(jax.config.jax_default_matmul_precision),
        "calls": "queued" if accelerator() else "waited for",
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "date": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        # Where the file was written says nothing about its numbers, and may name a private folder.
        "command": command(),
        "options": stated(options),
    }


def command(stand_ins: Mapping[str, str] | None = None) -> str:
    """How the program was started, but for where it writes; see ``with_stand_ins``."""
    given = with_stand_ins(without_out(sys.argv[1:]), stand_ins or {})
    return "python -m " + shlex.join([*_module(), *given])


def stated(options: Mapping[str, Any]) -> dict[str, str]:
    """The options as text, but for where it writes."""
    return {name: str(value) for name, value in options.items() if name != "out"}


#: What can be asked for by ``--platform`` under another name than JAX's own.
PLATFORMS = {"gpu": "cuda"}


def select(platform: str | None) -> None:
    """Makes a PJRT platform the one that JAX computes on, before any array is made; the CPU stays at hand.

    Answers in float64 are found on the CPU, so a choice that leaves it out (``JAX_PLATFORMS=tpu``) gets it
    too. JAX would take the CPU where the platform is missing, if both are named: here that ends the program.
    """
    wanted = platform or jax.config.jax_platforms
    if not wanted:
        return
    jax.config.update("jax_platforms", with_cpu(wanted))
    try:
        found, reason = jax.default_backend(), "its devices are those of the CPU"
    except RuntimeError as error:
        found, reason = None, str(error).strip().splitlines()[0]
    if found is None or (found == "cpu" and "cpu" not in wanted.split(",")):
        raise SystemExit(f"--platform: JAX finds no {wanted!r} here ({reason})")


def with_cpu(platforms: str | None) -> str | None:
    """Platforms as JAX names them, the CPU last if it was not named.

    >>> with_cpu("gpu")
    'cuda,cpu'
    """
    if not platforms:
        return None
    return ",".join(dict.fromkeys([*(PLATFORMS.get(name, name) for name in platforms.split(",")), "cpu"]))


def accelerator() -> bool:
    """Whether JAX computes on something else than the CPU."""
    return jax.default_backend() != "cpu"


def devices() -> list[dict[str, Any]]:
    """Each device of the platform in use: its kind, and its memory in bytes where it says so."""
    found = []
    for device in jax.devices():
        try:
            memory = (device.memory_stats() or {}).get("bytes_limit")
        except Exception:  # a plugin may not know
            memory = None
        found.append({"id": device.id, "kind": device.device_kind, "memory": memory})
    return found


def vectors() -> str | None:
    """The widest vectors of this processor that XLA would use; None where the system does not say."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].splitlines()[0].split())
    except (OSError, IndexError):
        return None
    known = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "sse4_2": "SSE4.2", "asimd": "NEON"}
    return next((name for flag, name in known.items() if flag in flags), None)


def without_out(arguments: Sequence[str]) -> list[str]:
    """The arguments but ``--out`` and its folder.

    >>> without_out(["--only", "conv", "--out", "somewhere", "--repeats=3"])
    ['--only', 'conv', '--repeats=3']
    """
    pairs = zip(("", *arguments), arguments, strict=False)
    return [now for before, now in pairs if "--out" not in (before, now) and not now.startswith("--out=")]


def with_stand_ins(arguments: Sequence[str], stand_ins: Mapping[str, str]) -> list[str]:
    """The arguments, with a word in place of the value of each flag that has a stand-in.

    >>> with_stand_ins(["--data", ".", "--only", "a.b", "--data=/home/me"], {"--data": "FOLDER"})
    ['--data', 'FOLDER', '--only', 'a.b', '--data=FOLDER']
    """
    found = []
    for before, now in zip(("", *arguments), arguments, strict=False):
        flag, equals, _ = now.partition("=")
        joined = f"{flag}={stand_ins[flag]}" if equals and flag in stand_ins else now
        found.append(stand_ins.get(before, joined))
    return found


def _module() -> list[str]:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return [spec.name.removesuffix(".__main__")] if spec else [Path(sys.argv[0]).name]


def installed(package: str) -> str | None:
    """The version of a distribution, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def revision() -> str | None:
    """The commit that is checked out, with a + if files differ from it; None outside a clone."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True, check=False)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changed.returncode else "")


def threads() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's name, as far as the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def heading(environment: dict[str, Any]) -> str:
    """The conditions in one line."""
    versions = ", ".join(f"{name} {found}" for name, found in environment["versions"].items())
    return (
        f"{environment['device']}, {environment['threads']} threads, {environment['system']}, "
        f"Python {environment['python']}, {versions}, {environment['date']}"
    )
