"""Well-known architectures, a page of combinators each.

Where torchvision has the net, it has the same name here, and its parts are called as torchvision's modules:
``features.0.weight`` there is ``features/0/kernel`` here, so that its weight files fit. Sizes, settings and
parameter counts are torchvision's too. Inputs are ``(N, H, W, C)``, of any channels; outputs are logits.
Weights start as those of jaxnn's layers do, except where a docstring says otherwise.
"""

from jaxnn.models.alexnet import alexnet
from jaxnn.models.convnext import convnext, convnext_tiny
from jaxnn.models.dcgan import dcgan_discriminator, dcgan_generator
from jaxnn.models.densenet import densenet, densenet121
from jaxnn.models.efficientnet import efficientnet, efficientnet_b0
from jaxnn.models.lenet import lenet
from jaxnn.models.lstm_tagger import lstm_tagger
from jaxnn.models.mobilenet import mobilenet_v2
from jaxnn.models.resnet import resnet, resnet18, resnet50
from jaxnn.models.unet import unet
from jaxnn.models.vgg import vgg, vgg11_bn

__all__ = [
    "alexnet",
    "convnext",
    "convnext_tiny",
    "dcgan_discriminator",
    "dcgan_generator",
    "densenet",
    "densenet121",
    "efficientnet",
    "efficientnet_b0",
    "lenet",
    "lstm_tagger",
    "mobilenet_v2",
    "resnet",
    "resnet18",
    "resnet50",
    "unet",
    "vgg",
    "vgg11_bn",
]
