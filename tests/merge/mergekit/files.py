"""mergekit's files, as they are written."""

from fusionchat.yaml import to_yaml


def written(tmp_path, value):
    path = tmp_path / "merge.yaml"
    path.write_text(value if isinstance(value, str) else to_yaml(value))
    return path


def models(*entries):
    return [
        {"model": name, **({"parameters": parameters} if parameters else {})} for name, parameters in entries
    ]
