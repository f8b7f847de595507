"""The downloader and its VPN: a torrent client whose only way out is the tunnel, and what starts it again.

qBittorrent has no network of its own: it lives in the VPN container's namespace and is bound to tun0. The VPN
container's firewall drops what is not tunnel traffic. Either alone must stop a leak.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final, assert_never

import pulumi

from components.arguments import (
    CONFIG,
    NOBODY,
    ROOT,
    SECRETS,
    Access,
    Exposes,
    Files,
    HealthCheck,
    Limits,
    OwnSignIn,
    Privileges,
    Probe,
    Process,
    ServiceArgs,
    SharesNetworkOf,
    User,
    Web,
)
from components.dockerhost import DockerHost
from components.names import physical
from components.networks import APPS, SOCKET_GUARD, TUNNEL, OwnNetworks
from components.secrets import ADMIN_USER, SecretBundle, WireGuardKeys
from components.service import Service
from components.settings.schema import Apps, EmbeddedVpn, OpenVpn, Vpn, WireGuardVpn
from components.settings.secret import (
    OPENVPN_CONFIG,
    OPENVPN_PASSWORD,
    OPENVPN_USER,
    WIREGUARD_PRESHARED_KEY,
    WIREGUARD_PRIVATE_KEY,
    Secrets,
)

TEMPLATES: Final = Path(__file__).parent.parent / "config"

DOWNLOADER: Final = "qbittorrent"
GUARD: Final = "guard"
WEBUI_PORT: Final = 8080
PEER_PORT: Final = 51820
PEER_ADDRESS: Final = "10.13.13.1"
"""The embedded peer's address inside the tunnel."""
CLIENT_ADDRESS: Final = "10.13.13.2"
PEER_HEALTH_PORT: Final = 9998
PEER_ON_TUNNEL: Final = TUNNEL.at(10)
"""gluetun wants its endpoint's address, not a name."""

PBKDF2_ITERATIONS: Final = 100_000
"""qBittorrent's own number (src/base/utils/password.cpp)."""

_PEER_PRIVILEGES: Final = Privileges(
    why="a WireGuard server makes a tunnel interface, routes and its own firewall",
    capabilities=("CAP_NET_ADMIN", "CAP_NET_RAW"),
    tun=True,
    sysctls={"net.ipv4.ip_forward": "1"},
)


def _vpn_privileges(chosen: Vpn) -> Privileges:
    why = (
        "gluetun makes the tunnel and the firewall, and rewrites /etc/passwd, /etc/resolv.conf and /gluetun as root; "
        "it makes a directory it cannot enter itself without DAC_OVERRIDE"
    )
    capabilities = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_NET_ADMIN", "CAP_NET_RAW"]
    if isinstance(chosen, OpenVpn):
        why += (
            ", has OpenVPN drop to a user, and ends it by a signal, which root may not send to another user without "
            "KILL: it would wait for ever, and the tunnel would never be made anew"
        )
        capabilities += ["CAP_KILL", "CAP_SETGID", "CAP_SETUID"]
    return Privileges(why=why, capabilities=tuple(sorted(capabilities)), writable_root=True, tun=True)


@dataclass(frozen=True, kw_only=True)
class VpnKeys:
    """The generated secrets of the VPN container and its embedded peer."""

    control: pulumi.Output[str]
    client: WireGuardKeys
    peer: WireGuardKeys
    preshared: pulumi.Output[str]


def vpn_keys(secrets: SecretBundle) -> VpnKeys:
    """Those keys. Made for every provider, so that a stack which goes to another and back has them still."""
    return VpnKeys(
        control=secrets.hexadecimal("vpn-control-key"),
        client=secrets.wireguard("vpn-client-key"),
        peer=secrets.wireguard("vpn-peer-key"),
        preshared=secrets.base64("vpn-preshared-key"),
    )


