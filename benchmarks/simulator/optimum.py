"""The best there can be: workers assigned to squids with the least mean distance, nobody over capacity.

A transport problem over sites (squids at one site are equally far from everybody), solved by HiGHS.
"""

import highspy
import numpy as np

from benchmarks.simulator.arrays import Floats


def least_distance(km: Floats, demand: Floats, capacity: Floats) -> float | None:
    """Mean distance (km, weighted by demand) of the best assignment; None if there is no room.

    `km` is site by site, `demand` and `capacity` are by site, in the same unit.
    """
    asking, serving = np.flatnonzero(demand > 0), np.flatnonzero(capacity > 0)
    if not len(asking):
        return 0.0
    total = demand.sum()
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    problem = _problem(km[np.ix_(asking, serving)], demand[asking] / total, capacity[serving] / total)
    solver.passModel(problem)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return float(solver.getInfo().objective_function_value)


def _problem(km: Floats, demand: Floats, capacity: Floats) -> highspy.HighsLp:
    """A column for each pair of sites; a row for each site's demand, then for each site's capacity."""
    asking, serving = km.shape
    pairs = asking * serving
    problem = highspy.HighsLp()
    problem.num_col_, problem.num_row_ = pairs, asking + serving
    problem.col_cost_ = km.ravel()
    problem.col_lower_, problem.col_upper_ = np.zeros(pairs), np.full(pairs, highspy.kHighsInf)
    problem.row_lower_ = np.concatenate([demand, np.zeros(serving)])
    problem.row_upper_ = np.concatenate([demand, capacity])
    matrix = problem.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kColwise
    matrix.start_ = np.arange(0, 2 * pairs + 1, 2)
    ends = np.stack([np.arange(pairs) // serving, asking + np.arange(pairs) % serving], axis=1)
    matrix.index_ = ends.ravel()
    matrix.value_ = np.ones(2 * pairs)
    return problem
