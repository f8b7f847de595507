"""An alert reaches Alertmanager when a target is really down. Its wait began in test_monitoring.py, if that ran."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.integration.probes import fetch
from tests.integration.stacks import Stack, not_healthy, wait_for
from tests.integration.test_monitoring import prometheus

pytestmark = pytest.mark.integration


def test_a_dead_target_reaches_alertmanager(stack: Stack, dead_exporter: str) -> None:
    def alert() -> dict[str, object] | None:
        answer = fetch(stack, stack.container("alertmanager"), "http://127.0.0.1:9093/api/v2/alerts?active=true")[0]
        found = answer.json()
        assert isinstance(found, list)
        mine = [
            item
            for item in found
            if (item["labels"]["alertname"], item["labels"].get("job")) == ("TargetDown", dead_exporter)
        ]
        return mine[0] if mine else None

    # Two minutes of `for`, two intervals of scraping and evaluation, and Prometheus's own delay in sending.
    fired = wait_for(alert, 240, f"the alert TargetDown of {dead_exporter}")
    annotations = fired["annotations"]
    assert isinstance(annotations, dict)
    assert dead_exporter in annotations["summary"]


def test_up_heals_the_dead_target_and_it_is_scraped_again(stack: Stack, dead_exporter: str) -> None:
    assert not_healthy(stack.containers()) == [f"{dead_exporter} is exited"]
    stack.up()
    assert not_healthy(stack.containers()) == []

    def scraped() -> bool:
        query = urlencode({"query": f'up{{job="{dead_exporter}"}}'})
        data = prometheus(stack, f"query?{query}")[0]
        assert isinstance(data, dict)
        return [item["value"][1] for item in data["result"]] == ["1"]

    wait_for(scraped, 60, f"{dead_exporter} to be scraped again")
