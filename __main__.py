"""NEXUS: a media platform on one Docker host. Settings in, platform out."""

import pulumi
import pulumi_docker as docker
import pulumi_random as random

from components import host, settings
from components.platform import Platform

stack = pulumi.get_stack()
chosen, secrets = settings.load(stack)
facts = host.gather(chosen, stack)
if problems := host.problems(chosen, facts):
    raise settings.SettingsError("\n".join(problems))
providers = [docker.Provider("docker", host=chosen.docker.host), random.Provider("random")]
try:
    platform = Platform(chosen, secrets, host.engine_of(chosen, facts), pulumi.ResourceOptions(providers=providers))
except ValueError as error:  # an image lock, a host fact or the network table: the message says which and what to do
    raise settings.SettingsError(str(error)) from error
for name, value in platform.outputs.items():
    pulumi.export(name, value)
