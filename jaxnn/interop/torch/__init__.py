"""PyTorch's state dicts in and out, without PyTorch."""

from jaxnn.exports import public
from jaxnn.interop.torch.exchange import load_state_dict as load_state_dict
from jaxnn.interop.torch.exchange import to_state_dict as to_state_dict
from jaxnn.interop.torch.matching import Match as Match
from jaxnn.interop.torch.matching import Row as Row
from jaxnn.interop.torch.matching import match as match
from jaxnn.interop.torch.names import torchvision_vit as torchvision_vit

__all__ = public(globals())
