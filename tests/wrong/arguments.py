# SPDX-License-Identifier: Apache-2.0
"""All else that methods take beside names, sizes, locations and bodies."""

import decimal
import math

from rbdstore import exceptions, images
from wrong.entries import table

WAITS = table(
    exceptions.InvalidInput,
    "wait is a number of seconds, 0 or more, not ",
    negative=-1,
    a_little_negative=-0.001,
    nan=math.nan,
    infinity=math.inf,
    minus_infinity=-math.inf,
    none=None,
    text="5",
    text_that_is_no_number="soon",
    bytes=b"5",
    a_bool=True,
    a_list=[5],
    an_object=object(),
    a_complex_number=5j,
    a_decimal_that_is_no_number=decimal.Decimal("NaN"),
    a_number_of_5000_digits=10**5000,
)

POLICIES = table(
    exceptions.InvalidInput,
    "in_use is refuse, flatten or defer, not ",
    empty="",
    unknown="force",
    upper_case="FLATTEN",
    with_a_space="flatten ",
    bytes=b"flatten",
    none=None,
    a_bool=True,
    a_number=1,
    a_list=["flatten"],
    an_object=object(),
    a_long_text="x" * (1 << 20),
)

ALGORITHMS = table(
    exceptions.InvalidInput,
    "is no hash algorithm; there are ",
    empty="",
    a_space=" ",
    unknown="sha513",
    of_no_fixed_length="shake_128",
    a_nul="sha512\0",
    a_surrogate="\ud800",
    bytes=b"sha512",
    none=None,
    a_number=512,
    a_function=len,
    a_list=["sha512"],
    a_long_text="x" * (1 << 20),
)

METHODS = table(
    exceptions.InvalidInput,
    "method is one of auto, cow, copy, not ",
    empty="",
    unknown="clone",
    upper_case="COW",
    bytes=b"cow",
    none=None,
    a_bool=True,
    a_list=["cow"],
    an_object=object(),
)

FLATTEN_MODES = table(
    exceptions.InvalidInput,
    "flatten is one of inline, task, not ",
    empty="",
    unknown="later",
    upper_case="TASK",
    bytes=b"task",
    none=None,
    a_bool=True,
    a_list=["task"],
    an_object=object(),
)

IMAGE_STORES = table(
    exceptions.InvalidInput,
    "images is the images of a store, store.images, not ",
    none=None,
    a_pool="images",
    a_number=1,
    a_list=[],
    an_object=object(),
    the_class=images.ImageStore,
)

VOLUME_STORES = table(
    exceptions.InvalidInput,
    "other is the volumes of a store, store.volumes, not ",
    none=None,
    a_pool="volumes",
    a_list=[],
    an_object=object(),
)

LIMITS = [
    *table(
        exceptions.InvalidInput,
        "limits are a mapping of names to numbers, not ",
        none=None,
        text="iops_limit",
        a_list=["iops_limit"],
    ),
    *table(
        exceptions.InvalidInput,
        "there is no limit ",
        another_name={"iops": 1},
        cinder_s_name={"total_iops_sec": 1},
        no_name={None: 1},
    ),
    *table(
        exceptions.InvalidSize, "a size ", negative={"iops_limit": -1}, words={"bps_limit": "1"}
    ),
]

FEATURES = [
    *table(
        exceptions.InvalidInput,
        "features are a list of names, not ",
        none=None,
        a_name="exclusive-lock",
        a_number=1,
    ),
    *table(
        exceptions.InvalidInput,
        "cannot be switched; only ",
        layering=["layering"],
        not_a_name=[None],
        a_list_in_it=[[]],
    ),
]

FLAGS = table(
    exceptions.InvalidInput,
    "is True or False, not ",
    none=None,
    text="yes",
    empty="",
    zero=0,
    one=1,
    a_list=[],
)

KINDS = table(
    exceptions.InvalidName,
    "a kind of disk is lower-case letters and digits, not ",
    none=None,
    upper_case="Swap",
    a_slash="swap/1",
    a_dot=".",
    a_dot_at_the_end="swap.",
    a_space=" ",
    a_newline="swap\n",
    another_disk="swap_disk",
    bytes=b"swap",
    a_number=1,
)

METADATA = table(
    exceptions.InvalidInput,
    "image_meta is a mapping with a disk_format, not ",
    none=None,
    text="raw",
    a_list=["raw"],
    an_object=object(),
)

FORMATS = table(
    exceptions.NotCloneable,
    "only raw can be cloned",
    qcow2="qcow2",
    vmdk="vmdk",
    empty="",
    upper_case="RAW",
    bytes=b"raw",
    none=None,
    a_number=1,
    a_list=["raw"],
    a_surrogate="\ud800",
    a_long_text="x" * (1 << 20),
)

CALLBACKS_OF_CLONES = table(
    exceptions.InvalidInput,
    "progress_of is called as progress_of(clone)",
    text="print",
    a_number=5,
    zero=0,
    false=False,
    a_list=[],
    an_object=object(),
)

CALLBACKS = table(
    exceptions.InvalidInput,
    "progress is called as progress(done, total)",
    text="print",
    a_number=5,
    zero=0,
    false=False,
    a_list=[],
    an_object=object(),
)

DISK_FORMATS = table(
    exceptions.InvalidInput,
    "disk_format is one of raw, iso, qcow2, vdi, vhd, vhdx, vmdk, not ",
    empty="",
    upper_case="QCOW2",
    with_a_space="raw ",
    of_qemus="vpc",
    of_others="ami",
    bytes=b"raw",
    none=None,
    a_bool=True,
    a_number=1,
    a_list=["raw"],
    a_surrogate="\ud800",
    a_long_text="x" * (1 << 20),
)

OPENERS = table(
    exceptions.InvalidInput,
    "open_image is called as open_image()",
    bytes=b"data",
    text="image.raw",
    a_number=5,
    zero=0,
    false=False,
    a_list=[],
    an_object=object(),
)
