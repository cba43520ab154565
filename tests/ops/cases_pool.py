from functools import partial

from jaxnn.ops.adaptive_pool import adaptive_avg_pool, adaptive_max_pool
from jaxnn.ops.attention_pool import attention_pool
from jaxnn.ops.global_pool import global_avg_pool, global_max_pool
from jaxnn.ops.lp_pool import lp_pool
from jaxnn.ops.pool import avg_pool, max_pool, min_pool
from jaxnn.ops.unpool import max_pool_with_indices, max_unpool
from tests.ops.case import Case

SMALL, LARGE = ((2, 5, 4, 2),), ((4, 40, 50, 5),)
OVERLAPPING = {"window": 3, "strides": 2, "padding": 1, "ceil_mode": True}


def values(x):
    return max_pool_with_indices(x, **OVERLAPPING)[0]


def there_and_back(x):
    return max_unpool(*max_pool_with_indices(x, **OVERLAPPING), x.shape[1:-1])


CASES = [
    Case("max-pool", partial(max_pool, window=2), SMALL, LARGE),
    Case("max-pool-overlapping", partial(max_pool, **OVERLAPPING), SMALL, LARGE),
    Case("max-pool-3d-dilated", partial(max_pool, window=2, strides=1, dilation=2), ((2, 3, 4, 3, 1),)),
    Case("max-pool-large-window", partial(max_pool, window=40, strides=8, padding=5), ((2, 45, 1),)),
    Case("min-pool-same", partial(min_pool, window=(2, 3), padding="SAME"), SMALL, LARGE),
    Case("avg-pool", partial(avg_pool, window=2), SMALL, LARGE),
    Case("avg-pool-overlapping", partial(avg_pool, **OVERLAPPING), SMALL, LARGE),
    Case("avg-pool-with-padding", partial(avg_pool, window=2, padding=1, count_include_pad=True), SMALL),
    Case("avg-pool-large-window", partial(avg_pool, window=40, strides=8, padding=5), ((2, 45, 1),)),
    Case("lp-pool", partial(lp_pool, window=2), SMALL, LARGE),
    Case("lp-pool-cubes-overlapping", partial(lp_pool, p=3, **OVERLAPPING), SMALL),
    Case("lp-pool-fractional", partial(lp_pool, window=2, p=2.5, strides=1), ((2, 5, 1),)),
    Case("global-max-pool", global_max_pool, SMALL, LARGE),
    Case("global-avg-pool", global_avg_pool, SMALL, LARGE),
    Case("attention-pool", attention_pool, (*SMALL, (SMALL[0][-1], 1)), (*LARGE, (LARGE[0][-1], 1))),
    Case("adaptive-avg-pool", partial(adaptive_avg_pool, output_size=(3, 2)), SMALL, ((4, 41, 50, 5),)),
    Case("adaptive-max-pool", partial(adaptive_max_pool, output_size=(3, 2)), SMALL, ((4, 41, 50, 5),)),
    Case("max-pool-with-indices", values, SMALL, LARGE),
    Case("max-unpool", there_and_back, SMALL, LARGE),
]
