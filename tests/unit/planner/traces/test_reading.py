"""Files of traces: each form is read as it is meant, and what can't be is told with its line and what mends it."""

import gzip
from pathlib import Path

import pytest

from overspill_planner.traces.arrival import Arrival, TraceError
from overspill_planner.traces.reading import read_trace

AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-12 00:00:00.003829+00:00,2162,5
2024-05-12 00:00:01.253829+00:00,2399,0
"""
SERVEGEN = """client,t_s,rate_per_s,iat_cv,iat_family,p1,p2
0,0,1.0,8.5,Weibull,0.6,0.4
0,600,2.0,6.0,Gamma,0.5,3.3
1,0,0.5,1.0,,,
"""


def written(folder: Path, text: str) -> Path:
    """A file with this text."""
    path = folder / "trace"
    path.write_text(text)
    return path


def test_azure_of_2023_has_local_times_with_seven_digits(tmp_path: Path) -> None:
    """Times count from the first request."""
    first, second = read_trace(written(tmp_path, AZURE_2023))

    assert first == Arrival(0.0, 4808, 10)
    assert second[1:3] == (3180, 8)
    assert second.seconds == pytest.approx(0.052, abs=1e-6)


def test_azure_of_2024_has_times_with_an_offset(tmp_path: Path) -> None:
    """An answer of no token counts as one: somebody waited for it."""
    first, second = read_trace(written(tmp_path, AZURE_2024))

    assert first == Arrival(0.0, 2162, 5)
    assert second[1:3] == (2399, 1)
    assert second.seconds == pytest.approx(1.25, abs=1e-6)


def test_the_plain_csv_and_the_same_in_gzip(tmp_path: Path) -> None:
    """Compression is seen by the file's first bytes, not by its name; a byte order mark and CRLF do no harm."""
    text = "\ufeffseconds,prompt_tokens,output_tokens\r\n10,100,20\r\n\r\n12.5,200,30\r\n"
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(text.encode()))

    expected = [Arrival(0.0, 100, 20), Arrival(2.5, 200, 30)]
    assert read_trace(written(tmp_path, text)) == expected
    assert read_trace(packed) == expected


