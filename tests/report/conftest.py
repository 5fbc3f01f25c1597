"""The sample's report, drawn once for all tests."""

from pathlib import Path

import pytest

from fusionchat.report.model import Report
from fusionchat.report.write import write_report
from tests.report.sample import report


@pytest.fixture(scope="session")
def sample() -> Report:
    return report()


@pytest.fixture(scope="session")
def folder(sample, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(sample, folder)
    return folder


@pytest.fixture(scope="session")
def page(folder) -> str:
    return (folder / "report.html").read_text()


@pytest.fixture(scope="session")
def text(folder) -> str:
    return (folder / "report.md").read_text()
