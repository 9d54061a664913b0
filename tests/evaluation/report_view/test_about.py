"""The sections on what was asked and how: folds, data, limits, the command and the checklist."""

from __future__ import annotations

import json

from lungvae_core import NOTICE
from lungvae_core.evaluation.report import Report
from lungvae_core.evaluation.report_view import about
from lungvae_core.evaluation.report_view.blocks import Bullets, Checklist, Code, Flow, Table, Text
from tests.evaluation.made_up import made_up


def report(protocol: str = "nested", **changes: object) -> Report:
    return Report.model_validate(made_up(protocol) | changes)


def texts(blocks: list) -> str:
    return " ".join(block.text for block in blocks if isinstance(block, Text))


def test_a_question_says_whether_tested_patients_were_kept_apart() -> None:
    assert "who are new to the model" in texts(about.question(report(), None))
    assert "were **not** kept from the model" in texts(about.question(report("paper"), None))


def test_the_protocol_has_its_folds_and_what_was_chosen_in_them() -> None:
    blocks = about.protocol(report(), None)
    assert "5 outer folds by patient, seeds 0, 1, 2, whose logits are averaged." in texts(blocks)
    [table] = [block for block in blocks if isinstance(block, Table)]
    assert table.head == ["fold", "seed", "hidden", "dropout"]
    assert len(table.rows) == 5
    external = about.protocol(report("external", settings_chosen=[]), None)
    assert "No folds" in texts(external)
    assert "Transductive" in texts(about.protocol(report("frozen"), None))


def test_the_flow_counts_what_was_left_out() -> None:
    [flow] = [block for block in about.data(report(), None) if isinstance(block, Flow)]
    boxes = dict(flow.boxes)
    assert boxes["In the data set"] == ["875 patients", "2,615 nodules", "13,852 slices"]
    assert boxes["Labelled under median_high"][-1] == "left out: 1,237 nodules"
    assert boxes["Malignant"] == ["569 nodules", "41.3%"]


def test_limits_begin_with_the_standing_notice() -> None:
    first, bullets = about.limits(report("paper"), None)
    assert first == Text(f"**{NOTICE}**")
    assert isinstance(bullets, Bullets)
    assert bullets.lines[0].startswith("These figures leak.")


def test_it_can_be_done_again_with_command_and_settings() -> None:
    command, text, settings = about.reproduce(report(), None)
    assert isinstance(command, Code)
    assert command.text.startswith("lungvae evaluate --preset dirvae")
    assert isinstance(text, Text)
    assert ", 2.5 h." in text.text
    assert isinstance(settings, Code)
    assert json.loads(settings.text) == made_up()["model"]["config"]
    unknown = about.reproduce(report(command=""), None)[0]
    assert isinstance(unknown, Code)
    assert unknown.text == "The command was not recorded."


def test_the_checklist_links_to_sections_that_are_shown() -> None:
    [checklist] = [b for b in about.checked(report(), {"figures"}) if isinstance(b, Checklist)]
    linked = {item.where for _, items in checklist.groups for item in items}
    assert linked == {"figures", ""}