def vpn_peer(host: DockerHost, keys: VpnKeys, opts: pulumi.ResourceOptions | None = None) -> Service:
    """The WireGuard server that plays the provider in dev. It needs no account and hides nothing."""
    return Service(
        "vpn-peer",
        ServiceArgs(
            image="wireguard",
            user=ROOT,
            limits=Limits(memory=64, cpus=1.0),
            # The VPN container waits for it, and the downloader for that.
            health=HealthCheck(
                test=("CMD-SHELL", "wg show wg0 >/dev/null && ip -4 addr show wg0 | grep -q inet"), interval=3
            ),
            network=OwnNetworks(PEER_ON_TUNNEL),
            process=Process(
                entrypoint=("/bin/sh", f"{CONFIG}/peer.sh"),
                env={
                    "ADDRESS": PEER_ADDRESS,
                    "CLIENT": CLIENT_ADDRESS,
                    "CLIENT_PUBLIC_KEY": pulumi.Output.unsecret(keys.client.public),
                    "PORT": str(PEER_PORT),
                },
            ),
            files=Files(
                config={"peer.sh": (TEMPLATES / "vpn" / "peer.sh").read_text()},
                secrets={"private_key": keys.peer.private, "preshared_key": keys.preshared},
            ),
            tmpfs={"/run": "size=1m,mode=0755"},  # wireguard-go's control socket, iptables' lock,
            access=Access(privileges=_PEER_PRIVILEGES),
        ),
        host,
        opts,
    )


def vpn(
    host: DockerHost,
    settings: Vpn,
    keys: VpnKeys,
    given: Secrets,
    peer: Service | None,
    opts: pulumi.ResourceOptions | None = None,
) -> Service:
    """gluetun on `tunnel` and `apps`: the way out of whatever shares its namespace, and a firewall around it."""
    env, files = _provider(host, settings, keys, given)
    control = keys.control.apply(lambda key: json.dumps({"auth": "apikey", "apikey": key}))
    return Service(
        "vpn",
        ServiceArgs(
            image="gluetun",
            user=ROOT,
            limits=Limits(
                # Its resolver's block lists, which the embedded choice does without, take some 200 MB
                # (gluetun#2054), and more while they are renewed each day.
                memory=256 if isinstance(settings, EmbeddedVpn) else 512,
                cpus=1.0,
            ),
            health=HealthCheck(
                test=("CMD", "/gluetun-entrypoint", "healthcheck"), interval=5, timeout=5, start_period=60
            ),
            network=OwnNetworks(TUNNEL, APPS),
            process=Process(
                env={
                    **env,
                    # Opens the downloader's page on the interface of the default route. From the container's own
                    # networks gluetun lets everything in anyway, and `_last_rules` all but that page out again.
                    "FIREWALL_INPUT_PORTS": str(WEBUI_PORT),
                    "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE_SECRETFILE": f"{SECRETS}/control_role",
                    "VERSION_INFORMATION": "off",
                },
            ),
            files=Files(
                config={"post-rules.txt": _last_rules(host) or "# no address is known before the tunnel is up\n"},
                config_at="/iptables",
                secrets={**files, "control_role": control},
            ),
            access=Access(privileges=_vpn_privileges(settings)),
            after=(peer.container,) if peer else (),
        ),
        host,
        opts,
    )


def _last_rules(host: DockerHost) -> str:
    """The rules that gluetun sets when its own are there: each goes to the top of its chain, and only drops."""
    apps, tunnel = host.networks.subnet(APPS), host.networks.subnet(TUNNEL)
    return "\n".join(
        (
            "# gluetun lets an established connection go on, by the default route where tun0 is set down but not",
            "# deleted. So nothing leaves by an interface but what has that interface's own address.",
            "iptables -I OUTPUT 1 -o eth+ -m addrtype ! --src-type LOCAL --limit-iface-out -j DROP",
            "# Docker's resolver answers on loopback, and asks from the host, outside of any tunnel.",
            "iptables -I OUTPUT 1 -d 127.0.0.11 -j DROP",
            "# The host, on both networks.",
            *(f"iptables -I OUTPUT 1 -d {network[1]} -j DROP" for network in (apps, tunnel)),
            "# Of what is not asked for: the downloader's page from the apps, and nothing else.",
            f"iptables -I INPUT 1 -i eth+ ! -s {apps} -m conntrack --ctstate NEW -j DROP",
            f"iptables -I INPUT 1 -i eth+ -p tcp ! --dport {WEBUI_PORT} -m conntrack --ctstate NEW -j DROP",
            "iptables -I INPUT 1 -i eth+ ! -p tcp -m conntrack --ctstate NEW -j DROP",
            "",
        )
    )


