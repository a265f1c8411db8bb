# SPDX-License-Identifier: Apache-2.0
"""Names that are refused."""

import dataclasses
import math
import os
import pathlib

from rbdstore import exceptions, spec
from wrong.entries import table
from wrong.likenesses import Text

LONGEST = spec.MAX_NAME_BYTES

NAMES = [
    *table(
        exceptions.InvalidName,
        "a name is text, not ",
        none=None,
        bytes=b"volume-1",
        a_bytearray=bytearray(b"volume-1"),
        a_whole_number=7,
        zero=0,
        a_bool=True,
        a_float=1.5,
        nan=math.nan,
        a_list_of_one=["volume-1"],
        a_tuple_of_one=("volume-1",),
        an_empty_list=[],
        a_mapping={"name": "volume-1"},
        a_set=frozenset({"volume-1"}),
        a_path=pathlib.PurePath("volume-1"),
        an_object=object(),
        a_class=str,
        a_function=len,
        not_implemented=NotImplemented,
        a_spec=spec.ImageSpec("volumes", "volume-1"),
    ),
    *table(
        exceptions.InvalidName,
        "cannot be empty or blank",
        empty="",
        a_space=" ",
        spaces="   ",
        a_tab="\t",
        a_newline="\n",
        a_no_break_space="\N{NO-BREAK SPACE}",
        an_ideographic_space="\N{IDEOGRAPHIC SPACE}",
        a_line_separator="\N{LINE SEPARATOR}",
    ),
    *table(exceptions.InvalidName, "is no name", a_dot=".", two_dots=".."),
    *table(
        exceptions.InvalidName,
        "begins or ends with a space",
        a_leading_space=" volume-1",
        a_trailing_space="volume-1 ",
        a_trailing_newline="volume-1\n",
        a_leading_newline="\nvolume-1",
        a_trailing_carriage_return="volume-1\r",
        a_leading_tab="\tvolume-1",
        a_leading_no_break_space="\N{NO-BREAK SPACE}volume-1",
        a_trailing_em_space="volume-1\N{EM SPACE}",
        a_trailing_next_line="volume-1\N{NEXT LINE}",
    ),
    *table(
        exceptions.InvalidName,
        "contains '/' or '@'",
        a_slash="/",
        an_at="@",
        a_pool_and_an_image="volumes/volume-1",
        an_image_and_a_snapshot="volume-1@snapshot-1",
        a_whole_spec="images/tenant/image-1@snap",
        a_leading_slash="/volume-1",
        a_trailing_slash="volume-1/",
        a_trailing_at="volume-1@",
        a_path_upwards="../images/image-1",
        an_absolute_path="/etc/passwd",
        a_location="rbd://volume-1",
        a_slash_of_a_subclass=Text("volumes/volume-1"),
    ),
    *table(
        exceptions.InvalidName,
        "contains control characters",
        a_newline_inside="volume\n1",
        a_carriage_return_inside="volume\r1",
        a_tab_inside="volume\t1",
        a_nul="volume\x001",
        a_nul_at_the_end="volume-1\0",
        a_nul_alone="\0",
        a_bell="volume\a1",
        a_backspace="volume\b1",
        an_escape_sequence="volume\x1b[31m1",
        a_delete="volume\x7f1",
        a_unit_separator="volume\x1f1",
        a_next_line_inside="volume\N{NEXT LINE}1",
        a_control_sequence_introducer="volume\x9b1",
        a_line_separator_inside="volume\N{LINE SEPARATOR}1",
        a_paragraph_separator_inside="volume\N{PARAGRAPH SEPARATOR}1",
        a_surrogate="volume\ud8001",
        a_low_surrogate="volume\udfff1",
        a_byte_that_was_no_text=os.fsdecode(b"volume\xff1"),
        two_surrogates_that_make_a_pair="\ud83d\ude42",
    ),
    *table(
        exceptions.InvalidName,
        f"the limit is {LONGEST}",
        one_byte_too_long="x" * (LONGEST + 1),
        two_byte_letters_that_are_too_long="é" * (LONGEST // 2 + 1),
        four_byte_letters_that_are_too_long="🙂" * (LONGEST // 4 + 1),
        the_length_of_a_file_name="x" * 255,
        a_kilobyte="x" * 1024,
        a_megabyte="x" * (1 << 20),
        a_megabyte_of_slashes="/" * (1 << 20),
        a_megabyte_of_surrogates="\ud800" * (1 << 20),
    ),
]
"""What is no name of anything."""

RESERVED_NAMES = table(
    exceptions.InvalidName,
    "is reserved",
    something_unfinished="volume-1.partial",
    a_draft="volume-1.12ab34cd.partial",
    the_suffix_of_drafts_alone=".partial",
    a_deleted_volume="volume-1.deleted",
    a_deleted_volume_with_its_id="volume-1.12ab34cd.deleted",
    the_suffix_of_deleted_volumes_alone=".deleted",
    the_object_of_a_lease="rbdstore.lease.volume-1",
    the_object_of_a_record="rbdstore.image.12ab34cd",
    the_prefix_alone="rbdstore.",
    something_that_begins_with_the_prefix="rbdstore.volume-1",
    a_reserved_one_of_a_subclass=Text("volume-1.partial"),
)
"""Names that an image, a volume, or an image in a location cannot have, though others can."""

RESERVED_SNAPSHOTS = table(
    exceptions.InvalidName,
    "is reserved",
    a_snapshot_that_clones_are_made_from="rbdstore.clone.12ab34cd",
    a_deleted_snapshot="rbdstore.deleted.4",
    the_prefix_alone="rbdstore.",
    a_snapshot_that_Cinder_clones_from="volume-1.clone_snap",
    the_suffix_of_those_alone=".clone_snap",
)
"""Names that a user's snapshot cannot have."""

NEW_NAMES = NAMES + RESERVED_NAMES
SNAPSHOTS = NAMES + RESERVED_SNAPSHOTS

LISTS_OF_NAMES = [
    *(
        dataclasses.replace(entry, id=f"a good one and {entry.id}", value=["good", entry.value])
        for entry in NEW_NAMES
    ),
    *table(
        exceptions.InvalidName,
        "was given twice",
        twins=["good", "good"],
        twins_apart=["good", "better", "good"],
        twins_of_which_one_is_of_a_subclass=["good", Text("good")],
    ),
    *table(
        exceptions.InvalidName,
        "is one name, not a list",
        one_name="abc",
        an_empty_name="",
        one_name_as_bytes=b"abc",
        one_name_as_a_bytearray=bytearray(b"abc"),
        one_name_of_a_subclass=Text("abc"),
    ),
    *table(
        exceptions.InvalidName,
        "a list of names is wanted, not ",
        none=None,
        a_number=3,
        an_object=object(),
        a_class=str,
    ),
]
