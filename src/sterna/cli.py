"""The command line: the only module that prints or exits.

Exit status 0: done; 2: the user can mend it, one sentence says how; 130: interrupted, the same command goes on;
1: a bug, with its traceback.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from sterna import catalogue, heap, spec
from sterna.command import FLAGS
from sterna.errors import MissingPackageError, SpecError, SternaError
from sterna.folder import missing
from sterna.records import Columns
from sterna.settings import Settings
from sterna.watching import Watch

# Threads that wait in a long busy loop take the cores from whoever else works on the machine: two runs side by side
# were several times slower than one after the other. A short loop is as fast alone. Read when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Transfer learning with evidence: what to transfer, how, and when not to.",
)
out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter `settings` becomes a flag for each option of `Settings`, as declared there."""
    signature = inspect.signature(command, eval_str=True)
    flags = {FLAGS.get(item.name, item.name): item for item in spec.options(Settings)}

    def run(**given: Any) -> None:
        chosen = {item.name: given.pop(name) for name, item in flags.items()}
        command(**given, settings=Settings(**{**chosen, "curve": _shares(chosen["curve"])}))

    own = [one for one in signature.parameters.values() if one.name != "settings"]
    made = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, **_flag(item)) for name, item in flags.items()]
    run.__signature__ = signature.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*own, *made)}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def _flag(item: spec.Option) -> dict[str, Any]:
    """The default and the type of an option as a flag; lists are written with commas."""
    told = item.help + (f" ({item.allowed})" if item.allowed else "")
    kind, default = (str, "") if isinstance(item.default, tuple) else (item.type, item.default)
    return {"default": default, "annotation": Annotated[kind, typer.Option(help=told)]}


@app.command()
@_with_settings
def fit(
    data: Annotated[str, typer.Argument(help="folder of class folders, table of texts, paths or rows, CoNLL, .npz")],
    encoder: Annotated[str, typer.Option(help="origin:name, several separated by commas; tables need none")] = "",
    tune: Annotated[str, typer.Option(help="which weights move; alternatives separated by commas")] = "",
    method: Annotated[
        str, typer.Option(help="methods on features, such as 'prototypes, zero_shot'; with --target of adapt/")
    ] = "",
    loss: Annotated[str, typer.Option(help="what they are asked for; a sum; default what the task names")] = "",
    augment: Annotated[str, typer.Option(help="none, light, strong, or a sum such as 'flip + mixup'")] = "none",
    optimizer: Annotated[
        str, typer.Option(help="sgd, momentum, adagrad, rmsprop, adam or adamw, with options")
    ] = "adamw",
    schedule: Annotated[str, typer.Option(help="such as 'epochs=30, patience=5'; see sterna methods schedule")] = "",
    source: Annotated[str | None, typer.Option(help="labelled data with the same class names, mixed in")] = None,
    target: Annotated[
        str,
        typer.Option(help="data to adapt to, DATA being the source or a saved model; no labels needed; or a domain"),
    ] = "",
    labels: Annotated[str, typer.Option(help="some labelled examples of the target, as data")] = "",
    unlabelled: Annotated[str, typer.Option(help="more items without labels, for losses that learn from them")] = "",
    beside: Annotated[str, typer.Option(help="other labelled data, FILE:COLUMN, learnt together with DATA")] = "",
    teacher: Annotated[str, typer.Option(help="model folder or encoder to learn from, as distill does")] = "",
    text: Annotated[str, typer.Option(help="column of texts; two, separated by a comma, for pairs")] = "",
    label: Annotated[str, typer.Option(help="column of labels; several, separated by commas, for several values")] = "",
    group: Annotated[str, typer.Option(help="column of groups; a group stays in one part of the split")] = "",
    domain: Annotated[str, typer.Option(help="column of domains: hospital, speaker, year")] = "",
    task: Annotated[str, typer.Option(help="classify, multilabel, regress, tag; several or COLUMN=TASK")] = "",
    output: Annotated[str | None, typer.Option("--out", help="folder of the run; default runs/NAME")] = None,
    *,
    settings: Settings,
) -> None:
    """Fit a model by several routes, compare them with no-transfer floors, ship the best."""
    words: dict[str, str | None] = {
        "encoder": encoder,
        "tune": tune,
        "method": method,
        "loss": loss,
        "augment": augment,
    }
    words |= {"optimizer": optimizer, "schedule": schedule, "source": source, "target": target, "labels": labels}
    words |= {"unlabelled": unlabelled, "beside": beside, "teacher": teacher}
    columns = Columns(_listed(text), _listed(label), group, domain, task)
    _fit(data, words, output, settings, columns)