def test_mooncake_in_steps_of_three_seconds_is_spread_over_them(tmp_path: Path) -> None:
    """Requests of one step come within it, in their order, the same for the same seed."""
    form = '{{"timestamp": {}, "input_length": {}, "output_length": 5, "hash_ids": [0]}}\n'
    path = written(tmp_path, "".join(form.format(3000 * (number // 10), number + 1) for number in range(100)))

    requests = read_trace(path)

    assert [request.prompt_tokens for request in requests] == list(range(1, 101))
    assert all(
        3.0 * (number // 10) <= request.seconds <= 3.0 * (number // 10) + 3.0 for number, request in enumerate(requests)
    )
    assert len({request.seconds for request in requests}) == 100
    assert requests == read_trace(path) != read_trace(path, seed=2)


def test_blocks_of_mooncake_are_those_that_are_whole(tmp_path: Path) -> None:
    """Of 1,100 tokens the first two blocks of 512; a line without them has none."""
    form = '{"timestamp": 0, "input_length": 1100, "output_length": 5'
    text = form + ', "hash_ids": [7, 8, 9]}\n' + form + "}\n"

    assert [request.blocks for request in read_trace(written(tmp_path, text))] == [(7, 8), ()]


@pytest.mark.parametrize("ids", ['"7"', "[1.5]", "[-1]", "[true]", "[99999999999999]"])
def test_blocks_that_cannot_be_are_told_with_their_line(tmp_path: Path, ids: str) -> None:
    """Anything but a list of numbers."""
    text = '{"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": ' + ids + "}\n"
    with pytest.raises(TraceError, match=r":1: hash_ids"):
        read_trace(written(tmp_path, text))


def test_copies_of_a_trace_share_only_what_all_of_it_has_in_common(tmp_path: Path) -> None:
    """Three times the demand: instructions are the same for everybody, conversations are each copy's own."""
    form = '{{"timestamp": {}, "input_length": 1100, "output_length": 5, "hash_ids": [0, {}]}}\n'
    path = written(tmp_path, "".join(form.format(100 * number, number + 1) for number in range(50)))

    requests = read_trace(path, scale=3.0)

    assert len(requests) == 150
    assert {request.blocks[0] for request in requests} == {0}
    assert len({request.blocks[1] for request in requests}) == 150


def test_windows_of_servegen_make_as_many_requests_as_they_say(tmp_path: Path) -> None:
    """Scaled down each client is thinned: (1 + 2) * 600 requests of one client, 0.5 * 600 of the other, times 0.8."""
    expected = (1.0 * 600 + 2.0 * 600 + 0.5 * 600) * 0.8
    counts = [len(read_trace(written(tmp_path, SERVEGEN), scale=0.8, seed=seed)) for seed in range(20)]

    assert sum(counts) / 20 == pytest.approx(expected, rel=0.05)
    requests = read_trace(written(tmp_path, SERVEGEN))
    assert requests == sorted(requests)
    assert requests[-1].seconds < 1200.0


def test_one_clients_windows_have_no_header(tmp_path: Path) -> None:
    """As ``chunk-*-trace.csv`` of ServeGen's data: from 600 s on there is no request."""
    requests = read_trace(written(tmp_path, "0,2.0,1.2,Gamma,0.8,0.5\n600,0,1,,,\n"))

    assert 1000 < len(requests) < 1400
    assert requests[-1].seconds < 600.0


def test_rates_by_minute_with_lengths_of_another_trace(tmp_path: Path) -> None:
    """Ten minutes of 60 and ten of 6 requests."""
    rows = [f"{minute},{60 if minute < 10 else 6},1,2" for minute in range(20)]
    path = written(tmp_path, "minute,requests_per_min_mid,lo,hi\n" + "\n".join(rows))
    lengths = tmp_path / "lengths"
    lengths.write_text(AZURE_2023)

    requests = read_trace(path, lengths=lengths)

    first = sum(request.seconds < 600.0 for request in requests)
    assert 500 < first < 700
    assert 30 < len(requests) - first < 95
    assert {request[1:3] for request in requests} == {(4808, 10), (3180, 8)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seconds,prompt_tokens,output_tokens\n1,2\n", ":2: 2 columns stand here and 3 belong here: seconds,"),
        ("seconds,prompt_tokens,output_tokens\n1,x,2\n", ":2: prompt_tokens: 'x' is no number; write tokens as 512"),
        ("seconds,prompt_tokens,output_tokens\n1,1.5,2\n", ":2: prompt_tokens: 1.5 is no number of tokens; write"),
        ("seconds,prompt_tokens,output_tokens\n1,1,-2\n", ":2: output_tokens: -2 is no number of tokens; write"),
        ("seconds,prompt_tokens,output_tokens\nnan,1,2\n", ":2: seconds: 'nan' is no number of at least 0; write"),
        (
            "seconds,prompt_tokens,output_tokens\n9,1,2\n\n7,1,2\n",
            ":4: its time is 2 s before that of the line above; sort",
        ),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nnoon,1,2\n", ":2: TIMESTAMP: 'noon' is no time; write it as 2023"),
        (
            '{"timestamp": 1, "input_length": "7", "output_length": 1}',
            ":1: input_length: a number is wanted here, as in",
        ),
        ('{"timestamp": 1, "input_length": 7}', ":1: output_length: a number is wanted here"),
        ('{"timestamp"', ":1: this is no JSON; a line has an object such as"),
        (SERVEGEN + "1,600,1,1,Pareto,1,1\n", ":5: iat_family: 'Pareto' is none; write Gamma, Weibull or nothing"),
        (SERVEGEN + "1,0,1,1,,,\n", ":5: t_s: 0 is not after 0, the window above; sort a client's windows"),
        ("minute,requests_per_min_mid\n1,2\n1,2\n", ":3: minute: 1 is not after 1, the one above; sort"),
        ("time;tokens\n1;2\n", ":1: no trace begins so: 'time;tokens'; give the plain CSV (seconds,prompt_tokens"),
        ("", ": it is empty; give the plain CSV"),
        ("seconds,prompt_tokens,output_tokens\n", ": there is no request in it at scale 1; raise the scale or"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    """The file, the line, what is wrong and what mends it."""
    path = written(tmp_path, text)

    with pytest.raises(TraceError) as told:
        read_trace(path)

    assert str(told.value).startswith(str(path) + message)


def test_files_that_are_none(tmp_path: Path) -> None:
    """Not there, cut off, or no text."""
    with pytest.raises(TraceError, match="can't be read: No such file or directory; check its name"):
        read_trace(tmp_path / "nothing")
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(AZURE_2023.encode())[:-12])
    with pytest.raises(TraceError, match="is cut off or damaged"):
        read_trace(packed)
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)))
    with pytest.raises(TraceError, match="no text in UTF-8"):
        read_trace(binary)
    with pytest.raises(TraceError, match="scale 0: write a number above 0"):
        read_trace(binary, scale=0.0)
