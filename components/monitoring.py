"""Metrics and alerts: Prometheus and what it scrapes, Alertmanager, Grafana.

Scrape targets are made from the services: one with `metrics` is scraped and one with `probe` is probed without a
second edit. Rules and dashboards are files under config/.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pulumi
import yaml

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
    Metrics,
    OwnSignIn,
    Privileges,
    Process,
    ServiceArgs,
    User,
    Web,
)
from components.dockerhost import DockerHost
from components.errors import PlatformError
from components.names import physical
from components.networks import (
    ALERTS,
    APPS,
    DASHBOARDS,
    EGRESS,
    EXPORTERS,
    MONITORING,
    SCRAPE_JELLYFIN,
    SCRAPE_TRAEFIK,
    SOCKET_CADVISOR,
    Network,
    OwnNetworks,
)
from components.secrets import ADMIN_USER, SecretBundle
from components.service import Service
from components.settings.schema import EmailReceiver, NoReceiver, Receiver, WebhookReceiver
from components.settings.secret import ALERT_WEBHOOK_URL, SMTP_PASSWORD, Secrets
from components.storage import BindMount

TEMPLATES: Final = Path(__file__).parent.parent / "config"
GRAFANA: Final = User(uid=472, gid=0)

BLACKBOX: Final = "blackbox-exporter"
_BLACKBOX_LISTENS: Final = EXPORTERS.at(250)
_BLACKBOX_NETWORKS: Final = OwnNetworks(APPS.connects(), _BLACKBOX_LISTENS)
_PROMETHEUS_LISTENS: Final = MONITORING.at(250)
_PROMETHEUS_NETWORKS: Final = OwnNetworks(
    _PROMETHEUS_LISTENS,
    EXPORTERS.connects(),
    ALERTS.connects(),
    SCRAPE_TRAEFIK.connects(),
    SCRAPE_JELLYFIN.connects(),
)
CADVISOR_CALLS: Final = {
    "GET": r"(/v1\.[0-9]+)?/(_ping|version|info|containers/json|containers/[0-9a-f]{64}/json)",
    "HEAD": "/_ping",
}
"""The engine's paths that cAdvisor asks, by method: see `socket_proxy`."""
CADVISOR: Final = "cadvisor"
_CONTAINERS: Final = "/docker/,/system.slice/docker-,/user.slice/"
"""How the control groups of containers begin: by the engine itself, by systemd, and of a rootless engine."""


def _answers(port: int, path: str, address: str = "127.0.0.1") -> HealthCheck:
    # busybox's wget, the one HTTP client in these images
    return HealthCheck(test=("CMD", "wget", "-q", "-O", "/dev/null", f"http://{address}:{port}{path}"))


def node_exporter(host: DockerHost, opts: pulumi.ResourceOptions | None = None) -> Service:
    """The host's CPU, memory and disks, without a single path of the host: /proc and /sys of any container show
    them. The data tree is mounted for the free space of its file system; /etc/hosts lies on Docker's own."""
    collectors = ("cpu", "diskstats", "filesystem", "hwmon", "loadavg", "meminfo", "stat", "time", "uname", "vmstat")
    return Service(
        "node-exporter",
        ServiceArgs(
            image="node-exporter",
            user=NOBODY,
            limits=Limits(memory=64, cpus=0.5),
            health=_answers(9100, "/"),
            network=OwnNetworks(EXPORTERS),
            process=Process(
                command=("--collector.disable-defaults", *(f"--collector.{name}" for name in collectors)),
            ),
            mounts=(host.storage.data(read_only=True),),
            exposes=Exposes(metrics=Metrics(port=9100)),
        ),
        host,
        opts,
    )


def socket_proxy(
    host: DockerHost,
    consumer: str,
    calls: Mapping[str, str],
    network: Network,
    opts: pulumi.ResourceOptions | None = None,
) -> Service:
    """What mounts the Docker socket, read-only, for one consumer on a `network` of the two. `calls` has a regular
    expression for each HTTP method that it hands on, which a path matches as a whole."""
    return Service(
        f"{consumer}-socket-proxy",
        ServiceArgs(
            image="socket-proxy",
            user=NOBODY,
            limits=Limits(memory=32, cpus=0.5),
            # Whoever it is for waits for it.
            health=HealthCheck(test=("CMD", "./healthcheck"), interval=5),
            network=OwnNetworks(network),
            process=Process(
                command=(
                    "-listenip=0.0.0.0",
                    f"-allowfrom={consumer}",
                    *(f"-allow{method}={path}" for method, path in calls.items()),
                    "-allowhealthcheck",
                    "-loglevel=info",
                ),
            ),
            mounts=(BindMount(source=str(host.socket.path), target="/var/run/docker.sock"),),
            tmpfs={},
            access=Access(groups=(host.socket.gid,)),
        ),
        host,
        opts,
    )