def _shares(written: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in _listed(written))
    except ValueError as error:
        raise SpecError(f"--curve takes shares between 0 and 1, such as 0.1,0.3, got '{written}'.") from error


def _listed(written: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in written.split(",") if part.strip())


@app.command()
def rank(
    data: Annotated[str, typer.Argument(help="as for fit")],
    encoder: Annotated[str, typer.Option(help="candidates, separated by commas; zoo:FOLDER for all inside")] = "",
    score: Annotated[str, typer.Option(help="methods of ranking/, separated by commas; all")] = "",
    history: Annotated[str, typer.Option(help="JSON or CSV of earlier results on other data sets")] = "",
    text: Annotated[str, typer.Option(help="columns of texts")] = "",
    label: Annotated[str, typer.Option(help="columns of labels")] = "",
    group: Annotated[str, typer.Option(help="column of groups")] = "",
    task: Annotated[str, typer.Option(help="what a label is, where the guess is wrong")] = "",
    source: Annotated[str, typer.Option(help="labelled source data sets to rank as well, separated by commas")] = "",
    confirm: Annotated[bool, typer.Option(help="fine-tune the shortlist briefly, by successive halving")] = False,
    output: Annotated[str, typer.Option("--out", help="folder of the ranking")] = "",
) -> None:
    """Rank candidate encoders before training: scores, how sure they are, and a shortlist to fine-tune."""
    with _Shown() as shown:
        found = _library("shortlist").rank(
            data,
            encoder=encoder,
            score=score,
            history=history or None,
            source=source or None,
            confirm=confirm,
            columns=Columns(_listed(text), _listed(label), group, "", task),
            out=output or None,
            watch=Watch(shown.say, shown.advance),
        )
    out.print(escape(str(found)), soft_wrap=True)


@app.command("study")
def run_study(
    file: Annotated[Path, typer.Argument(help="TOML with [defaults], [[data]] and [[route]]; see docs/study.md")],
    output: Annotated[str, typer.Option("--out", help="folder of the study; default runs/NAME of the file")] = "",
) -> None:
    """Run routes on several data sets from one file, and compare them over the data sets on one page."""
    campaign = _library("campaign")
    try:
        with _Shown() as shown:
            found = campaign.run_study(file, out=output or None, watch=Watch(shown.say, shown.advance))
    except KeyboardInterrupt:
        err.print("interrupted; the same command goes on where it stopped", style="yellow")
        raise typer.Exit(130) from None
    out.print(f"\npage: {escape(found.folder)}/{campaign.PAGE}\n")
    out.print(escape(str(found)), soft_wrap=True)


