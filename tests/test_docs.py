# SPDX-License-Identifier: Apache-2.0
"""What the documentation shows is true: each block is carried out, or another test is named."""

import confblocks
import pages
import pytest
import visits


@pytest.mark.parametrize("page", pages.names())
def test_each_block_says_what_it_is(page):
    assert pages.bare(page) == []


def test_each_block_is_carried_out_somewhere():
    """By these tests, or by the one that the table names."""
    for block in pages.all_blocks():
        known = (block.page, block.begin) in visits.ELSEWHERE
        if block.language in {*visits.FOLLOWED, "ini"} or block.page in visits.BY_OTHERS:
            continue
        assert known, f"{block} is carried out by no test"


def test_no_exception_outlives_its_block():
    there = {(block.page, block.begin) for block in pages.all_blocks()}
    assert set(visits.ELSEWHERE) <= there
    assert set(pages.names()) >= {*visits.ON_CEPH, *visits.BY_OTHERS}


@pytest.mark.parametrize(
    "block", [block for block in pages.all_blocks() if block.language == "ini"], ids=str
)
def test_configurations_are_valid(block, tmp_path):
    confblocks.check(block)
    confblocks.load(block, tmp_path)


@pytest.mark.parametrize("page", visits.pages_to_follow(on_ceph=False))
def test_page(page, tmp_path):
    visits.follow(page, tmp_path, visits.on_files(tmp_path / "data"))