def _provider(
    host: DockerHost, settings: Vpn, keys: VpnKeys, given: Secrets
) -> tuple[dict[str, pulumi.Input[str]], dict[str, pulumi.Output[str]]]:
    """gluetun's environment and secret files for the chosen provider."""
    match settings:
        case EmbeddedVpn():
            return {
                "VPN_SERVICE_PROVIDER": "custom",
                "VPN_TYPE": "wireguard",
                "WIREGUARD_ADDRESSES": f"{CLIENT_ADDRESS}/32",
                "WIREGUARD_ENDPOINT_IP": str(host.networks.address(PEER_ON_TUNNEL)),
                "WIREGUARD_ENDPOINT_PORT": str(PEER_PORT),
                "WIREGUARD_MTU": "1320",
                "WIREGUARD_PERSISTENT_KEEPALIVE_INTERVAL": "15s",
                "WIREGUARD_PUBLIC_KEY": pulumi.Output.unsecret(keys.peer.public),
                # The peer is the only thing in reach that is sure to answer: nothing here needs the internet.
                **_health(f"{PEER_ADDRESS}:{PEER_HEALTH_PORT}"),
                "DNS_SERVER": "off",
                "DNS_ADDRESS": "1.1.1.1",  # through the tunnel, as everything else
                "PUBLICIP_ENABLED": "off",
                "UPDATER_PERIOD": "0",
            }, _wireguard_files(keys.client.private, keys.preshared)
        case WireGuardVpn() as chosen:
            env: dict[str, pulumi.Input[str]] = {
                "VPN_SERVICE_PROVIDER": chosen.provider,
                "VPN_TYPE": "wireguard",
            }
            if chosen.countries:
                env["SERVER_COUNTRIES"] = ",".join(chosen.countries)
            if chosen.addresses:
                env["WIREGUARD_ADDRESSES"] = chosen.addresses
            if chosen.provider == "custom":
                env["WIREGUARD_ENDPOINT_IP"] = str(chosen.endpoint_ip)
                env["WIREGUARD_ENDPOINT_PORT"] = str(chosen.endpoint_port)
                env["WIREGUARD_PUBLIC_KEY"] = str(chosen.public_key)
            return env | _health(chosen.health_target), _wireguard_files(
                given.require(WIREGUARD_PRIVATE_KEY), given.get(WIREGUARD_PRESHARED_KEY)
            )
        case OpenVpn(provider="custom") as chosen:
            # Not by the name of the setting in lower case: gluetun would take the content for the path.
            env = {
                "VPN_SERVICE_PROVIDER": "custom",
                "VPN_TYPE": "openvpn",
                "OPENVPN_CUSTOM_CONFIG": f"{SECRETS}/client.ovpn",
            }
            user, password = given.get(OPENVPN_USER), given.get(OPENVPN_PASSWORD)
            files = {"client.ovpn": given.require(OPENVPN_CONFIG)}
            if user is not None and password is not None:
                files |= {"openvpn_user": user, "openvpn_password": password}
            return env | _health(chosen.health_target), files
        case OpenVpn() as chosen:
            env = {
                "VPN_SERVICE_PROVIDER": chosen.provider,
                "VPN_TYPE": "openvpn",
                "OPENVPN_USER_SECRETFILE": f"{SECRETS}/openvpn_user",
                "OPENVPN_PASSWORD_SECRETFILE": f"{SECRETS}/openvpn_password",
            }
            if chosen.countries:
                env["SERVER_COUNTRIES"] = ",".join(chosen.countries)
            return env, {
                "openvpn_user": given.require(OPENVPN_USER),
                "openvpn_password": given.require(OPENVPN_PASSWORD),
            }
        case unknown:
            assert_never(unknown)


def _health(target: str | None) -> dict[str, pulumi.Input[str]]:
    """What gluetun asks to see whether the tunnel is whole, where that is not what it asks by itself."""
    if target is None:
        return {}
    return {"HEALTH_TARGET_ADDRESSES": target, "HEALTH_ICMP_TARGET_IPS": target.partition(":")[0]}


