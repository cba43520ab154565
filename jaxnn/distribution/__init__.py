"""Training on many devices and hosts: meshes, and rules that say which device holds what."""

from jaxnn.distribution.collectives import Sent as Sent
from jaxnn.distribution.collectives import collectives as collectives
from jaxnn.distribution.mesh import mesh as mesh
from jaxnn.distribution.place import gather as gather
from jaxnn.distribution.place import own_rows as own_rows
from jaxnn.distribution.place import place as place
from jaxnn.distribution.place import place_batch as place_batch
from jaxnn.distribution.rules import by_path as by_path
from jaxnn.distribution.rules import fully_sharded as fully_sharded
from jaxnn.distribution.rules import replicated as replicated
from jaxnn.distribution.sharding import Sharding as Sharding
from jaxnn.exports import public

__all__ = public(globals())