@app.command()
def distance(
    left: Annotated[str, typer.Argument(help="as for fit; its own halves are the unit")],
    right: Annotated[str, typer.Argument(help="data of the same kind")],
    encoder: Annotated[
        str, typer.Option(help="origin:name; two compare encoders on the same data; rows and vectors need none")
    ] = "",
    metric: Annotated[str, typer.Option(help="methods of distances/, separated by commas; default all")] = "",
    text: Annotated[str, typer.Option(help="columns of texts")] = "",
    label: Annotated[str, typer.Option(help="columns of labels")] = "",
    task: Annotated[str, typer.Option(help="what a label is, where the guess is wrong")] = "",
    output: Annotated[str, typer.Option("--out", help="folder of distance.json; default runs/LEFT_vs_RIGHT")] = "",
) -> None:
    """Measure how far two data sets are from one another, and along which class."""
    with _Shown() as shown:
        found = _library("comparison").distance(
            left,
            right,
            encoder=encoder,
            metric=metric,
            columns=Columns(_listed(text), _listed(label), "", "", task),
            out=output or None,
            watch=Watch(shown.say, shown.advance),
        )
    out.print(f"\n{escape(str(found))}", soft_wrap=True)


@app.command()
def route(
    source: Annotated[str, typer.Argument(help="labelled data, as for fit")],
    target: Annotated[str, typer.Argument(help="data with the same classes; its labels only judge")],
    via: Annotated[str, typer.Option(help="data sets that the way may go by, separated by commas")] = "",
    encoder: Annotated[str, typer.Option(help="origin:name; rows and vectors need none")] = "",
    metric: Annotated[str, typer.Option(help="the cost of a hop, of distances/")] = "energy",
    in_order: Annotated[bool, typer.Option("--in-order", help="go by all of them, in the order given")] = False,
    text: Annotated[str, typer.Option(help="columns of texts")] = "",
    label: Annotated[str, typer.Option(help="columns of labels")] = "",
    task: Annotated[str, typer.Option(help="what a label is, where the guess is wrong")] = "",
    output: Annotated[str, typer.Option("--out", help="folder of route.json; default runs/SOURCE_to_TARGET")] = "",
) -> None:
    """Find the way from a source to a target by other data sets, and measure whether it pays."""
    with _Shown() as shown:
        found = _library("detour").way(
            (source, *_listed(via), target),
            encoder=encoder,
            metric=metric,
            in_order=in_order,
            columns=Columns(_listed(text), _listed(label), "", "", task),
            out=output or None,
            watch=Watch(shown.say, shown.advance),
        )
    out.print(f"\n{escape(str(found))}", soft_wrap=True)


@app.command()
def demo() -> None:
    """Real handwritten digits with ten labels a class, transferred from printed glyphs; about a minute."""
    out.print("scikit-learn's handwritten digits, 10 labels a class; the encoder was trained on printed glyphs, whose")
    out.print("rendering was tuned while looking at these digits: the gain is kinder than on data of your own.\n")
    words = {"encoder": "builtin:glyphs", "tune": "probe, partial, lp_ft"}
    _fit("sklearn:digits", words, "runs/demo", Settings(seeds=3, shots=10))  # type: ignore[call-arg]


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="the model folder of a run, such as runs/flowers/model")],
    items: Annotated[list[str], typer.Argument(help="files, folders, patterns or tables of new items")],
    output: Annotated[Path, typer.Option("--out", help="CSV to write")] = Path("predictions.csv"),
) -> None:
    """Predict new items: a CSV with what is predicted, and the probability of each class."""
    run = _library("prediction")
    with _Shown() as shown:
        found = run.predict(model, items, progress=lambda done, total: shown.advance("predicting", done, total))
    found.save(output)
    for name in found.unreadable:
        err.print(f"left out, cannot be read: {escape(name)}")
    out.print(f"{len(found.names)} {'words' if found.words else 'items'} predicted; see {escape(str(output))}")


@app.command()
def methods(name: Annotated[str | None, typer.Argument(help="one method, such as l2sp")] = None) -> None:
    """What exists; with a name, one method with its paper, equation, options and when not to use it."""
    if name is None:
        _show_listing()
    else:
        _show_page(catalogue.page(name))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="the folder of a finished run, such as runs/flowers")],
    beside: Annotated[list[Path] | None, typer.Option("--with", help="folder of a ranking or of distances")] = None,
    show: Annotated[bool, typer.Option("--open", help="open it in the browser")] = False,
) -> None:
    """Write the page of a run anew: report.html, one file that needs no network."""
    page = _library("report").write(run, beside or ())
    out.print(f"page: {escape(str(page))}")
    if show:
        typer.launch(str(page))


