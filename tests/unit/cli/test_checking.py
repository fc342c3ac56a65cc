"""``overspill check``: all that is wrong at once, each with its line and what mends it; nothing where nothing is."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from overspill_cli import main

SAMPLES = Path(__file__).resolve().parents[3] / "manifests" / "samples"
HEAD = "apiVersion: overspill.dev/v1alpha1\nkind: ModelRoute\nmetadata: {name: a, namespace: chat}\n"
WRONG = """\
apiVersion: v1
kind: Secret
metadata: {name: x}
---
apiVersion: overspill.dev/v1alpha1
kind: ModelRoute
metadata: {name: llama.8b, namespace: chat}
spec:
  selfHosted:
    source: 5
    profile: gpu
    tenosr: 1
    args: ["--host=127.0.0.1"]
  hosted:
    - name: o
      baseURL: https://x.test/v1
      model: m
      price: {input: 0.15, output: "x"}
      limits: {concurrency: "64"}
  overflow: {onColdStart: Hodl}
  scaling:
    minreplicas: 0
    maxReplicas: null
    idleAfter: 10m
  validate: yes please
---
apiVersion: overspill.dev/v1alpha1
kind: Consumer
metadata: {name: c}
spec: {routes: [{name: "*", namespac: x}]}
"""


MANY_ALIASES = "".join(
    f"{name}: &{name} [{', '.join([value] * 10)}]\n"
    for name, value in zip("abcdef", ["x", *["*a", "*b", "*c", "*d", "*e"]], strict=True)
)
Check = Callable[[str], tuple[int, list[str], str]]


@pytest.fixture
def said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Check a text; the exit code and the lines that were printed."""

    def check(text: str) -> tuple[int, list[str], str]:
        file = tmp_path / "route.yaml"
        file.write_text(text)
        code = main.main(["check", str(file)])
        printed = capsys.readouterr()
        return code, [line.removeprefix(f"{tmp_path}/") for line in printed.out.splitlines()], printed.err

    return check


def test_everything_that_is_wrong_comes_at_once(said: Check) -> None:
    """Types, unknown fields, forms and enums in one answer, by line; other objects in the file are not ours."""
    code, lines, err = said(WRONG)

    assert code == 1
    by_line = {int(line.split(":")[1]): line for line in lines}
    assert list(by_line) == sorted(by_line)
    assert len(lines) == 11
    assert "metadata.name" in by_line[7]
    assert (
        'spec.selfHosted.source: 5 is a number in YAML, a text is wanted here; write it in quotes: "5"' in by_line[10]
    )
    assert "spec.selfHosted.tenosr: there is no such field" in by_line[12]
    assert 'write it in quotes: "0.15"' in next(line for line in lines if "price.input" in line)
    assert "quoted decimal" in next(line for line in lines if "price.output" in line)
    assert "take its quotes away" in by_line[19]
    assert "\"Hodl\" is none of the values here: 'Hosted' or 'Hold'" in by_line[20]
    assert "minReplicas is probably meant" in by_line[22]
    assert "maxReplicas: it is empty (null)" in by_line[23]
    assert "true or false is wanted here" in by_line[25]
    assert "Consumer c: spec.routes[0].namespac" in by_line[30]
    assert "2 objects checked, 11 mistakes" in err


def test_what_only_the_operator_would_say_is_said(said: Check) -> None:
    """Time zones and reserved arguments, once the fields are readable."""
    spec = "spec:\n  selfHosted: {source: 'hf://a/b', profile: cpu, args: ['--port=1']}\n"
    spec += "  scaling: {windows: [{name: w, from: 08:00, to: 20:00, timeZone: Mars/Phobos, maxReplicas: 0}]}\n"
    code, lines, _ = said(HEAD + spec)

    assert code == 1
    assert any("Mars/Phobos" in line for line in lines)
    assert any("--port" in line for line in lines)


def test_one_name_of_two_routes_is_a_mistake(said: Check) -> None:
    """Names and aliases together, over all files."""
    spec = "spec: {aliases: [gpt], hosted: [{name: o, baseURL: 'https://x.test/v1', model: m}]}\n"
    code, lines, _ = said(HEAD + spec + "---\n" + HEAD.replace("name: a", "name: gpt") + spec.replace("gpt", "z"))

    assert code == 1
    assert len(lines) == 1
    assert 'the model name "gpt" is also that of ModelRoute chat/a' in lines[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "no YAML"),
        ("kind: Pod\napiVersion: v1\n", "no ModelRoute and no Consumer"),
        ("", "no ModelRoute and no Consumer"),
        ("a: &a [*a]", "no YAML that can be read"),
        (MANY_ALIASES, "too many values"),
    ],
)
def test_a_file_without_our_objects_is_no_success(said: Check, text: str, told: str) -> None:
    """Else a wrong path in a pipeline would pass for ever."""
    code, _, err = said(text)

    assert code == 1
    assert told in err


def test_a_field_that_stands_twice_and_one_that_slipped_out_of_spec_are_found(said: Check) -> None:
    """YAML's readers differ about the first, Kubernetes drops the second."""
    code, lines, _ = said(HEAD + "scaling: {}\nspec: {hosted: [], model: b, model: c}\n")

    assert code == 1
    assert any("spec.model: this field stands here twice" in line for line in lines)
    assert any("scaling: there is no such field; did its indentation slip?" in line for line in lines)


def test_another_version_of_the_api_is_told(said: Check) -> None:
    """A typing error in apiVersion would else make the object somebody else's."""
    _, lines, _ = said(HEAD.replace("v1alpha1", "v1beta7") + "spec: {}\n")

    assert any("overspill.dev/v1alpha1" in line for line in lines)


def test_the_samples_are_right(capsys: pytest.CaptureFixture[str]) -> None:
    """And the answer says what was not looked at."""
    assert main.main(["check", *map(str, sorted(SAMPLES.glob("*.yaml")))]) == 0
    assert "nothing wrong" in capsys.readouterr().out


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what another program writes, such as kustomize."""
    text = (SAMPLES / "hosted-only.yaml").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))

    assert main.main(["check", "-"]) == 0


def test_a_file_that_is_not_there_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback."""
    assert main.main(["check", "nosuch.yaml"]) == 1
    assert "nosuch.yaml: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"), [("08:00", "08:00"), ("2026-01-01", "2026-01-01"), ("010", 8), ("on", True)]
)
def test_values_are_read_as_kubectl_reads_them(text: str, value: object) -> None:
    """No base-60 numbers and no dates, whatever PyYAML makes of them."""
    from overspill_api.yaml_documents import read_documents  # noqa: PLC0415

    [document] = read_documents(f"a: {text}")

    assert document.content == {"a": value}


@pytest.mark.parametrize(("namespace", "is_one"), [("chat", True), ("a/b", False), ("../x", False), ("Chat", False)])
def test_a_namespace_is_one_as_kubernetes_has_them(said: Check, namespace: str, *, is_one: bool) -> None:
    """One with a slash in it would be another route's key on one machine."""
    code, lines, _ = said(f"""\
apiVersion: overspill.dev/v1alpha1
kind: ModelRoute
metadata: {{name: a, namespace: "{namespace}"}}
spec: {{hosted: [{{name: o, baseURL: "https://x.test/v1", model: m}}]}}
""")

    assert (code == 0) is is_one
    assert (
        any(f'metadata.namespace: "{namespace}" is not the name of a namespace' in line for line in lines) is not is_one
    )
