# SPDX-License-Identifier: Apache-2.0
"""Whatever others wrote, only documented errors: each parser, and a store on such objects."""

import contextlib
import os

import hypothesis
import memory
import pytest
from fuzz import parsers
from hypothesis import strategies as st

from rbdstore import exceptions, spec

_SOAK = bool(os.environ.get("RBDSTORE_SOAK"))


def examples(number):
    return hypothesis.settings(
        max_examples=number * (20 if _SOAK else 1),
        derandomize=not _SOAK,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


@st.composite
def spoilt(draw, seeds):
    """A seed with some of it cut out, doubled or overwritten; or anything at all."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, len(data)))
        data[start:stop] = draw(
            st.one_of(st.binary(max_size=8), st.just(bytes(data[start:stop]) * 2))
        )
    return bytes(data)


@pytest.mark.parametrize("name", parsers.PARSERS)
def test_a_parser_raises_what_it_documents(name):
    @examples(40 if name == "configuration" else 200)
    @hypothesis.given(
        st.one_of(spoilt(parsers.PARSERS[name].seeds), st.binary(), st.text().map(_encoded))
    )
    def fed(data):
        parsers.feed(name, data)

    fed()


def _encoded(text):
    return text.encode("utf-8", "surrogatepass")


def test_a_fault_is_seen(monkeypatch):
    """Of a parser that lets an error through."""
    broken = parsers.Parser(lambda data: data[7], (ValueError,), (b"long enough",))
    monkeypatch.setitem(parsers.PARSERS, "broken", broken)
    with pytest.raises(IndexError):
        test_a_parser_raises_what_it_documents("broken")


@pytest.mark.parametrize("name", parsers.PARSERS)
def test_its_seeds_are_read(name):
    """By one at the least it gets to the end, or whatever follows were not reached."""
    parser = parsers.PARSERS[name]
    read = []
    for seed in parser.seeds:
        try:
            parser.parse(seed)
        except parser.errors as error:
            # A header alone is no image, and there is nothing in the data directory's place.
            read.append(isinstance(error, exceptions.BrokenImage | exceptions.ConfigError))
        else:
            read.append(True)
    assert any(read)


# A store, on objects that anybody wrote

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ENTRIES = st.dictionaries(
    st.one_of(
        TEXTS,
        st.sampled_from(["deleted", "kept-until", "child", "child/1", "child/1/volumes//9/9"]),
        st.builds("child/{}/{}/{}/{}".format, st.integers(0, 9), TEXTS, TEXTS, TEXTS),
    ),
    st.binary(max_size=20),
    max_size=4,
)
JOURNALS = st.one_of(
    st.binary(max_size=40), spoilt(parsers.PARSERS["journal"].seeds), st.just(b"")
)
METADATA = st.dictionaries(
    st.one_of(TEXTS.filter(bool), st.sampled_from(["rbdstore.object-map", "rbdstore.partial"])),
    TEXTS,
    max_size=3,
)


@examples(60)
@hypothesis.given(entries=ENTRIES, journal=JOURNALS, metadata=METADATA, owner=TEXTS)
def test_what_anybody_may_have_written(entries, journal, metadata, owner):
    cluster = memory.memory_cluster()
    pool = cluster.open_pool("volumes")
    volumes = memory.memory_store(cluster, pool="volumes").volumes
    volumes.create("volume-1", 1024)
    volumes.create_snapshot("volume-1", "snapshot-1")
    volumes.create_cloned_volume("clone-1", "volume-1")
    with pool.open("volume-1", read_only=False) as image:
        for key, value in metadata.items():
            image.set_metadata(key, value)
        pool.set_keys(spec.record_object(image.id), entries)
    for name in ("volume-1", "volume-2"):
        key = spec.lease_object(name)
        if pool.lease(key, "cookie", 30, owner):
            pool.write_leased(key, "cookie", journal)
            pool.lease(key, "cookie", 0.0, owner)
    # Impatient: a busy machine may well take its leases away, which is one more documented error.
    with memory.memory_store(cluster, pool="volumes", lease_seconds=0.2) as store:
        volumes = store.volumes
        for verb in (
            lambda: volumes.list(),
            lambda: volumes.get("volume-1"),
            lambda: store.tree("volume-1"),
            lambda: store.forest(),
            lambda: volumes.create("volume-2", 1024),
            lambda: volumes.create_cloned_volume("clone-2", "volume-1"),
            lambda: volumes.delete_snapshot("volume-1", "snapshot-1"),
            lambda: volumes.flatten("clone-1"),
            lambda: volumes.delete("volume-1"),
            lambda: store.purge_deleted(),
        ):
            with contextlib.suppress(exceptions.RbdStoreError):
                verb()
