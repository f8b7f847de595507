"""Breaks `no-private-key`: a key that a command writes to a file."""

import pulumi_docker as docker

KEY = "-----BEGIN " + "PRIVATE KEY-----\n" + "swordfish" + "-1" + "\n-----END " + "PRIVATE KEY-----"

docker.Container(
    "talker",
    name="nexus-policy-test-talker",
    image="busybox:1.37",
    command=["sh", "-c", f"echo '{KEY}' > /tmp/tls && exec sleep 1d"],
)