def cadvisor(host: DockerHost, proxy: Service, opts: pulumi.ResourceOptions | None = None) -> Service:
    """Memory and CPU of each container, by name. It is root without capabilities but one: the engine's layer
    database, which maps containers to names, is readable by root alone.

    Where images lie in containerd it would need containerd's own socket to name one (0.60.6, container/docker): it
    then hands over the control groups of containers as they are, and Prometheus names those of the stack."""
    return Service(
        CADVISOR,
        ServiceArgs(
            image="cadvisor",
            user=ROOT,
            limits=Limits(memory=256, cpus=0.5),
            health=_answers(8080, "/healthz"),
            network=OwnNetworks(SOCKET_CADVISOR, EXPORTERS),
            process=Process(
                entrypoint=("/usr/bin/cadvisor",),
                command=(
                    "-logtostderr",
                    "-port=8080",
                    f"--docker=tcp://{proxy.name}:2375",
                    "--docker_only=true",
                    *((f"--raw_cgroup_prefix_whitelist={_CONTAINERS}",) if host.engine.containerd_images else ()),
                    "--store_container_labels=false",
                    "--housekeeping_interval=30s",
                    "--disable_metrics=advtcp,cpu_topology,cpuset,disk,diskIO,hugetlb,memory_numa,network,percpu,"
                    "perf_event,process,referenced_memory,resctrl,sched,tcp,udp",
                ),
            ),
            mounts=(
                BindMount(source="/sys", target="/sys"),
                *((BindMount(source=str(layers), target=str(layers)),) if (layers := host.engine.layers) else ()),
            ),
            access=Access(
                privileges=Privileges(
                    why="reads the engine's layer database, which belongs to root", capabilities=("CAP_DAC_OVERRIDE",)
                ),
            ),
            exposes=Exposes(metrics=Metrics(port=8080, of_containers=True)),
            after=(proxy.container,),
        ),
        host,
        opts,
    )


def blackbox_exporter(host: DockerHost, opts: pulumi.ResourceOptions | None = None) -> Service:
    """Asks the apps that have no metrics of their own whether they answer. It asks for anybody who reaches it, and so
    it listens where Prometheus is and not where the apps are."""
    address = str(host.networks.address(_BLACKBOX_LISTENS))
    modules = {
        "modules": {
            "http_2xx": {
                "prober": "http",
                "timeout": "5s",
                "http": {"preferred_ip_protocol": "ip4", "follow_redirects": False},
            }
        }
    }
    return Service(
        BLACKBOX,
        ServiceArgs(
            image="blackbox-exporter",
            user=NOBODY,
            limits=Limits(memory=64, cpus=0.5),
            health=_answers(9115, "/-/healthy", address),
            network=_BLACKBOX_NETWORKS,
            process=Process(
                command=(f"--config.file={CONFIG}/blackbox.yml", f"--web.listen-address={address}:9115"),
            ),
            files=Files(config={"blackbox.yml": yaml.safe_dump(modules)}),
            exposes=Exposes(metrics=Metrics(port=9115)),
        ),
        host,
        opts,
    )


def alertmanager(
    host: DockerHost, receiver: Receiver, given: Secrets, opts: pulumi.ResourceOptions | None = None
) -> Service:
    """Groups alerts and sends them to the receiver."""
    kind, files = _receiver(receiver, given)
    configuration = {
        "route": {"receiver": "default", "group_by": ["alertname", "service"], "repeat_interval": "12h"},
        "receivers": [{"name": "default", **kind}],
    }
    return Service(
        "alertmanager",
        ServiceArgs(
            image="alertmanager",
            user=NOBODY,
            limits=Limits(memory=96, cpus=0.5),
            health=_answers(9093, "/-/healthy"),
            network=OwnNetworks(EGRESS, ALERTS),
            process=Process(
                command=(
                    f"--config.file={CONFIG}/alertmanager.yml",
                    "--storage.path=/alertmanager",
                    "--cluster.listen-address=",
                ),
            ),
            files=Files(config={"alertmanager.yml": yaml.safe_dump(configuration)}, secrets=files),
            mounts=(host.storage.volume("alertmanager", "data", "/alertmanager"),),
            exposes=Exposes(metrics=Metrics(port=9093)),
        ),
        host,
        opts,
    )


