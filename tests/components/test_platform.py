"""The program runs to its end for every choice of settings, and each choice is seen in what it declares."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import ipaddress
import json
import re
import runpy
import subprocess
from pathlib import Path
from typing import Final
from unittest import mock

import pulumi
import pytest

from components import host, images, networks, platform
from components.arr import ARRS
from components.settings.load import SettingsError
from tests import offers
from tests.components.recorder import UNKNOWN, Recorder, configuration, run
from tests.components.stacks import CHOICES, EMBEDDED, ROOT, SOCKET_GID, Choice, build, built, every

APPS: Final = offers.SERVICES.keys() - {"vpn-peer"}
"""The services of every stack."""

KEPT: Final = {f"volume-{name}" for name in offers.KEPT}
"""What only a person may delete."""


class TestEveryChoice:
    @pytest.mark.parametrize("choice", CHOICES)
    def test_makes_its_services(self, choice: str) -> None:
        vpn = CHOICES[choice].config["nexus:vpn"]
        assert isinstance(vpn, dict)
        assert built(choice).of("Service").keys() == APPS | ({"vpn-peer"} if vpn["type"] == "embedded" else set())

    @pytest.mark.parametrize("choice", CHOICES)
    def test_keeps_its_data(self, choice: str) -> None:
        storage = CHOICES[choice].config.get("nexus:storage", {})
        assert isinstance(storage, dict)
        kept = KEPT - {"volume-data"} if "data" in storage else KEPT
        resources = built(choice).resources
        secrets = {item.name for item in resources if item.type.startswith("random:index/")}
        assert {item.name for item in resources if item.protect} == kept | secrets
        assert {item.name for item in resources if item.retain_on_delete} == kept

    @pytest.mark.parametrize("choice", CHOICES)
    def test_what_is_kept_does_not_hold_an_app(self, choice: str) -> None:
        # `protect` is inherited: a volume under an app would make the app irreplaceable.
        volumes = built(choice).of("Volume")
        assert {volumes[name].parent for name in volumes if name in KEPT} == {"storage"}

    @pytest.mark.parametrize("choice", CHOICES)
    def test_exports_where_everything_is(self, choice: str) -> None:
        exports = built(choice).exports
        assert exports.keys() == {"urls", "admin-user", "admin-password", "data"}
        assert exports["admin-user"].value == "admin"
        urls = exports["urls"].value
        assert isinstance(urls, dict)
        assert urls.keys() == offers.PAGES.keys()
        assert all(str(url).startswith(f"https://{name}.") for name, url in urls.items())

    @pytest.mark.parametrize("choice", CHOICES)
    def test_every_resource_has_an_explicit_provider(self, choice: str) -> None:
        # Default providers are disabled in Pulumi.yaml: without one of these the engine refuses the resource.
        for item in built(choice).resources:
            package = item.type.partition(":")[0]
            if item.custom and package != "pulumi":
                assert item.provider == package, item.name

    @pytest.mark.parametrize("choice", CHOICES)
    def test_everything_is_under_the_platform(self, choice: str) -> None:
        resources = built(choice).resources
        parents = {item.name: item.parent for item in resources}
        top = {item.name for item in resources if item.parent not in parents}
        assert top == {"platform", "docker", "random"}
        assert {item.name for item in resources if item.type.startswith("pulumi:providers:")} == {"docker", "random"}

    @pytest.mark.parametrize("choice", CHOICES)
    def test_every_image_is_pinned(self, choice: str) -> None:
        for name, image in built(choice).of("RemoteImage").items():
            key = name.removeprefix("image-")
            assert image.text("name").partition("@")[2] == images.PINS[key].partition("@")[2]

    def test_every_pin_is_used(self) -> None:
        used = {name.removeprefix("image-") for stack in every().values() for name in stack.of("RemoteImage")}
        assert used == images.PINS.keys()

    def test_types_name_their_class(self) -> None:
        types = {
            item.type for stack in every().values() for item in stack.resources if item.type.startswith("nexus:")
        }
        assert len(types) > 4
        for kind in types:
            _, module, name = kind.split(":")
            found = getattr(importlib.import_module(f"components.{module}"), name)
            assert issubclass(found, pulumi.ComponentResource)


class TestPreview:
    @pytest.mark.parametrize("choice", ["dev", "prod"])
    def test_declares_what_up_does(self, choice: str) -> None:
        assert described(built(choice, preview=True)) == described(built(choice))

    def test_what_the_engine_will_make_is_not_known(self) -> None:
        seen = built("dev", preview=True)
        assert seen.service("qbittorrent").text("networkMode") == UNKNOWN
        assert seen.service("sonarr").text("image") == UNKNOWN
        assert seen.service("sonarr").labels["nexus.seed"] == UNKNOWN
        assert seen.seed("sonarr").files == {"/run/secrets/api_key": UNKNOWN}
        # What a reviewer and the policies look at is known.
        assert seen.service("sonarr").texts("envs") == built("dev").service("sonarr").texts("envs")
        assert seen.service("sonarr").mounts == built("dev").service("sonarr").mounts
        assert (
            seen.seed("traefik").files["/run/config/routes.yml"]
            == (built("dev").seed("traefik").files["/run/config/routes.yml"])
        )


def described(stack: Recorder) -> set[tuple[str, str, str, frozenset[str], bool, bool]]:
    """A stack's resources with the names of their inputs."""
    return {
        (item.type, item.name, item.parent, frozenset(item.inputs), item.protect, item.retain_on_delete)
        for item in stack.resources
    }


