"""NEXUS: a media platform on one Docker host. Settings in, platform out."""

import os

import pulumi
import pulumi_docker as docker
import pulumi_random as random

from components import host, reach, settings
from components.errors import PlatformError
from components.platform import Platform

stack = pulumi.get_stack()
chosen, secrets = settings.load(stack)
if refusal := reach.refusal(os.environ, chosen.docker.host):
    raise settings.SettingsError(refusal)
facts = host.gather(chosen, stack)
if problems := host.problems(chosen, facts):
    raise settings.SettingsError("\n".join(problems))
providers = [docker.Provider("docker", **reach.provider(chosen.docker)), random.Provider("random")]
try:
    platform = Platform(chosen, secrets, host.engine_of(chosen, facts), pulumi.ResourceOptions(providers=providers))
except PlatformError as error:  # its message says what is wrong and what to do
    raise settings.SettingsError(str(error)) from error
for name, value in platform.outputs.items():
    pulumi.export(name, value)
