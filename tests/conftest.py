"""What every test runs under."""

import gc
import os
import shutil
import tempfile

import pytest
from pulumi.runtime import resource
from pulumi.runtime.proto import source_pb2
from xdist.remote import Producer

from components import reach
from tests.integration.lanes import Lanes

SHARED = "NEXUS_TEST_SHARED"
"""The variable with a directory of this run, where it has several workers."""

# The engine of the tests is the usual one or NEXUS_TEST_ENGINE's, whatever the shell says that they are run from.
for _name in reach.VARIABLES:
    os.environ.pop(_name, None)

# The commands in messages are the Pulumi CLI's (components/commands.py), whether scripts/test started pytest or not.
os.environ.pop("NEXUS_ROOT", None)

# The SDK tells the engine of each resource from which lines of the program it came: a fifth of the time of a program
# under mocks, where nobody is told.
resource._get_stack_trace = source_pb2.StackTrace

# An Output put into an f-string is an error, instead of an error text as the value (sdk/python output.py).
os.environ["PULUMI_ERROR_OUTPUT_STRING"] = "true"


# A stack under mocks makes 100,000 objects with cycles among millions that stay: a third of its time was Python's
# search for what can go.
gc.set_threshold(200_000, 20, 20)


def pytest_collection_finish() -> None:
    """What is there when the tests begin stays to the end."""
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """A directory that the workers of a run share, from before they start."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        folder = os.environ[SHARED] = tempfile.mkdtemp(prefix="nexus-test-")
        config.add_cleanup(lambda: shutil.rmtree(folder))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes | None:
    """The integration tests go by lanes; all others as `--dist` says."""
    return Lanes(config, log) if config.getoption("markexpr") == "integration" else None