def _receiver(receiver: Receiver, given: Secrets) -> tuple[dict[str, object], dict[str, pulumi.Output[str]]]:
    match receiver:
        case NoReceiver():
            return {}, {}
        case WebhookReceiver():
            return (
                {"webhook_configs": [{"url_file": f"{SECRETS}/webhook_url"}]},
                {"webhook_url": given.require(ALERT_WEBHOOK_URL)},
            )
        case EmailReceiver():
            mail = {
                "to": receiver.to,
                "from": receiver.sender,
                "smarthost": receiver.smarthost,
                "auth_username": receiver.username,
                "auth_password_file": f"{SECRETS}/smtp_password",
            }
            return {"email_configs": [mail]}, {"smtp_password": given.require(SMTP_PASSWORD)}


def grafana(host: DockerHost, url: str, secrets: SecretBundle, opts: pulumi.ResourceOptions | None = None) -> Service:
    """Grafana at `url`, with its data source and dashboards from files, and nothing fetched from the internet. The
    admin password is read at the first start only: afterwards it is Grafana's own."""
    source = {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "Prometheus",
                "uid": "prometheus",
                "type": "prometheus",
                "access": "proxy",
                "url": "http://prometheus:9090",
                "isDefault": True,
                "editable": False,
            }
        ],
    }
    dashboards = {
        "apiVersion": 1,
        "providers": [
            {
                "name": "nexus",
                "type": "file",
                "allowUiUpdates": False,
                "options": {"path": f"{CONFIG}/dashboards"},
            }
        ],
    }
    files = sorted((TEMPLATES / "grafana" / "dashboards").glob("*.json"))
    return Service(
        "grafana",
        ServiceArgs(
            image="grafana",
            user=GRAFANA,
            limits=Limits(
                # 13.2 runs 13 of its data sources as processes of their own, and is killed for memory at 384.
                memory=768,
                cpus=1.0,
            ),
            health=_answers(3000, "/api/health"),
            network=OwnNetworks(MONITORING, DASHBOARDS),
            process=Process(
                env={
                    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
                    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
                    "GF_ANALYTICS_REPORTING_ENABLED": "false",
                    "GF_AUTH_ANONYMOUS_ENABLED": "false",
                    "GF_NEWS_NEWS_FEED_ENABLED": "false",
                    "GF_PATHS_PROVISIONING": f"{CONFIG}/provisioning",
                    "GF_PLUGINS_PREINSTALL_AUTO_UPDATE": "false",
                    # Otherwise Grafana fetches plugins before it listens, and never listens without the internet; and
                    # with a read-only root its updater ends the image's own plugins, Prometheus's among them.
                    "GF_PLUGINS_PREINSTALL_DISABLED": "true",
                    "GF_SECURITY_ADMIN_PASSWORD__FILE": f"{SECRETS}/admin_password",
                    "GF_SECURITY_ADMIN_USER": ADMIN_USER,
                    "GF_SERVER_ROOT_URL": url,
                    "GF_USERS_ALLOW_SIGN_UP": "false",
                },
                stop_grace=30,
            ),
            files=Files(
                config={
                    "provisioning/datasources/prometheus.yaml": json.dumps(source, indent=1),
                    "provisioning/dashboards/nexus.yaml": json.dumps(dashboards, indent=1),
                    **{f"dashboards/{file.name}": file.read_text() for file in files},
                },
                secrets={"admin_password": secrets.admin_password},
            ),
            mounts=(host.storage.volume("grafana", "data", "/var/lib/grafana"),),
            exposes=Exposes(
                web=Web(host="grafana", port=3000, sign_in=OwnSignIn(), hidden_paths=("/metrics",)),
                metrics=Metrics(port=3000),
            ),
        ),
        host,
        opts,
    )