def _wireguard_files(
    private: pulumi.Output[str], preshared: pulumi.Output[str] | None
) -> dict[str, pulumi.Output[str]]:
    # gluetun reads /run/secrets/<name of the setting in lower case> by itself.
    files = {"wireguard_private_key": private}
    return files if preshared is None else {**files, "wireguard_preshared_key": preshared}


def qbittorrent(
    host: DockerHost,
    apps: Apps,
    secrets: SecretBundle,
    through: Service,
    proxy: str,
    tree: pulumi.Input[pulumi.Resource],
    opts: pulumi.ResourceOptions | None = None,
) -> Service:
    """qBittorrent inside the namespace of `through`, bound to tun0, its page behind the generated password and the
    reverse proxy at the address `proxy`."""
    template = Template((TEMPLATES / "qbittorrent" / "qBittorrent.conf").read_text())
    # The edge knows the host name already, and qBittorrent refuses one whose port is not its own (18443, say).
    # Traefik alone says who asks: else its own address would be banned, for everybody, after five wrong passwords.
    salt = secrets.raw("qbittorrent-salt", 16)
    hashed = pulumi.Output.all(secrets.admin_password, salt).apply(lambda pair: qbittorrent_pbkdf2(*pair))
    conf = hashed.apply(lambda password: template.substitute(user=ADMIN_USER, password=password, proxy=proxy))
    script = ("/bin/bash", f"{CONFIG}/downloader.sh")
    return Service(
        DOWNLOADER,
        ServiceArgs(
            image="qbittorrent",
            user=User(uid=apps.uid, gid=apps.gid),
            limits=Limits(memory=1024, cpus=1.0),
            # Healthy only on the tunnel that is there.
            health=HealthCheck(test=("CMD", *script, "healthy"), interval=5, start_period=60),
            network=SharesNetworkOf(service=through),
            process=Process(
                entrypoint=("/usr/bin/catatonit", "--", *script, "run"),
                init=False,
                env={"QBT_WEBUI_PORT": str(WEBUI_PORT)},
                stop_grace=120,
            ),
            files=Files(
                config={"downloader.sh": (TEMPLATES / "qbittorrent" / "downloader.sh").read_text()},
                secrets={"qBittorrent.conf": conf},
            ),
            mounts=(host.storage.volume("qbittorrent", "config", "/config"), host.storage.data()),
            exposes=Exposes(
                web=Web(host="qbittorrent", port=WEBUI_PORT, sign_in=OwnSignIn()),
                probe=Probe(port=WEBUI_PORT, path="/"),
            ),
            after=(tree,),
        ),
        host,
        opts,
    )


def qbittorrent_pbkdf2(password: str, salt: bytes) -> str:
    """A password as qBittorrent stores it: PBKDF2-HMAC-SHA512, 64 bytes, behind a salt of 16 bytes."""
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, PBKDF2_ITERATIONS, 64)
    return f"@ByteArray({base64.b64encode(salt).decode()}:{base64.b64encode(key).decode()})"


def guard_calls() -> dict[str, str]:
    """What the guard may ask of the engine: the state of the downloader, and its start.

    Only without a version in the path, which is the engine's newest: before 1.24 a start could bring along a new
    HostConfig, privileged for one.
    """
    path = f"/containers/{physical(DOWNLOADER)}".replace(".", r"\.")
    return {"GET": f"{path}/json", "POST": f"{path}/start"}


def guard(host: DockerHost, proxy: Service, opts: pulumi.ResourceOptions | None = None) -> Service:
    """Starts the downloader where Docker tried to and could not, which Docker does not try again (docs/adr/0011)."""
    return Service(
        GUARD,
        ServiceArgs(
            image="busybox",
            user=NOBODY,
            limits=Limits(memory=32, cpus=0.1),
            # The engine has answered within the last two minutes.
            health=HealthCheck(test=("CMD-SHELL", "find /tmp/answered -mmin -2 | grep -q .")),
            network=OwnNetworks(SOCKET_GUARD),
            process=Process(
                entrypoint=("/bin/sh", f"{CONFIG}/guard.sh"),
                env={"CONTAINER": physical(DOWNLOADER), "ENGINE": f"http://{proxy.name}:2375"},
            ),
            files=Files(config={"guard.sh": (TEMPLATES / "qbittorrent" / "guard.sh").read_text()}),
            after=(proxy.container,),
        ),
        host,
        opts,
    )
