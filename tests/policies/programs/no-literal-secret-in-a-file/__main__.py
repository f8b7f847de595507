"""Breaks `no-literal-secret`: a password in a configuration file that is uploaded."""

from hardened import container

SECRET = "swordfish" + "-1"
container(
    "talker",
    name="nexus-policy-test-talker",
    uploads=[
        {
            "file": "/run/config/app.yml",
            "content": f"log: info\ndatabase: {{user: me, password: {SECRET}}}\n",
            "permissions": "0400",
        }
    ],
)
