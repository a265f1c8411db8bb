# SPDX-License-Identifier: Apache-2.0
"""``rbdstore doctor``: a set-up is looked at from end to end, and each fault told with its mend.

The walk, its order and its verdicts are here; so is what the services need of any driver, tried by
doing it (:mod:`rbdstore.doctor.probes`). What is particular to a cluster, its driver looks at
(:meth:`rbdstore.driver.Driver.checks`).
"""

from rbdstore.doctor.examination import Examination
from rbdstore.doctor.walk import Result, worst

__all__ = ["Examination", "Result", "worst"]
