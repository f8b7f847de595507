"""Breaks `vpn-firewall`: traffic past the tunnel, to a network that cannot even be read."""

from hardened import container

container(
    "talker",
    name="nexus-policy-test-talker",
    envs=[
        "VPN_SERVICE_PROVIDER=mullvad",
        "FIREWALL_OUTBOUND_SUBNETS=swordfish",
        "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE_SECRETFILE=/run/secrets/control_role",
    ],
)
