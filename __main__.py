"""NEXUS: a media platform on one Docker host. Settings in, platform out."""

import pulumi
import pulumi_docker as docker
import pulumi_random as random

from components import host, settings
from components.errors import PlatformError
from components.platform import Platform

stack = pulumi.get_stack()
chosen, secrets = settings.load(stack)
if problems := host.problems(chosen, host.gather(chosen, stack)):
    raise settings.SettingsError("\n".join(problems))
providers = [docker.Provider("docker", host=chosen.docker.host), random.Provider("random")]
try:
    platform = Platform(chosen, secrets, pulumi.ResourceOptions(providers=providers))
except PlatformError as error:  # its message says what is wrong and what to do
    raise settings.SettingsError(str(error)) from error
for name, value in platform.outputs.items():
    pulumi.export(name, value)
