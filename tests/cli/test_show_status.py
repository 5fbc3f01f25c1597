"""`fusionchat status` of a run that is done, and while it is done."""

import pytest

from fusionchat.cli import show_status
from fusionchat.run.coordinate import advance
from fusionchat.run.overview import keep_plan
from tests.cli.calls import call, refused
from tests.run.toy import Words, chain


def test_a_line_for_each_job_and_how_many_are_done(tmp_path, capsys):
    planned = chain(tmp_path)
    advance(planned, list(planned.jobs.values())[:2], None)
    code, said = call(capsys, "status", tmp_path)
    assert code == 0 and "toy/2" in said and "2 of 3 jobs done" in said


def test_it_is_followed_until_all_is_done(tmp_path, monkeypatch, capsys):
    planned = chain(tmp_path)
    keep_plan(tmp_path, planned.jobs)
    left = iter(planned.jobs.values())
    monkeypatch.setattr("time.sleep", lambda seconds: advance(planned, [next(left)], None))
    show_status.follow(tmp_path)
    said = capsys.readouterr().out
    assert [f"{count} of 3 jobs done" in said for count in range(4)] == [True] * 4


def test_a_failed_job_and_long_names_are_read_on_80_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FUSIONCHAT_NODE", "ip-10-0-112-117_f0000123.0a1b2c")
    planned = chain(tmp_path)
    planned.add("toy", "test/targets/qwen@0.1", Words(text="boom"))
    with pytest.raises(ValueError, match="boom"):
        advance(planned, [planned.jobs["toy/test/targets/qwen@0.1"]], None)
    monkeypatch.setattr("fusionchat.console.room", lambda: 60)
    code, said = call(capsys, "status", tmp_path)
    assert code == 0 and said.splitlines()[1:] == [
        "job                        state   node                 time",
        "toy/0                      to do",
        "toy/1                      to do",
        "toy/2                      to do",
        "toy/test/targets/qwen@0.1  failed  ip-10-0-1…23.0a1b2c",
        "    ValueError: boom",
        "0 of 4 jobs done, 1 failed",
    ]


@pytest.mark.parametrize("options", [(), ("--watch",)])
def test_a_folder_of_no_run_is_refused(tmp_path, capsys, options):
    assert "not a run folder" in refused(capsys, "status", tmp_path, *options)
