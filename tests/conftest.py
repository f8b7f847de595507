"""What every test runs under."""

import os

from components import reach

# The engine of the tests is the usual one or NEXUS_TEST_ENGINE's, whatever the shell says that they are run from.
for _name in reach.VARIABLES:
    os.environ.pop(_name, None)

# The commands in messages are the Pulumi CLI's (components/commands.py), whether scripts/test started pytest or not.
os.environ.pop("NEXUS_ROOT", None)

# An Output put into an f-string is an error, instead of an error text as the value (sdk/python output.py).
os.environ["PULUMI_ERROR_OUTPUT_STRING"] = "true"
