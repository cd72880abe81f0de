"""`report.py --wandb`: what it asks of W&B's API, and the line that a person reads where it cannot."""

import builtins
import json
import sys
from typing import Any

import pytest
import wandb
from wandb_workspaces.reports.v2 import interface

from peftlab.report import dashboard
from peftlab.report.command import main
from peftlab.results.record import RunRecord
from studies import run, write

PROJECT = {"name": "wandb", "project": "heads", "entity": "lab"}


class Server:
    """Stands for W&B's server: it keeps what it is asked."""

    default_entity = "someone"
    app_url = "https://wandb.ai"

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self._service_api = self

    def projects(self, entity: str) -> list[Any]:
        return []

    def create_project(self, name: str, entity: str) -> None:
        self.asked.append({"created": f"{entity}/{name}"})

    def execute_graphql(self, query: Any, variables: dict[str, Any]) -> dict[str, Any]:
        if "spec" not in variables:
            return {"project": {"internalId": "of-project"}}
        self.asked.append(variables)
        project = {"name": variables["projectName"], "entityName": variables["entityName"]}
        view = {**variables, "id": "view=", "name": "view", "project": project}
        return {"upsertView": {"view": view, "inserted": True}}

    @property
    def saved(self) -> dict[str, Any]:
        """The one report that was saved."""
        (report,) = [asked for asked in self.asked if "spec" in asked]
        return report

    @property
    def panels(self) -> list[dict[str, Any]]:
        """The panels of each of its grids, one after the other."""
        return [panel for grid in self.grids for panel in grid["metadata"]["panelBankSectionConfig"]["panels"]]

    @property
    def grids(self) -> list[dict[str, Any]]:
        return [block for block in json.loads(self.saved["spec"])["blocks"] if block["type"] == "panel-grid"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that can be reached, and a key for it."""
    server = Server()
    monkeypatch.setattr(interface, "_get_api", lambda: server)
    monkeypatch.setattr(dashboard, "has_wandb_key", lambda: True)
    monkeypatch.setattr(dashboard, "wandb_reachable", lambda: True)
    return server


def logged(score: float, strategy: str = "lora", logger: dict[str, Any] | None = None, **fields: Any) -> RunRecord:
    """A run that was logged to W&B."""
    made = run(score, strategy, **fields)
    made.id = f"{strategy.encode().hex()[:6]}{made.seed}{len(made.task)}"
    made.config["logger"] = logger or PROJECT
    return made


RUNS = [
    *(logged(score, "lora", seed=seed) for seed, score in ((1, 0.80), (2, 0.82))),
    logged(0.85, "full", tuned=90_000),
    logged(0.70, "lora", task="mrpc"),
    run(0.5, "bitfit", task="cola"),  # without W&B
]


def dashboard_of(records: list[RunRecord], folder: Any, *more: str) -> int:
    return main([str(write(folder / "runs", records)), "--output", str(folder / "report"), "--wandb", *more])


def test_its_address_is_told_after_the_page(server: Server, tmp_path, capsys):
    assert dashboard_of(RUNS, tmp_path) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-1].startswith("dashboard: https://wandb.ai/lab/heads/reports/")
    assert told[-2].startswith("page: ")
    assert (server.saved["entityName"], server.saved["projectName"]) == ("lab", "heads")


def test_the_comparison_table_stands_on_top(server: Server, tmp_path):
    dashboard_of(RUNS, tmp_path)
    text = next(b["content"] for b in json.loads(server.saved["spec"])["blocks"] if b["type"] == "markdown-block")
    assert text == (tmp_path / "report" / "table2.md").read_text()


def test_each_setting_shows_its_own_runs_with_seeds_grouped(server: Server, tmp_path):
    dashboard_of(RUNS, tmp_path)
    sets = [runset for grid in server.grids for runset in grid["metadata"]["runSets"]]
    assert [runset["name"] for runset in sets] == ["MRPC · minilm · full data", "RTE · minilm · full data"]
    asked = [json.dumps(runset["filters"]) for runset in sets]
    ids = [[record.id for record in RUNS if record.id and record.task == task] for task in ("mrpc", "rte")]
    for text, own, other in zip(asked, ids, reversed(ids), strict=True):
        assert all(f'"{name}"' in text for name in own)
        assert not any(f'"{name}"' in text for name in other)
    assert [runset["grouping"] for runset in sets] == [[{"section": "run", "name": "group"}]] * 2


def test_quality_is_drawn_against_every_cost_with_its_front(server: Server, tmp_path):
    dashboard_of(RUNS[:3], tmp_path)
    fronts = [panel["config"] for panel in server.panels if panel["viewType"] == "Scatter Plot"]
    assert [front["xAxis"] for front in fronts] == [f"summary:{path}" for _, path, _ in dashboard.COSTS]
    assert {front["yAxis"] for front in fronts} == {"summary:metric.validation"}
    assert all(front["showMaxYAxisLine"] for front in fronts)


def test_few_shot_scores_are_those_that_nothing_was_chosen_on(server: Server, tmp_path):
    dashboard_of([logged(0.9, seed=seed, test=0.6, shots=16) for seed in (1, 2)], tmp_path)
    assert "metric.test" in server.saved["spec"]
    assert "metric.validation" not in server.saved["spec"]


def test_panels_do_not_lie_upon_one_another(server: Server, tmp_path):
    dashboard_of(RUNS[:3], tmp_path)
    taken = [
        (x, y)
        for panel in server.panels
        for x in range(panel["layout"]["x"], panel["layout"]["x"] + panel["layout"]["w"])
        for y in range(panel["layout"]["y"], panel["layout"]["y"] + panel["layout"]["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24


def test_without_an_entity_it_is_that_of_the_key(server: Server, tmp_path):
    dashboard_of([logged(0.8, logger={"name": "wandb", "project": "heads", "entity": None})], tmp_path)
    assert server.saved["entityName"] == "someone"


def refused(told: str, records: list[RunRecord], folder: Any, capsys: Any) -> None:
    """Ask for a dashboard; the page is written, and `told` is all that stderr holds."""
    assert dashboard_of(records, folder) == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: {told}; the page and the tables are written all the same\n"
    assert (folder / "report" / "index.html").exists()


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("has_wandb_key", "--wandb: there is no key of W&B (`wandb login`, or WANDB_API_KEY)"),
        ("wandb_reachable", "--wandb: the server of W&B cannot be reached from here"),
    ],
)
def test_without_a_key_or_a_network_one_line_says_so(place, told, server: Server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dashboard, place, lambda: False)
    refused(told, RUNS, tmp_path, capsys)
    assert server.asked == []


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([run()], "--wandb: none of these runs was logged with logger=wandb"),
        (
            [logged(0.8), logged(0.8, seed=2, logger={"name": "wandb", "project": "other", "entity": None})],
            "--wandb: these runs are of several projects (other, lab/heads): give folders of one",
        ),
    ],
)
def test_runs_that_have_no_place_in_one_project_are_told(records, told, server: Server, tmp_path, capsys):
    refused(told, records, tmp_path, capsys)


@pytest.mark.parametrize("error", [wandb.errors.CommError("permission\ndenied"), ConnectionError("permission denied")])
def test_what_the_server_refuses_is_one_line(error, server: Server, tmp_path, monkeypatch, capsys):
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(server, "execute_graphql", refuse)
    refused("--wandb: W&B refuses: permission denied", RUNS, tmp_path, capsys)


def test_without_the_package_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "peftlab.report.dashboard")
    monkeypatch.delattr("peftlab.report.dashboard")
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **others: Any) -> Any:
        if name.startswith("wandb_workspaces"):
            raise ModuleNotFoundError("No module", name=name)
        return real(name, *arguments, **others)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert dashboard_of(RUNS, tmp_path) == 2
    what = "python -m pip install --editable '.[wandb]' -c constraints.txt"
    told = f"error: --wandb needs wandb_workspaces.reports, which is not installed: {what}\n"
    assert capsys.readouterr().err == told
