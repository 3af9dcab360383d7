"""Photos: every format as upright RGB, every check on the smallest folder that deserves it, every message."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sterna import opening
from sterna.data import _pictures, images
from sterna.errors import DataError
from sterna.records import Columns, Finding, Loaded

ORIENTATION = 0x0112


def picture(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A smooth picture unlike those of other seeds."""
    coarse = np.random.default_rng(seed).integers(0, 256, (10, 12, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def put(root: Path, *names: str, start: int = 0) -> Path:
    """A different picture under each name."""
    for seed, name in enumerate(names, start=start):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(root / name)
    return root


def two_by_three(root: Path) -> Path:
    return put(root, *(f"{kind}/{place}.png" for kind in ("ant", "bee") for place in range(3)))


def kinds(loaded: Loaded) -> list[str]:
    return [finding.kind for finding in loaded.findings]


def one(loaded: Loaded, kind: str) -> Finding:
    (found,) = [finding for finding in loaded.findings if finding.kind == kind]
    return found


def names(loaded: Loaded) -> list[str]:
    return [loaded.table.items.name(int(row)) for row in loaded.table.rows]


def upright(path: Path, hint: int = 0) -> np.ndarray:
    found = images.ImageItems([str(path)], [path.name], [""]).read(0, hint)
    assert found.mode == "RGB"
    return np.asarray(found).astype(int)


# What a reference is


def test_claims(tmp_path: Path) -> None:
    assert images.claims(str(tmp_path))
    assert images.claims("labels.csv")
    assert images.claims("labels.TSV")
    assert images.claims("no_such_photos")
    assert not images.claims("sklearn:digits")
    assert not images.claims("some.npz")
    (tmp_path / "plain").write_text("")
    assert not images.claims(str(tmp_path / "plain"))
    (tmp_path / "texts.csv").write_text("text,label\na fine film,good\na dull film,bad\n")
    assert not images.claims(str(tmp_path / "texts.csv"))
    assert images.claims("no_such_photos", Columns())


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    loaded = images.load(str(two_by_three(tmp_path)), progress=lambda *at: done.append(at))
    assert loaded.findings == ()
    assert loaded.origin == str(tmp_path)
    assert loaded.table.classes == ("ant", "bee")
    assert loaded.table.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert names(loaded) == [f"{kind}/{place}.png" for kind in ("ant", "bee") for place in range(3)]
    assert loaded.groups.tolist() == list(range(6))
    assert set(loaded.parts.tolist()) == {""}
    assert done[-1] == (6, 6)
    items = loaded.table.items
    assert (items.modality, items.in_memory, len(items)) == ("image", False, 6)
    twin = pickle.loads(pickle.dumps(items))
    assert np.array_equal(np.asarray(twin.read(4, 0)), np.asarray(picture(4)))
    assert len({items.digest(row) for row in range(6)}) == 6


def test_folders_inside_class_folders_and_links_in_circles(tmp_path: Path) -> None:
    put(two_by_three(tmp_path), "ant/deep/er/x.png", start=20)
    (tmp_path / "ant" / "deep" / "again").symlink_to(tmp_path / "ant")
    assert names(images.load(str(tmp_path)))[3] == "ant/deep/er/x.png"


def test_given_parts(tmp_path: Path) -> None:
    put(tmp_path, *(f"{part}/{kind}/{n}.png" for part in ("Train", "valid", "test") for kind in "ab" for n in range(2)))
    put(tmp_path, "test/b/loose.txt/x.png", "test/no_class.png", "extra/c/y.png", start=30)
    loaded = images.load(str(tmp_path))
    assert loaded.table.classes == ("a", "b")
    assert [name.split("/")[0] for name in names(loaded)] == ["Train"] * 4 + ["test"] * 5 + ["valid"] * 4
    assert loaded.parts.tolist() == ["train"] * 4 + ["test"] * 5 + ["validation"] * 4
    assert "Train as train, test as test, valid as validation" in one(loaded, "inferred").sentence
    assert one(loaded, "loose images").items == ("extra/c/y.png", "test/no_class.png")


def test_a_folder_of_unlabelled_pictures_is_no_class(tmp_path: Path) -> None:
    put(tmp_path, *(f"{part}/{kind}/{n}.png" for part in ("train", "test") for kind in "ab" for n in range(2)))
    put(tmp_path, "train/Unlabelled/x.png", "train/Unlabelled/y.png", "train/c/z.png", start=30)
    loaded = images.load(str(tmp_path))
    assert loaded.table.classes == ("a", "b", "c")
    assert one(loaded, "unlabelled").sentence == (
        "1 folder of unlabelled pictures left out, being no class of the given test part: Unlabelled (2 pictures); "
        "rename what is a class."
    )
    assert one(loaded, "missing in part").items == ("c",)
    put(tmp_path, "test/Unlabelled/w.png", start=40)
    assert "Unlabelled" in images.load(str(tmp_path)).table.classes


def test_without_parts_every_folder_is_a_class(tmp_path: Path) -> None:
    put(two_by_three(tmp_path), "unsup/1.png", "unsup/2.png", start=30)
    assert images.load(str(tmp_path)).table.classes == ("ant", "bee", "unsup")


def test_train_may_be_a_vehicle(tmp_path: Path) -> None:
    put(tmp_path, "train/1.png", "train/2.png", "bus/1.png", "bus/2.png", "tram/old/1.png", "tram/new/2.png")
    loaded = images.load(str(tmp_path))
    assert loaded.table.classes == ("bus", "train", "tram")
    assert set(loaded.parts.tolist()) == {""}


def test_classes_missing_in_a_given_part(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "train/a/2.png", "train/b/3.png", "train/b/4.png", "test/a/5.png")
    assert one(images.load(str(tmp_path)), "missing in part").items == ("b",)


# Tables


def test_csv_with_split_and_group(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    lines = ["Species;File Name;patient;split"]
    lines += [
        f"{kind};{kind}/{n}.png;p{n};{part}" for kind in ("ant", "bee") for n, part in enumerate(("train", "test", ""))
    ]
    (tmp_path / "t.csv").write_text("\ufeff" + "\n".join([*lines, ";ant/0.png;p0;train", "bee;gone.png;p9;dev"]))
    loaded = images.load(str(tmp_path / "t.csv"))
    assert loaded.table.classes == ("ant", "bee")
    assert names(loaded)[:2] == ["ant/0.png", "ant/1.png"]
    assert loaded.parts.tolist() == ["train", "test", ""] * 2
    assert loaded.groups.tolist() == [0, 1, 2, 0, 1, 2]
    said = one(loaded, "inferred").sentence
    assert "path from column 'File Name', label from column 'Species', split from column 'split', group from" in said
    assert one(loaded, "unlabelled").items == ("ant/0.png",)
    assert one(loaded, "unreadable").items == ("gone.png",)
    assert "gone.png (no such file or directory)" in one(loaded, "unreadable").sentence


def test_tsv_and_jsonl_say_the_same(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    rows = [(f"{kind}/{n}.png", kind) for kind in ("ant", "bee") for n in range(3)]
    (tmp_path / "t.tsv").write_text("path\tlabel\n" + "".join(f"{path}\t{kind}\n" for path, kind in rows))
    (tmp_path / "t.jsonl").write_text("\n\n".join(json.dumps({"image": path, "class": kind}) for path, kind in rows))
    first, second = images.load(str(tmp_path / "t.tsv")), images.load(str(tmp_path / "t.jsonl"))
    assert names(first) == names(second) == [path for path, _ in rows]
    assert first.table.labels.tolist() == second.table.labels.tolist()


def test_columns_without_a_usual_name_are_known_by_their_content(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    rows = "".join(f'"{kind}, small",{tmp_path}/{kind}/{n}.png\n' for kind in ("ant", "bee") for n in range(3))
    (tmp_path / "t.csv").write_text("what,where\n" + rows)
    loaded = images.load(str(tmp_path / "t.csv"))
    assert loaded.table.classes == ("ant, small", "bee, small")
    assert len(loaded.table) == 6


def test_rows_without_a_group_are_groups_of_their_own(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    (tmp_path / "t.csv").write_text("path,label,group\nant/0.png,a,\nant/1.png,a,\nbee/0.png,b,g\nbee/1.png,b,g\n")
    assert images.load(str(tmp_path / "t.csv")).groups.tolist() == [0, 1, 2, 2]


def test_columns_that_a_person_names_are_followed(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    header, rows = "path,label,kind,patient,place,day", []
    for place, kind in enumerate(("ant", "bee")):
        rows += [f"{kind}/{n}.png,{n},{kind},p{n},{['north', 'south'][place]},d{place}" for n in range(3)]
    (tmp_path / "t.csv").write_text("\n".join([header, *rows, "gone.png,0,ant,p0,,d7"]))
    put(tmp_path, "gone.png", start=40)
    usual = images.load(str(tmp_path / "t.csv"))
    assert usual.table.classes == ("0", "1", "2")
    assert usual.groups.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert usual.domains.shape == (0,)
    loaded = images.load(str(tmp_path / "t.csv"), columns=Columns(label=("kind",), group="day", domain="place"))
    assert loaded.table.classes == ("ant", "bee")
    assert loaded.table.labels.tolist() == [0, 0, 0, 1, 1, 1, 0]
    assert loaded.groups.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert loaded.domains.tolist() == ["north"] * 3 + ["south"] * 3 + ["unknown"]
    assert one(loaded, "no domain").items == ("gone.png",)
    said = one(loaded, "inferred").sentence
    assert "label from column 'kind'" in said
    assert "domain from column 'place'; type --label NAME" in said


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            Columns(label=("lable",)),
            r"t.csv has no column 'lable'\. Did you mean 'label'\? It has path, label; type one",
        ),
        (Columns(group="who"), "has no column 'who'.* It has path, label"),
        (Columns(domain="who"), "has no column 'who'.* It has path, label"),
        (Columns(label=("label", "path")), "pictures take one label column, got --label label,path; name one"),
        (Columns(text=("label",)), "is a table of pictures, got --text label; leave it out"),
        (Columns(task="regress"), "holds pictures, which are read for the task classify, got --task regress; leave"),
    ],
)
def test_columns_that_do_not_fit(tmp_path: Path, said: Columns, sentence: str) -> None:
    two_by_three(tmp_path)
    with pytest.raises(DataError, match=sentence):
        images.load(table(tmp_path, "path,label\nant/0.png,x\nbee/1.png,y\n"), columns=said)


@pytest.mark.parametrize(
    ("said", "given"),
    [
        (Columns(label=("kind", "more")), "--label kind,more"),
        (Columns(group="day", domain="place"), "--group day --domain place"),
        (Columns(text=("caption",)), "--text caption"),
    ],
)
def test_a_folder_has_no_columns(tmp_path: Path, said: Columns, given: str) -> None:
    sentence = (
        "is a folder, whose class folders are the labels; --label, --group, --domain and --text name columns of a "
        f"table, got {given}: leave that out, or give a table such as a .csv."
    )
    with pytest.raises(DataError, match=sentence):
        images.load(str(two_by_three(tmp_path)), columns=said)
    with pytest.raises(DataError, match=sentence):
        opening.open_data(str(tmp_path), said)


# Formats


def test_formats_without_loss_give_the_same_pixels(tmp_path: Path) -> None:
    wanted = np.asarray(picture(1)).astype(int)
    for suffix, options in (
        ("png", {}), ("bmp", {}), ("tiff", {}), ("ppm", {}), ("webp", {"lossless": True}),
    ):  # fmt: skip
        picture(1).save(tmp_path / f"x.{suffix}", **options)
        assert np.array_equal(upright(tmp_path / f"x.{suffix}"), wanted), suffix


def test_jpeg_in_colour_grey_and_cmyk(tmp_path: Path) -> None:
    wanted = np.asarray(picture(1)).astype(int)
    picture(1).save(tmp_path / "rgb.jpg", quality=95, subsampling=0)
    picture(1).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    picture(1).convert("L").save(tmp_path / "grey.jpg", quality=95)
    assert np.abs(upright(tmp_path / "rgb.jpg") - wanted).mean() < 4
    assert np.abs(upright(tmp_path / "cmyk.jpg") - wanted).mean() < 4
    assert np.abs(upright(tmp_path / "grey.jpg") - np.asarray(picture(1).convert("L"))[..., None]).mean() < 2


def test_the_first_frame_of_a_gif(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert upright(tmp_path / "x.gif").reshape(-1, 3).tolist() == [[255, 0, 0]] * 48


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    colours = np.zeros((4, 6, 4), np.uint8)
    colours[..., 0] = 200
    colours[:2, :, 3] = 255
    colours[2, :, 3] = 51  # a fifth of red, four fifths of white
    whole = Image.fromarray(colours)
    whole.save(tmp_path / "rgba.png")
    whole.save(tmp_path / "rgba.webp", lossless=True, exact=True)
    for name in ("rgba.png", "rgba.webp"):
        found = upright(tmp_path / name)
        assert found[0, 0].tolist() == [200, 0, 0], name
        assert np.abs(found[2, 0] - [244, 204, 204]).max() <= 1, name
        assert found[3, 0].tolist() == [255, 255, 255], name
    whole.convert("LA").save(tmp_path / "la.png")
    assert upright(tmp_path / "la.png")[[0, 3], 0].tolist() == [[60] * 3, [255] * 3]
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([9, 9, 9, 10, 200, 30])
    palette.putpixel((2, 1), 0)
    palette.save(tmp_path / "opaque.png")
    palette.save(tmp_path / "palette.png", transparency=0)
    assert upright(tmp_path / "opaque.png")[1, [1, 2]].tolist() == [[10, 200, 30], [9, 9, 9]]
    assert upright(tmp_path / "palette.png")[1, [1, 2]].tolist() == [[10, 200, 30], [255, 255, 255]]
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "keyed.png", transparency=(1, 2, 3))
    assert upright(tmp_path / "keyed.png")[0, 0].tolist() == [255, 255, 255]


def test_sixteen_bits_and_more_are_scaled_and_not_cut(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(3, axis=0)
    wanted = np.arange(256)[None, :, None].repeat(3, axis=0).repeat(3, axis=2)
    for name in ("x.png", "x.tiff"):
        Image.fromarray(ramp).save(tmp_path / name)
        assert np.abs(upright(tmp_path / name) - wanted).max() <= 1
    Image.fromarray(ramp.astype(np.int32)).save(tmp_path / "i.tiff")
    Image.fromarray(ramp.astype(np.float32) / 65535).save(tmp_path / "f.tiff")
    Image.fromarray(np.arange(256, dtype=np.float32)[None].repeat(3, axis=0)).save(tmp_path / "g.tiff")
    Image.fromarray(ramp.astype(np.int32) * 1000).save(tmp_path / "wide.tiff")
    for name in ("i.tiff", "f.tiff", "g.tiff", "wide.tiff"):
        assert np.abs(upright(tmp_path / name) - wanted).max() <= 1, name
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "one.png")
    assert upright(tmp_path / "one.png")[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone_for_pixels_and_for_the_hash(tmp_path: Path, orientation: int) -> None:
    turns = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }  # what the camera did; the viewer undoes it
    stored = picture(3)
    for turn in turns.get(orientation, []):
        stored = stored.transpose(turn)
    tag = Image.Exif()
    tag[ORIENTATION] = orientation
    stored.save(tmp_path / "x.png", exif=tag)
    stored.save(tmp_path / "x.jpg", exif=tag, quality=95)
    picture(3).save(tmp_path / "plain.png")
    assert np.array_equal(upright(tmp_path / "x.png"), np.asarray(picture(3)))
    assert upright(tmp_path / "x.jpg", 16).shape == (20, 24, 3)
    scanned = _pictures.scan([str(tmp_path / name) for name in ("plain.png", "x.png", "x.jpg")])
    near = images._near([found.words for found in scanned])
    assert near.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("hint", "size"),
    [
        (0, (808, 600)),
        (601, (808, 600)),
        (301, (808, 600)),
        (300, (404, 300)),
        (76, (202, 150)),
        (75, (101, 75)),
        (1, (101, 75)),
    ],
)
def test_jpeg_is_decoded_at_the_smallest_scale_that_the_hint_allows(
    tmp_path: Path, hint: int, size: tuple[int, int]
) -> None:
    picture(1, (808, 600)).save(tmp_path / "x.jpg")
    found = images.ImageItems([str(tmp_path / "x.jpg")], ["x.jpg"], [""]).read(0, hint)
    assert found.size == size
    assert (
        np.abs(
            np.asarray(found.resize((48, 40))).astype(int) - np.asarray(picture(1, (808, 600)).resize((48, 40)))
        ).mean()
        < 4
    )


# Checks


def test_unreadable_files_are_set_aside_and_listed(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    picture(50, (300, 300)).save(tmp_path / "whole.jpg", quality=95)
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "whole.jpg").unlink()
    (tmp_path / "ant" / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "ant" / "empty.jpg").write_bytes(b"")
    (tmp_path / "bee" / "text.png").write_text("not a picture")
    content = bytearray((tmp_path / "bee" / "0.png").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "bee" / "bits.png").write_bytes(bytes(content))
    loaded = images.load(str(tmp_path))
    found = one(loaded, "unreadable")
    assert found.items == ("ant/cut.jpg", "ant/empty.jpg", "bee/bits.png", "bee/text.png")
    assert found.sentence.startswith("4 files cannot be read and set aside: ant/cut.jpg (cut off before its end), ")
    assert "ant/empty.jpg (empty file)" in found.sentence
    assert "bee/text.png (not an image, whatever its name says)" in found.sentence
    assert "bee/bits.png (damaged: " in found.sentence
    assert len(loaded.table) == 6


def test_a_picture_of_too_many_pixels_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(9, (200, 200)).save(two_by_three(tmp_path) / "ant" / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    assert "huge.png (too many pixels to be decoded safely)" in one(images.load(str(tmp_path)), "unreadable").sentence


def test_hidden_and_foreign_files_and_loose_images(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    put(tmp_path, ".ipynb_checkpoints/x.png", "ant/.hidden.png", "__MACOSX/ant/x.png", "loose.png", start=20)
    for name in ("ant/Thumbs.db", "bee/.DS_Store", "ant/notes.txt", "readme.md", "ant/more.txt", "bee/phone.heic"):
        (tmp_path / name).write_text("x")
    loaded = images.load(str(tmp_path))
    assert one(loaded, "hidden files").items == (
        ".ipynb_checkpoints", "__MACOSX", "ant/.hidden.png", "ant/Thumbs.db", "bee/.DS_Store",
    )  # fmt: skip
    assert one(loaded, "foreign files").items == ("ant/more.txt", "ant/notes.txt", "bee/phone.heic", "readme.md")
    assert "left out (2 .txt, 1 .heic, 1 .md)" in one(loaded, "foreign files").sentence
    assert one(loaded, "loose images").sentence.startswith(
        "1 loose image outside the class folders left out: loose.png"
    )
    assert len(loaded.table) == 6


def test_class_names_counts_and_empty_folders(tmp_path: Path) -> None:
    put(tmp_path, *(f"Sun Flower/{n}.png" for n in range(10)), "sun_flower/10.png", "rose/11.png", "rose/12.png")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.png").write_text("")
    loaded = images.load(str(tmp_path))
    assert loaded.table.classes == ("Sun Flower", "rose", "sun_flower")
    assert one(loaded, "similar names").items == ("Sun Flower", "sun_flower")
    assert one(loaded, "empty class").items == ("broken", "nothing")
    assert one(loaded, "single example").items == ("sun_flower",)
    assert one(loaded, "imbalance").items == ("Sun Flower", "sun_flower")


def test_copies_share_a_group_and_conflicts_are_said(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    shutil.copy(tmp_path / "ant/0.png", tmp_path / "ant/copy.png")
    shutil.copy(tmp_path / "ant/1.png", tmp_path / "bee/wrong.png")
    picture(5).save(tmp_path / "bee/near.jpg", quality=60)
    Image.new("RGB", (40, 40), "white").save(tmp_path / "ant/white.png")
    Image.new("RGB", (40, 41), "black").save(tmp_path / "bee/black.png")
    loaded = images.load(str(tmp_path))
    at = {name: loaded.groups[place] for place, name in enumerate(names(loaded))}
    assert at["ant/0.png"] == at["ant/copy.png"]
    assert at["ant/1.png"] == at["bee/wrong.png"]
    assert at["bee/2.png"] == at["bee/near.jpg"]
    assert len(set(at.values())) == len(at) - 3
    assert one(loaded, "duplicate").items == ("ant/0.png", "ant/copy.png", "ant/1.png", "bee/wrong.png")
    assert one(loaded, "near duplicate").items == ("bee/2.png", "bee/near.jpg")
    assert one(loaded, "conflict").items == ("ant/1.png", "bee/wrong.png")


def test_copies_in_given_train_and_test_are_set_aside_in_train(tmp_path: Path) -> None:
    put(tmp_path, *(f"{part}/{kind}/{part}{n}.png" for part in ("train", "test") for kind in "ab" for n in range(3)))
    shutil.copy(tmp_path / "test/a/test0.png", tmp_path / "train/a/leak.png")
    picture(7).save(tmp_path / "train/a/leak.jpg", quality=70)
    loaded = images.load(str(tmp_path))
    found = one(loaded, "leak")
    assert found.items == ("train/a/leak.jpg", "train/a/leak.png")
    assert not set(found.items) & set(names(loaded))
    assert (loaded.parts == "test").sum() == 6
    assert len(loaded.table.items) == len(loaded.table) == 12
    assert not {"duplicate", "near duplicate"} & set(kinds(loaded))


def test_workers_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, *(f"{kind}/{n}.png" for kind in "ab" for n in range(40)))
    (tmp_path / "a" / "7.png").write_text("")
    alone = images.load(str(tmp_path), workers=1)
    monkeypatch.setattr(_pictures, "_SHORT", 10)
    ticks: list[int] = []
    together = images.load(str(tmp_path), workers=2, progress=lambda done, total: ticks.append(done))
    monkeypatch.setattr(_pictures.sys, "platform", "elsewhere")
    threaded = images.load(str(tmp_path), workers=2)
    for other in (together, threaded):
        assert names(other) == names(alone)
        assert other.findings == alone.findings
        assert [other.table.items.digest(n) for n in range(79)] == [alone.table.items.digest(n) for n in range(79)]
    assert ticks == sorted(ticks)
    assert ticks[-1] == 80


def test_a_file_that_vanishes_after_the_checks(tmp_path: Path) -> None:
    loaded = images.load(str(two_by_three(tmp_path)))
    (tmp_path / "ant" / "1.png").unlink()
    with pytest.raises(DataError, match=r"ant/1\.png was readable and no longer is"):
        loaded.table.items.read(1, 32)


# Refusals


def table(place: Path, text: str, name: str = "t.csv") -> str:
    (place / name).write_bytes(text.encode("latin-1"))
    return str(place / name)


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        ("", "t.csv", "has no rows; give it a line of column names"),
        ("path,label\n", "t.csv", "has no rows"),
        ("path,label\nant/0.png,caf\xe9\n", "t.csv", r"is not UTF-8 text \(byte 24\)"),
        ("path,a,b\nant/0.png,x,y\n", "t.csv", "no column that is plainly the label; it has path, a, b; rename"),
        ("a,label\nzzz,x\n", "t.csv", "no column that is plainly the path; it has a, label"),
        ("ant/0.png,ant\nant/1.png,ant\n", "t.csv", "has no line of column names; put path,label in front"),
        ("path,label,split\nant/0.png,x,fold3\n", "t.csv", "split column of .* says 'fold3'; it may say train"),
        ('path,label\n"' + "x" * 140_000, "t.csv", "cannot be read as a table .* quote that is not closed"),
        ("{}\n[", "t.jsonl", "line 2 of .* is not JSON; write one object a line"),
        ("[1]", "t.jsonl", "line 1 of .* is not a JSON object; write"),
        ("path,label\nant/0.png,x\nant/1.png,x\n", "t.csv", r"usable examples of 1 class \(x\)"),
        (
            "path,label\nno.png,x\nnope.png,y\n",
            "t.csv",
            "none of the 2 image files of .* the first, no.png, is refused",
        ),
        (
            "path,label\n,x\n",
            "t.csv",
            "has no row with both a path and a label; fill in column 'path' and column 'label'",
        ),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, name: str, sentence: str) -> None:
    two_by_three(tmp_path)
    with pytest.raises(DataError, match=sentence) as caught:
        images.load(table(tmp_path, text, name))
    assert "\n" not in str(caught.value)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    two_by_three(tmp_path / "photos")
    with pytest.raises(DataError, match=f"did you mean {tmp_path / 'photos'}"):
        images.load(str(tmp_path / "fotos"))
    with pytest.raises(DataError, match=f"whose own folders look like the classes; type {tmp_path / 'photos'}"):
        images.load(str(tmp_path))
    with pytest.raises(DataError, match="has no class folders, only 3 loose images"):
        images.load(str(tmp_path / "photos" / "ant"))
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="void holds no images; give a folder with one folder of images for each class"):
        images.load(str(tmp_path / "void"))
    with pytest.raises(DataError, match="is a single file, not a data set"):
        images.load(str(tmp_path / "photos" / "ant" / "0.png"))
    with pytest.raises(DataError, match=r"usable examples of 1 class \(ant\), and two are needed"):
        images.load(str(put(tmp_path / "single", "ant/1.png")))
    with pytest.raises(DataError, match="is divided into test and train, which hold no class folders"):
        images.load(str(put(tmp_path / "flat", "train/1.png", "test/2.png")))


# Loose files to predict


def test_gather_takes_files_folders_and_patterns(tmp_path: Path) -> None:
    two_by_three(tmp_path)
    (tmp_path / "bee" / "bad.png").write_text("")
    found, bad = images.gather([str(tmp_path / "ant" / "1.png"), str(tmp_path / "ant"), str(tmp_path / "b*" / "*.png")])
    assert [found.name(row) for row in range(len(found))] == [
        str(tmp_path / name) for name in ("ant/1.png", "ant/0.png", "ant/2.png", "bee/0.png", "bee/1.png", "bee/2.png")
    ]
    assert bad == (str(tmp_path / "bee" / "bad.png"),)
    assert found.read(0, 32).size == (48, 40)
    assert found.modality == images.GATHERS
    with pytest.raises(DataError, match=r"no file fits the pattern .*gif"):
        images.gather([str(tmp_path / "*.gif")])
    with pytest.raises(DataError, match="did you mean"):
        images.gather([str(tmp_path / "amt")])


# Real photos


def test_flowers_hold_the_copies_and_conflicts_that_were_found_by_eye(data_folder: Path) -> None:
    loaded = images.load(str(data_folder / "flowers"))
    assert len(loaded.table) == 2500
    assert kinds(loaded) == ["duplicate", "near duplicate", "conflict"]
    assert len(one(loaded, "duplicate").items) == 12
    assert len(one(loaded, "near duplicate").items) == 20
    assert len(one(loaded, "conflict").items) == 8
    assert len(np.unique(loaded.groups)) == 2500 - 6 - 10


def test_product_shots_of_different_things_are_not_called_the_same(data_folder: Path) -> None:
    loaded = images.load(str(data_folder / "office" / "images" / "amazon"))
    assert "conflict" not in kinds(loaded)
    near = one(loaded, "near duplicate").items
    assert len(near) == 36
    assert not any(name.startswith("bike/") for name in near)  # many bicycles, all from the same side
