"""scripts/destroy.py: nothing is left but the data, and it says where that is."""

from __future__ import annotations

import json
from unittest.mock import Mock

import pytest

from components import reach
from scripts import destroy, dockerhost
from scripts.console import UserError
from scripts.dockerhost import Container, Named, Scene
from scripts.engine import VOLUME, Engine, Resource, State
from tests.scripts.test_up import told


def volumes(*names: str) -> State:
    return State(resources=tuple(Resource(urn=f"u::{name}", type=VOLUME, id=name, protect=True) for name in names))


def test_the_message_says_where_the_data_is_and_how_it_goes() -> None:
    text = destroy.kept(volumes("nexus-dev-sonarr-config", "nexus-dev-data"), "", reach.DEFAULT)
    assert "  Docker volume nexus-dev-data\n" in text
    assert "  docker volume rm nexus-dev-data nexus-dev-sonarr-config\n" in text
    assert "rm -r" not in text


def test_the_message_names_a_host_path_and_another_engine() -> None:
    text = destroy.kept(volumes("nexus-prod-a"), "/srv/media", "ssh://media@nas")
    assert "  media and downloads: /srv/media\n" in text
    assert "  docker --host ssh://media@nas volume rm nexus-prod-a\n" in text
    assert "  rm -r /srv/media\n" in text


def test_the_message_is_short_where_there_is_no_data() -> None:
    assert destroy.kept(State(), "", reach.DEFAULT) == "No data is left."


@pytest.fixture
def scenes(monkeypatch: pytest.MonkeyPatch) -> list[Scene]:
    """What the Docker Engine shows each time it is looked at; the last one stays."""
    shown: list[Scene] = []
    monkeypatch.setattr(dockerhost, "look", lambda *_: shown.pop(0) if len(shown) > 1 else shown[0])
    return shown


REMNANT = Scene(containers=(Container(id="x", name="nexus-dev-x"),), networks=(Named(id="n", name="nexus-dev-n"),))


def begun(engine: Engine, *names: str) -> None:
    """Puts creations that were begun and never recorded into the state."""
    assert engine.paths.backend
    pending = [{"type": "creating", "resource": {"urn": f"u::{name}", "inputs": {"name": name}}} for name in names]
    text = json.dumps({"version": 3, "deployment": {"pending_operations": pending}})
    (engine.paths.backend / ".pulumi/stacks/nexus/dev.json").write_text(text, encoding="utf-8")


def test_what_an_interrupted_run_left_is_removed(engine: Engine, scenes: list[Scene]) -> None:
    begun(engine, "nexus-dev-x", "nexus-dev-n")
    scenes += [REMNANT, Scene()]
    fake, client = told(engine, 0), Mock()
    client.api.inspect_network.return_value = {"Containers": {"other": {}}}
    destroy.destroy(fake, client)
    assert fake.calls[0][:3] == ("destroy", "--yes", "--exclude-protected")
    client.api.remove_container.assert_called_once_with("x", v=False, force=True)
    client.api.disconnect_container_from_network.assert_called_once_with("other", "n", force=True)
    client.api.remove_network.assert_called_once_with("n")


def test_another_states_stack_of_the_same_name_is_not_destroyed(engine: Engine, scenes: list[Scene]) -> None:
    scenes += [REMNANT]
    fake, client = told(engine, 0), Mock()
    with pytest.raises(UserError, match="this state did not make"):
        destroy.destroy(fake, client)
    assert fake.calls == []
    assert client.mock_calls == []


def test_what_is_still_there_is_named(engine: Engine, scenes: list[Scene]) -> None:
    scenes += [Scene(), REMNANT]
    with pytest.raises(UserError, match="still there: nexus-dev-x, nexus-dev-n"):
        destroy.destroy(told(engine, 0), Mock())


def test_a_failing_destroy_removes_nothing_behind_the_engines_back(engine: Engine, scenes: list[Scene]) -> None:
    scenes += [Scene()]
    client = Mock()
    with pytest.raises(UserError, match="`pulumi destroy` failed"):
        destroy.destroy(told(engine, 1), client)
    client.api.remove_container.assert_not_called()
