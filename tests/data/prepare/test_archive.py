import bz2
import gc
import gzip
import io
import lzma
import os
import random
import shutil
import stat
import struct
import tarfile
import time
import zipfile
import zlib
from collections import namedtuple
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.data.prepare import archive as module
from ultralytics.data.prepare.archive import is_archive, unpack
from ultralytics.utils.errors import DatasetError, MissingFileError, UserError

GIB = 1 << 30
WHEN = 1_000_000_000


def add(name, content=b"data", kind=None, to="", mode=0o644, **fields):
    """A tar member and what it holds."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode, info.linkname = len(content), WHEN, mode, to
    if kind is not None:
        info.type, info.size, content = kind, 0, b""
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def tar(path, *members, mode="w"):
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as file:
        for info, content in members:
            file.addfile(info, io.BytesIO(content))
    return path


def put(name, content=b"data", mode=stat.S_IFREG | 0o644, method=zipfile.ZIP_DEFLATED):
    """A zip member and what it holds."""
    info = zipfile.ZipInfo(name, (2001, 9, 9, 1, 46, 40))
    info.create_system, info.external_attr, info.compress_type = 3, mode << 16, method
    info.filename = name  # as it is, where ZipInfo would have changed it
    return info, content


def zipped(path, *members):
    with zipfile.ZipFile(path, "w") as file:
        for info, content in members:
            file.writestr(info, content)
    return path


def raw_zip(path, name, data, size, crc=0, method=8, flags=0, packed=None):
    """A zip of one member, of which every field may be a lie."""
    packed = len(data) if packed is None else packed
    name = name.encode()
    fields = struct.pack("<HHHHHIII", 20, flags, method, 0, 0x21, crc, packed, size)
    local = b"PK\3\4" + fields + struct.pack("<HH", len(name), 0) + name
    entry = (
        b"PK\1\2" + struct.pack("<H", 0x314) + fields + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0o644 << 16, 0)
    )
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry) + len(name), len(local) + len(data), 0)
    path.write_bytes(local + data + entry + name + b"PK\5\6" + end)
    return path


def tree(folder):
    """Every path below a folder, and the content of files (of large ones their size)."""

    def content(path):
        if path.is_dir() and not path.is_symlink():
            return None
        return path.read_bytes() if path.stat().st_size < 1 << 20 else path.stat().st_size

    return {p.relative_to(folder).as_posix(): content(p) for p in folder.rglob("*")}


def refuses(tmp_path, file, match, error=DatasetError, **options):
    """Refused in one line that names the archive, with nothing written anywhere; into a new folder and one that is
    there."""
    before = tree(tmp_path)
    (tmp_path / "there").mkdir(exist_ok=True)
    for into in (tmp_path / "new" / "folder", tmp_path / "there"):
        with pytest.raises(error, match=match) as caught:
            unpack(file, into, **options)
        assert "\n" not in str(caught.value)
        assert str(file) in str(caught.value) or str(into) in str(caught.value)
        assert "nothing was unpacked" in str(caught.value)
    assert tree(tmp_path) == {**before, "there": None}


HONEST = (add("a.txt"), add("d/e/b.txt", b"b" * 5000))


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("../x", "leads out"),
        ("d/../../x", "leads out"),
        ("d/..", "leads out"),
        ("..", "leads out"),
        ("/tmp/x", "absolute path"),
        ("//x", "absolute path"),
        ("C:/x", "absolute path"),
        ("c:x", "absolute path"),
        ("..\\x", "backslash"),
        ("d\\..\\..\\x", "backslash"),
        ("\\\\host\\x", "backslash"),
        ("n" * 5000, "a name of 5000 characters"),
        ("d/" * 2500 + "x", "a name of 5001 characters"),
        ("", "has no name"),
        ("./", "has no name"),
    ],
)
def test_names_that_lead_elsewhere(tmp_path, name, match):
    if name != "./":  # that is a folder to a zip
        refuses(tmp_path, zipped(tmp_path / "x.zip", put("a.txt"), put(name)), match)
    refuses(tmp_path, tar(tmp_path / "x.tar", *HONEST, add(name, pax_headers={"path": name})), match)
    refuses(tmp_path, tar(tmp_path / "x.tgz", *HONEST, add(name), mode="w:gz"), match)


def test_a_zero_byte_in_a_name(tmp_path):
    file = zipped(tmp_path / "x.zip", put("a.txt"), put("good.txt?../../x"))
    file.write_bytes(file.read_bytes().replace(b"good.txt?", b"good.txt\0"))
    refuses(tmp_path, file, "zero byte")
    file = tar(tmp_path / "x.tar", add("a.txt", pax_headers={"path": "a?" + "b" * 200}))
    file.write_bytes(file.read_bytes().replace(b"a?bb", b"a\0bb"))
    refuses(tmp_path, file, "zero byte")


@pytest.mark.parametrize(
    ("name", "to", "match"),
    [
        ("l", "/etc/passwd", "link out of the folder, to '/etc/passwd'"),
        ("l", "../x", "link out"),
        ("d/l", "../../x", "link out"),
        ("l", "d/../../x", "link out"),
        ("l", "C:/x", "link out"),
        ("l", "..\\x", "link out"),
        ("l", "nowhere", "none of its files"),
        ("l", "d", "none of its files"),
        ("l", ".", "none of its files"),
        ("l", "l", "none of its files"),
    ],
)
def test_links_that_lead_elsewhere(tmp_path, name, to, match):
    refuses(tmp_path, tar(tmp_path / "s.tar", *HONEST, add(name, kind=tarfile.SYMTYPE, to=to)), match)
    refuses(tmp_path, zipped(tmp_path / "s.zip", put("d/a"), put(name, to.encode(), stat.S_IFLNK | 0o777)), match)
    if to != "../../x":
        refuses(tmp_path, tar(tmp_path / "h.tar", *HONEST, add(name, kind=tarfile.LNKTYPE, to=to)), match)


def test_a_hard_link_is_relative_to_the_whole(tmp_path):
    refuses(tmp_path, tar(tmp_path / "h.tar", *HONEST, add("d/l", kind=tarfile.LNKTYPE, to="../a.txt")), "link out")


def test_a_chain_of_links(tmp_path):
    members = [add("l", kind=tarfile.SYMTYPE, to="m"), add("m", kind=tarfile.SYMTYPE, to="a.txt")]
    refuses(tmp_path, tar(tmp_path / "x.tar", *HONEST, *members), "none of its files")


@pytest.mark.parametrize("folder", [".", "..", "/tmp", "d"])
def test_writing_through_a_link(tmp_path, folder):
    """A link first, then a member of its name or below it."""
    for name in ("l", "l/x"):
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            for members in ([add("l", kind=kind, to=folder), add(name)], [add(name), add("l", kind=kind, to=folder)]):
                refuses(
                    tmp_path, tar(tmp_path / "x.tar", *HONEST, *members), "link out|there twice|not a folder|none of"
                )
        link = put("l", folder.encode(), stat.S_IFLNK | 0o777)
        with pytest.warns(UserWarning, match="Duplicate name") if name == "l" else nullcontext():
            file = zipped(tmp_path / "x.zip", put("d/a"), link, put(name))
        refuses(tmp_path, file, "link out|there twice|not a folder|none of")


def test_names_that_contradict_each_other(tmp_path):
    refuses(tmp_path, tar(tmp_path / "a.tar", add("a"), add("a/b")), "'a', which is not a folder")
    refuses(tmp_path, tar(tmp_path / "b.tar", add("a/b"), add("a")), "'a', which is not a folder")
    refuses(tmp_path, tar(tmp_path / "c.tar", add("a"), add("a", kind=tarfile.DIRTYPE)), "there twice")
    refuses(tmp_path, zipped(tmp_path / "d.zip", put("a"), put("a/b/c")), "'a', which is not a folder")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Q"], ids=str)
def test_devices_and_pipes(tmp_path, kind):
    file = tar(tmp_path / "x.tar", *HONEST, add("dev", kind=kind, devmajor=1, devminor=3))
    refuses(tmp_path, file, "'dev' is a device, a pipe or something unknown")


@pytest.mark.parametrize("mode", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_devices_and_pipes_in_a_zip(tmp_path, mode):
    refuses(tmp_path, zipped(tmp_path / "x.zip", put("a"), put("dev", mode=mode | 0o666)), "'dev' is a device")


def test_an_encrypted_zip_and_an_unknown_compression(tmp_path):
    refuses(tmp_path, raw_zip(tmp_path / "x.zip", "a", b"12345678", 8, flags=1), "'a' is encrypted")
    refuses(tmp_path, raw_zip(tmp_path / "y.zip", "a", b"12345678", 8, method=99), "compressed by method 99")


def zeros_header(size):
    info = tarfile.TarInfo("zeros")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "pack", [lambda b: b, gzip.compress, bz2.compress, lzma.compress], ids=["tar", "gz", "bz2", "xz"]
)
def test_ten_gigabytes_of_zeros(tmp_path, pack):
    """As compressed streams joined to one; reported by their header before they are unpacked."""
    file = tmp_path / "x.tar"
    piece = pack(bytes(1 << 24))
    with open(file, "wb") as f:
        f.write(pack(zeros_header(10 * GIB)))
        if len(piece) < 1 << 20:
            for _ in range(10 * GIB >> 24):
                f.write(piece)
            f.write(pack(bytes(1024)))
        else:
            f.truncate(10 * GIB + 2048)  # a hole
    begin = time.process_time()
    limit = {"max_bytes": 5 * GIB} if len(piece) >= 1 << 20 else {}  # as many bytes of tar are no bomb
    refuses(tmp_path, file, "'zeros' makes it 10737418240 bytes unpacked", **limit)
    assert time.process_time() - begin < 5


def test_ten_gigabytes_of_zeros_in_a_zip(tmp_path):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    data = first + again * 255 + packer.flush()
    refuses(tmp_path, raw_zip(tmp_path / "x.zip", "zeros", data, (1 << 32) - 2), "bytes unpacked, and")
    for claimed in (0, 10, 1 << 20):  # a header that lies, with and without a checksum that agrees
        for crc in (0, zlib.crc32(bytes(claimed))):
            refuses(
                tmp_path,
                raw_zip(tmp_path / "x.zip", "zeros", data, claimed, crc),
                f"more than the {claimed} bytes|Bad CRC",
            )


def test_ten_gigabytes_in_what_a_tar_says_of_a_member(tmp_path):
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 10 * GIB
    file = tmp_path / "x.tgz"
    piece = gzip.compress(bytes(1 << 24))
    file.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)) + piece * 640)
    refuses(tmp_path, file, "a header of 10737418240 bytes")


def test_ten_gigabytes_behind_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FLOOR", 1 << 26)
    file = tar(tmp_path / "x.tgz", *HONEST, mode="w:gz")
    file.write_bytes(file.read_bytes() + gzip.compress(bytes(1 << 24)) * 640)
    refuses(tmp_path, file, "are not its end")


def test_many_members_and_many_small_bombs(tmp_path):
    file = tar(tmp_path / "x.tar", *(add(str(i)) for i in range(11)))
    refuses(tmp_path, file, "'10' is one more than the 10", max_files=10)
    unpack(file, tmp_path / "eleven", max_files=11)
    shutil.rmtree(tmp_path / "eleven")
    refuses(tmp_path, file, "'10' makes it 44 bytes unpacked, and 43 is the limit", max_bytes=43)
    file = zipped(tmp_path / "x.zip", *(put(str(i)) for i in range(11)))
    refuses(tmp_path, file, "'10' is one more than the 10", max_files=10)
    refuses(tmp_path, file, "'10' makes it 44 bytes unpacked, and 43 is the limit", max_bytes=43)


def test_copies_of_a_link_count(tmp_path):
    links = [add(f"l{i}", kind=tarfile.LNKTYPE, to="big") for i in range(9)]
    file = tar(tmp_path / "x.tar", add("big", bytes(1000)), *links)
    refuses(tmp_path, file, "'l8' makes it 10000 bytes unpacked, and 9999 is the limit", max_bytes=9999)
    unpack(file, tmp_path / "out", max_bytes=10_000)


def test_the_ratio_counts_when_no_limit_is_given(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FLOOR", 0)
    refuses(tmp_path, zipped(tmp_path / "x.zip", put("zeros", bytes(10**6))), "limit for an archive of")
    refuses(tmp_path, tar(tmp_path / "x.txz", add("zeros", bytes(10**6)), mode="w:xz"), "limit for an archive of")


def test_what_is_free_is_the_limit_of_limits(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    file = tar(tmp_path / "x.tar", add("a", bytes(1000)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 999, 999))
    refuses(tmp_path, file, "1000 bytes unpacked, and 999 is all that is free", max_bytes=10**6)


def test_a_zip_that_claims_too_much(tmp_path):
    packer = zlib.compressobj(wbits=-15)  # `compress` takes it from Python 3.11 on
    data = packer.compress(b"data") + packer.flush()
    refuses(tmp_path, raw_zip(tmp_path / "x.zip", "a", data, 1000, zlib.crc32(b"data")), "ends at 4 of 1000 bytes")


def test_a_negative_size(tmp_path):
    header = bytearray(tarfile.TarInfo("a").tobuf())
    header[124:136] = tarfile.itn(-512, 12, tarfile.GNU_FORMAT)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    file = tmp_path / "x.tar"
    file.write_bytes(bytes(header) + bytes(1024))
    refuses(tmp_path, file, "has -512 bytes|damaged")


def honest(tmp_path):
    members = [(f"d{i % 3}/{i}.bin", random.Random(i).randbytes(700 * i)) for i in range(12)]
    yield zipped(tmp_path / "deflated.zip", *(put(n, c) for n, c in members))
    yield zipped(tmp_path / "stored.zip", *(put(n, c, method=zipfile.ZIP_STORED) for n, c in members))
    for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz"), (".tar.bz2", "w:bz2"), (".tar.xz", "w:xz")):
        yield tar(tmp_path / f"x{suffix}", *(add(n, c) for n, c in members), mode=mode)


def test_archives_that_are_cut_off(tmp_path):
    for file in honest(tmp_path):
        data = file.read_bytes()
        rng = random.Random(3)
        # Behind a tar's end mark there is only padding.
        cuts = [1, len(data) // 2, *(rng.randrange(len(data) * 3 // 4) for _ in range(4))]
        if file.suffix != ".tar":
            cuts += [len(data) - 1, len(data) - 9]
        for cut in cuts:
            file.write_bytes(data[:cut])
            assert is_archive(file)
            refuses(tmp_path, file, "damaged or cut off")
        file.unlink()


def test_a_tar_that_ends_between_two_members(tmp_path):
    file = tar(tmp_path / "x.tar", *HONEST)
    data = file.read_bytes()
    file.write_bytes(data[:1024])  # header and content of the first
    refuses(tmp_path, file, "no member and no end at byte 1024")
    broken = bytearray(data)
    broken[1024 + 148] ^= 1  # the second header's checksum
    file.write_bytes(broken)
    refuses(tmp_path, file, "no member and no end at byte 1024")


@cache
def archives():
    with TemporaryDirectory() as folder:
        return [(f.name, f.read_bytes()) for f in honest(Path(folder))]


@settings(max_examples=150)
@given(st.integers(0, 5), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8))
def test_damage_anywhere_is_told_or_harmless(which, bytes_):
    name, data = archives()[which]
    data = bytearray(data)
    for position, value in bytes_:
        data[position % len(data)] = value
    with TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(data)
        error = None
        try:
            unpack(file, Path(folder) / "out" / "x")
        except UserError as e:
            error = str(e)
        assert error is None or (os.listdir(folder) == [name] and "\n" not in error)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK", b"PK\3\4", b"\x1f\x8b", b"BZh9", bytes(5)])
@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz"])
def test_what_is_no_archive(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refuses(tmp_path, tmp_path / name, "damaged or cut off")


def test_no_such_archive(tmp_path):
    with pytest.raises(MissingFileError, match="no such archive"):
        unpack(tmp_path / "x.zip", tmp_path / "out")
    with pytest.raises(MissingFileError, match="this is a folder"):
        unpack(tmp_path, tmp_path / "out")
    assert tree(tmp_path) == {}


def test_archives_are_told_from_other_files(tmp_path):
    for file in honest(tmp_path):
        assert is_archive(file)
        bare = file.rename(tmp_path / "download")
        assert is_archive(bare)
        unpack(bare, tmp_path / "out")
        shutil.rmtree(tmp_path / "out")
    for name, content in (("a.jpg", b"\xff\xd8"), ("a.json.gz", gzip.compress(b"{}")), ("a", b""), ("b", b"\x1f\x8b?")):
        (tmp_path / name).write_bytes(content)
        assert not is_archive(tmp_path / name)
    assert not is_archive(tmp_path)
    assert not is_archive(tmp_path / "missing.zip")


NAME = st.text(st.characters(exclude_categories=["C"], exclude_characters="/\\:"), min_size=1, max_size=12)
TREES = st.dictionaries(
    st.lists(NAME.filter(lambda n: n not in (".", "..") and len(n.encode()) < 200), min_size=1, max_size=3).map(tuple),
    st.binary(max_size=3000) | st.none(),
    max_size=6,
).filter(lambda t: not any(a != b and b[: len(a)] == a for a in t for b in t))


@settings(max_examples=40)
@given(TREES, st.sampled_from([".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"]))
def test_honest_trees_come_out_as_they_went_in(files, suffix):
    """None is an empty folder."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"x{suffix}"
        expected = {}
        for parts, content in files.items():
            expected.update({"/".join(parts[:n]): None for n in range(1, len(parts))})
            expected["/".join(parts)] = content
        names = {"/".join(p): c for p, c in files.items()}
        if suffix == ".zip":
            zipped(file, *(put(n + "/", b"") if c is None else put(n, c) for n, c in names.items()))
        else:
            tar(
                file,
                add("./", kind=tarfile.DIRTYPE),
                *(add(n, kind=tarfile.DIRTYPE) if c is None else add("./" + n, c) for n, c in names.items()),
                mode=f"w:{suffix.rpartition('.')[2]}" if suffix.count(".") == 2 else "w",
            )
        unpack(file, Path(folder) / "out")
        assert tree(Path(folder) / "out") == expected