def prometheus_configuration(services: Sequence[Service], names: Mapping[str, str] | None = None) -> str:
    """Prometheus's configuration for these services; `names` are those of containers that no metric names, by id.

    Raises PlatformError where one of them is on no network of Prometheus, or of the blackbox exporter.
    """
    jobs: list[dict[str, object]] = [
        {"job_name": "prometheus", "static_configs": [{"targets": ["prometheus:9090"]}]},
    ]
    for service in services:
        if (metrics := service.args.exposes.metrics) is None:
            continue
        if not _PROMETHEUS_NETWORKS.reach(service.networks):
            raise PlatformError(
                f"{service.name} has metrics but shares no network with prometheus: add one of "
                f"{_PROMETHEUS_NETWORKS.names} to its `network=OwnNetworks(…)`"
            )
        job: dict[str, object] = {
            "job_name": service.name,
            "metrics_path": metrics.path,
            "static_configs": [
                {"targets": [f"{service.address}:{metrics.port}"], "labels": {"service": service.name}}
            ],
        }
        if metrics.of_containers and names:
            job["metric_relabel_configs"] = [
                {"source_labels": ["id"], "regex": f".*{identity}.*", "target_label": "name", "replacement": name}
                for identity, name in sorted(names.items())
            ]
        jobs.append(job)
    probed = [service for service in services if service.args.exposes.probe]
    for service in probed:
        if not _BLACKBOX_NETWORKS.reach(service.networks):
            raise PlatformError(
                f"{service.name} is probed but shares no network with {BLACKBOX}: add one of "
                f"{_BLACKBOX_NETWORKS.names} to its `network=OwnNetworks(…)`"
            )
    jobs.append(
        {
            "job_name": "probe",
            "metrics_path": "/probe",
            "params": {"module": ["http_2xx"]},
            "static_configs": [
                {
                    "targets": [
                        f"http://{service.address}:{service.args.exposes.probe.port}{service.args.exposes.probe.path}"
                    ],
                    "labels": {"service": service.name},
                }
                for service in probed
                if service.args.exposes.probe
            ],
            "relabel_configs": [
                {"source_labels": ["__address__"], "target_label": "__param_target"},
                {"source_labels": ["__param_target"], "target_label": "instance"},
                {"target_label": "__address__", "replacement": f"{BLACKBOX}:9115"},
            ],
        }
    )
    return yaml.safe_dump(
        {
            "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
            "rule_files": [f"{CONFIG}/alerts.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["alertmanager:9093"]}]}]},
            "scrape_configs": jobs,
        },
        sort_keys=False,
    )


def prometheus(
    host: DockerHost,
    retention: str,
    services: Sequence[Service],
    opts: pulumi.ResourceOptions | None = None,
) -> Service:
    """Prometheus over `services`, whose metrics it keeps for `retention`, such as 15d. No page at the edge: Grafana
    is the way to it. It listens where Grafana is and not where it scrapes, since what it holds is nothing for those
    it watches.

    Where images lie in containerd its configuration has the ids of their containers, so it is made anew with each.
    """
    address = str(host.networks.address(_PROMETHEUS_LISTENS))
    configuration: pulumi.Input[str] = prometheus_configuration(services)
    if host.engine.containerd_images:
        ids = {physical(service.name): service.container.id for service in services}
        configuration = pulumi.Output.all(**ids).apply(
            lambda found: prometheus_configuration(services, {identity: name for name, identity in found.items()})
        )
    return Service(
        "prometheus",
        ServiceArgs(
            image="prometheus",
            user=NOBODY,
            limits=Limits(memory=768, cpus=1.0),
            health=_answers(9090, "/-/healthy", address),
            network=_PROMETHEUS_NETWORKS,
            process=Process(
                command=(
                    f"--config.file={CONFIG}/prometheus.yml",
                    "--storage.tsdb.path=/prometheus",
                    f"--storage.tsdb.retention.time={retention}",
                    f"--web.listen-address={address}:9090",
                ),
                stop_grace=60,
            ),
            files=Files(
                config={
                    "prometheus.yml": configuration,
                    "alerts.yml": (TEMPLATES / "prometheus" / "alerts.yml").read_text(),
                },
            ),
            mounts=(host.storage.volume("prometheus", "data", "/prometheus"),),
        ),
        host,
        opts,
    )