class TestMain:
    """What is wrong stops the program before it declares anything."""

    def refused(self, choice: Choice, *problems: str) -> tuple[str, Recorder]:
        """The message, and what was declared before it. `problems` are further ones of the host."""
        facts = host.HostFacts(stack="test", local=False)
        found = host.problems
        seen = Recorder()
        with (
            configuration(choice.config, choice.secrets),
            mock.patch.object(host, "gather", return_value=facts),
            mock.patch.object(host, "problems", side_effect=lambda *args: (*found(*args), *problems)),
            mock.patch.object(host, "socket_gid", return_value=SOCKET_GID),
            pytest.raises(SettingsError) as caught,
        ):
            run(lambda: runpy.run_path(str(ROOT / "__main__.py")), into=seen)
        return str(caught.value), seen

    def test_a_bad_setting(self) -> None:
        message, stack = self.refused(Choice(config={**EMBEDDED, "nexus:edge": {"http-port": 0}}))
        assert message.startswith("Pulumi.test.yaml: nexus:edge.http-port: ")
        assert stack.resources == []

    def test_what_the_host_lacks(self) -> None:
        message, stack = self.refused(CHOICES["dev"], "the first", "the second")
        assert message == "the first\nthe second"
        assert stack.resources == []

    def test_a_remote_engine_without_its_sockets_group(self) -> None:
        message, stack = self.refused(
            Choice(config={**EMBEDDED, "nexus:docker": {"host": "ssh://nexus@media.lan"}}),
        )
        assert message.startswith("nexus:docker.socket-gid: missing")
        assert stack.resources == []

    def test_an_image_lock_that_is_missing(self, tmp_path: Path) -> None:
        lock = tmp_path / "absent.json"
        message, _ = self.refused(Choice(config={**EMBEDDED, "nexus:images": {"lock": str(lock)}}))
        assert message.startswith(f"{lock}: there is no such file")

    def test_a_bug_keeps_its_traceback(self) -> None:
        with (
            mock.patch.object(images, "resolve", side_effect=ValueError("of a bug")),
            pytest.raises(ValueError, match="of a bug"),
        ):
            build(CHOICES["dev"])

    def test_a_network_that_no_pool_has_room_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        table = (dataclasses.replace(networks.APPS, slot=16),)
        monkeypatch.setattr(platform, "Networks", functools.partial(networks.Networks, table=table))
        message, _ = self.refused(CHOICES["dev"])
        assert message.startswith(
            "components/networks.py: the network apps has slot=16, and nexus:networks.pool, 172."
        )

    def test_a_defect_shows_where_it_is(self) -> None:
        with (
            mock.patch("components.platform.Platform", side_effect=ValueError("a defect")),
            pytest.raises(ValueError, match="a defect") as caught,
        ):
            build(CHOICES["dev"])
        assert not isinstance(caught.value, SettingsError)


