"""Opening the warehouse that the settings name; the one place that knows every engine."""

from __future__ import annotations

from cdesk.config import Settings
from cdesk.errors import ConfigError
from cdesk.warehouse import ENGINES
from cdesk.warehouse.base import Warehouse


def open_warehouse(settings: Settings) -> Warehouse:
    """The settings' warehouse; its driver is imported here and nowhere before.

    Raises:
        ConfigError: no engine of that name.
    """
    if settings.warehouse == "duckdb":
        from cdesk.warehouse.duckdb import DuckDBWarehouse

        return DuckDBWarehouse.of(settings)
    raise ConfigError(f"warehouse: there is no engine {settings.warehouse!r}; use {ENGINES[0]}")
