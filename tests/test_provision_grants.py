# SPDX-License-Identifier: Apache-2.0
"""What a user has and what it is to have: nothing is lost, nothing is given twice."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbdstore.provision import grants, roles

properties = settings(deadline=None, max_examples=60)

pool_names = st.sampled_from(
    ["images", "volumes", "vms", "b-1", "a.b", "with space", "a,b", "x;y"]
)


@st.composite
def grant_texts(draw):
    """Of all kinds that are met, written in all the ways that Ceph reads."""
    right = draw(
        st.sampled_from(
            [
                "profile rbd",
                "profile rbd-read-only",
                "allow profile rbd",
                "allow rwx",
                "allow r",
                "allow rx",
                "allow *",
                "allow class-read",
                "allow class rbd metadata_list",
                'allow command "osd blocklist" with blocklistop=add',
                "allow rw tag rbd data=images",
            ]
        )
    )
    if draw(st.booleans()):
        name = draw(pool_names)
        quote = draw(st.sampled_from(['"', "'"]))
        if draw(st.booleans()) or not name.replace("-", "").replace(".", "").isalnum():
            name = f"{quote}{name}{quote}"
        right += draw(st.sampled_from([" pool={}", " pool {}", "  pool = {}"])).format(name)
        right += draw(
            st.sampled_from(["", " object_prefix rbd_", " namespace=n", " network 10.0.0.0/8"])
        )
    return right


texts = st.lists(grant_texts(), max_size=5).flatmap(
    lambda some: st.sampled_from([", ", ",", ";", " ; "]).map(lambda between: between.join(some))
)
capabilities = st.dictionaries(st.sampled_from(["mon", "osd", "mgr", "mds"]), texts, max_size=4)


@st.composite
def wanted_capabilities(draw):
    """What a role is to have, in pools of any kinds."""
    names = draw(
        st.fixed_dictionaries({}, optional=dict.fromkeys(roles.KINDS, st.lists(pool_names)))
    )
    return roles.role(draw(st.sampled_from(list(roles.WORK))), names).caps


def each(caps):
    return {(daemon, grant) for daemon, text in caps.items() for grant in grants.parse(text)}


def has(caps, daemon, wanted):
    return any(grant.covers(wanted) for grant in grants.parse(caps.get(daemon, "")))


@properties
@given(capabilities, wanted_capabilities())
def test_nothing_is_lost_and_nothing_is_lacking(before, wanted):
    merged = grants.compare(before, wanted).merged
    # To the letter: what was there is not even written otherwise.
    for daemon, text in before.items():
        assert merged[daemon].startswith(text.strip(" ,;"))
    for daemon, grant in each(wanted):
        assert has(merged, daemon, grant)
    # And nothing has come but what was wanted.
    assert each(merged) <= each(before) | each(wanted)


@properties
@given(capabilities, wanted_capabilities())
def test_the_second_time_nothing_is_lacking(before, wanted):
    first = grants.compare(before, wanted)
    second = grants.compare(first.merged, wanted)
    assert second.lacking == {}
    assert second.merged == first.merged
    if not first.lacking:
        assert first.merged == before


@properties
@given(capabilities, wanted_capabilities())
def test_the_least_is_enough_and_no_more(before, wanted):
    least = grants.compare(before, wanted).least
    assert each(least) <= each(wanted)
    for daemon, grant in each(wanted):
        assert has(least, daemon, grant)
    after = grants.compare(least, wanted)
    assert (after.lacking, after.besides) == ({}, {})


@properties
@given(capabilities, wanted_capabilities())
def test_what_is_not_needed_is_told(before, wanted):
    compared = grants.compare(before, wanted)
    told = {
        (daemon, grants.Grant.parse(text))
        for daemon, some in compared.besides.items()
        for text in some
    }
    assert told == each(before) - each(compared.least)


@properties
@given(st.lists(grant_texts(), min_size=1, max_size=4))
def test_grants_are_taken_apart_where_they_end(some):
    assert [grant.text for grant in grants.parse(", ".join(some))] == some


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("profile rbd pool=a", "profile rbd pool a"),
        ("profile rbd pool=a", "allow profile rbd pool = 'a'"),
        ('profile rbd pool="a b"', "profile rbd pool='a b'"),
        ("profile rbd pool=a network 10.0.0.0/8", "profile rbd network 10.0.0.0/8 pool=a"),
    ],
)
def test_it_may_be_written_otherwise(one, other):
    assert grants.Grant.parse(one) == grants.Grant.parse(other)


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ("allow *", "profile rbd pool=a"),
        ("allow all", "profile rbd"),
        ("allow rwx", "profile rbd pool=a"),
        ("profile rbd", "profile rbd pool=a"),
        ("profile rbd", "profile rbd-read-only pool=a"),
        ("profile rbd pool=a", "profile rbd-read-only pool=a"),
        ("profile rbd-read-only pool=a", "allow class-read pool=a object_prefix rbd_"),
        ("allow class-read object_prefix rbd", "allow class-read pool=a object_prefix rbd_"),
        ("allow rx pool=a", "allow class-read pool=a object_prefix rbd_"),
    ],
)
def test_who_has_more_does_not_lack_less(more, less):
    more, less = grants.Grant.parse(more), grants.Grant.parse(less)
    assert more.covers(less)
    assert not less.covers(more)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("profile rbd pool=a", "profile rbd pool=b"),
        ("profile rbd pool=a namespace=n", "profile rbd pool=a"),
        ("profile rbd pool=a network 10.0.0.0/8", "profile rbd pool=a"),
        ("profile rbd-read-only pool=a", "profile rbd pool=a"),
        ("allow * pool=a", "profile rbd pool=a"),
        ("""profile rbd pool="a'b" """, "profile rbd pool=ab"),
        ("allow rw", "profile rbd pool=a"),
        ("allow r pool=a", "allow class-read pool=a object_prefix rbd_"),
        ("allow rw tag rbd data=images", "profile rbd pool=images"),
        ("allow r tag rbd data=box", "allow class-read pool=a object_prefix rbd_"),
        ("profile rbd pool=a pool=b", "profile rbd pool=b"),
        ("allow class-read pool=a object_prefix rbd_", "allow class-read pool=a"),
    ],
)
def test_who_has_something_else_lacks_it(one, other):
    assert not grants.Grant.parse(one).covers(grants.Grant.parse(other))


def test_images_and_volumes_in_one_pool():
    """To write there is to read there: the second is not granted beside the first."""
    one = {kind: ["rbd"] for kind in roles.KINDS}
    assert grants.compare({}, roles.role("cinder", one).caps).least == {
        "mon": "profile rbd",
        "osd": "profile rbd pool=rbd",
        "mgr": "profile rbd pool=rbd",
    }
