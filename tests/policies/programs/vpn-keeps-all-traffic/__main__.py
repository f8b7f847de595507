"""Breaks `vpn-keeps-all-traffic`: traffic past the tunnel, to a network that cannot even be read."""

from hardened import container

container(
    "vpn-container",
    name="nexus-policy-test-vpn",
    envs=[
        "VPN_SERVICE_PROVIDER=mullvad",
        "FIREWALL_OUTBOUND_SUBNETS=swordfish",
        "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE_SECRETFILE=/run/secrets/control_role",
    ],
)
