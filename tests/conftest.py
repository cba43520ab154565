"""Strictness is configuration: ranks and dtypes never promote silently, warnings are errors."""

import gc
import signal
from pathlib import Path
from zlib import crc32

import jax
import pytest
from hypothesis import HealthCheck, settings

from tests import quick

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# To cut what is JAX's out of thousands of tracebacks takes longer than the calls that raise.
jax.config.update("jax_traceback_filtering", "off")

# By default the same few examples each time; in ``make test-deep`` many, and different ones each time.
settings.register_profile(
    "default", max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
settings.register_profile(
    "deep", max_examples=100, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck)
)
settings.load_profile("default")


@pytest.fixture(autouse=True, scope="session")
def heard_interrupts():
    """Ctrl-C raises, as it does in a terminal: started in the background of a shell, Python ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def key():
    return jax.random.key(0)


def pytest_addoption(parser):
    parser.addoption("--slice", metavar="I/N", help="run the I-th of N parts of the tests, I from 0")
    parser.addoption("--optimised", action="store_true", help="compile every test's programs as for users")


#: Tests of every form, and of every operation in common settings and at the edges of the range: these
#: compile as users do. All others compile as ``quick.py`` says, since for a program that runs once XLA's
#: optimisations cost more than they gain. ``--optimised`` and ``make test-deep`` optimise everywhere.
OPTIMISED = [
    Path(__file__).parent / name for name in ("kernels", "ops/test_properties.py", "ops/test_edges.py")
]


def is_optimised(item):
    everywhere = item.config.getoption("--optimised") or settings.get_current_profile_name() == "deep"
    exhaustive = item.get_closest_marker("deep") is not None
    return everywhere or exhaustive or any(item.path.is_relative_to(path) for path in OPTIMISED)


def pytest_collection_modifyitems(config, items):
    """A slice depends only on the names of its tests: the same on each worker and each machine."""
    if chosen := config.getoption("--slice"):
        i, n = map(int, chosen.split("/"))
        if not 0 <= i < n:
            raise pytest.UsageError(f"--slice: I/N must have 0 <= I < N, got {chosen}")
        parts = [crc32(item.nodeid.encode()) % n for item in items]
        config.hook.pytest_deselected(
            items=[item for item, part in zip(items, parts, strict=True) if part != i]
        )
        items[:] = [item for item, part in zip(items, parts, strict=True) if part == i]
    items.sort(key=is_optimised, reverse=True)  # since to change is to forget all programs


class Programs:
    """The programs that were compiled since the caches were last cleared, and how."""

    #: Each takes about two megabytes, and the suite compiles tens of thousands.
    most = 400
    count = 0

    def counted(self, event, seconds, **_):
        self.count += event == "/jax/core/compile/backend_compile_duration"

    def forget(self):
        jax.clear_caches()
        gc.collect()
        self.count = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self):
        """Modules and tests stay to the end: looking for garbage among them is a quarter of this time."""
        gc.disable()
        try:
            return (yield)
        finally:
            gc.freeze()
            gc.enable()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item):
        if jax.config.read("jax_disable_most_optimizations") == is_optimised(item):
            jax.config.update("jax_disable_most_optimizations", not is_optimised(item))
            self.forget()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        """A machine has as many CPUs as tests want, and its accelerators."""
        try:
            return (yield)
        except ValueError as error:
            if "Number of devices" in str(error) and jax.default_backend() != "cpu":
                pytest.skip(str(error))
            raise

    def pytest_runtest_teardown(self, item):
        if self.count > self.most:
            self.forget()


def pytest_configure(config):
    """As a plugin: the hooks of this file itself are not called for the doctests of the package."""
    quick.install()
    jax.config.update("jax_disable_most_optimizations", True)  # of what is compiled when modules are imported
    programs = Programs()
    config.pluginmanager.register(programs)
    jax.monitoring.register_event_duration_secs_listener(programs.counted)
