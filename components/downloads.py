"""The downloader and its VPN: a torrent client whose only way out is the tunnel.

qBittorrent has no network of its own: it lives in the VPN container's namespace and is bound to tun0. The VPN
container's firewall drops what is not tunnel traffic. Either alone must stop a leak.
"""

from __future__ import annotations

import json
from pathlib import Path
from string import Template
from typing import Final, assert_never

import pulumi

from components.secrets import ADMIN_USER, SecretBundle
from components.service import (
    CONFIG,
    ROOT,
    SECRETS,
    HealthCheck,
    Privileges,
    Probe,
    Service,
    ServiceArgs,
    SharesNetworkOf,
    Site,
    User,
    Web,
)
from components.settings import (
    OPENVPN_PASSWORD,
    OPENVPN_USER,
    WIREGUARD_PRESHARED_KEY,
    WIREGUARD_PRIVATE_KEY,
    EmbeddedVpn,
    OpenVpn,
    Secrets,
    WireGuardVpn,
)
from components.storage import Storage

TEMPLATES: Final = Path(__file__).parent.parent / "config"

WEBUI_PORT: Final = 8080
PEER_PORT: Final = 51820
PEER_ADDRESS: Final = "10.13.13.1"
"""The embedded peer's address inside the tunnel."""
CLIENT_ADDRESS: Final = "10.13.13.2"
PEER_HEALTH_PORT: Final = 9998

_PEER_PRIVILEGES: Final = Privileges(
    why="a WireGuard server makes a tunnel interface, routes and its own firewall",
    capabilities=("CAP_NET_ADMIN", "CAP_NET_RAW"),
    tun=True,
    sysctls={"net.ipv4.ip_forward": "1"},
)

_VPN_PRIVILEGES: Final = Privileges(
    why="gluetun makes the tunnel and the firewall, and rewrites /etc/passwd, /etc/resolv.conf and /gluetun as "
    "root; it makes a directory it cannot enter itself without DAC_OVERRIDE, and drops to a user for OpenVPN",
    capabilities=("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID"),
    writable_root=True,
    tun=True,
)


def vpn_peer(site: Site, secrets: SecretBundle, opts: pulumi.ResourceOptions | None = None) -> Service:
    """The WireGuard server that plays the provider in dev. It needs no account and hides nothing."""
    return Service(
        "vpn-peer",
        ServiceArgs(
            image="wireguard",
            user=ROOT,
            memory=64,
            cpus=1.0,
            entrypoint=("/bin/sh", f"{CONFIG}/peer.sh"),
            env={
                "ADDRESS": PEER_ADDRESS,
                "CLIENT": CLIENT_ADDRESS,
                "CLIENT_PUBLIC_KEY": pulumi.Output.unsecret(secrets.vpn_client.public),
                "PORT": str(PEER_PORT),
            },
            config={"peer.sh": (TEMPLATES / "vpn" / "peer.sh").read_text()},
            secrets={"private_key": secrets.vpn_peer.private, "preshared_key": secrets.vpn_preshared_key},
            tmpfs={"/run": "size=1m,mode=0755"},  # wireguard-go's control socket, iptables' lock
            privileges=_PEER_PRIVILEGES,
            health=HealthCheck(test=("CMD-SHELL", "wg show wg0 >/dev/null && ip -4 addr show wg0 | grep -q inet")),
        ),
        site,
        opts,
    )


def vpn(
    site: Site,
    secrets: SecretBundle,
    given: Secrets,
    peer: Service | None,
    opts: pulumi.ResourceOptions | None = None,
) -> Service:
    """gluetun on `tunnel` and `apps`: the way out of whatever shares its namespace, and a firewall around it."""
    env, files = _provider(site, secrets, given)
    control = secrets.vpn_control_key.apply(lambda key: json.dumps({"auth": "apikey", "apikey": key}))
    return Service(
        "vpn",
        ServiceArgs(
            image="gluetun",
            user=ROOT,
            memory=256,
            cpus=1.0,
            env={
                **env,
                # Only the downloader's page may be reached from the apps network.
                "FIREWALL_INPUT_PORTS": str(WEBUI_PORT),
                "HTTP_CONTROL_SERVER_AUTH_DEFAULT_ROLE_SECRETFILE": f"{SECRETS}/control_role",
                "VERSION_INFORMATION": "off",
            },
            config={"post-rules.txt": _last_rules(site) or "# no address is known before the tunnel is up\n"},
            config_at="/iptables",
            secrets={**files, "control_role": control},
            privileges=_VPN_PRIVILEGES,
            health=HealthCheck(
                test=("CMD", "/gluetun-entrypoint", "healthcheck"), interval=5, timeout=5, start_period=60
            ),
            after=(peer.container,) if peer else (),
        ),
        site,
        opts,
    )


