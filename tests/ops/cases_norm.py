"""Norms with typical settings, for the properties that every op must have."""

from functools import partial
from typing import Any

from jaxnn.ops import norm
from jaxnn.ops.standardize import standardize
from tests.ops.case import Case


def batch_norm_train(*arrays: Any) -> Any:
    """Without the count, which is a plain integer."""
    return norm.batch_norm_train(*arrays)[:3]


CASES = [
    Case(
        "batch-norm-2d",
        norm.batch_norm,
        ((2, 3, 2, 3), (3,), (3,), (3,), (3,)),
        large=((4, 32, 32, 9), (9,), (9,), (9,), (9,)),
        positive=(2,),
    ),
    Case("batch-norm-0d-plain", norm.batch_norm, ((4, 3), (3,), (3,)), positive=(2,)),
    Case(
        "batch-norm-train-1d",
        batch_norm_train,
        ((3, 4, 2), (2,), (2,)),
        large=((4, 1024, 9), (9,), (9,)),
        rows=False,
    ),
    Case("batch-norm-train-0d-plain", batch_norm_train, ((6, 2),), rows=False),
    Case("layer-norm", norm.layer_norm, ((2, 3, 5), (5,), (5,)), large=((2, 40, 450), (450,), (450,))),
    Case("layer-norm-many-rows", norm.layer_norm, ((512, 8, 3), (3,), (3,))),
    Case("layer-norm-axes", partial(norm.layer_norm, axes=(1, -1)), ((2, 3, 2, 4), (3, 4), (3, 4))),
    Case("rms-norm", norm.rms_norm, ((2, 3, 5), (5,)), large=((2, 40, 450), (450,))),
    Case(
        "group-norm-2d",
        lambda x, *affine: norm.group_norm(x, 2, *affine),
        ((2, 3, 2, 4), (4,), (4,)),
        large=((2, 40, 50, 10), (10,), (10,)),
    ),
    Case("group-norm-0d-plain", partial(norm.group_norm, groups=2), ((2, 6),)),
    Case("instance-norm-1d", norm.instance_norm, ((2, 4, 3), (3,), (3,))),
    Case("instance-norm-3d", norm.instance_norm, ((2, 2, 3, 2, 2), (2,), (2,))),
    Case(
        "standardize",
        standardize,
        ((2, 3, 4), (1, 4), (4,)),
        large=((2, 100, 200), (200,), (200,)),
        positive=(2,),
    ),
]
