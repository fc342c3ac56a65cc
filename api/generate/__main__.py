"""``python -m api.generate [FOLDER]``: write the generated files below the folder given, by default the present one."""

import sys
from pathlib import Path

from api.generate.files import as_files

root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
for path, text in as_files().items():
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    sys.stdout.write(f"{path}\n")
