# SPDX-License-Identifier: Apache-2.0
"""Sizes that are refused, and all else that counts bytes."""

import decimal
import fractions
import math

from rbdstore import exceptions, sizes
from wrong.entries import table
from wrong.likenesses import Index

SIZES = [
    *table(
        exceptions.InvalidSize,
        "a size is a whole number of bytes, not ",
        false=False,
        true=True,
        a_float=1.5,
        a_whole_float=4096.0,
        a_float_of_zero=0.0,
        a_large_float=1e30,
        nan=math.nan,
        infinity=math.inf,
        minus_infinity=-math.inf,
        text="4096",
        text_with_a_unit="4K",
        empty_text="",
        bytes=b"4096",
        a_decimal=decimal.Decimal(4096),
        a_decimal_that_is_no_number=decimal.Decimal("NaN"),
        a_fraction=fractions.Fraction(4096),
        a_complex_number=4096 + 0j,
        a_list=[4096],
        a_tuple=(4096,),
        a_mapping={4096: 4096},
        a_range=range(4096),
        an_object=object(),
        a_class=int,
        a_function=len,
        not_implemented=NotImplemented,
        a_long_text="9" * (1 << 20),
    ),
    *table(
        exceptions.InvalidSize,
        "a size cannot be negative",
        minus_one=-1,
        minus_one_from_another_library=Index(-1),
        minus_2_to_the_63=-(2**63),
        minus_2_to_the_64=-(2**64),
        a_negative_number_of_5000_digits=-(10**5000),
    ),
    *table(
        exceptions.InvalidSize,
        "is beyond the limit",
        beyond_the_limit_by_one=sizes.MAX_SIZE + 1,
        all_that_63_bits_hold=2**63 - 1,
        more_than_63_bits_hold=2**63,
        more_than_64_bits_hold=2**64,
        more_than_64_bits_hold_from_another_library=Index(2**64),
        a_number_of_5000_digits=10**5000,
    ),
]
"""What is no size of anything. None has a meaning in most places."""

NO_SIZE = table(exceptions.InvalidSize, "a size is a whole number of bytes, not ", none=None)
