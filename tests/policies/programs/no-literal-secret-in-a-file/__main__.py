"""Breaks `no-literal-secret`: a password in a configuration file that is uploaded in base64."""

import base64

from hardened import container

SECRET = "swordfish" + "-1"

container(
    "talker",
    name="nexus-policy-test-talker",
    uploads=[
        {
            "file": "/run/config/app.yml",
            "content_base64": base64.b64encode(
                f"log: info\ndatabase: {{user: me, password: {SECRET}}}\n".encode()
            ).decode(),
            "permissions": "0400",
        }
    ],
)