def test_links_inside_become_copies(tmp_path):
    members = [
        add("d/soft", kind=tarfile.SYMTYPE, to="../a.txt"),
        add("hard", kind=tarfile.LNKTYPE, to="d/e/b.txt"),
        add("./d/./other", kind=tarfile.SYMTYPE, to="./e/../e//b.txt"),
    ]
    unpack(tar(tmp_path / "x.tar", *members, *HONEST), tmp_path / "out")
    zip_members = [put("d/soft", b"../a.txt", stat.S_IFLNK | 0o777), put("a.txt")]
    unpack(zipped(tmp_path / "x.zip", *zip_members), tmp_path / "zip")
    assert (tmp_path / "zip" / "d" / "soft").read_bytes() == b"data"
    assert (tmp_path / "out" / "d" / "soft").read_bytes() == b"data"
    assert (tmp_path / "out" / "hard").read_bytes() == (tmp_path / "out" / "d" / "other").read_bytes() == b"b" * 5000
    for path in (*(tmp_path / "out").rglob("*"), *(tmp_path / "zip").rglob("*")):
        assert not path.is_symlink()
        assert path.is_dir() or path.stat().st_nlink == 1


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX's")
def test_permissions_are_those_the_user_gives_and_times_are_kept(tmp_path):
    bad = add("d", kind=tarfile.DIRTYPE, mode=0o000), add("d/run", mode=0o6777), add("d/no", mode=0o000)
    old = os.umask(0o027)
    try:
        unpack(tar(tmp_path / "x.tar", *bad), tmp_path / "tar")
        unpack(zipped(tmp_path / "x.zip", put("d/run", mode=0o106777), put("d/no", mode=0o100000)), tmp_path / "zip")
    finally:
        os.umask(old)
    for kind in ("tar", "zip"):
        assert (tmp_path / kind / "d").stat().st_mode & 0o7777 == 0o750
        for name in ("run", "no"):
            assert (tmp_path / kind / "d" / name).stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "tar" / "d" / "run").stat().st_mtime == WHEN
    zip_time = (tmp_path / "zip" / "d" / "run").stat().st_mtime
    assert time.localtime(zip_time)[:6] == (2001, 9, 9, 1, 46, 40)