@app.command()
def cache(clear: Annotated[bool, typer.Option("--clear", help="remove all of them")] = False) -> None:
    """Show or clear the activations that are kept between runs."""
    store = _library("store").Store()
    entries = store.entries()
    size = sum(entry.bytes for entry in entries)
    out.print(
        f"{escape(str(store.folder))}: {len(entries)} files, {size / 1e6:.1f} MB of at most {store.limit / 1e9:.0f} GB"
    )
    if clear:
        store.clear()
        out.print("cleared")


def main() -> None:
    """The entry point: errors a user can mend become one sentence and exit status 2."""
    heap.keep()
    try:
        app()
    except SternaError as error:
        err.print(f"sterna: {escape(str(error))}", style="red")
        sys.exit(2)


def _fit(
    data: str,
    words: Mapping[str, str | None],
    output: str | None,
    settings: Settings,
    columns: Columns | None = None,
) -> None:
    study = _library("study")
    try:
        with _Shown() as shown:
            result = study.fit(
                data,
                **words,
                columns=columns,
                out=output,
                settings=settings,
                watch=Watch(shown.say, shown.advance),
            )
    except KeyboardInterrupt:
        err.print("interrupted; the same command goes on where it stopped", style="yellow")
        raise typer.Exit(130) from None
    page = _library("report").write(Path(result.folder))
    out.print(f"\n{escape(result.folder)}: {len(result.routes)} runs; model in {escape(result.folder)}/model")
    out.print(f"page: {escape(str(page))}\n")
    out.print(escape(str(result)))


def _library(name: str) -> Any:
    """A part of sterna that needs torch, imported when a command first uses it: help and listings stay fast."""
    try:
        return importlib.import_module(f"sterna.{name}")
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in ("", "sterna"):
            raise
        raise MissingPackageError(missing("this command", package)) from error


class _Shown:
    """Progress bars on the terminal, one line for each kind of work; sentences above them."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=err, transient=True)
        self.task: TaskID | None = None
        self.kind = ""

    def __enter__(self) -> _Shown:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def say(self, sentence: str) -> None:
        out.print(escape(sentence))

    def advance(self, what: str, done: int, total: int) -> None:
        """Show how far the work is; a new kind of work starts a new bar."""
        kind = what.split(", epoch")[0]
        if kind != self.kind or self.task is None:
            if self.task is not None:
                self.progress.remove_task(self.task)
            self.task, self.kind = self.progress.add_task(escape(what), total=total), kind
        self.progress.update(self.task, description=escape(what), completed=done, total=total)


def _show_listing() -> None:
    """All methods by folder."""
    for place in dict.fromkeys(entry.folder for entry in catalogue.listing()):
        table = Table(title=place, title_justify="left", show_header=False, box=None, pad_edge=False)
        for entry in catalogue.listing():
            if entry.folder == place:
                table.add_row(entry.name, escape(entry.summary))
        out.print(table)
        out.print()


def _show_page(page: catalogue.Page) -> None:
    """One method."""
    out.print(f"[bold]{page.name}[/bold] ({page.folder}): {escape(page.summary)}\n")
    for title, text in (("Paper", page.paper), ("Equation", page.equation), ("When not to use", page.when_not)):
        if text:
            out.print(f"[bold]{title}[/bold]: {escape(text)}\n")
    for note in page.notes:
        out.print(escape(note) + "\n")
    if page.options:
        table = Table("option", "type", "default", "allowed", "what it does", box=None, pad_edge=False)
        for row in page.options:
            table.add_row(*(escape(cell) for cell in (row.name, row.type, row.default, row.allowed, row.help)))
        out.print(table)
