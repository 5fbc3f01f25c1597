"""What a worker leaves of an error is the error."""

from fusionchat.errors import DamagedError, FusionChatError, MergeError
from fusionchat.run.outcome import raised, told


def test_errors_go_to_json_and_back(tmp_path):
    for error in (
        MergeError("what", where="here", do="this"),
        DamagedError("broken", path=tmp_path / "a", folder=tmp_path),
        FusionChatError("x"),
    ):
        again = raised(told(error))
        assert str(again) == str(error) and again.exit_code == error.exit_code
        assert isinstance(again, DamagedError) == isinstance(error, DamagedError)
