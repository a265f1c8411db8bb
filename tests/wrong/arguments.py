# SPDX-License-Identifier: Apache-2.0
"""All else that methods take beside names, sizes, locations and bodies."""

import decimal
import math

from rbdstore import exceptions
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
