"""NEXUS: a media platform on one Docker host. Settings in, platform out."""

import gc
import os

import pulumi
import pulumi_docker as docker
import pulumi_random as random

from components import host, reach
from components.errors import PlatformError
from components.platform import Platform
from components.settings.load import SettingsError, load

# The program makes what it declares and ends: a sixth of its time was Python's search for what can go.
gc.set_threshold(200_000, 20, 20)

stack = pulumi.get_stack()
chosen, secrets = load(stack)
if refusal := reach.refusal(os.environ, chosen.docker.host):
    raise SettingsError(refusal)
facts = host.gather(chosen, stack)
if problems := host.problems(chosen, facts):
    raise SettingsError("\n".join(problems))
providers = [docker.Provider("docker", **reach.provider(chosen.docker)), random.Provider("random")]
try:
    platform = Platform(chosen, secrets, host.engine_of(chosen, facts), pulumi.ResourceOptions(providers=providers))
except PlatformError as error:  # its message says what is wrong and what to do
    raise SettingsError(str(error)) from error
for name, value in platform.outputs.items():
    pulumi.export(name, value)
