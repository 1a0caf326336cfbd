"""The command line: one command per stage, nothing computed here.

Everything heavy is imported inside the commands, so that ``hepdl --help`` answers at once.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hepdl import __version__
from hepdl.errors import HepdlError

__all__ = ["main"]

STAGE_HELP = {
    "simulate": "Simulate the processes that have no files.",
    "prepare": "Read, check, select, split and weight the events.",
    "fit": "Train every model.",
    "evaluate": "Score the events and compute every number.",
    "report": "Draw the figures, write report.html and send the record.",
}

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hepdl")
def cli() -> None:
    """From ROOT files and one YAML file to trained models, honest numbers, pictures and a record."""


def _run_options(command: Command) -> Command:
    """Add the options that ``run`` and its stages share."""
    options = [
        click.argument("analysis", type=click.Path(path_type=Path)),
        click.option("--output", type=click.Path(path_type=Path), help="Output folder of the run."),
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Override one key of the configuration, e.g. --set train.epochs=3 (repeatable).",
        ),
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            show_default=True,
            help="Where networks train.",
        ),
        click.option("--resume", is_flag=True, help="Continue the run that was stopped."),
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path),
            help="Where simulated and prepared data live and are reused [HEPDL_DATA].",
        ),
        click.option("--tracking-uri", help="MLflow store or server [MLFLOW_TRACKING_URI]."),
        click.option(
            "--skip-bad-files", is_flag=True, help="Leave unreadable files out, and say which."
        ),
        click.option(
            "--nproc",
            type=click.IntRange(min=1),
            help="Processes that train together, and that simulate [one trains, all cores simulate].",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@_run_options
def run(**arguments: Any) -> None:
    """Run an analysis from the first event to the report.

    ANALYSIS is a folder with analysis.yaml, or a YAML file.
    """
    from hepdl.pipeline.command import run_from_command_line

    click.echo(run_from_command_line(**arguments))


def _add_stage(name: str) -> None:
    @cli.command(name, help=STAGE_HELP[name] + " A stage of `run`, on the same output folder.")
    @_run_options
    def stage(**arguments: Any) -> None:
        from hepdl.pipeline.command import run_from_command_line

        click.echo(run_from_command_line(last_stage=name, **arguments))


for _name in STAGE_HELP:
    _add_stage(_name)


@cli.command()
@click.argument("analysis", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As for run.")
def check(analysis: Path, overrides: tuple[str, ...]) -> None:
    """Find everything that can be known to be wrong before training."""
    from hepdl.pipeline.check import check_analysis

    click.echo(check_analysis(analysis, overrides))


@cli.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…[:TTREE]")
@click.option(
    "--schema", "draft", type=click.Path(path_type=Path), help="Write a draft schema for the file."
)
def inspect(files: tuple[str, ...], draft: Path | None) -> None:
    """Show what is in a file: ttrees, branches, types, entries; draft a schema."""
    from hepdl.pipeline.inspection import inspect_files

    click.echo(inspect_files(files, draft))


@cli.command()
@click.argument("analysis", type=click.Path(path_type=Path))
@click.option("--model", "models", multiple=True, help="Only these networks [all].")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Output folder of a run, new or finished: then its trained networks are looked into, too.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As for run.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Where simulated and prepared data live and are reused [HEPDL_DATA].",
)
@click.option("--skip-bad-files", is_flag=True, help="Leave unreadable files out, and say which.")
def diagnose(**arguments: Any) -> None:
    """Look into the networks of an analysis before they train, and try learning rates.

    ANALYSIS is a folder with analysis.yaml, or a YAML file.
    """
    from hepdl.pipeline.diagnose import diagnose_from_command_line

    click.echo(diagnose_from_command_line(**arguments))


@cli.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, required=True)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="OUT.root")
@click.option(
    "--mode",
    type=click.Choice(["new", "friend"]),
    default="new",
    show_default=True,
    help="new: the selected entries; friend: one row for each entry of the input.",
)
@click.option("--model", "models", multiple=True, help="Only these models [all of the run].")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
def predict(**arguments: Any) -> None:
    """Write the scores of a run's models for the entries of FILES."""
    from hepdl.pipeline.predict import predict_files

    click.echo(predict_files(**arguments))


@cli.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--experiment", help="All runs of an analysis in the tracking store.")
@click.option("--tracking-uri", help="MLflow store or server [MLFLOW_TRACKING_URI].")
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "markdown", "latex", "csv"]),
    default="text",
    show_default=True,
)
def compare(**arguments: Any) -> None:
    """Print a table of models and runs, with uncertainties."""
    from hepdl.pipeline.compare import compare_runs

    click.echo(compare_runs(**arguments))


@cli.group()
def track() -> None:
    """Look after the records of runs."""


@track.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--tracking-uri", help="MLflow store or server [MLFLOW_TRACKING_URI].")
def sync(runs: tuple[Path, ...], tracking_uri: str | None) -> None:
    """Bring records that were written without a server into one; may be repeated."""
    from hepdl.pipeline.compare import sync_runs

    click.echo(sync_runs(runs, tracking_uri))


@cli.command("list")
@click.argument(
    "kind",
    type=click.Choice(
        [
            "models",
            "combinations",
            "posthoc",
            "losses",
            "loops",
            "generators",
            "metrics",
            "calibrations",
            "schemas",
            "analyses",
        ]
    ),
)
def list_parts(kind: str) -> None:
    """List the names that a configuration may use."""
    from hepdl.pipeline.listing import describe

    click.echo(describe(kind))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with the promised exit status.

    0 done; 1 our fault; 2 the user's input; 3 the environment; 4 training diverged; 85 stopped
    with a checkpoint written; 130 Ctrl-C.
    """
    sys.exit(_status(arguments))


def _status(arguments: list[str] | None) -> int:
    try:
        cli.main(arguments, prog_name="hepdl", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        return 130
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except HepdlError as error:
        click.echo(str(error), err=True)
        return error.exit_status
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}:
            place = f" ({error.filename})" if error.filename else ""
            click.echo(f"the environment failed: {error.strerror}{place}", err=True)
            return 3
        traceback.print_exc()
        return 1
    except Exception:  # noqa: BLE001 the outermost place: whatever is left is our fault
        traceback.print_exc()
        return 1
    return 0
