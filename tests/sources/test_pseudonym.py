"""Which names stay, which become pseudonyms, and that the key decides them without being said."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungct.errors import InputError
from lungct.sources.hidden import Hiding, hiding
from lungct.sources.pseudonym import Naming, as_file_name, read_key
from lungct.sources.source import _SAFE_NAME

NAMING = Naming(key=b"secret")


@pytest.mark.parametrize(
    "identifier",
    ["DLCS_0001", "DLCS_0001_01", "LIDC-IDRI-0132", "Lung_Dx-B0013", "C3N-00247", "scan_12", "case7", "image_0003_117"],
)
def test_published_identifiers_and_plain_numbers_stay(identifier: str) -> None:
    assert NAMING.published("case", identifier) == identifier


@pytest.mark.parametrize(
    "identifier",
    [
        "4711",
        "123456",
        "19550131",
        "case_19550131",
        "scan_3101_1955",
        "Doe^Jane",
        "patient_Doe",
        "1.2.840.113654.2.55",
        "",
    ],
)
def test_what_may_be_an_identifier_does_not(identifier: str) -> None:
    assert NAMING.published("case", identifier) == NAMING.name("case", identifier) != identifier


def test_a_layout_may_know_more_identifiers_as_public() -> None:
    assert NAMING.published("patient", "100012", r"\d{6}") == "100012"
    assert NAMING.published("patient", "1000123", r"\d{6}") != "1000123"


def test_nodules_are_numbered_within_their_case_unless_their_ids_are_published() -> None:
    assert NAMING.nodules("DLCS_0001", ["DLCS_0001_01", "DLCS_0001_02"]) == ["DLCS_0001_01", "DLCS_0001_02"]
    assert NAMING.nodules("case-1", ["nodule_1", "Doe 2"]) == ["case-1_01", "case-1_02"]
    assert Naming(keep_ids=True).nodules("case-1", ["left upper"]) == [as_file_name("left upper")]


def test_key_decides_the_names_and_stays_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("a secret\n")
    from_file = Naming.of(False, tmp_path / "key")
    assert from_file.has_key
    assert not Naming().has_key
    assert from_file.name("case", "Doe") != Naming().name("case", "Doe")
    assert "secret" not in repr(from_file)
    monkeypatch.setenv("LUNGCT_PSEUDONYM_KEY", "a secret")
    assert Naming().name("case", "Doe") == from_file.name("case", "Doe")
    assert Naming(key=b"k" * 100).name("case", "Doe") != Naming(key=b"k" * 99).name("case", "Doe")


@pytest.mark.parametrize(("content", "words"), [(None, "not readable"), (b" \n", "without a key")])
def test_key_file_that_holds_no_key_is_an_error(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_key(tmp_path / "key")


@given(st.text() | st.text("ab-", min_size=70, max_size=90))
def test_kept_identifiers_are_safe_file_names(identifier: str) -> None:
    name = as_file_name(identifier)
    assert _SAFE_NAME.fullmatch(name)
    assert len(name) <= 80
    assert not name.endswith(".")
    assert as_file_name(name) == name


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0")), st.sampled_from(["", ".nii.gz", ".xml"]))
def test_hidden_paths_say_nothing_of_names_below_the_root(name: str, suffix: str) -> None:
    root = Path("/data/in")
    path = root / "Smith.Jane" / f"Zq{name}Zq{suffix}"
    where = Hiding(root, NAMING)
    for text in (f"{path}: not readable", f"cannot read '{path.absolute()}'", f"{path.name} has no end"):
        if path.name in text and not suffix and str(path) not in text:
            continue  # a bare name without a suffix may be any word
        message = where.clean(" ".join(text.split()), (path,))
        assert "Smith" not in message
        assert "Zq" not in message
        assert NAMING.name("folder", "Smith.Jane") in message or text.startswith(path.name)


def test_what_the_user_named_and_what_every_layout_has_is_said() -> None:
    where = Hiding(Path("/data/Doe"), NAMING)
    text = "/data/Doe/annotations/scan_12.xml: not readable"
    assert where.clean(text) == text
    assert where.clean("/data/Doe: nothing in it") == "/data/Doe: nothing in it"


def test_cells_in_quotes_are_hidden_but_for_what_says_nothing() -> None:
    where = Hiding(Path("/data/in"), NAMING)
    said = "line 3: the file's w is 'Doe, Jane', h \"O'Hara\", d '-1', it's 'scan_12'"
    assert where.clean(said) == "line 3: the file's w is '...', h '...', d '-1', it's 'scan_12'"


def test_log_lines_are_hidden_while_a_source_is_read(caplog: pytest.LogCaptureFixture) -> None:
    where, path = Hiding(Path("/data/in"), NAMING), Path("/data/in/Doe Jane/ct.nii")
    logger = logging.getLogger("lungct")
    with caplog.at_level(logging.INFO, "lungct"):
        with hiding(where, (path,)):
            logger.info("%s: sheared sform", path)
        assert "Doe" not in caplog.text
        assert f"/data/in/{NAMING.name('folder', 'Doe Jane')}/{NAMING.name('case', 'ct')}.nii: sheared" in caplog.text
        logger.info("%s: later", path)
    assert "Doe Jane/ct.nii: later" in caplog.text