def test_of_a_file_that_is_there_twice_the_last_counts(tmp_path):
    unpack(tar(tmp_path / "x.tar", add("a", b"old"), add("b"), add("./a", b"new")), tmp_path / "out")
    assert tree(tmp_path / "out") == {"a": b"new", "b": b"data"}


def test_a_folder_that_holds_anything_is_not_unpacked_into(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "d").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="the folder is not empty"):
        unpack(tar(tmp_path / "x.tar", add("d/x")), tmp_path / "out")
    assert tree(tmp_path / "outside") == {}


def test_a_full_disk_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    members = [(f"d/{i}", random.Random(i).randbytes(3000 + 5000 * (i == 3))) for i in range(5)]
    archives = [
        tar(tmp_path / "x.tar", *(add(*m) for m in members)),
        zipped(tmp_path / "x.zip", *(put(*m) for m in members)),
    ]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        for file in archives:
            refuses(tmp_path, file, "could not be written: File too large", UserError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    file = tar(tmp_path / "x.tar", *HONEST)

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "utime", interrupted)
    before = tree(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        unpack(file, tmp_path / "a" / "b")
    assert tree(tmp_path) == before


def test_a_folder_that_cannot_be(tmp_path):
    file = tar(tmp_path / "x.tar", *HONEST)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="this is a file"):
        unpack(file, tmp_path / "file")
    with pytest.raises(UserError, match="could not be written"):
        unpack(file, tmp_path / "file" / "x")


def test_nothing_stays_open(tmp_path):
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no list of open files here")
    files = [tar(tmp_path / "x.tgz", *HONEST, mode="w:gz"), zipped(tmp_path / "x.zip", put("../x")), tmp_path / "y.tar"]
    (tmp_path / "y.tar").write_bytes(b"?" * 600)
    gc.collect()  # what earlier tests left open
    before = len(os.listdir("/proc/self/fd"))
    for file in files:
        with suppress(DatasetError):
            unpack(file, tmp_path / file.name[0] / file.suffix)
    assert len(os.listdir("/proc/self/fd")) == before
