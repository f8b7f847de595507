"""Start of the policy pack: lists the rules and hands them to the engine. No rule belongs here."""

import gc
import sys
from pathlib import Path

from pulumi_policy import EnforcementLevel, PolicyPack

# The engine runs this folder by path, so its parent has to be put on the path; the rules then have one name,
# `policies.rules`, here, in the tests and for mypy.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from policies import config
from policies.rules import POLICIES, RULES

# What the pack is made of stays for as long as it runs.
gc.set_threshold(200_000, 20, 20)

try:
    settings = config.configure(config.read(), RULES)
except config.ConfigError as error:
    sys.exit(f"the policy pack does not start:\n{error}")

PolicyPack(
    name="nexus",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=list(POLICIES),
    initial_config=settings.initial(RULES),
)