class TestGpu:
    def test_none(self) -> None:
        container = built("dev").service("jellyfin")
        assert not {"devices", "gpus", "groupAdds"} & container.inputs.keys()

    def test_dri(self) -> None:
        container = built("dri").service("jellyfin")
        node = "/dev/dri/renderD128"
        assert container.tables("devices") == [{"hostPath": node, "containerPath": node, "permissions": "rwm"}]
        assert container.texts("groupAdds") == ["993"]
        assert "gpus" not in container.inputs

    def test_nvidia(self) -> None:
        container = built("nvidia").service("jellyfin")
        assert container.text("gpus") == "device=0,2"
        assert not {"devices", "groupAdds"} & container.inputs.keys()

    @pytest.mark.parametrize(("choice", "megabytes"), [("dev", 256), ("dri", 4096)])
    def test_the_transcode_directory_counts_as_memory(self, choice: str, megabytes: int) -> None:
        container = built(choice).service("jellyfin")
        assert str(container.table("tmpfs")["/cache/transcodes"]).startswith(f"size={megabytes}m,mode=0700,")
        memory = container.inputs["memory"]
        assert isinstance(memory, int)
        assert memory >= megabytes + 1024


class TestVpn:
    def test_embedded(self) -> None:
        vpn = built("dev").service("vpn")
        assert vpn.env["VPN_SERVICE_PROVIDER"] == "custom"
        assert vpn.env["HEALTH_TARGET_ADDRESSES"].startswith(built("dev").service("vpn-peer").env["ADDRESS"])
        assert "vpn-peer-container" in vpn.depends_on

    @pytest.mark.parametrize(
        ("choice", "env"),
        [
            (
                "wireguard-mullvad",
                {
                    "VPN_SERVICE_PROVIDER": "mullvad",
                    "VPN_TYPE": "wireguard",
                    "WIREGUARD_ADDRESSES": "10.64.0.2/32",
                    "SERVER_COUNTRIES": "Sweden,New Zealand",
                },
            ),
            (
                "wireguard-custom",
                {
                    "VPN_SERVICE_PROVIDER": "custom",
                    "VPN_TYPE": "wireguard",
                    "WIREGUARD_ADDRESSES": "10.64.0.2/32",
                    "WIREGUARD_ENDPOINT_IP": "198.51.100.7",
                    "WIREGUARD_ENDPOINT_PORT": "51820",
                    "WIREGUARD_PUBLIC_KEY": "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=",
                },
            ),
            (
                "openvpn",
                {
                    "VPN_SERVICE_PROVIDER": "hidemyass",
                    "VPN_TYPE": "openvpn",
                    "SERVER_COUNTRIES": "Japan",
                    "OPENVPN_USER_SECRETFILE": "/run/secrets/openvpn_user",
                    "OPENVPN_PASSWORD_SECRETFILE": "/run/secrets/openvpn_password",
                },
            ),
            (
                "openvpn-custom",
                {
                    "VPN_SERVICE_PROVIDER": "custom",
                    "VPN_TYPE": "openvpn",
                    "OPENVPN_CUSTOM_CONFIG": "/run/secrets/client.ovpn",
                },
            ),
        ],
    )
    def test_a_provider_is_told_what_the_settings_say(self, choice: str, env: dict[str, str]) -> None:
        told = built(choice).service("vpn").env
        about = ("VPN_", "SERVER_", "WIREGUARD_", "OPENVPN_")
        assert {name: value for name, value in told.items() if name.startswith(about)} == env

    @pytest.mark.parametrize("choice", CHOICES)
    def test_only_the_downloaders_page_is_let_in(self, choice: str) -> None:
        env = built(choice).service("vpn").env
        assert env["FIREWALL_INPUT_PORTS"] == built(choice).service("qbittorrent").env["QBT_WEBUI_PORT"]
        assert "FIREWALL_OUTBOUND_SUBNETS" not in env
        assert env.get("FIREWALL", "on") == "on"

    @pytest.mark.parametrize(
        ("choice", "asked"),
        [
            ("dev", {"HEALTH_TARGET_ADDRESSES": "10.13.13.1:9998", "HEALTH_ICMP_TARGET_IPS": "10.13.13.1"}),
            (
                "wireguard-custom",
                {"HEALTH_TARGET_ADDRESSES": "10.64.0.1:9998", "HEALTH_ICMP_TARGET_IPS": "10.64.0.1"},
            ),
            ("openvpn-custom", {}),
            ("prod", {}),
        ],
    )
    def test_what_the_tunnels_health_is_asked_of(self, choice: str, asked: dict[str, str]) -> None:
        env = built(choice).service("vpn").env
        assert {name: value for name, value in env.items() if name.startswith("HEALTH_")} == asked

    @pytest.mark.parametrize("choice", CHOICES)
    def test_the_last_rules_are_the_same_for_every_provider(self, choice: str) -> None:
        # Also where nobody knows the tunnel's address before it is there.
        stack = built(choice)
        pools = {name: str(item.tables("ipamConfigs")[0]["subnet"]) for name, item in stack.of("Network").items()}
        apps, tunnel = (ipaddress.ip_network(pools[f"network-{name}"]) for name in ("apps", "tunnel"))
        lines = stack.seed("vpn").files["/iptables/post-rules.txt"].splitlines()
        assert sorted(line for line in lines if not line.startswith("#")) == sorted(
            [
                "iptables -I OUTPUT 1 -o eth+ -m addrtype ! --src-type LOCAL --limit-iface-out -j DROP",
                "iptables -I OUTPUT 1 -d 127.0.0.11 -j DROP",
                f"iptables -I OUTPUT 1 -d {apps[1]} -j DROP",
                f"iptables -I OUTPUT 1 -d {tunnel[1]} -j DROP",
                f"iptables -I INPUT 1 -i eth+ ! -s {apps} -m conntrack --ctstate NEW -j DROP",
                "iptables -I INPUT 1 -i eth+ -p tcp ! --dport 8080 -m conntrack --ctstate NEW -j DROP",
                "iptables -I INPUT 1 -i eth+ ! -p tcp -m conntrack --ctstate NEW -j DROP",
            ]
        )

    @pytest.mark.parametrize("choice", CHOICES)
    def test_no_file_is_empty(self, choice: str) -> None:
        # The provider refuses an empty upload, when it creates the container.
        for name, item in built(choice).of("Container").items():
            assert "" not in item.files.values(), name

    @pytest.mark.parametrize("choice", CHOICES)
    def test_what_only_openvpn_needs_is_given_to_it_alone(self, choice: str) -> None:
        vpn = built(choice).service("vpn")
        added = vpn.table("capabilities")["adds"]
        assert isinstance(added, list)
        extra = {"CAP_KILL", "CAP_SETGID", "CAP_SETUID"}
        assert extra & {*added} == (extra if vpn.env["VPN_TYPE"] == "openvpn" else set())

    @pytest.mark.parametrize("choice", CHOICES)
    def test_block_lists_have_room(self, choice: str) -> None:
        vpn = built(choice).service("vpn")
        assert vpn.inputs["memory"] == (256 if vpn.env.get("DNS_SERVER") == "off" else 512)

    @pytest.mark.parametrize("choice", CHOICES)
    def test_the_downloader_is_bound_to_the_tunnel_and_rides_it(self, choice: str) -> None:
        stack = built(choice)
        conf = stack.seed("qbittorrent").files["/run/secrets/qBittorrent.conf"]
        assert "Session\\Interface=tun0\n" in conf
        assert "Session\\InterfaceName=tun0\n" in conf
        assert stack.service("qbittorrent").sources["networkMode"] == {"vpn-container"}
        script = stack.seed("qbittorrent").files["/run/config/downloader.sh"]
        assert script == (ROOT / "config" / "qbittorrent" / "downloader.sh").read_text()
        run = ["/bin/bash", "/run/config/downloader.sh"]
        assert stack.service("qbittorrent").texts("entrypoints") == ["/usr/bin/catatonit", "--", *run, "run"]
        assert stack.service("qbittorrent").table("healthcheck")["tests"] == ["CMD", *run, "healthy"]

    def test_the_downloader_believes_the_edge_alone(self) -> None:
        conf = built("dev").seed("qbittorrent").files["/run/secrets/qBittorrent.conf"]
        assert "WebUI\\ReverseProxySupportEnabled=true\n" in conf
        places = {str(item["name"]): item for item in built("dev").service("traefik").tables("networksAdvanced")}
        edge = places["nexus-test-apps"]["ipv4Address"]
        assert f"WebUI\\TrustedReverseProxiesList={edge}\n" in conf

    @pytest.mark.parametrize("stack", ["test", "a.b"])
    def test_the_guard_may_start_the_downloader_and_nothing_else(self, stack: str) -> None:
        made = built("dev", stack=stack)
        flags = made.service("guard-socket-proxy").texts("command")
        calls = dict(flag.removeprefix("-allow").split("=", 1) for flag in flags if re.match("-allow[A-Z]+=", flag))
        name = made.service("qbittorrent").text("name")
        assert calls.keys() == {"GET", "POST"}
        assert re.fullmatch(calls["GET"], f"/containers/{name}/json")
        assert re.fullmatch(calls["POST"], f"/containers/{name}/start")
        for path in (
            f"/v1.23/containers/{name}/start",  # the engine then takes a new HostConfig with it
            f"/containers/{name}/stop",
            f"/containers/{name}/restart",
            f"/containers/{name}/exec",
            f"/containers/{name}/../vpn/start",
            f"/containers/{name.replace('.', 'x')}-vpn/start",
            "/containers/nexus-test-vpn/start",
            "/containers/create",
        ):
            assert not re.fullmatch(calls["POST"], path)
            assert not re.fullmatch(calls["GET"], path)
        assert "-allowfrom=guard" in flags
        guard = made.service("guard").env
        assert (guard["CONTAINER"], guard["ENGINE"]) == (name, "http://guard-socket-proxy:2375")


