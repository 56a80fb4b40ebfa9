"""The command line `tips`. A group of commands is a module with a `typer.Typer` of its own, added below."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import typer

from devstack.proxies import bypass_for_loopback
from offline import (
    config_commands,
    contracts_commands,
    dlq_commands,
    event_commands,
    prior_commands,
    promote_command,
    prompt_commands,
    retake_command,
    version_commands,
)
from offline.command import BadInput
from offline.experiments import evaluate_command
from offline.experiments.prompts import bench_command
from offline.experiments.sim import simulate_command
from offline.feature_store import export_command, feast_commands, skew_command
from offline.pipelines import profiles_commands, train_command
from offline.registry import models_commands, publish_command
from offline.registry.cards import commands as cards_commands
from offline.reports import monitor_command, report_command
from tips import telemetry
from tips.errors import ConfigurationUnreadable, NothingToRestore, TableUnavailable

app = typer.Typer(
    help="Operate oO tips: what is served, to whom, and since when.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(config_commands.app, name="config")
app.add_typer(contracts_commands.app, name="contracts")
app.add_typer(dlq_commands.app, name="dlq")
app.add_typer(prior_commands.app, name="prior")
app.add_typer(prompt_commands.app, name="prompts")
app.add_typer(version_commands.app, name="versions")
app.add_typer(feast_commands.app, name="feast")
app.add_typer(models_commands.app, name="models")
app.add_typer(cards_commands.app, name="cards")
app.add_typer(profiles_commands.app, name="profiles")
app.command()(train_command.train)
app.command()(publish_command.publish)
app.command()(promote_command.promote)
app.command()(config_commands.rollback)
app.command()(event_commands.replay)
app.command()(bench_command.bench_prompts)
app.command()(evaluate_command.evaluate)
app.command()(export_command.export)
app.command()(skew_command.skew)
app.command()(monitor_command.monitor)
app.command()(report_command.report)
app.command()(retake_command.retake)
app.command()(simulate_command.simulate)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 it could not be done now, 2 asked for wrongly."""
    bypass_for_loopback()
    level = telemetry.logger.log_level
    # Structured logs are for functions; a person gets one line.
    telemetry.logger.setLevel(logging.CRITICAL)
    try:
        app(arguments, prog_name="tips")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except (BadInput, NothingToRestore) as error:
        return _failed(str(error), 2)
    except ConfigurationUnreadable as error:
        advice = "the functions go on without it; `tips rollback --to VERSION` restores one from the audit trail"
        return _failed(f"the configuration cannot be read: {error} ({advice})", 1)
    except TableUnavailable as error:
        cause = f" ({error.__context__})" if error.__context__ else ""
        doubt = "; the change may have been made all the same, see `tips config show`" if error.ambiguous else ""
        return _failed(f"{error.message}{cause}{doubt}", 1)
    finally:
        telemetry.logger.setLevel(level)
    return 0


def _failed(message: str, code: int) -> int:
    print(f"tips: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
