"""Breaks `vpn-keeps-all-traffic`: a part of the traffic takes the tunnel."""

from hardened import container

container(
    "talker",
    name="nexus-policy-test-talker",
    envs=[
        "VPN_SERVICE_PROVIDER=mullvad",
        "WIREGUARD_ALLOWED_IPS=swordfish",
        "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE_SECRETFILE=/run/secrets/control_role",
    ],
)