def _last_rules(site: Site) -> str:
    """Rules gluetun adds behind its own. Its own let an established connection go on through eth0 when tun0 is set
    down but not deleted; what carries the tunnel's address must never leave there."""
    match site.settings.vpn:
        case EmbeddedVpn():
            addresses = [f"{CLIENT_ADDRESS}/32"]
        case WireGuardVpn(addresses=str(given)):
            addresses = [address.strip() for address in given.split(",") if ":" not in address]
        case _:  # the provider gives the address out at run time
            addresses = []
    return "".join(f"iptables -I OUTPUT 1 -o eth+ -s {address} -j DROP\n" for address in addresses)


def _provider(
    site: Site, secrets: SecretBundle, given: Secrets
) -> tuple[dict[str, pulumi.Input[str]], dict[str, pulumi.Output[str]]]:
    """gluetun's environment and secret files for the chosen provider."""
    match site.settings.vpn:
        case EmbeddedVpn():
            return {
                "VPN_SERVICE_PROVIDER": "custom",
                "VPN_TYPE": "wireguard",
                "WIREGUARD_ADDRESSES": f"{CLIENT_ADDRESS}/32",
                "WIREGUARD_ENDPOINT_IP": str(site.networks.vpn_peer_address),
                "WIREGUARD_ENDPOINT_PORT": str(PEER_PORT),
                "WIREGUARD_MTU": "1320",
                "WIREGUARD_PERSISTENT_KEEPALIVE_INTERVAL": "15s",
                "WIREGUARD_PUBLIC_KEY": pulumi.Output.unsecret(secrets.vpn_peer.public),
                # The peer is the only thing in reach that is sure to answer: nothing here needs the internet.
                "HEALTH_TARGET_ADDRESSES": f"{PEER_ADDRESS}:{PEER_HEALTH_PORT}",
                "HEALTH_ICMP_TARGET_IPS": PEER_ADDRESS,
                "DNS_SERVER": "off",
                "DNS_ADDRESS": "1.1.1.1",  # through the tunnel, as everything else
                "PUBLICIP_ENABLED": "off",
                "UPDATER_PERIOD": "0",
            }, _wireguard_files(secrets.vpn_client.private, secrets.vpn_preshared_key)
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
            return env, _wireguard_files(given.require(WIREGUARD_PRIVATE_KEY), given.get(WIREGUARD_PRESHARED_KEY))
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


def _wireguard_files(
    private: pulumi.Output[str], preshared: pulumi.Output[str] | None
) -> dict[str, pulumi.Output[str]]:
    # gluetun reads /run/secrets/<name of the setting in lower case> by itself.
    files = {"wireguard_private_key": private}
    return files if preshared is None else {**files, "wireguard_preshared_key": preshared}


def qbittorrent(
    site: Site,
    storage: Storage,
    secrets: SecretBundle,
    through: Service,
    tree: pulumi.Input[pulumi.Resource],
    opts: pulumi.ResourceOptions | None = None,
) -> Service:
    """qBittorrent inside the namespace of `through`, bound to tun0, its page behind the generated password."""
    apps = site.settings.apps
    template = Template((TEMPLATES / "qbittorrent" / "qBittorrent.conf").read_text())
    # The edge knows the host name already, and qBittorrent refuses one whose port is not its own (18443, say).
    conf = secrets.qbittorrent_hash.apply(lambda password: template.substitute(user=ADMIN_USER, password=password))
    seed, live = f"{SECRETS}/qBittorrent.conf", "/config/qBittorrent/qBittorrent.conf"
    return Service(
        "qbittorrent",
        ServiceArgs(
            image="qbittorrent",
            user=User(uid=apps.uid, gid=apps.gid),
            memory=1024,
            cpus=1.0,
            network=SharesNetworkOf(service=through),
            # The app rewrites its file at exit. What is declared wins whenever the declaration has changed;
            # between those times what was set in its own page stays.
            entrypoint=(
                "/usr/bin/catatonit",
                "--",
                "/bin/bash",
                "-c",
                f"mkdir -p /config/qBittorrent && {{ cmp -s {seed} {live}.declared || "
                f"install -m 600 {seed} {live} && install -m 600 {seed} {live}.declared; }} && exec /entrypoint.sh",
            ),
            init=False,
            env={"QBT_WEBUI_PORT": str(WEBUI_PORT)},
            secrets={"qBittorrent.conf": conf},
            mounts=(storage.volume("qbittorrent", "config", "/config"), storage.data()),
            # Healthy only with the tunnel: a downloader whose VPN was restarted under it keeps a dead namespace.
            health=HealthCheck(
                test=(
                    "CMD-SHELL",
                    f"grep -q tun0 /proc/net/dev && curl -fsS -o /dev/null http://127.0.0.1:{WEBUI_PORT}/",
                ),
                start_period=60,
            ),
            web=Web(host="qbittorrent", port=WEBUI_PORT, own_sign_in=True),
            probe=Probe(port=WEBUI_PORT, path="/"),
            after=(tree,),
            stop_grace=120,
        ),
        site,
        opts,
    )
