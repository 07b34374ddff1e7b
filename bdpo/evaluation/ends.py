"""Which tokens a model's folder says end a completion: the one thing of `generation_config.json` that counts here.

Apart from generation, for a plan reads them too and imports no model library.
"""

import json
from pathlib import Path

from bdpo.errors import UserError

_FILE = "generation_config.json"


def configured_ends(folder: Path) -> list[int] | None:
    """The end tokens that `generation_config.json` names, sorted; None without that file: then `config.json` says.

    Raises:
        UserError: the file cannot be read, or names something else.
    """
    path = folder / _FILE
    try:
        settings = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: the file cannot be read: {error.strerror}.") from None
    except ValueError:
        raise UserError(f"{path}: this is no JSON.") from None
    return as_ends(settings.get("eos_token_id") if isinstance(settings, dict) else settings, path)


def as_ends(value: object, path: Path) -> list[int]:
    """`eos_token_id` as a sorted list: it is an id, several, or nothing.

    Raises:
        UserError: it is none of these.
    """
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(token) is int and token >= 0 for token in ids):
        raise UserError(f"{path}: `eos_token_id` is {value!r:.60}, but a token's id or a list of ids is expected.")
    return sorted(set(ids))
