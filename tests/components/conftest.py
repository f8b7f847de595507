"""The tests of the components see no configuration but their own."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def _no_engine_around() -> Iterator[None]:
    """`settings.load` reads what an engine would have put here."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PULUMI_CONFIG", "PULUMI_CONFIG_SECRET_KEYS"):
            patch.delenv(name, raising=False)
        yield
