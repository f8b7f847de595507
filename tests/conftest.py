"""What every test runs under."""

import os

# An Output put into an f-string is an error, instead of an error text as the value (sdk/python output.py).
os.environ["PULUMI_ERROR_OUTPUT_STRING"] = "true"
