"""Builds the lab's images and writes their lock file. Called by lab/images/build.

One root file system carries all images but two; Traefik, cAdvisor and the stand-ins are compiled beside it. Every
image's label says what it was made from: an image whose inputs are unchanged is not built again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from components import reach
from lab.images import work
from lab.images.catalogue import IMAGES, LABEL, Binary, LabImage
from scripts.console import UserError, finish, say

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = ROOT / "lab" / "images"
STANDINS: Final = ROOT / "lab" / "standins"
CONTAINERS: Final = HERE / "containers"

# In the order of their compilation: the quick ones first, so that images can follow while Traefik is compiled.
BINARIES: Final[tuple[Binary, ...]] = ("nexus-standin", "cadvisor", "traefik")


@dataclass(frozen=True, kw_only=True)
class Local:
    """An image of the local store: its reference by digest and its labels."""

    ref: str
    labels: Mapping[str, str]


class Lab:
    """The lab's images on this machine: their inputs' hashes, what is there, what has to be made."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache / "lab"
        self.lock = self.cache / "images.lock.json"

    # -- inputs

    @cached_property
    def rootfs_key(self) -> str:
        return work.digest(HERE / "rootfs", platform.machine())

    @cached_property
    def binary_keys(self) -> Mapping[Binary, str]:
        compiler = _output("go", "env", "GOVERSION", "GOARCH")
        standins = sorted(
            [*STANDINS.glob("go.*"), *(p for p in STANDINS.rglob("*.go") if not p.stem.endswith("_test"))]
        )
        return {
            "traefik": work.digest(compiler, HERE / "traefik"),
            "cadvisor": work.digest(compiler, HERE / "cadvisor"),
            "nexus-standin": work.digest(compiler, HERE / "standins", *standins),
        }

    def image_key(self, image: LabImage) -> str:
        return work.digest(
            repr(image),
            CONTAINERS / image.folder,
            self.rootfs_key,
            *(self.binary_keys[binary] for binary in image.binaries),
        )

    @property
    def base(self) -> str:
        return f"nexus-lab-base:{self.rootfs_key}"

    @property
    def registry_image(self) -> str:
        return f"nexus-lab-registry:{work.digest(CONTAINERS / 'registry', self.rootfs_key)}"

    # -- what is there

    def present(self) -> dict[str, Local]:
        """The images, by key, that are in the local store with a digest and were made from today's inputs."""
        found = {}
        for image, state in zip(IMAGES, _inspect([image.name for image in IMAGES]), strict=True):
            if state and state.labels.get(f"{LABEL}.inputs") == self.image_key(image):
                found[image.key] = state
        return found

    def lock_text(self, present: Mapping[str, Local]) -> str:
        images = {
            image.key: {
                "ref": present[image.key].ref,
                "kind": present[image.key].labels[f"{LABEL}.kind"],
                "version": present[image.key].labels[f"{LABEL}.version"],
                "note": present[image.key].labels[f"{LABEL}.note"],
            }
            for image in IMAGES
            if image.key in present
        }
        return json.dumps({"source": "lab", "images": images}, indent=2) + "\n"

    def lacking(self, wanted: Sequence[LabImage]) -> list[str]:
        """What keeps the wanted images from being usable, empty if nothing does."""
        present = self.present()
        if missing := [image.key for image in wanted if image.key not in present]:
            return [f"not built, or built from other inputs: {', '.join(missing)}"]
        if not self.lock.is_file() or self.lock.read_text(encoding="utf-8") != self.lock_text(present):
            return [f"{self.lock} is not up to date"]
        return []

    # -- making

    def build(self, wanted: Sequence[LabImage]) -> None:
        """Makes what is missing of the wanted images and writes the lock file with all that are there."""
        present = self.present()
        missing = [image for image in wanted if image.key not in present]
        if missing:
            say(f"lab images: {len(missing)} of {len(IMAGES)} to build: {', '.join(image.key for image in missing)}")
            with ThreadPoolExecutor() as threads:
                try:
                    self._build(missing, threads)
                except BaseException:
                    work.stop_all()
                    raise
        work.write_whole(self.lock, self.lock_text(self.present()))
        if missing:
            _remove_superseded()
        say(f"lab images: ready, {self.lock}")

    def _build(self, missing: Sequence[LabImage], threads: ThreadPoolExecutor) -> None:
        for leftover in self.cache.glob(".context-*"):
            shutil.rmtree(leftover)
        needed = [binary for binary in BINARIES if any(binary in image.binaries for image in missing)]
        rootfs = threads.submit(self._rootfs)
        compiled = self._compile(needed, threads)
        versions = Versions(rootfs.result(), compiled)
        self._base(rootfs.result())
        registry_ran = self._registry_runs()
        self._call("lab's registry", HERE / "registry", "start")
        try:
            for image in missing:
                self._image(image, versions, {binary: compiled[binary].result() for binary in image.binaries})
            self._call("lab's registry, tidying", HERE / "registry", "tidy")
        finally:
            if not registry_ran:
                subprocess.run([HERE / "registry", "stop"], check=False)

    def _rootfs(self) -> Path:
        def make(folder: Path) -> None:
            # A machine made from an image has no package lists; without them apt does not say what its archives are.
            if os.geteuid() == 0 and not any(Path("/var/lib/apt/lists").glob("*Release")):
                self._call("package lists", "apt-get", "update")
            say("root file system: mmdebstrap, a minute or more")
            self._call("root file system", HERE / "rootfs" / "build", folder / "root.tar", folder / "packages")

        return work.artefact(self.cache / "artefacts", "rootfs", self.rootfs_key, make)

    def _compile(self, binaries: Sequence[Binary], threads: ThreadPoolExecutor) -> Mapping[Binary, Future[Path]]:
        """Starts one compilation after the other; each future gives the path of its program."""
        futures: dict[Binary, Future[Path]] = {}
        before: Future[Path] | None = None
        for binary in binaries:
            futures[binary] = before = threads.submit(self._compile_one, binary, before)
        return futures

    def _compile_one(self, binary: Binary, before: Future[Path] | None) -> Path:
        if before:
            before.exception()

        def make(folder: Path) -> None:
            hint = ", 5 minutes and more on two cores" if binary == "traefik" else ""
            say(f"{binary}: go build{hint}")
            script = HERE / ("standins" if binary == "nexus-standin" else binary) / "compile"
            # -v: a line for each package; else the compiler says nothing after the last download, for minutes.
            flags = f"{os.environ.get('GOFLAGS', '')} -v".strip()
            self._call(f"{binary}: go build", script, folder / binary, environment={"GOFLAGS": flags})

        return work.artefact(self.cache / "artefacts", binary, self.binary_keys[binary], make) / binary

    def _base(self, rootfs: Path) -> None:
        if not _exists(self.base):
            say("base image: docker import")
            self._call("docker import", "docker", "import", rootfs / "root.tar", self.base)
        if not _exists(self.registry_image):
            labels = {f"{LABEL}.role": "registry"}
            self._docker_build("registry", self.registry_image, labels, CONTAINERS / "registry", self.base)
        for repository in ("nexus-lab-base", "nexus-lab-registry"):
            for name in _output("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository).split():
                if name not in (self.base, self.registry_image):
                    subprocess.run(["docker", "image", "rm", name], check=False, capture_output=True)

    def _image(self, image: LabImage, versions: Versions, binaries: Mapping[Binary, Path]) -> None:
        version = versions.of(image)
        say(f"{image.key}: {image.kind}, {version}")
        labels = {
            f"{LABEL}.kind": image.kind,
            f"{LABEL}.version": version,
            f"{LABEL}.note": image.note,
            f"{LABEL}.inputs": self.image_key(image),
        }
        with tempfile.TemporaryDirectory(dir=self.cache, prefix=f".context-{image.key}-") as folder:
            context = Path(folder)
            shutil.copytree(CONTAINERS / image.folder, context, dirs_exist_ok=True)
            for binary, path in binaries.items():
                os.link(path, context / binary)
            base = self.base if image.on_base else None
            self._docker_build(image.key, image.name, labels, context, base, image.arguments)
        self._call(f"{image.key}: docker push", "docker", "push", image.name)

    def _docker_build(
        self,
        what: str,
        name: str,
        labels: Mapping[str, str],
        context: Path,
        base: str | None,
        arguments: Sequence[str] = (),
    ) -> None:
        command: list[str | Path] = ["docker", "build", "--network", "none", "--force-rm", "--tag", name]
        for argument in [*([f"BASE={base}"] if base else []), *arguments]:
            command += ["--build-arg", argument]
        for label, value in labels.items():
            command += ["--label", f"{label}={value}"]
        # The builder of the engine itself: BuildKit may need an image from a registry.
        self._call(f"{what}: docker build", *command, context, environment={"DOCKER_BUILDKIT": "0"})

    def _call(self, what: str, *command: str | Path, environment: Mapping[str, str] | None = None) -> None:
        log = self.cache / "logs" / (what.replace(":", "").replace(" ", "-").replace("'", "") + ".log")
        work.run(command, what=what, log=log, environment=environment)

    @staticmethod
    def _registry_runs() -> bool:
        return bool(_output("docker", "ps", "--quiet", "--filter", "name=^/nexus-lab-registry$"))


class Versions:
    """What is really inside the images, read from what they are made of."""

    def __init__(self, rootfs: Path, compiled: Mapping[Binary, Future[Path]]) -> None:
        lines = (rootfs / "packages").read_text(encoding="utf-8").splitlines()
        self._packages = dict(line.split("\t") for line in lines)
        self._compiled = compiled

    def of(self, image: LabImage) -> str:
        source, _, name = image.version.partition(":")
        match source:
            case "deb":
                return self._packages[name]
            case "module":
                folder, _, module = name.partition(" ")
                return _module_version(HERE / folder / "go.mod", module)
            case "plays":
                played = json.loads(_output(str(self._compiled["nexus-standin"].result()), "versions"))
                return f"plays {played[name]}"
            case "plays-pin":
                return f"plays {image.tag}"
            case _:
                raise ValueError(f"{image.key}: no such source of a version: {image.version}")


def _module_version(go_mod: Path, module: str) -> str:
    for line in go_mod.read_text(encoding="utf-8").splitlines():
        words = line.removeprefix("require ").split()
        if words[:1] == [module]:
            return words[1]
    raise ValueError(f"{go_mod}: does not require {module}")


def _inspect(names: Sequence[str]) -> list[Local | None]:
    """The images of the local store that have a digest, in the order of the names."""
    done = subprocess.run(["docker", "image", "inspect", *names], capture_output=True, text=True, check=False)
    if done.returncode and "No such image" not in done.stderr:
        raise UserError(f"the Docker Engine does not answer: {done.stderr.strip()}")
    by_name: dict[str, Local] = {}
    for image in json.loads(done.stdout):
        for name in image["RepoTags"] or ():
            repository = name.rpartition(":")[0]
            digests = [ref.partition("@")[2] for ref in image["RepoDigests"] if ref.partition("@")[0] == repository]
            if digests:
                by_name[name] = Local(ref=f"{name}@{digests[0]}", labels=image["Config"]["Labels"] or {})
    return [by_name.get(name) for name in names]


def _remove_superseded() -> None:
    """Removes the lab's earlier images, which new ones have taken the name from, unless a container uses them."""
    form = "{{.Tag}} {{.Repository}}@{{.Digest}}"
    lines = _output("docker", "image", "ls", "--digests", "--filter", f"label={LABEL}.kind", "--format", form)
    for tag, _, ref in (line.partition(" ") for line in lines.splitlines()):
        if tag == "<none>":
            subprocess.run(["docker", "image", "rm", ref], check=False, capture_output=True)


def _exists(name: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode == 0


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not on PATH: install it (the lab needs Docker and Go)") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"{' '.join(command)} failed: {error.stderr.strip()}") from None


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab/images/build", description="Builds the lab's images.")
    parser.add_argument("--check", action="store_true", help="build nothing; status 1 if something is not up to date")
    parser.add_argument(
        "--host", default=reach.DEFAULT, help="the Docker Engine on this machine, unix:///… (default: %(default)s)"
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="only these (all by default)")
    options = parser.parse_args()
    keys = [image.key for image in IMAGES]
    if unknown := sorted(set(options.images) - set(keys)):
        raise UserError(f"no such image: {', '.join(unknown)} (there are: {', '.join(keys)})")
    wanted = [image for image in IMAGES if not options.images or image.key in options.images]

    # Every docker command from here on: this engine, whatever the caller's shell or docker's own settings say.
    said = reach.quiet(os.environ, options.host)
    os.environ.clear()
    os.environ.update(said)
    lab = Lab(Path(os.environ["NEXUS_CACHE"]))
    lacking = lab.lacking(wanted)
    if options.check:
        for reason in lacking:
            print(f"lab images: {reason}: run lab/images/build")
        return 1 if lacking else 0
    if lacking:
        with work.only_one(lab.cache / "images.building"):
            lab.build(wanted)
    return 0


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    finish(main, "run lab/images/build again to go on")