class TestArr:
    def test_those_of_today_keep_their_ports(self) -> None:
        """Bookmarks and the apps' own settings have them; a newcomer is beside them."""
        today = {"sonarr": 8989, "radarr": 7878, "prowlarr": 9696}
        assert today.items() <= {app.name: app.port for app in ARRS}.items()
        assert len({app.name for app in ARRS}) == len(ARRS)

    @pytest.mark.parametrize("app", [app.name for app in ARRS])
    @pytest.mark.parametrize(("key", "starts"), [("0a1b", True), ("", False), (None, False)])
    def test_an_app_starts_with_its_key_or_not_at_all(
        self, app: str, key: str | None, starts: bool, tmp_path: Path
    ) -> None:
        """Without one it would make a key of its own, which nothing else knows."""
        file, program = tmp_path / "api_key", tmp_path / "entrypoint.sh"
        if key is not None:
            file.write_text(key)
        program.write_text(f"#!/bin/bash\necho $0 ${app.upper()}__AUTH__APIKEY\n")
        program.chmod(0o755)
        *_, shell, option, script = built("dev").service(app).texts("entrypoints")
        assert script.count("/run/secrets/api_key") == script.count("/entrypoint.sh") == 1
        script = script.replace("/run/secrets/api_key", str(file)).replace("/entrypoint.sh", str(program))
        done = subprocess.run([shell, option, script], capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is starts
        assert done.stdout == (f"{program} {key}\n" if starts else "")


class TestData:
    @pytest.mark.parametrize("choice", CHOICES)
    def test_one_tree_for_media_and_downloads(self, choice: str) -> None:
        # One mount from one source: a hardlink from downloads to the library is possible.
        stack = built(choice)
        sources = {
            (str(item.mounts["/data"]["type"]), str(item.mounts["/data"]["source"]))
            for item in stack.of("Container").values()
            if "/data" in item.mounts
        }
        bound = {"prod", "staging", "bind-data"}
        assert sources == {("bind", "/srv/media") if choice in bound else ("volume", "nexus-test-data")}

    def test_is_made_before_those_who_write_to_it(self) -> None:
        stack = built("dev")
        users = {name for name in stack.of("Service") if "/data" in stack.service(name).mounts}
        assert users >= {"jellyfin", "sonarr", "radarr", "qbittorrent"}
        assert {name for name in users if "data-seed" not in stack.service(name).depends_on} == {"node-exporter"}

    @pytest.mark.parametrize(("choice", "owner"), [("dev", "1000:1000"), ("bind-data", "1234:4321")])
    def test_belongs_to_the_apps(self, choice: str, owner: str) -> None:
        stack = built(choice)
        (script,) = stack.seed("data").texts("command")[2:]
        # What it does is shown on an engine (tests/integration/test_changes.py).
        assert f"chown {owner} /data" in script
        assert f"chown {owner} $folder" in script
        made = script.partition("for folder in ")[2].partition(";")[0].split()
        assert {"media", "media/movies", "media/tv", "torrents"} <= set(made)
        assert all(str(Path(folder).parent) in {".", *made[: made.index(folder)]} for folder in made)
        for name in ("jellyfin", *(app.name for app in ARRS), "qbittorrent"):
            assert stack.service(name).text("user") == owner

    def test_the_time_zone_is_every_containers(self) -> None:
        stack = built("bind-data")
        assert {stack.service(name).env["TZ"] for name in stack.of("Service")} == {"Europe/Berlin"}


class TestImages:
    def test_mirror(self) -> None:
        names = {image.text("name") for image in built("mirror").of("RemoteImage").values()}
        assert all(name.startswith("registry.lan:5000/cache/") for name in names)

    def test_lock(self, tmp_path: Path) -> None:
        references = {key: f"localhost:5790/{key}:1.0@sha256:{'ab' * 32}" for key in images.PINS}
        lock = tmp_path / "images.lock.json"
        lock.write_text(json.dumps({"images": {key: {"ref": ref} for key, ref in references.items()}}))
        stack = build(Choice(config={**EMBEDDED, "nexus:images": {"lock": str(lock)}}))
        assert {
            name.removeprefix("image-"): image.text("name") for name, image in stack.of("RemoteImage").items()
        } == (references)


class TestRemoteEngine:
    def test_the_provider_talks_to_it(self) -> None:
        address = "ssh://nexus@media.lan/var/run/docker.sock"
        assert built("remote").of("docker")["docker"].inputs["host"] == address
        assert built("dev").of("docker")["docker"].inputs["host"] == "unix:///var/run/docker.sock"

    def test_the_proxy_gets_that_hosts_socket_and_group(self) -> None:
        proxy = built("remote").service("cadvisor-socket-proxy")
        assert proxy.texts("groupAdds") == ["121"]
        assert proxy.mounts["/var/run/docker.sock"]["source"] == "/var/run/docker.sock"


class TestAnotherSocket:
    def test_the_proxy_gets_the_one_of_the_settings(self) -> None:
        proxy = built("rootless").service("cadvisor-socket-proxy")
        assert proxy.mounts["/var/run/docker.sock"]["source"] == "/run/user/1000/docker.sock"
