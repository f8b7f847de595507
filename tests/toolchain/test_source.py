"""The build from Go modules: each binary once, and again exactly when what it is made from has changed."""

from __future__ import annotations

from tests.toolchain.conftest import CLI, DOCKER, Machine


def edit(machine: Machine, path: str, old: str, new: str) -> None:
    file = machine.checkout / path
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def plugin(machine: Machine, name: str) -> str:
    (binary,) = (machine.cache / "pulumi-home").rglob(f"pulumi-resource-{name}")
    return binary.read_text()


def test_everything_is_built_and_put_together(machine: Machine) -> None:
    machine.put_go_on_path()
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert machine.calls("go build") == ["go build pulumi", "go build provider-random", "go build provider-docker"]
    (toolchain,) = machine.toolchains()
    content = {path.name: path.read_text() for path in (toolchain / "bin").iterdir()}
    assert content.keys() == {
        "pulumi",
        "pulumi-language-python",
        "pulumi-language-python-exec",
        "pulumi-language-python.py",
        "pulumi-language-python.version",
    }
    assert content["pulumi-language-python-exec"] == "# runs programs\n"
    assert content["pulumi-language-python.version"] == f"{CLI}\n"
    assert "docker:index" in plugin(machine, "docker")


def test_progress_says_what_is_built_and_how_long_it_takes(machine: Machine) -> None:
    machine.put_go_on_path()
    err = machine.install().stderr
    assert "3 of 3 binaries have to be built" in err
    for name in ("pulumi", "provider-random", "provider-docker"):
        assert f"building {name} from Go modules: about " in err


def test_changed_source_rebuilds_that_binary_alone(machine: Machine) -> None:
    machine.put_go_on_path()
    assert machine.install().returncode == 0
    machine.forget()
    edit(machine, "lab/engine/provider-docker/main.go", "getRemoteImage", "getSomethingElse")
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert machine.calls("go build") == ["go build provider-docker"]
    assert "getSomethingElse" in plugin(machine, "docker")
    assert [call.split()[4] for call in machine.calls("pulumi plugin")] == ["docker"]
    assert len(machine.toolchains()) == 2


def test_changed_language_host_is_put_in_without_a_build(machine: Machine) -> None:
    machine.put_go_on_path()
    assert machine.install().returncode == 0
    (machine.bin / "go").unlink()
    machine.forget()
    edit(machine, "lab/engine/pulumi-language-python/host.py", '"""The Python language host', '"""Our language host')
    done = machine.install()
    assert done.returncode == 0, done.stderr
    hosts = [(toolchain / "bin/pulumi-language-python.py").read_text() for toolchain in machine.toolchains()]
    assert sorted(host.startswith('"""Our') for host in hosts) == [False, True]


def test_changed_pin_is_a_new_build(machine: Machine) -> None:
    machine.put_go_on_path()
    assert machine.install().returncode == 0
    machine.forget()
    edit(machine, "scripts/toolchain/versions.env", f"DOCKER_VERSION={DOCKER}", "DOCKER_VERSION=5.3.0")
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert machine.calls("go build") == ["go build provider-docker"]
    assert (machine.cache / "pulumi-home/plugins/resource-docker-v5.3.0/pulumi-resource-docker").exists()


def test_interrupted_build_goes_on_where_it_stopped(machine: Machine) -> None:
    machine.put_go_on_path()
    broken = machine.folder / "broken"
    broken.write_text("provider-docker\n")
    done = machine.install()
    assert done.returncode == 1
    assert "main.go:1: broken" in done.stderr
    assert "go build of lab/engine/provider-docker failed" in done.stderr
    assert machine.toolchains() == []
    assert machine.leftovers() == []

    broken.unlink()
    machine.forget()
    done = machine.install()
    assert done.returncode == 0, done.stderr
    assert machine.calls("go build") == ["go build provider-docker"]
    assert "1 of 3 binaries" in done.stderr


def test_plugin_of_another_checkout_is_put_back(machine: Machine) -> None:
    machine.put_go_on_path()
    assert machine.install().returncode == 0
    before = plugin(machine, "docker")
    edit(machine, "lab/engine/provider-docker/main.go", "getRemoteImage", "getSomethingElse")
    assert machine.install().returncode == 0
    edit(machine, "lab/engine/provider-docker/main.go", "getSomethingElse", "getRemoteImage")
    machine.forget()
    assert machine.install().returncode == 0
    assert plugin(machine, "docker") == before
    assert machine.calls("go build") == []
