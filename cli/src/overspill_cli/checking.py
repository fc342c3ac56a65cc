"""``overspill check``: everything that is wrong with ModelRoutes and Consumers in files, without a cluster.

What only the cluster knows (profiles, Secrets, names that other routes have) is not looked at.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from overspill_api.names import API_VERSION
from overspill_api.yaml_documents import BYTES_MAX, Document, YamlError, read_documents
from overspill_cli.errors import CommandError
from overspill_operator.core.written_objects import Mistake, check_document, is_ours


def check(files: Sequence[str]) -> int:
    """Print what is wrong with the files' objects; the exit code: 0 where nothing is. ``-`` is standard input."""
    mistakes_found: list[Mistake] = []
    checked = 0
    names: dict[str, str] = {}
    for file in files:
        for document in documents_of(file):
            if is_ours(document.content):
                checked += 1
                mistakes_found += sorted(check_document(file, document, names), key=lambda mistake: mistake.line)
    for mistake in mistakes_found:
        print(mistake)
    if not checked:
        raise CommandError(f"no ModelRoute and no Consumer ({API_VERSION}) in {', '.join(files)}")
    objects = "1 object" if checked == 1 else f"{checked} objects"
    if mistakes_found:
        print(f"{objects} checked, {len(mistakes_found)} mistakes", file=sys.stderr)
        return 1
    print(f"{objects} checked, nothing wrong; profiles, Secrets and other routes' names are the cluster's to know")
    return 0


def documents_of(file: str) -> Iterator[Document]:
    """The documents of a file, ``-`` is standard input; raises CommandError where it can't be read."""
    try:
        yield from read_documents(_text_of(file))
    except YamlError as error:
        raise CommandError(f"{file}: {error}") from error


def _text_of(file: str) -> str:
    try:
        data = sys.stdin.buffer.read(BYTES_MAX + 1) if file == "-" else Path(file).read_bytes()
        if len(data) > BYTES_MAX:
            raise CommandError(f"{file}: it is over {BYTES_MAX >> 20} MiB, more than the API server takes")
        return data.decode()
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{file}: it is not UTF-8: save it as that") from error
