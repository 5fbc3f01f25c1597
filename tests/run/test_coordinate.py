"""The coordinator runs what is not done, and has what is damaged made again."""

import pytest

from fusionchat.errors import DamagedError, RecipeError
from fusionchat.run.coordinate import advance, carry_out, pass_once, require_done
from tests.run.files import damage_unseen
from tests.run.toy import Toy, chain

EVERY = lambda run: list(run.jobs.values())  # noqa: E731


def words(folder, n):
    return (folder / f"toy/{n}/words.txt").read_text()


def test_what_is_done_is_not_made_again(tmp_path):
    toy, said = Toy(), []
    run = chain(tmp_path, toy)
    advance(run, [run.jobs["toy/0"]], None)
    advance(run, EVERY(run), lambda job, status: said.append((job.id, status.state)))
    assert toy.made == ["toy/0", "toy/1", "toy/2"] and words(tmp_path, 2) == "abc"
    assert said == [("toy/0", "done"), ("toy/1", "to do"), ("toy/2", "to do")]


def test_the_run_is_planned_again_behind_jobs_that_are_followed_by_their_files(tmp_path):
    """The first job is made again with other settings and the same content: nothing that follows is stale."""
    toy, planned = Toy(), []

    def plan(text):
        return chain(tmp_path, toy, ("", "b") if text is None else (text, "b"), stands_for=("words.txt",))

    run = plan("a")
    carry_out(run, lambda identities: planned.append(identities) or plan("a"), EVERY, None)
    assert toy.made == ["toy/0", "toy/1"] and planned == [{}]
    (tmp_path / "toy/0/manifest.json").unlink()
    carry_out(plan("a"), lambda _: plan("a"), EVERY, None)
    assert toy.made == ["toy/0", "toy/1", "toy/0"]


def test_what_would_stop_later_jobs_is_asked_for_before_them(tmp_path):
    asked = []
    run = chain(tmp_path, stands_for=("words.txt",))
    again = lambda _: chain(tmp_path, run.stages["toy"], stands_for=("words.txt",))  # noqa: E731
    pass_once(run, again, EVERY, None, lambda _, jobs: asked.append([job.id for job in jobs]))
    assert asked == [["toy/1", "toy/2"]]


def test_a_missing_file_is_made_again(tmp_path):
    toy = Toy()
    run = chain(tmp_path, toy)
    advance(run, EVERY(run), None)
    (tmp_path / "toy/1/words.txt").unlink()
    advance(run, EVERY(run), None)
    assert toy.made[3:] == ["toy/1"] and words(tmp_path, 1) == "ab"


def test_what_a_job_finds_damaged_is_made_again_once(tmp_path):
    toy = Toy()
    run = chain(tmp_path, toy)
    again = lambda _: chain(tmp_path, toy)  # noqa: E731
    advance(run, [run.jobs["toy/0"]], None)
    toy.watched = {tmp_path / "toy/0/words.txt": "a"}
    damage_unseen(tmp_path / "toy/0/words.txt")
    carry_out(run, again, EVERY, None)
    assert words(tmp_path, 2) == "abc"
    assert toy.made == ["toy/0", "toy/1", "toy/0", "toy/1", "toy/2"]


def test_what_is_damaged_again_is_an_error(tmp_path):
    toy = Toy()
    toy.watched = {tmp_path / "toy/0/words.txt": "never so"}
    with pytest.raises(DamagedError):
        carry_out(chain(tmp_path, toy), lambda _: chain(tmp_path, toy), EVERY, None)
    assert toy.made == ["toy/0", "toy/1", "toy/0", "toy/1"]


def test_what_another_run_wrote_is_not_made_here(tmp_path):
    def found(run):
        raise DamagedError("It is damaged", path=tmp_path / "other/toy/0/a", folder=tmp_path / "other/toy/0")

    with pytest.raises(DamagedError):
        carry_out(chain(tmp_path), lambda _: chain(tmp_path), EVERY, None, then=found)


def test_the_finished_run_is_looked_at_again_after_a_repair(tmp_path):
    toy, seen = Toy(), []

    def then(run):
        path = tmp_path / "toy/2/words.txt"
        seen.append(path.read_text())
        if len(seen) == 1:
            raise DamagedError("It is damaged", path=path, folder=path.parent)

    carry_out(chain(tmp_path, toy), lambda _: chain(tmp_path, toy), EVERY, None, then=then)
    assert seen == ["abc", "abc"] and toy.made[3:] == ["toy/2"]


def test_a_job_alone_needs_its_needs_done(tmp_path):
    run = chain(tmp_path)
    with pytest.raises(RecipeError, match="The recipe has no job 'toy/9'"):
        require_done(run, "toy/9")
    with pytest.raises(RecipeError, match=r"toy/1 needs jobs that are not done: toy/0\n"):
        require_done(run, "toy/1")
    advance(run, [run.jobs["toy/0"]], None)
    assert require_done(run, "toy/1") is run.jobs["toy/1"]
