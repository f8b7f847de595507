"""Breaks `no-private-key`: a key that a command writes to a file."""

from hardened import container

KEY = "-----BEGIN " + "PRIVATE KEY-----\n" + "swordfish" + "-1" + "\n-----END " + "PRIVATE KEY-----"

container(
    "talker",
    name="nexus-policy-test-talker",
    command=["sh", "-c", f"echo '{KEY}' > /tmp/tls && exec sleep 1d"],
)
